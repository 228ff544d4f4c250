--- Which macros to ask the MTA for. Sendmail and Postfix each send a default list for every stage; a list of ours
-- replaces it, and what the administrator has set. So a list is sent only for a stage at which a script names a macro
-- that not both send by default, and then it includes the defaults of both.
local macros = {}

-- Protocol 6.3.
local TLS = "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"
local sendmail = {
  connect = "j _ {daemon_name} {if_name} {if_addr}", helo = TLS,
  mail = "i {auth_type} {auth_authen} {auth_ssf} {auth_author} {mail_mailer} {mail_host} {mail_addr}",
  rcpt = "{rcpt_mailer} {rcpt_host} {rcpt_addr}", eom = "{msg_id}",
}
local postfix = {
  connect = "j _ {daemon_name} {daemon_addr} v", helo = TLS,
  mail = "i {auth_type} {auth_authen} {auth_author} {mail_mailer} {mail_host} {mail_addr}",
  rcpt = "i {rcpt_mailer} {rcpt_host} {rcpt_addr}", data = "i", eoh = "i", eom = "i",
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

local function words_of(lists)
  local set = {}
  for _, list in pairs(lists) do
    for name in list:gmatch "%S+" do
      set[name] = true
    end
  end
  return set
end

local from_sendmail, from_postfix = words_of(sendmail), words_of(postfix)

local function come_by_themselves(name)
  return from_sendmail[name] and from_postfix[name]
end

--- The macros that a script's strings seem to name.
---@param strings table<string, true>
---@return table<string, true>  names as on the wire
function macros.named(strings)
  local named = {}
  if not strings.macro then
    return named
  end
  for text in pairs(strings) do
    local name = braced(text)
    local is_known = first_known[name] or from_sendmail[name] or from_postfix[name]
    -- a letter alone may be anything; v is worth the risk, because Sendmail sends it only when asked
    if text:match("^{[%w_]+}$") or is_known and (#text > 1 or text == "v") then
      named[name] = true
    end
  end
  return named
end

--- Does it matter to scripts which MTA is at the other end? Both count the positions of fields in their own ways, and
--- Sendmail passes on a new body as it is. It tells its version only when asked.
---@param words table<string, true>  strings and methods
---@return boolean
function macros.needs_version(words)
  return (words.insert_header or words.replace_body or words.body or words.mta or words.sign or words.seal) ~= nil
end

local LIST_MAX = 50 -- names per stage; at the 51st Sendmail refuses the client (8.17, milter_getsymlist)

local function check_size(stage, count)
  if count > LIST_MAX then
    error(("%d macros are requested at %s, including those that MTAs send by default; Sendmail takes at most %d")
      :format(count, stage, LIST_MAX), 0)
  end
end

-- The list of a stage: what both send by default, once each.
local function default_list(stage)
  local list, is_in = {}, {}
  for _, lists in ipairs { sendmail, postfix } do
    for name in (lists[stage] or ""):gmatch "%S+" do
      if not is_in[name] then
        list[#list + 1], is_in[name] = name, true
      end
    end
  end
  return list, is_in
end

local STAGES = { "connect", "helo", "mail", "rcpt", "data", "eoh", "eom" } -- ORDER MACRO_SET

--- The stages with macros, as a set, and in words.
---@type table<string, true>
macros.stages = {}
for _, stage in ipairs(STAGES) do
  macros.stages[stage] = true
end
macros.stage_names = table.concat(STAGES, " ")

---@return boolean
function macros.is_stage(name)
  return macros.stages[name] == true
end

local ANYWHERE = { "connect", "helo", "mail", "rcpt", "eoh", "eom" }

--- The first stage at which an MTA sends a macro; nil when nobody knows.
---@param name string  braces optional
---@return string?
function macros.first_stage(name)
  name = braced(name)
  for _, stage in ipairs(STAGES) do
    local _, is_default = default_list(stage)
    if first_known[name] == stage or is_default[name] then
      return stage
    end
  end
end

-- The stages at which to ask for a macro: where one MTA sends it by default, else where it is known first.
local function stages_of(name, defaults)
  local stages = {}
  for _, stage in ipairs(STAGES) do
    if defaults[stage].is_in[name] then
      stages[#stages + 1] = stage
    end
  end
  return stages[1] and stages or first_known[name] and { first_known[name] } or ANYWHERE
end

--- Lists by stage, or nil when the MTA's own suffice. Raises when a list is longer than an MTA takes.
---@param wanted table<string, true>  names, braces optional
---@param at table<string, table<string, true>>?  names by the stage at which a script asks for them
---@return table<string, string>?
function macros.lists(wanted, at)
  local names, defaults, is_asked = {}, {}, {}
  for name in pairs(wanted) do
    name = braced(name)
    if not come_by_themselves(name) and not names[name] then
      names[#names + 1], names[name] = name, true
    end
  end
  table.sort(names)
  for _, stage in ipairs(STAGES) do
    local list, is_in = default_list(stage)
    defaults[stage] = { list = list, is_in = is_in }
  end
  for _, name in ipairs(names) do
    for _, stage in ipairs(stages_of(name, defaults)) do
      local default = defaults[stage]
      is_asked[stage] = true
      if not default.is_in[name] then
        default.list[#default.list + 1], default.is_in[name] = name, true
      end
    end
  end
  for stage, by_name in pairs(at or {}) do
    local default, own = defaults[stage], {}
    for name in pairs(by_name) do
      name = braced(name)
      if not default.is_in[name] then
        own[#own + 1], default.is_in[name] = name, true
      end
    end
    table.sort(own)
    for _, name in ipairs(own) do
      default.list[#default.list + 1] = name
    end
    is_asked[stage] = true
  end
  is_asked.eoh = is_asked.eoh or is_asked.eom -- Sendmail drops one alone (protocol 4.5)
  is_asked.eom = is_asked.eoh
  local lists
  for stage in pairs(is_asked) do
    lists = lists or {}
    lists[stage] = table.concat(defaults[stage].list, " ")
    check_size(stage, #defaults[stage].list)
  end
  return lists
end

--- For doctor: what scripts name, on one line.
---@param named table<string, true>
---@return string?
function macros.line(named)
  local names = {}
  for name in pairs(named) do
    name = braced(name)
    if not names[name] then
      names[#names + 1], names[name] = name, true
    end
  end
  table.sort(names)
  return names[1] and table.concat(names, " ")
end

return macros
