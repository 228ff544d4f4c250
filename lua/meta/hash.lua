---@meta moonmilter.hash
-- require "moonmilter.hash", for editors (LuaLS). Never loaded. Manual: docs/hash.md.

--- Hashes, HMAC, base64, hex, random bytes and a comparison of secrets, by OpenSSL. No call waits. Arguments of the
--- wrong type raise at the caller's line.
---@class moonmilter.hash
local hash = {}

---@alias moonmilter.hash.Form "hex"|"base64"|"raw"

--- SHA-1 (FIPS 180-4): for lists and protocols that ask for it; it protects against no forger.
---@param text string
---@param form moonmilter.hash.Form?  default "hex", in lower case
---@return string
function hash.sha1(text, form) end

--- SHA-256 (FIPS 180-4).
---@param text string
---@param form moonmilter.hash.Form?  default "hex", in lower case
---@return string
function hash.sha256(text, form) end

--- SHA-512 (FIPS 180-4).
---@param text string
---@param form moonmilter.hash.Form?  default "hex", in lower case
---@return string
function hash.sha512(text, form) end

--- HMAC (RFC 2104).
---@param algorithm "sha1"|"sha256"|"sha512"
---@param key string   bytes, any number
---@param text string
---@param form moonmilter.hash.Form?  default "hex", in lower case
---@return string
function hash.hmac(algorithm, key, text, form) end

--- Random bytes that nobody can guess.
---@param count integer  1..65536
---@param form moonmilter.hash.Form?  default "hex", which is twice as long
---@return string
function hash.random(count, form) end

--- Are two secrets equal? Takes as long wherever they differ.
---@param a string
---@param b string
---@return boolean
function hash.equal(a, b) end

--- Bytes as hexadecimal digits, in lower case.
---@param bytes string
---@return string
function hash.hex(bytes) end

--- Hexadecimal digits, in either case, as bytes.
---@param text string
---@return string? bytes
---@return string? text
---@return "badhex"? code
function hash.unhex(text) end

--- Bytes as base64 (RFC 4648 4) in one line.
---@param bytes string
---@return string
function hash.base64(bytes) end

--- Base64 in one line as bytes; strict.
---@param text string
---@return string? bytes
---@return string? text
---@return "badbase64"? code
function hash.unbase64(text) end

return hash
