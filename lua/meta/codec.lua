---@meta moonmilter.codec
-- require "moonmilter.codec" (host/codec/codec.c), for editors (LuaLS). Never loaded. Manual: docs/mail-codec.md.

--- Encodings and charsets. Decoders never refuse: they skip what does not fit and count it. Arguments `first` and
--- `last` select a slice, counted as string.sub counts positive numbers, without making a string of it.
---@class moonmilter.codec
local codec = {}

---@class moonmilter.Decoder
local Decoder = {}

--- Some of the encoded bytes, cut anywhere.
---@param bytes string
---@param first integer?
---@param last integer?
---@return string decoded
function Decoder:feed(bytes, first, last) end

--- As feed, but returns only the number of bytes.
---@param bytes string
---@param first integer?
---@param last integer?
---@return integer
function Decoder:count(bytes, first, last) end

--- Ends the data and resets the decoder.
---@return string rest
---@return integer bad  bytes that did not fit the encoding
---@return boolean is_truncated  base64 ended inside a group
---@return boolean is_continued  base64 went on after its padding
function Decoder:finish() end

---@class moonmilter.Encoder
local Encoder = {}

--- Some of the bytes, cut anywhere. Lines have at most 76 characters.
---@param bytes string
---@param first integer?
---@param last integer?
---@return string
function Encoder:feed(bytes, first, last) end

--- The end.
---@return string rest
function Encoder:finish() end

--- feed and finish raise after close.
---@class moonmilter.Converter
local Converter = {}

--- Some of the bytes, cut anywhere.
---@param bytes string
---@param first integer?
---@param last integer?
---@return string text  UTF-8
function Converter:feed(bytes, first, last) end

--- Ends the text and resets the converter.
---@return string rest
---@return integer replaced  characters that became U+FFFD
function Converter:finish() end

--- Releases its resources; so does the garbage collector.
function Converter:close() end

--- RFC 2045 6.8; bytes outside the alphabet are skipped and counted, and data after padding is decoded.
---@param text string
---@param first integer?
---@param last integer?
---@return string bytes
---@return integer bad
function codec.base64_decode(text, first, last) end

---@param bytes string
---@param width integer?  longest line, 8..998, CRLF between lines; 0 (default): one line. Raises on another
---@return string
function codec.base64_encode(bytes, width) end

--- RFC 2045 6.7; broken escapes stay as written, blanks at line ends are removed.
---@param text string
---@param first integer?
---@param last integer?
---@return string bytes
---@return integer bad
function codec.qp_decode(text, first, last) end

--- Lines of at most 76; CRLF is a line end, CR or LF alone is data.
---@param bytes string
---@return string
function codec.qp_encode(bytes) end

--- The "Q" of RFC 2047 4.2.
---@param text string
---@param first integer?
---@param last integer?
---@return string bytes
---@return integer bad
function codec.q_decode(text, first, last) end

--- The lines between "begin" and "end" of uuencode.
---@param text string
---@param first integer?
---@param last integer?
---@return string bytes
---@return integer bad
function codec.uu_decode(text, first, last) end

--- Raises on another kind.
---@param kind "base64"|"quoted-printable"|"x-uuencode"
---@return moonmilter.Decoder
function codec.decoder(kind) end

--- Raises on another kind.
---@param kind "base64"|"quoted-printable"
---@return moonmilter.Encoder
function codec.encoder(kind) end

--- RFC 3629 4.
---@param text string
---@return boolean
---@return integer? position  of the first byte that does not fit
function codec.is_utf8(text) end

---@param text string
---@return string text  ill-formed parts as U+FFFD
---@return integer bad
function codec.clean_utf8(text) end

---@param bytes string
---@param charset string  a name of charset.name, or one that iconv knows; labels from mail go through moonmilter.charset
---@return string? text
---@return integer|string replaced  characters that became U+FFFD; or the reason for failure
---@return "charset"? code
function codec.to_utf8(bytes, charset) end

---@param charset string  as for to_utf8
---@return moonmilter.Converter? converter
---@return string? text
---@return "charset"? code
function codec.converter(charset) end

---@param domain string  UTF-8 or ASCII
---@return string? domain  A-labels (RFC 5890 2.3.2.1)
---@return string? text
---@return "idna"? code
function codec.idna_to_ascii(domain) end

---@param domain string
---@return string? domain  U-labels
---@return string? text
---@return "idna"? code
function codec.idna_to_unicode(domain) end

return codec
