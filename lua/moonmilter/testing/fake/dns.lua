-- moonmilter.dns as a test sees it: the host's own, but the test answers the query instead of a name server.
local ask_test, wait = ...
local codec = require "moonmilter.codec"
local core = require "moonmilter.core"

-- Records may be abbreviated: { 10, "mx.example.org" } for an MX.
local FIELDS = {
  mx = { "preference", "host" }, srv = { "priority", "weight", "port", "host" }, caa = { "flags", "tag", "value" },
  tlsa = { "usage", "selector", "matching", "data" },
}

local function whole(record, kind)
  local fields = FIELDS[kind]
  if not fields or type(record) ~= "table" then
    return record
  end
  local named = {}
  for i, field in ipairs(fields) do
    named[field] = record[field] or record[i]
  end
  return named
end

function core.dns_query(name, kind, timeout)
  kind, name = kind:lower(), name:gsub("%.$", "")
  local records, text, code, delay
  if name:find("xn--", 1, true) then -- what a script spells with U-labels is asked for as A-labels
    records, text, code, delay = ask_test("dns", name, kind:upper(), (codec.idna_to_unicode(name)))
  else
    records, text, code, delay = ask_test("dns", name, kind:upper())
  end
  records, text, code = wait("dns " .. name, timeout or core.dns_timeout(), records, text, code, delay)
  if records == nil then
    return nil, text, code
  end
  local list = { ttl = records.ttl or 300, name = records.name or name, authentic = records.authentic or false }
  for i, record in ipairs(type(records) == "table" and records or { records }) do
    list[i] = whole(record, kind)
  end
  return list
end

-- A test need not have the test entries of its lists; dns.lists{ …, { test = true } } asks for them.
core.dns_lists_untested = true

return require "host:moonmilter.dns"
