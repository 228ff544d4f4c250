---@meta moonmilter.authres
-- require "moonmilter.authres", for editors (LuaLS). Never loaded. Manual: docs/mail-authres.md.

--- Authentication-Results (RFC 8601). A host must remove every instance that claims to be its own before it adds one
--- (RFC 8601 5).
---@class moonmilter.authres
local authres = {}

---@class moonmilter.AuthResults
---@field authserv_id string?  nil: none is written, as Microsoft 365 does
---@field version integer?     1 unless written otherwise
---@field instance integer?    of ARC-Authentication-Results (RFC 8617 4.1.1)
---@field results moonmilter.AuthResult[]  empty: "none" (RFC 8601 2.2 no-result)
---@field unread string[]?     texts between ";" in which there is no result
---@field defects table<moonmilter.AuthResults.Defect, true>?
---@field raw string?

---@alias moonmilter.AuthResults.Defect
---| "no-authserv-id"
---| "no-semicolon"  # after the authserv-id
---| "bad-result"    # no method "=" result
---| "bad-property"  # a property without a type, or words that are none
---| "unclosed"      # a quote, comment or bracket has no partner

---@class moonmilter.AuthResult
---@field method string  lower case: "spf", "dkim", "dmarc", "arc", "auth", "iprev", …
---@field method_version integer?
---@field result string  lower case: "pass", "fail", "none", …
---@field reason string?
---@field comment string?  the first comment after the result
---@field properties moonmilter.AuthProperty[]?
---@field unread string?  words that belong to no property

---@class moonmilter.AuthProperty
---@field type string?     "smtp", "header", "body", "policy", …; nil where none is written: "action=none"
---@field property string  "mailfrom", "d", …
---@field value string

--- Reads a value of the field, or of ARC-Authentication-Results. Lenient: what has no place in the grammar is kept, and
--- named in `defects`.
---@param text string
---@return moonmilter.AuthResults? results  nil: the text has no word, or more than 128 KiB
---@return string? text
---@return integer? position
---@return "length"? code  more than 128 KiB
function authres.parse(text) end

--- Writes a value of the field, not folded: header.format folds. Raises when a method, result, type or property is not
--- a keyword (RFC 8601 2.2), or a value has a control character.
---@param t moonmilter.AuthResults
---@return string
function authres.format(t) end

--- Could a reader take this field for one of `authserv_id`'s? Readers differ: some decode encoded words or "%2E" first,
--- some know no quoted pairs, comments or A-labels. True when the id in any of these views is ours, when the head is
--- malformed and ours is among its words, or when the value has more than 128 KiB. Raises when the id is empty.
---@param value string
---@param authserv_id string
---@return boolean
function authres.claims(value, authserv_id) end

--- Deletes every Authentication-Results field that claims to come from this host. Fields of other hosts stay, and so do
--- ARC-Authentication-Results (RFC 8617 5.2). Raises when the list is truncated, or there is no id.
---@param headers moonmilter.Headers  ctx.headers or a header.block
---@param authserv_id string|string[]  ours; several when a cluster uses several
---@return integer deleted
function authres.strip(headers, authserv_id) end

return authres
