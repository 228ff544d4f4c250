---@meta moonmilter.dkim
-- require "moonmilter.dkim", for editors (LuaLS). Never loaded. Manual: docs/dkim.md.

--- DKIM signatures (RFC 6376, 8301, 8463, 8616): verifying and signing, without a host.
---@class moonmilter.dkim
local dkim = {}

---@class moonmilter.dkim.VerifierOptions
---@field headers moonmilter.Headers|table[]  as received, top first: fields with `raw`, or `name` and `value`
---@field dns fun(name: string, kind: string): string[]?, string?, string?  dns.query, or one like it
---@field all (fun(tasks: table): table)?  milter.all: all keys are asked at once; default: in turn
---@field now number?             seconds since 1970; default os.time()
---@field max_signatures integer?  evaluated at most; default 10
---@field length "policy"|"honor"|nil  what a signature gets whose l= leaves bytes of the body unsigned: the result
--- "policy" (default), or "pass"
---@field exact_space boolean?    false: the MTA did not keep the blanks after "Name:"

---@class moonmilter.dkim.Result
---@field result "pass"|"fail"|"policy"|"neutral"|"temperror"|"permerror"
---@field reason string?            why it is no pass
---@field domain string?            d=, lower case
---@field selector string?          s=
---@field identity string?          i=, or "@" and d=
---@field algorithm string?         a=
---@field canonicalization string?  "relaxed/simple"
---@field signed string[]?          names of h=, lower case
---@field unsigned string[]?        names, of those that readers show or that say how the body is read, with a field that
--- is not signed
---@field uncovered integer?        bytes of the body that l= leaves unsigned
---@field bits integer?             of the key
---@field testing boolean           the key has t=y: the result is "neutral", and `tested` what it would be
---@field tested string?
---@field near_from boolean         d= is From's domain, or above or below it; DMARC judges alignment
---@field position integer          of the field in the header
---@field properties moonmilter.AuthProperty[]  for authres.format

---@class moonmilter.dkim.Want
---@field canon "simple"|"relaxed"
---@field algorithm "sha256"
---@field length number?

---@class moonmilter.KeyRecord
---@field kind "rsa"|"ed25519"
---@field key moonmilter.Keypair?  nil: revoked, or more than 4096 bits
---@field bits integer?
---@field is_revoked boolean
---@field is_too_large boolean
---@field is_testing boolean  t=y
---@field is_strict boolean   t=s

---@class moonmilter.dkim.Verifier
---@field wants moonmilter.dkim.Want[]  hashes of the body that the signatures need; empty: the body need not be read
---@field skipped integer               signatures that are not evaluated, because there are too many
local Verifier = {}

--- Some of the body, CRLF at line ends, cut anywhere.
---@param chunk string
function Verifier:feed(chunk) end

--- Asks for the keys now, so that the answers come while the body does.
function Verifier:ask() end

--- Ends the body and evaluates. What mail or DNS say never raises.
---@param hashes { hash: string, length: number }[]?  by the numbers of `wants`; default: those of what was fed
---@return moonmilter.dkim.Result[] results  in the order of evaluation; empty: no signature
function Verifier:finish(hashes) end

---@class moonmilter.dkim.SignerOptions
---@field domain string
---@field selector string
---@field key string|moonmilter.Keypair  a private key, as seal.private_key reads it
---@field identity string?           i=
---@field headers string[]?          names of fields to sign
---@field oversign string[]?         names of which no field may be added later
---@field oversign_missing boolean?  false: not those that the message lacks. Default true
---@field canonicalization string?   default "relaxed/relaxed"
---@field expires number?            seconds; default: no x=

---@class moonmilter.dkim.Signer
---@field want moonmilter.dkim.Want  the hash of the body that sign needs
---@field domain string
---@field selector string
---@field algorithm string
local Signer = {}

--- Signs a message as it will leave.
---@param headers moonmilter.Headers|table[]  top first
---@param body_hash string  raw, of the whole body
---@param now number?
---@return string? value  of a field DKIM-Signature, folded with LF, to be put first in the header
---@return string? text
---@return "from"|"key"|nil code  "from": not exactly one From
function Signer:sign(headers, body_hash, now) end

--- Reads the signatures of a header. Raises when headers or dns are missing.
---@param options moonmilter.dkim.VerifierOptions
---@return moonmilter.dkim.Verifier
function dkim.verifier(options) end

--- Prepares a key for signing. Raises when an option is wrong.
---@param options moonmilter.dkim.SignerOptions
---@return moonmilter.dkim.Signer
function dkim.signer(options) end

--- Reads a key record (RFC 6376 3.6.1).
---@param text string
---@return moonmilter.KeyRecord? record
---@return string? text
---@return "syntax"? code
function dkim.key(text) end

--- Names of fields with a line over 998 characters, which an MTA breaks after signing (RFC 5322 2.1.1).
---@param headers moonmilter.Headers|table[]
---@return string[]
function dkim.long_lines(headers) end

return dkim
