--- Which macros an MTA sends in front of which command, and what they say (milter protocol 6.3).
local macros = {}

local TLS = { "{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}" }

local LISTS = {
  postfix = {
    C = { "j", "{daemon_name}", "{daemon_addr}", "v", "_" }, H = TLS,
    M = { "i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}", "{mail_mailer}" },
    R = { "i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}" }, T = { "i" }, N = { "i" }, E = { "i" },
  },
  sendmail = {
    C = { "j", "_", "{daemon_name}", "{if_name}", "{if_addr}" }, H = TLS,
    M = { "i", "{auth_type}", "{auth_authen}", "{auth_ssf}", "{auth_author}", "{mail_mailer}", "{mail_host}",
      "{mail_addr}" },
    R = { "{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}" }, E = { "{msg_id}" },
  },
}

-- number in the filter's list -> letter of the command
local STAGES = { [0] = "C", [1] = "H", [2] = "M", [3] = "R", [4] = "T", [5] = "E", [6] = "N" }
macros.STAGES = STAGES

local function bare(address)
  return address and (address:match "^<(.*)>$" or address)
end

local function domain(address)
  return address and (bare(address):match "@([^@]*)$" or "")
end

local function mailer(mta, address)
  if not address then
    return nil
  end
  return bare(address) == "" and "local" or mta.kind == "postfix" and "smtp" or "esmtp"
end

local function client_prefix(mta)
  return mta.kind == "sendmail" and mta.client.ip:find(":", 1, true) and "IPv6:" or ""
end

--- The client's name as the MTA writes it when it has none.
function macros.client_name(mta)
  local c = mta.client
  if c.host then
    return c.host
  elseif c.family == "unknown" then
    return "unknown"
  elseif c.family == "unix" then
    return "localhost"
  end
  return ("[%s%s]"):format(client_prefix(mta), c.ip)
end

local VALUES = {
  ["j"] = function(mta) return mta.name end,
  ["v"] = function(mta) return mta.kind == "postfix" and "Postfix 3.7.11" or "8.17.1.9" end,
  ["_"] = function(mta)
    local name = macros.client_name(mta)
    return mta.client.host and mta.client.ip and ("%s [%s%s]"):format(name, client_prefix(mta), mta.client.ip) or name
  end,
  -- Postfix names a message when its queue file exists: behind the first recipient it takes
  ["i"] = function(mta)
    if not mta.sender or (mta.kind == "postfix" and mta.taken == 0) then
      return nil
    end
    return (mta.kind == "postfix" and "4MoonM%06uz" or "4BMoon%06u"):format(mta.number)
  end,
  daemon_name = function(mta) return mta.kind == "postfix" and mta.name or "MTA" end,
  daemon_addr = function() return "192.0.2.25" end,
  daemon_port = function() return "25" end,
  if_name = function(mta) return mta.kind == "sendmail" and mta.name or nil end,
  if_addr = function(mta) return mta.kind == "sendmail" and "192.0.2.25" or nil end,
  client_name = function(mta) return macros.client_name(mta) end,
  client_addr = function(mta) return mta.client.ip end,
  client_port = function(mta) return tostring(mta.client.port) end,
  client_ptr = function(mta) return mta.client.host end,
  client_resolve = function(mta) return mta.client.host and "OK" or "FAIL" end,
  client_connections = function() return "1" end,
  tls_version = function(mta) return mta.client.tls and (mta.client.tls.version or "TLSv1.3") end,
  cipher = function(mta) return mta.client.tls and (mta.client.tls.cipher or "TLS_AES_256_GCM_SHA384") end,
  cipher_bits = function(mta) return mta.client.tls and tostring(mta.client.tls.bits or 256) end,
  cert_subject = function(mta) return mta.client.tls and mta.client.tls.subject end,
  cert_issuer = function(mta) return mta.client.tls and mta.client.tls.issuer end,
  auth_type = function(mta) return mta.client.auth and "PLAIN" end,
  auth_authen = function(mta) return mta.client.auth end,
  mail_addr = function(mta) return bare(mta.sender) end,
  mail_host = function(mta) return domain(mta.sender) end,
  mail_mailer = function(mta) return mailer(mta, mta.sender) end,
  rcpt_addr = function(mta) return bare(mta.recipient) end,
  rcpt_host = function(mta) return domain(mta.recipient) end,
  rcpt_mailer = function(mta) return mailer(mta, mta.recipient) end,
  msg_id = function(mta) return mta.kind == "sendmail" and mta.message_id or nil end,
}

local function plain(name)
  return name:match "^{(.*)}$" or name
end

--- Sendmail 8.17 looks at the list for end-of-headers to decide whose list end-of-message gets (protocol 4.5).
local function list_of(mta, letter)
  local asked = mta.asked_macros[letter]
  if mta.kind == "postfix" then
    return asked and #asked > 0 and asked or LISTS.postfix[letter]
  end
  if mta.asked_macros[letter == "E" and "N" or letter] then
    return asked and #asked > 0 and asked or nil
  end
  return LISTS.sendmail[letter]
end

local function is_listed(mta, letter, name)
  for _, listed in ipairs(list_of(mta, letter) or {}) do
    if plain(listed) == plain(name) then
      return true
    end
  end
  return false
end

-- A macro of the test that no list asks for goes out at connect, so that it is known throughout.
local function is_extra(mta, name)
  for letter in pairs(LISTS.postfix) do
    if is_listed(mta, letter, name) then
      return false
    end
  end
  return true
end

local function value_of(mta, name)
  local own = mta.macros[plain(name)]
  if own == nil then
    own = mta.macros["{" .. plain(name) .. "}"]
  end
  if own ~= nil then
    return own or nil -- false: the MTA knows none
  end
  local value = VALUES[plain(name)]
  return value and value(mta)
end

--- The data of the macro packet for a command, or nil when none is due.
---@param letter string  the command
---@param of? string     whose list; default: the command's own
function macros.packet(mta, letter, of)
  of = of or letter
  local list, parts = list_of(mta, of), { letter }
  for _, name in ipairs(list or {}) do
    local value = value_of(mta, name)
    if value then
      parts[#parts + 1] = name .. "\0" .. value .. "\0"
    end
  end
  if of == "C" then
    for name, value in pairs(mta.macros) do
      if value and is_extra(mta, name) then
        local wired = #name == 1 and name or "{" .. plain(name) .. "}"
        parts[#parts + 1] = wired .. "\0" .. value .. "\0"
      end
    end
  end
  return (list or #parts > 1) and table.concat(parts) or nil
end

return macros
