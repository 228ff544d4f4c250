--- Which macros to ask the MTA for. Sendmail and Postfix each send a default list for every stage; a list of ours
-- replaces it. So lists are sent only when a script wants a macro that neither default has, and then they include the
-- defaults.
local macros = {}

-- ORDER MACRO_SET; protocol 6.3. The lists for end of headers and end of message are sent together: Sendmail drops one
-- alone (protocol 4.5).
local defaults = {
  connect = "j _ {daemon_name} {daemon_addr} {if_name} {if_addr} v",
  helo = "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
  mail = "i {auth_type} {auth_authen} {auth_ssf} {auth_author} {mail_mailer} {mail_host} {mail_addr}",
  rcpt = "i {rcpt_mailer} {rcpt_host} {rcpt_addr}",
  data = "i",
  eoh = "i",
  eom = "i {msg_id}",
}

-- The stage at which a macro outside the default lists is first known.
local first_known = {
  ["{client_addr}"] = "connect", ["{client_name}"] = "connect", ["{client_port}"] = "connect",
  ["{client_ptr}"] = "connect",
  ["{client_resolve}"] = "connect", ["{client_connections}"] = "connect", ["{client_rate}"] = "connect",
  ["{daemon_port}"] = "connect", ["{server_addr}"] = "connect", ["{server_name}"] = "connect",
  ["{daemon_flags}"] = "connect",
  ["{tls_sni}"] = "helo", ["{verify}"] = "helo", ["{cn_subject}"] = "helo", ["{cn_issuer}"] = "helo",
  ["{alg_bits}"] = "helo",
  ["{ntries}"] = "mail", ["{nbadrcpts}"] = "rcpt", ["{nrcpts}"] = "data",
}

local function braced(name)
  name = name:gsub("^{(.*)}$", "%1")
  return #name == 1 and name or "{" .. name .. "}"
end

local known
local function known_by_default()
  if not known then
    known = {}
    for _, list in pairs(defaults) do
      for name in list:gmatch("%S+") do
        known[name] = true
      end
    end
  end
  return known
end

--- The macros that a script's strings seem to request and no MTA sends by default.
---@param strings table<string, true>
---@return table<string, true>
function macros.wanted(strings)
  local wanted = {}
  if not strings.macro then
    return wanted
  end
  for text in pairs(strings) do
    local name = braced(text)
    if (text:match("^{[%w_]+}$") or first_known[name]) and not known_by_default()[name] then
      wanted[name] = true
    end
  end
  return wanted
end

local STAGES = { "connect", "helo", "mail", "rcpt", "data", "eoh", "eom" }

--- The first stage at which an MTA sends a macro; nil when nobody knows.
---@param name string  braces optional
---@return string?
function macros.first_stage(name)
  name = braced(name)
  for _, stage in ipairs(STAGES) do
    if first_known[name] == stage or (" " .. defaults[stage] .. " "):find(" " .. name .. " ", 1, true) then
      return stage
    end
  end
end

local LIST_MAX = 50 -- names per stage; at the 51st Sendmail refuses the client (8.17, milter_getsymlist)

local function check_size(stage, list)
  local count = select(2, list:gsub("%S+", ""))
  if count > LIST_MAX then
    error(("%d macros are requested at %s, including those that MTAs send by default; Sendmail takes at most %d")
      :format(count, stage, LIST_MAX), 0)
  end
end

--- Lists by stage, or nil when the MTA's own suffice. Raises when a list is longer than an MTA takes.
---@param wanted table<string, true>  names, braces optional
---@return table<string, string>?
function macros.lists(wanted)
  local names = {}
  for name in pairs(wanted) do
    name = braced(name)
    if not known_by_default()[name] then
      names[#names + 1] = name
    end
  end
  if #names == 0 then
    return nil
  end
  table.sort(names)
  local lists = {}
  for stage, list in pairs(defaults) do
    lists[stage] = list
  end
  for _, name in ipairs(names) do
    local stages = first_known[name] and { first_known[name] } or { "connect", "helo", "mail", "rcpt", "eoh", "eom" }
    for _, stage in ipairs(stages) do
      -- at most 4096 bytes: a script's own list, of which check_size() lets 50 names pass
      lists[stage] = lists[stage] .. " " .. name
    end
  end
  for stage, list in pairs(lists) do
    check_size(stage, list)
  end
  return lists
end

return macros
