---@meta moonmilter.header
-- require "moonmilter.header", for editors (LuaLS). Never loaded. Manual: docs/mail-header.md.

--- Header fields: values to text and tables, and back. A value is what the MTA sends to a milter: no name, no leading
--- blank, folds as LF (CRLF is understood too).
---@class moonmilter.header
local header = {}

--- A value with parameters: "text/plain; charset=utf-8".
---@class moonmilter.Parameters
---@field value string      before the first ";", lower case: "text/plain", "attachment"
---@field type string?      of content_type only: "text"
---@field subtype string?   of content_type only: "plain"
---@field params table<string, string>  by lower-case name; RFC 2231 forms joined under the base name. Decoded to UTF-8,
--- except words of a protocol (boundary, charset, type …): these are the field's bytes
---@field order string[]    names in order
---@field raw string
---@field conflicts table<string, true>?  names given with several values: twice, or plain and in an RFC 2231 form
---@field others table<string, string[]>?  what else a mail reader may take for boundary, filename or name
---@field defects table<moonmilter.Parameters.Defect, true>?  nil: none

---@alias moonmilter.Parameters.Defect
---| "duplicate-parameter"
---| "bad-parameter"     # its name is not a token (RFC 2045 5.1)
---| "unclosed"          # a quoted string, comment or literal
---| "text-after-value"
---| "no-value"
---| "no-semicolon"      # a parameter begins without one
---| "odd-value"         # quotes, comments or blanks in the value before the parameters
---| "ambiguous-parameter" # there are `others`
---| "bad-continuation"  # RFC 2231 pieces are missing
---| "over-length"       # only the first 128 KiB are read
---| "bad-type"          # content_type: not type/subtype: text/plain (RFC 2045 5.2), unless it begins like another

---@class moonmilter.Received
---@field from string?
---@field by string?
---@field via string?
---@field with string?
---@field id string?
---@field for_ string?  the "for" clause ("for" is a reserved word in Lua)
---@field comments table<string, string>  by clause, the first: "from" usually has the client's name and address
---@field remarks { text: string, clause: string? }[]  every comment, in order; `clause` is nil before the first, and
--- "date" in the date and after it
---@field date moonmilter.Date?
---@field defects table<moonmilter.Received.Defect, true>?
---@field raw string

---@alias moonmilter.Received.Defect
---| "no-date"
---| "bad-date"         # it cannot be read
---| "no-semicolon"     # before the date
---| "unclosed"         # a quote, comment or bracket has no partner
---| "repeated-clause"  # the first counts
---| "over-length"      # only the first 128 KiB are read

---@class moonmilter.ListUrl
---@field uri string
---@field comment string?

---@class moonmilter.ListUrls
---@field [integer] moonmilter.ListUrl  in order of preference
---@field no true?  the value is "NO"
---@field defects { ["over-length"]: true }?  only the first 128 KiB are read
---@field raw string

---@class moonmilter.ListId
---@field id string
---@field name string?  UTF-8
---@field raw string

--- A header outside a session: a list of fields like ctx.headers, whose edits apply to the list itself.
---@class moonmilter.Block : moonmilter.Headers
local Block = {}

--- Appends a field. Raises at the caller's line as field:set does, and when the name is not a field name (RFC 5322
--- 2.2).
---@param name string
---@param value string  wire text: ASCII, folds as LF
function Block:add(name, value) end

--- The bytes of the block: untouched fields as they were read, others as `Name: value`, lines that end in CRLF.
---@return string
function Block:bytes() end

--- Decodes encoded words (RFC 2047): moonmilter.encoded_word's decode.
---@param text string
---@return string text  well-formed UTF-8 in one line
function header.decode(text) end

--- Encodes unstructured text as a header value, folded so that `name: value` fits. Raises at the caller's line on CR,
--- LF and NUL.
---@param text string
---@param name string?  the field's name, for the length of the first line; default "Subject"
---@return string value
function header.encode(text, name) end

--- Undoes folds: line ends are removed, the blanks after them stay (RFC 5322 2.2.3).
---@param value string
---@return string
function header.unfold(value) end

--- Folds a value, so that no line exceeds 78 characters where that is possible (RFC 5322 2.1.1). A break is LF, and is
--- placed only before an existing blank: `unfold(fold(name, value)) == value`.
---@param name string
---@param value string
---@return string value
---@return boolean is_within_limits  false: a line exceeds 998 characters, because a word is so long
function header.fold(name, value) end

--- Reads a value with parameters (RFC 2045 5.1, RFC 2183, RFC 2231). Never fails: what cannot be read is left out and
--- named in `defects`. Of parameters with the same name the first counts; an RFC 2231 form takes precedence over the
--- plain one.
---@param text string
---@return moonmilter.Parameters
function header.params(text) end

--- Writes a value with parameters, folded. A parameter whose value is unchanged since `raw` was read keeps its
--- spelling. Raises when a name is not a token (RFC 2045 5.1) and when a value has a CR, LF or NUL.
---@param t moonmilter.Parameters|{ value: string, params: table<string, string>, order: string[]? }
---@param name string?  the field's name, for the length of the first line; default "Content-Disposition"
---@return string
function header.format_params(t, name) end

--- The bytes of one parameter as written in a value: one piece, or several for an RFC 2231 continuation.
---@param raw string
---@param wanted string  lower-case base name
---@return string[]?
function header.parameter_source(raw, wanted) end

--- Content-Type (RFC 2045 5), with `type` and `subtype`. Anything but type/subtype is text/plain, with defect
--- "bad-type".
---@param text string
---@return moonmilter.Parameters
function header.content_type(text) end

--- The name of an attachment, however it is written: Content-Disposition filename, RFC 2231 forms and encoded words
--- included, or Content-Type name.
---@param disposition moonmilter.Parameters?
---@param content_type moonmilter.Parameters?
---@return string?
function header.attachment_name(disposition, content_type) end

--- Received (RFC 5321 4.4). Lenient, never fails: clauses in any order, unknown words belong to the clause before them,
--- a clause may have a comment only, and the date no ";" before it.
---@param text string
---@return moonmilter.Received
function header.received(text) end

--- Message-ID, Content-ID, the first of In-Reply-To: the id without its angle brackets (RFC 5322 3.6.4).
---@param text string
---@return string? id      of at most 998 bytes
---@return string? text
---@return integer? position
---@return "syntax"|"length"|nil code  "length": an id of more than 998 bytes, or a value of more than 128 KiB
function header.message_id(text) end

---@class moonmilter.References
---@field [integer] string  ids, in order
---@field defects { ["over-length"]: true }?  an id of more than 998 bytes is left out, or what follows the first 128 KiB

--- References, In-Reply-To: every id, in order.
---@param text string
---@return moonmilter.References
function header.references(text) end

--- List-Unsubscribe, List-Post and their kin (RFC 2369).
---@param text string
---@return moonmilter.ListUrls
function header.list_urls(text) end

--- List-Id (RFC 2919).
---@param text string
---@return moonmilter.ListId? list_id
---@return string? text
---@return integer? position
---@return "syntax"|"length"|nil code  "length": more than 128 KiB
function header.list_id(text) end

--- Reads a structured field by its name. The table's shape depends on the field (docs/mail-header.md); it has `raw`.
---@param name string  in any case
---@param value string
---@return table? parsed
---@return string? text
---@return integer? position
---@return moonmilter.address.Code|"unstructured"|nil code  "unstructured": no structure known here; "length": too long
function header.parse(name, value) end

--- Writes a structured field. An untouched table gives its `raw`, byte for byte; a changed one is rewritten and folded.
--- Raises when the field has no structure known here, and when a part of the table is not allowed in it.
---@param name string
---@param parsed table
---@return string value
function header.format(name, parsed) end

--- Receives the edits of a field. When it raises, the field's method raises the same error, and the field stays as it
--- was.
---@class moonmilter.FieldEdit
---@field set fun(field: moonmilter.Field, value: string)
---@field delete fun(field: moonmilter.Field)
---@field insert_before fun(field: moonmilter.Field, name: string, value: string)

--- A field outside a session, which reads and edits as those of ctx.headers do. Without `edit` its set, delete and
--- insert_before raise. Values that would make another header, or end the headers, raise at the caller's line.
---@param t { name: string, value: string, raw: string?, edit: moonmilter.FieldEdit? }  becomes the field itself
---@return moonmilter.Field
function header.field(t) end

--- Reads a header, up to its end, the first empty line or a line that is not a field ("no-separator"). Lines may end in
--- CRLF or LF.
---@param text string
---@return moonmilter.Block block
---@return integer after  where the body begins, from 1
---@return table<"continuation-first"|"no-separator", true>? defects
function header.block(text) end

return header
