--- DMARC Policy Records (RFC 9989 4.7, 4.8): what the owner of a domain asks for.
local recent = require "moonmilter.identity.recent"
local taglist = require "moonmilter.identity.taglist"

local policy = {}

---@class moonmilter.DmarcRecord
---@field p "none"|"quarantine"|"reject"|nil  nil: neither a valid policy nor an address for reports, so DMARC does not
--- apply (RFC 9989 4.10.1)
---@field sp "none"|"quarantine"|"reject"|nil  for subdomains; nil: p
---@field np "none"|"quarantine"|"reject"|nil  for subdomains that do not exist; nil: sp
---@field adkim "r"|"s"
---@field aspf "r"|"s"
---@field psd "y"|"n"|"u"
---@field t "y"|"n"  y: the owner tests
---@field fo string
---@field rua string[]  URIs for aggregate reports, without the size that old records append
---@field ruf string[]  URIs for failure reports
---@field text string

-- The values of a tag, in lower case, and its default (RFC 9989 4.7). Literals of ABNF have no case.
local VALUES = {
  p = { none = true, quarantine = true, reject = true },
  adkim = { r = true, s = true, default = "r" },
  aspf = { r = true, s = true, default = "r" },
  psd = { y = true, n = true, u = true, default = "u" },
  t = { y = true, n = true, default = "n" },
}
VALUES.sp, VALUES.np = VALUES.p, VALUES.p

local function is_uri(uri)
  local scheme, rest = uri:match "^(%a[%w+.-]*):([!-~]+)$"
  if not scheme then
    return false
  elseif scheme:lower() == "mailto" then
    return rest:find "^[^@]+@[^@]" ~= nil
  end
  return true
end

local function uris(value)
  local list = {}
  for word in (value or ""):gmatch "[^,]+" do
    local uri = word:match "^[ \t]*([^ \t!]*)" -- "!" begins a size, which reporters ignore (RFC 9989 4.8)
    list[#list + 1] = is_uri(uri) and uri or nil
  end
  return list
end

-- tag -> value of the first tag of each name. What is no tag is ignored (RFC 9989 4.8).
local function tags_of(text)
  local tags = {}
  for part in text:gmatch "[^;]+" do -- one by one: a tag that is wrong spoils no other
    for name, value in pairs(taglist.parse(part) or {}) do
      tags[name:lower()] = tags[name:lower()] or value
    end
  end
  return tags
end

local function literal(tags, name)
  local values = VALUES[name]
  local value = tags[name] and tags[name]:lower()
  return value and values[value] == true and value or values.default
end

local read_before = recent.new(2000)
local TEXT_MAX = 2048 -- bytes of a record that is remembered

local function read(text)
  local version = text:match "^[ \t]*[vV][ \t]*=[ \t]*([^;]*)"
  if not version or not version:find "^DMARC1[ \t]*$" then
    return nil
  end
  local tags = tags_of(text)
  local record = { rua = uris(tags.rua), ruf = uris(tags.ruf), fo = tags.fo or "0", text = text }
  for name in pairs(VALUES) do
    record[name] = literal(tags, name)
  end
  if not record.p or tags.sp and not record.sp or tags.np and not record.np then
    record.p, record.sp, record.np = record.rua[1] and "none" or nil, nil, nil
  end
  return record
end

--- Reads a TXT record. A record is a function of its text alone, and must not be changed.
---@param text string
---@return moonmilter.DmarcRecord?  nil when it is none of DMARC's
function policy.read(text)
  local record = read_before:get(text)
  if record == nil then
    record = read(text)
    if record and #text <= TEXT_MAX then
      read_before:keep(text, record)
    end
  end
  return record
end

--- The record among the TXT records of a name: several are as good as none (RFC 9989 4.10 step 2).
---@param texts string[]
---@return moonmilter.DmarcRecord?
function policy.only(texts)
  local found
  for _, text in ipairs(texts) do
    local record = policy.read(text)
    if record and found then
      return nil
    end
    found = found or record
  end
  return found
end

local STEP_DOWN = { reject = "quarantine", quarantine = "none", none = "none" }

--- What the owner asks for messages of a name, test mode applied (RFC 9989 4.7 "t", 4.10.1).
---@param record moonmilter.DmarcRecord  with `p`
---@param is_own boolean  the record is the name's own
---@param exists boolean  the name exists
---@return "none"|"quarantine"|"reject"
function policy.wanted(record, is_own, exists)
  local wanted = record.p
  if not is_own then
    wanted = not exists and record.np or record.sp or record.p
  end
  return record.t == "y" and STEP_DOWN[wanted] or wanted
end

return policy
