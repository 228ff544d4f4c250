---@meta moonmilter.encoded_word
-- require "moonmilter.encoded_word", for editors (LuaLS). Never loaded. Manual: docs/mail-encoded_word.md.

--- Encoded words: text that is not ASCII, in a header field (RFC 2047). Reads as leniently as mail readers do; writing
--- keeps every rule. header.encode and header.decode are the same with folds.
---@class moonmilter.encoded_word
local encoded_word = {}

--- Decodes every encoded word in a text, and undoes line folds first. Words may hold blanks and commas, and be cut
--- anywhere: neighbours with the same charset and encoding are one stream.
---@param text string  a header value, as the MTA delivers it
---@return string text  well-formed UTF-8, never with CR, LF or NUL: they become blanks
function encoded_word.decode(text) end

--- A text as encoded words, each of whole characters and at most 75 characters long (RFC 2047 2).
---@param text string  ill-formed UTF-8 becomes U+FFFD first
---@param used integer?  columns already taken on the first line; default 0
---@return string[] words  join them with a blank or a fold
function encoded_word.words(text, used) end

--- Unstructured text (Subject, Comments, most X- fields) as a header value. ASCII words stay readable, and
--- `decode(encode(text)) == text` for well-formed text. Raises at the caller's line on CR, LF and NUL.
---@param text string
---@param used integer?  columns taken by "Name: "; default 0
---@return string value  not folded: header.fold does that
function encoded_word.encode(text, used) end

return encoded_word
