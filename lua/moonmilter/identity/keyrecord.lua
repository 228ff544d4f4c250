--- Key records of DKIM and ARC in DNS (RFC 6376 3.6.1, 6.1.2; RFC 8463 4.2).
local codec = require "moonmilter.codec"
local recent = require "moonmilter.identity.recent"
local seal = require "moonmilter.seal"
local taglist = require "moonmilter.identity.taglist"

local keyrecord = {}

local TEXT_MAX = 4096 -- bytes of a record; the largest key that is read has about 740
local CANDIDATES = 3  -- records of one name that are tried (RFC 6376 6.1.2: which is undefined)

---@class moonmilter.KeyRecord
---@field kind "rsa"|"ed25519"
---@field key moonmilter.Keypair|nil  nil: revoked, or larger than what is verified
---@field bits integer|nil
---@field is_revoked boolean      p= is empty
---@field is_too_large boolean    more than 4096 bits
---@field is_testing boolean      t=y
---@field is_strict boolean       t=s: the domain of i= is d= itself, not one below it

local function fault(text, ...)
  return nil, "key record: " .. text:format(...), "syntax"
end

local function has_item(value, ...)
  for _, item in ipairs(taglist.items(value)) do
    for i = 1, select("#", ...) do
      if item:lower() == select(i, ...) then
        return true
      end
    end
  end
  return false
end

local BASE64 = "^[%w+/]*=?=?$"

-- p= of the record, into it
local function read_key(record, value)
  local text = taglist.solid(value)
  record.is_revoked = text == ""
  if record.is_revoked then
    return record
  elseif not text:find(BASE64) then
    return fault("p= is not base64")
  end
  local der = codec.base64_decode(text)
  if record.kind == "ed25519" and #der ~= 32 then
    return fault("p= has %d bytes, not the 32 of an Ed25519 key (RFC 8463 4.2)", #der)
  end
  local key, why, code = seal.public_key(record.kind, der)
  record.key, record.is_too_large = key, code == "too-large"
  if not key and not record.is_too_large then
    return fault("p=: %s", (why:gsub("^key: ", "")))
  end
  record.bits = key and key:bits()
  return record
end

local function parse(text)
  if #text > TEXT_MAX then
    return fault("%d bytes; at most %d are read", #text, TEXT_MAX)
  end
  local tags, spans = taglist.parse(text)
  if not tags then
    return fault("%s", spans)
  elseif tags.v and (tags.v ~= "DKIM1" or spans[1] ~= "v") then
    return fault("v= is not DKIM1, or not the first tag")
  elseif not tags.p then
    return fault("no p=")
  elseif tags.h and not has_item(tags.h, "sha256") then
    return fault("h= has no sha256")
  elseif tags.s and not has_item(tags.s, "*", "email") then
    return fault("s= is not for email")
  end
  local kind = tags.k and tags.k:lower() or "rsa"
  if kind ~= "rsa" and kind ~= "ed25519" then
    return fault("k= is unknown")
  end
  local flags = tags.t or ""
  return read_key({ kind = kind, is_testing = has_item(flags, "y"), is_strict = has_item(flags, "s"),
    is_too_large = false }, tags.p)
end

local known = recent.new(2000)

--- Read a record. Records that were read before are remembered by their text.
---@param text string  the strings of one TXT record, joined without blank (RFC 6376 3.6.2.2)
---@return moonmilter.KeyRecord|nil record
---@return string|nil text
---@return "syntax"|nil code
function keyrecord.parse(text)
  local found = known:get(text)
  if not found then
    found = { parse(text) }
    if #text <= TEXT_MAX then
      known:keep(text, found)
    end
  end
  return found[1], found[2], found[3]
end

local IS_NO = { nxdomain = true, nodata = true, badname = true }

---@class moonmilter.identity.Keys
---@field [integer] moonmilter.KeyRecord  at most three
---@field reason string|nil       why there is none
---@field is_unknown boolean|nil  DNS could not say

--- Ask for the keys of a selector.
---@param dns fun(name: string, kind: string): string[]|nil, string|nil, string|nil
---@param name string  "selector._domainkey.example.org"
---@return moonmilter.identity.Keys
function keyrecord.fetch(dns, name)
  local list, _, code = dns(name, "txt")
  if not list then
    local is_no = IS_NO[code or ""] == true
    return { reason = is_no and "no key in DNS" or ("DNS: %s"):format(tostring(code):gsub("[^%w_-]", "")),
      is_unknown = not is_no }
  end
  local keys, reason = {}, nil
  for i = 1, math.min(#list, CANDIDATES) do
    local record, why = keyrecord.parse(list[i])
    keys[#keys + 1] = record
    reason = reason or why
  end
  keys.reason = not keys[1] and (reason or "no key in DNS") or nil
  return keys
end

return keyrecord
