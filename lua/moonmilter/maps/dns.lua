--- dns:txt:ZONE and dns:a:ZONE: the records of the key below a zone. An IP address is asked for in reverse, as lists of
--- addresses have it. a: for lists (RFC 5782), so an answer that is no listing is a failure, as in dns.dnsbl.
local core = require "moonmilter.core"
local listing = require "moonmilter.net.listing"
local resolver = require "moonmilter.dns"

local dns = {}

local NONE = { nxdomain = true, nodata = true }
local CODES = { timeout = "timeout", badanswer = "bad_answer", badname = "bad_key" }

local Source = {}
Source.__index = Source

-- The name of a key; nil when it can have none.
local function name_of(key)
  local reversed = core.dns_reverse(key)
  if reversed then
    return reversed
  elseif key == "" or #key > 253 or key:find "[%s%c@/\\\"]" or key:find "^%." or key:find("..", 1, true) then
    return nil
  end
  return (key:gsub("%.$", ""))
end

-- One text, the same whatever the order in which the server gives the records.
local function joined(list)
  local copy = {}
  for i, text in ipairs(list) do
    copy[i] = text
  end
  table.sort(copy)
  return table.concat(copy, " ")
end

---@return string? value, string? text, string? code
function Source:get(key)
  local name = name_of(key)
  if not name then
    return nil, ("%q cannot be a name of DNS"):format(key), "bad_key"
  end
  local list, text, code = resolver.query(name .. "." .. self.zone, self.kind, { timeout = self.timeout })
  if list and self.kind == "a" then
    list, text, code = listing.of(list)
  end
  self.error = not NONE[code] and text or nil
  if list then
    return joined(list)
  elseif NONE[code] then
    return nil
  end
  return nil, text, CODES[code] or "down"
end

function Source:info()
  return { error = self.error }
end

--- Opens it; raises a text when the argument is of neither form. Nothing is asked before the first lookup.
---@param argument string
---@param options moonmilter.map.Options
function dns.open(argument, options)
  local kind, zone = argument:match "^(%a+):([^%s%c:/@]+)$"
  kind = kind and kind:lower()
  if kind ~= "txt" and kind ~= "a" then
    error("write dns:a:ZONE or dns:txt:ZONE", 0)
  end
  return setmetatable({ kind = kind, zone = zone:gsub("^%.", ""):gsub("%.$", ""), timeout = options.timeout }, Source)
end

return dns
