---@meta moonmilter.mime
-- require "moonmilter.mime", for editors (LuaLS). Never loaded. Manual: docs/mail-mime.md.

--- MIME structure of a message, walked in one pass over chunks (RFC 2045, 2046, 2183, 6532). Keeps no content.
---@class moonmilter.mime
---@field executable_kinds table<moonmilter.mime.Kind, true>  kinds that the user of a mail reader can start with a click
---@field ambiguous_defects table<moonmilter.mime.Defect, true>  with one of them, mail readers may find different parts
---@field hiding_defects table<moonmilter.mime.Defect, true>  those with which a mail reader may find more than we do
local mime = {}

--- The kind of content, by its first kilobyte.
---@alias moonmilter.mime.Kind
---| "exe"|"elf"|"macho"|"class"|"lnk"|"script"|"ole"|"ooxml"|"odf"|"jar"|"apk"|"zip"|"rar"
---| "7z"|"gzip"|"bzip2"|"xz"|"zstd"|"cab"|"chm"|"ace"|"arj"|"tar"|"pdf"|"rtf"|"tnef"
---| "png"|"gif"|"jpeg"|"bmp"|"webp"|"tiff"|"wav"|"mp3"|"mp4"|"ogg"
---| "html"|"svg"|"xml"

--- What is wrong with a part; docs/mail-mime.md explains how each is read.
---@alias moonmilter.mime.Defect
---| "no-boundary"|"bad-boundary"|"start-missing"|"close-missing"|"no-separator"|"continuation-first"|"repeated-field"
---| "unknown-encoding"|"encoded-multipart"|"encoded-message"|"bad-encoding"|"truncated"|"data-after-padding"
---| "conflicting-field"|"conflicting-boundary"|"conflicting-name"|"odd-encoding"|"encoded-parts"|"hidden-field"
---| "nul-in-header"|"cr-in-header"|"cr-delimiter"|"ambiguous-type"|"partial-message"
---| "long-boundary"|"long-delimiter"|"header-truncated"|"body-truncated"
---| moonmilter.Parameters.Defect

--- A limit is exceeded; the walk is over, and every later call returns the same error.
---@alias moonmilter.mime.Code
---| "limit"  # max_depth, max_parts or max_header_bytes: the text says which

---@class moonmilter.Part
---@field path string     "1" the message, "1.2" its second part, "1.2.1" that part's first, or the message in it
---@field depth integer   1 for the message
---@field parent moonmilter.Part?
---@field headers moonmilter.Block
---@field type string     "text/plain", lower case
---@field params table<string, string>  of Content-Type
---@field boundaries table<string, true>?  of a multipart: each that a mail reader may take
---@field charset string?  as labelled
---@field encoding string  "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", or as written
---@field disposition string?  "inline", "attachment", …
---@field filename string?     in whichever form it is written; see header.attachment_name
---@field id string?           Content-ID
---@field is_multipart boolean
---@field is_attachment boolean  declared as one, or has a name
---@field is_sealed boolean      inside multipart/signed or /encrypted: a change would break it
---@field size integer           decoded bytes; whole when on_end is called
---@field kind moonmilter.mime.Kind?  of leaves, known when on_end is called; nil: no match
---@field defects table<moonmilter.mime.Defect, true>
---@field header_start integer?  offsets in the body, from 0: the part's header is [header_start, body_start)
---@field body_start integer?    and its body [body_start, body_stop); nil inside an encoded message
---@field body_stop integer?     known when on_end is called
---@field parts moonmilter.Part[]?  of mime.parse: children
---@field content string?           of mime.parse: decoded bytes of a leaf

--- A file in the content of a part: uuencode, yEnc or BinHex in text, an attachment of TNEF (winmail.dat).
---@class moonmilter.EmbeddedFile
---@field encoding "x-uuencode"|"yenc"|"binhex"|"tnef"
---@field name string?
---@field kind moonmilter.mime.Kind?  by content

---@class moonmilter.WalkerOptions
---@field on_part (fun(part: moonmilter.Part): boolean?)?  its header is known; return false to skip its content
---@field on_data fun(part: moonmilter.Part, bytes: string)?  decoded content of a leaf, in pieces
---@field on_text fun(part: moonmilter.Part, text: string)?   content of a text part as UTF-8, in pieces
---@field on_embedded fun(part: moonmilter.Part, file: moonmilter.EmbeddedFile)?  a file that is not a part of its own
---@field on_end fun(part: moonmilter.Part)?  size, kind and defects are known; inner parts before outer ones
---@field max_depth integer?         parts within parts, the message is 1; default 32
---@field max_parts integer?         default 1000
---@field max_header_bytes integer?  of one part; default 262144
---@field with_header boolean?       body() gets the whole message, header included; default false

---@class moonmilter.Walker
local Walker = {}

--- A header field of the message, in order, before eoh. Has no effect with `with_header`.
---@param name string
---@param value string  as the MTA delivers it
function Walker:header(name, value) end

--- All fields of a list: ctx.headers, or a header.block. A truncated list gives the message the defect
--- "header-truncated".
---@param list moonmilter.Headers
function Walker:headers(list) end

--- Adds a defect to the message itself, before eoh.
---@param defect moonmilter.mime.Defect
function Walker:note(defect) end

--- End of the message's header: the body follows.
---@return true? ok
---@return string? text
---@return moonmilter.mime.Code? code
function Walker:eoh() end

--- Some of the body; with `with_header` of the whole message.
---@param chunk string
---@return true? ok
---@return string? text
---@return moonmilter.mime.Code? code
function Walker:body(chunk) end

--- The end: closes everything that is open.
---@return moonmilter.Part? root  the message itself
---@return string? text
---@return moonmilter.mime.Code? code
function Walker:eom() end

--- Begins to walk a message. Raises at the caller's line when an option is unknown or of another type.
---@param options moonmilter.WalkerOptions?
---@return moonmilter.Walker
function mime.walker(options) end

--- A whole message as a tree, all in memory. Parts have `parts`, leaves have `content`.
---@param message string  header and body
---@param limits { max_depth: integer?, max_parts: integer?, max_header_bytes: integer? }?
---@return moonmilter.Part? root
---@return string? text
---@return moonmilter.mime.Code? code
function mime.parse(message, limits) end

--- The kind of content, by its first kilobyte; nil when nothing matches.
---@param bytes string
---@return moonmilter.mime.Kind?
function mime.kind(bytes) end

return mime
