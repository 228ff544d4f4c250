--- Header fields: values to text and tables, and back.
---
--- A value is what the MTA sends to a milter: no name, no leading blank, folds as LF (CRLF is understood too). Every
--- parser keeps `raw`, and `header.format` returns `raw`, byte for byte, as long as the table still has the meaning of
--- `raw`.
local encoded_word = require "moonmilter.encoded_word"
local block = require "moonmilter.mail.block"
local folding = require "moonmilter.mail.folding"
local params = require "moonmilter.mail.params"
local structured = require "moonmilter.mail.structured"

local header = {}

--- Decode encoded words (RFC 2047); see moonmilter.encoded_word.
header.decode = encoded_word.decode

--- Encode unstructured text as a header value, folded so that `name: value` fits.
---@param text string  raises on CR, LF, NUL
---@param name? string  the field's name, for the length of the first line; default "Subject"
---@return string value
function header.encode(text, name)
  if text:find("[%z\r\n]") then
    error("encode: text has a CR, LF or NUL; a header value is one line", 2)
  end
  name = name or "Subject"
  return (folding.fold(name, encoded_word.encode(text, #name + 2)))
end

--- Folds: moonmilter.mail.folding.
header.fold, header.unfold = folding.fold, folding.unfold

--- Parameters, and what is built on them: moonmilter.mail.params.
header.params, header.format_params, header.parameter_source = params.read, params.format, params.source
header.content_type, header.attachment_name = params.content_type, params.attachment_name

--- Fields with a structure: moonmilter.mail.structured.
header.received, header.list_urls, header.list_id = structured.received, structured.list_urls, structured.list_id
header.message_id, header.references = structured.message_id, structured.references
header.parse, header.format = structured.parse, structured.format

--- Fields and headers outside a session: moonmilter.mail.block.
header.field, header.block = block.field, block.read

return header
