---@meta moonmilter.seal
-- require "moonmilter.seal" (host/seal/seal.c), for editors (LuaLS). Never loaded. Manual: docs/mail-seal.md.

--- What DKIM and ARC compute: canonical forms, body hashes, keys.
---@class moonmilter.seal
local seal = {}

--- Hashes of one body. All wants come before the first feed.
---@class moonmilter.BodyHash
local BodyHash = {}

--- Asks for another hash of the same body. Raises when there are more than 32, or bytes were fed already.
---@param canon "simple"|"relaxed"
---@param algorithm "sha256"
---@param length integer?  canonical bytes that count, the tag l=; default: all
---@return integer number  for hash(); the same for an equal want
function BodyHash:want(canon, algorithm, length) end

--- Some of the body, cut anywhere. Line ends are CRLF; CR or LF alone is a byte as any other.
---@param bytes string
---@param first integer?
---@param last integer?
function BodyHash:feed(bytes, first, last) end

--- Ends the body. Nothing when there is no want.
---@return string hash  of the first want, 32 bytes
---@return integer length  bytes of the whole canonical body
function BodyHash:finish() end

--- Ends the body. Nothing when there is no such want.
---@param number integer
---@return string hash
---@return integer length
function BodyHash:hash(number) end

---@class moonmilter.Keypair
local Keypair = {}

---@return "rsa"|"ed25519"
function Keypair:kind() end

---@return integer  of the modulus; 256 for ed25519
function Keypair:bits() end

---@return boolean
function Keypair:is_private() end

--- Signs with SHA-256 (RFC 6376 3.3.2, RFC 8463 3). Raises for a public key.
---@param text string
---@return string? signature  raw
---@return string? text
---@return "key"? code  fewer than 1024 bits
function Keypair:sign(text) end

--- Is it the signature of the text? Never with fewer than 1024 bits. Raises for a private key.
---@param text string
---@param signature string  raw
---@return boolean
function Keypair:verify(text, signature) end

--- The public half as p= of a key record holds it, before base64.
---@return string
function Keypair:export() end

--- A hash of a body in chunks; without arguments one that waits for `want`.
---@param canon "simple"|"relaxed"|nil
---@param algorithm "sha256"?
---@param length integer?  canonical bytes that count, the tag l=; default: all
---@return moonmilter.BodyHash
function seal.body(canon, algorithm, length) end

--- The canonical form of a header field (RFC 6376 3.4.1, 3.4.2), without a line end. Folds may be LF or CRLF.
---@param canon "simple"|"relaxed"
---@param field string  "Name: value"
---@return string
function seal.header(canon, field) end

--- Reads a list of tags, "a=b; c=d" (RFC 6376 3.2). Names differ by case and occur once.
---@param text string
---@return table<string, string>? tags  values by name, without blanks and folds around them
---@return table|string spans  { name, first, last, name, … }: the bytes between "=" and ";"; or what is wrong
---@return integer? position  of the wrong tag
function seal.tags(text) end

---@param text string
---@return string text  without blanks and line ends
function seal.solid(text) end

---@param algorithm "sha256"
---@param text string
---@return string hash  32 bytes
function seal.hash(algorithm, text) end

--- Reads a public key: SubjectPublicKeyInfo, a bare RSAPublicKey, or the 32 bytes of Ed25519.
---@param kind "rsa"|"ed25519"
---@param der string
---@return moonmilter.Keypair? key
---@return string? text
---@return "syntax"|"too-large"|nil code  "too-large": more than 4096 bits
function seal.public_key(kind, der) end

--- Reads a private key: PEM (PKCS#8 or PKCS#1), or an Ed25519 seed in base64.
---@param text string
---@return moonmilter.Keypair? key
---@return string? text
---@return "syntax"|"too-large"|"encrypted"|nil code
function seal.private_key(text) end

--- Makes a key.
---@param kind "rsa"|"ed25519"
---@param bits integer?  1024 to 4096, default 2048; not for ed25519
---@return string pem  PKCS#8
function seal.new_key(kind, bits) end

return seal
