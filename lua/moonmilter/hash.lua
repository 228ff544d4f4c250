--- Hashes, HMAC, base64, hex, random bytes, and a comparison that tells an attacker nothing (OpenSSL).
--
--   local key = hash.sha256(attachment)                        -- "e3b0c442…", hexadecimal
--   local mac = hash.hmac("sha256", secret, body, "base64")
--   if not hash.equal(mac, given) then …
local codec = require "moonmilter.codec"
local core = require "moonmilter.core"

local hash = {}

local raw = core.hash

local ALGORITHMS = { sha1 = true, sha256 = true, sha512 = true }

local function check_text(call, what, text)
  if type(text) ~= "string" then
    error(("%s: %s must be a string, not a %s"):format(call, what, type(text)), 3)
  end
end

local HEX = {}
for byte = 0, 255 do
  HEX[string.char(byte)] = ("%02x"):format(byte)
end

local forms = {
  hex = function(bytes) return (bytes:gsub("[%z\1-\255]", HEX)) end,
  base64 = function(bytes) return (codec.base64_encode(bytes)) end,
  raw = function(bytes) return bytes end,
}

-- Raises at the line of the caller's caller.
local function form_of(call, form)
  local shaped = forms[form or "hex"]
  if not shaped then
    error(('%s: form is %s; there are "hex", "base64" and "raw"'):format(call, tostring(form)), 3)
  end
  return shaped
end

--- SHA-1 (FIPS 180-4): for lists and protocols that ask for it; it protects against no forger.
---@param text string
---@param form "hex"|"base64"|"raw"|nil  default "hex", in lower case
---@return string
function hash.sha1(text, form)
  check_text("hash.sha1", "the text", text)
  return form_of("hash.sha1", form)(raw.digest("sha1", text))
end

--- SHA-256 (FIPS 180-4).
---@param text string
---@param form "hex"|"base64"|"raw"|nil  default "hex", in lower case
---@return string
function hash.sha256(text, form)
  check_text("hash.sha256", "the text", text)
  return form_of("hash.sha256", form)(raw.digest("sha256", text))
end

--- SHA-512 (FIPS 180-4).
---@param text string
---@param form "hex"|"base64"|"raw"|nil  default "hex", in lower case
---@return string
function hash.sha512(text, form)
  check_text("hash.sha512", "the text", text)
  return form_of("hash.sha512", form)(raw.digest("sha512", text))
end

--- HMAC (RFC 2104): shows that whoever wrote the text knows the key.
---@param algorithm "sha1"|"sha256"|"sha512"
---@param key string   bytes, any number
---@param text string
---@param form "hex"|"base64"|"raw"|nil  default "hex", in lower case
---@return string
function hash.hmac(algorithm, key, text, form)
  if not ALGORITHMS[algorithm] then
    error(('hash.hmac: the algorithm is %s; there are "sha1", "sha256" and "sha512"'):format(tostring(algorithm)), 2)
  end
  check_text("hash.hmac", "the key", key)
  check_text("hash.hmac", "the text", text)
  return form_of("hash.hmac", form)(raw.hmac(algorithm, key, text))
end

--- Random bytes that nobody can guess: for keys and tokens.
---@param count integer  1..65536
---@param form "hex"|"base64"|"raw"|nil  default "hex", which is twice as long
---@return string
function hash.random(count, form)
  if type(count) ~= "number" or not (count >= 1 and count <= 65536) or count % 1 ~= 0 then
    error(("hash.random: %s bytes; give 1 to 65536"):format(tostring(count)), 2)
  end
  return form_of("hash.random", form)(raw.random(count))
end

--- Are two secrets equal? Takes as long wherever they differ, so that nobody can find one out piece by piece. Their
--- lengths are no secret.
---@param a string
---@param b string
---@return boolean
function hash.equal(a, b)
  check_text("hash.equal", "the first", a)
  check_text("hash.equal", "the second", b)
  return raw.equal(a, b)
end

--- Bytes as hexadecimal digits, in lower case.
---@param bytes string
---@return string
function hash.hex(bytes)
  check_text("hash.hex", "the bytes", bytes)
  return forms.hex(bytes)
end

--- Hexadecimal digits, in either case, as bytes.
---@param text string
---@return string? bytes
---@return string? text
---@return "badhex"|nil code
function hash.unhex(text)
  check_text("hash.unhex", "the text", text)
  local other = text:find "%X"
  if other then
    return nil, ("byte %d is no hexadecimal digit"):format(other), "badhex"
  elseif #text % 2 ~= 0 then
    return nil, "an odd number of hexadecimal digits", "badhex"
  end
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

--- Bytes as base64 (RFC 4648 4) in one line.
---@param bytes string
---@return string
function hash.base64(bytes)
  check_text("hash.base64", "the bytes", bytes)
  return forms.base64(bytes)
end

--- Base64 in one line as bytes. Strict: what no encoder writes is refused, so that equal bytes have one text; mail is
--- read by moonmilter.codec.
---@param text string
---@return string? bytes
---@return string? text
---@return "badbase64"|nil code
function hash.unbase64(text)
  check_text("hash.unbase64", "the text", text)
  local other = text:find "[^%w+/=]"
  if other then
    return nil, ("byte %d is not base64"):format(other), "badbase64"
  end
  local bytes = codec.base64_decode(text)
  if forms.base64(bytes) ~= text then
    return nil, "padding or last digit is not what an encoder writes", "badbase64"
  end
  return bytes
end

return hash
