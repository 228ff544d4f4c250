--- What auth.check has found, as a value of Authentication-Results (RFC 8601). Readers of that field are simple
--- programs: a quote or parenthesis that an attacker brings into it can make them see another domain ("Composition
--- Kills", A4 to A7). So nothing from the network is written as it came: host names consist of the letters of host
--- names, and a local part that is more than a word is left out.
local authres = require "moonmilter.authres"
local folding = require "moonmilter.mail.folding"

local stamp = {}

local VALUE_MAX = 320 -- bytes: local part, "@" and domain (RFC 5321 4.5.3.1)
local SIGNATURE_SHOWN = 8 -- characters of b=, to tell signatures apart (RFC 6008 4)
local REASON_MAX = 200

-- A value with "?" for what a host name does not have.
local function host_name(value)
  return (value:sub(1, VALUE_MAX):gsub("[^%w._-]", "?"))
end

-- HELO may be an address literal, too.
local function helo(value)
  local literal = value:match "^%[([%x.:]+)%]$" or value:match "^%[([Ii][Pp][Vv]6:[%x.:]+)%]$"
  return literal and #value <= VALUE_MAX and value or host_name(value)
end

-- The domain after the last "@", with the local part if that is a word.
local function mailbox(value)
  local local_part, domain = value:match "^(.*)@(.*)$"
  if not local_part then
    return host_name(value)
  elseif #value <= VALUE_MAX and local_part:find "^[%w.!#$%%&*+^_{|}~-]+$" then
    return local_part .. "@" .. host_name(domain)
  end
  return host_name(domain)
end

local function tag(value)
  return (value:sub(1, VALUE_MAX):gsub("[^%w._+-]", "?"))
end

local function b_tag(value)
  return (value:gsub("[^%w+/]", ""):sub(1, SIGNATURE_SHOWN))
end

local CLEAN = {
  ["smtp.mailfrom"] = mailbox, ["smtp.helo"] = helo, ["header.d"] = host_name, ["header.s"] = host_name,
  ["header.i"] = mailbox, ["header.from"] = host_name, ["header.b"] = b_tag,
}

local function clean(property)
  local by = CLEAN[property.type .. "." .. property.property] or tag
  return { type = property.type, property = property.property, value = by(tostring(property.value)) }
end

local function comment_of(reason)
  local text = reason:sub(1, REASON_MAX):gsub("[^ -~]", "?"):gsub('["();=\\]', "'")
  return text
end

local function add(list, method, found, with_comments)
  if not found then
    return
  end
  local properties = {}
  for i, property in ipairs(found.properties or {}) do
    properties[i] = clean(property)
  end
  list[#list + 1] = { method = method, result = found.result, properties = properties,
    comment = with_comments and found.reason and comment_of(found.reason) or nil }
end

--- The value, folded.
---@param r moonmilter.AuthCheck
---@param id string
---@param with_comments boolean
---@return string
function stamp.value(r, id, with_comments)
  local list = {}
  add(list, "spf", r.spf, with_comments)
  add(list, "spf", r.helo, with_comments)
  for _, signature in ipairs(r.dkim or {}) do
    add(list, "dkim", signature, with_comments)
  end
  if r.dkim and not r.dkim[1] then
    list[#list + 1] = { method = "dkim", result = "none" }
  end
  add(list, "dmarc", r.dmarc, with_comments)
  add(list, "arc", r.arc, with_comments)
  return (folding.fold("Authentication-Results", authres.format { authserv_id = id, results = list }))
end

return stamp
