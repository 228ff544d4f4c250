---@meta moonmilter.authres
-- require "moonmilter.authres", for editors (LuaLS). Never loaded. Manual: docs/mail-authres.md.

--- Authentication-Results (RFC 8601). A host must remove every instance that claims to be its own before it adds one
--- (RFC 8601 5).
---@class moonmilter.authres
local authres = {}

---@class moonmilter.AuthResults
---@field authserv_id string
---@field version integer?  1 unless written otherwise
---@field results moonmilter.AuthResult[]  empty: "none" (RFC 8601 2.2 no-result)
---@field raw string?

---@class moonmilter.AuthResult
---@field method string  lower case: "spf", "dkim", "dmarc", "arc", "auth", "iprev", …
---@field method_version integer?
---@field result string  lower case: "pass", "fail", "none", …
---@field reason string?
---@field comment string?  the first comment after the result
---@field properties moonmilter.AuthProperty[]?

---@class moonmilter.AuthProperty
---@field type string      "smtp", "header", "body", "policy", …
---@field property string  "mailfrom", "d", …
---@field value string

--- Reads a value of the field.
---@param text string
---@return moonmilter.AuthResults? results
---@return string? text
---@return integer? position
---@return "length"? code  more than 128 KiB
function authres.parse(text) end

--- Writes a value of the field, not folded: header.format folds. Raises when a method, result, type or property is not
--- a keyword (RFC 8601 2.2), or a value has a control character.
---@param t moonmilter.AuthResults
---@return string
function authres.format(t) end

--- Could a reader take this field for one of `authserv_id`'s? Also true when it cannot be read and the id is among its
--- first words, or when it has more than 128 KiB.
---@param value string
---@param authserv_id string
---@return boolean
function authres.claims(value, authserv_id) end

--- Deletes every Authentication-Results field that claims to come from this host. Fields of other hosts stay, and so do
--- ARC-Authentication-Results (RFC 8617 5.2).
---@param headers moonmilter.Headers  ctx.headers or a header.block
---@param authserv_id string|string[]  ours; several when a cluster uses several
---@return integer deleted
function authres.strip(headers, authserv_id) end

return authres
