---@meta moonmilter.body
-- require "moonmilter.body", for editors (LuaLS). Never loaded. Manual: docs/mail-body.md.

--- A kept message body: in memory up to a limit, then in an unlinked temporary file; read as string, lines or parts,
--- and rewritten part by part. ctx:body() gives one that the host feeds; outside the host feed it yourself.
---@class moonmilter.body
local body = {}

---@class moonmilter.BodyOptions
---@field max_memory integer?  bytes kept in memory before a temporary file takes over; default 1048576
---@field max_size integer?    bytes; default: no limit but the MTA's
---@field over "truncate"|"accept"|"tempfail"|"reject"|nil  what happens past max_size; default "reject"
---@field headers { name: string, value: string }[]?  the message's header fields, in order: parts() needs them

--- Offsets count from 0. Reading raises before finish() and after close(): at end of message the host has finished it,
--- and after the message it is closed.
---@class moonmilter.Body
---@field is_truncated boolean  max_size was reached and `over` is "truncate"
local Body = {}

--- Takes a chunk. The host calls it. Raises after finish() and close().
---@param chunk string
---@return true? ok
---@return string? text
---@return "accept"|"tempfail"|"reject"|nil verdict  past max_size: `over`; "tempfail" too when the disk fails
function Body:feed(chunk) end

--- No more chunks come: from now on the body can be read. The host calls it.
---@return true? ok
---@return string? text
---@return "tempfail"? verdict
function Body:finish() end

--- Discards what was fed, and begins again. The host does so when an earlier script has replaced the body.
function Body:restart() end

--- Bytes kept so far; after "truncate" not the whole message. Never raises.
---@return integer bytes
function Body:size() end

--- Bytes [offset, offset + count).
---@param offset integer
---@param count integer
---@return string bytes  fewer at the end
function Body:read(offset, count) end

--- The bytes of a range, in pieces of at most 65536.
---@param first integer?  offset, default 0
---@param last integer?   offset after the last byte, default size()
---@return fun(): string?
function Body:chunks(first, last) end

--- Everything as one string.
---@return string
function Body:string() end

--- Lines without their line ends, CRLF or LF.
---@return fun(): string?
function Body:lines() end

--- Frees memory and file. The host does so at the end of the message.
function Body:close() end

--- Every part in order, the message itself first. Content is read on demand.
---@param limits { max_depth: integer?, max_parts: integer?, max_header_bytes: integer? }?
---@return moonmilter.StoredPart[]? parts
---@return string? text
---@return moonmilter.mime.Code? code
function Body:parts(limits) end

--- Begins a rewrite. Raises when the body was truncated: the rest of the message would be lost.
---@return moonmilter.Edit
function Body:edit() end

---@class moonmilter.StoredPart : moonmilter.Part
---@field parts moonmilter.StoredPart[]
---@field parent moonmilter.StoredPart?
---@field body moonmilter.Body
local StoredPart = {}

--- The bytes as they are in the message, still encoded, in pieces. Raises inside an encoded message.
---@return fun(): string?
function StoredPart:raw() end

--- Decoded content in pieces.
---@return fun(): string?
function StoredPart:chunks() end

--- Decoded content as a string.
---@param max integer?  bytes at most; default: all
---@return string
function StoredPart:content(max) end

--- Content of a text part as UTF-8.
---@param max integer?  bytes at most; default: all
---@return string
function StoredPart:text(max) end

--- Why a part cannot be changed.
---@alias moonmilter.Edit.Code
---| "encoded"   # it is inside an encoded message
---| "changed"   # it is already changed, or a part inside or around it
---| "type"      # append: it is not text
---| "sealed"    # append: it is signed or encrypted
---| "encoding"  # append: its transfer encoding is unknown
---| "charset"   # append: its charset is unknown, or text would be lost on the way to UTF-8
---| "boundary"  # append: a line of the text would end the part
---| "no-text"   # footer: the message shows no text of its own

--- Changes of a body. Everything else stays byte for byte. Methods raise when a part belongs to another body.
---@class moonmilter.Edit
---@field changes table[]  the changes requested so far; empty: none
local Edit = {}

--- Replaces a part, header included, by a text part: strips an attachment and leaves a note.
---@param part moonmilter.StoredPart  any part, multiparts and messages included
---@param note string  UTF-8, lines end in LF or CRLF
---@return true? ok
---@return string? text
---@return "encoded"|"changed"|nil code
function Edit:remove(part, note) end

--- Adds UTF-8 text to the end of a text part; in text/html, markup after everything displayed. The part keeps its
--- charset and encoding when they can hold the addition; else it becomes UTF-8, quoted-printable.
---@param part moonmilter.StoredPart  a leaf of type text/*
---@param addition string  for text/html: HTML
---@return true? ok
---@return string? text
---@return moonmilter.Edit.Code? code
function Edit:append(part, addition) end

--- Adds a footer to the message as it is displayed: after its last text, or after that of each alternative, plain and
--- HTML. Raises when there is no `text`.
---@param footer { text: string, html: string? }  html: default is the text, escaped
---@return integer? changed  number of parts changed; 0 when the message is signed, encrypted or shows no text
---@return string? text      the first reason why a part could not be changed; there is one when nothing was changed
---@return moonmilter.Edit.Code|moonmilter.mime.Code|nil code
function Edit:footer(footer) end

--- The new body, in pieces, for ctx:replace_body.
---@return fun(): string?
function Edit:chunks() end

--- The new body.
---@return string
function Edit:string() end

--- Changes for the message's own header, when the message itself is the changed part.
---@return { name: string, value: string? }[]  value nil: delete the field
function Edit:header_changes() end

--- Applies the changes: edits of the header, then ctx:replace_body. Once per message, at end of message; raises where
--- these raise.
---@param ctx moonmilter.ctx
---@return boolean changed  false: there was nothing to change
function Edit:apply(ctx) end

--- A body to feed. Raises at the caller's line when an option is wrong.
---@param options moonmilter.BodyOptions?
---@return moonmilter.Body
function body.new(options) end

--- What is wrong with options; nil: nothing.
---@param options any
---@return string? text
function body.check_options(options) end

return body
