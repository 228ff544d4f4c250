---@meta moonmilter.charset
-- require "moonmilter.charset", for editors (LuaLS). Never loaded. Manual: docs/mail-charset.md.

--- Charset names as mail uses them, and conversion of text in those charsets to UTF-8. A label means what mail readers
--- take it for (WHATWG Encoding 4.2): "iso-8859-1" is windows-1252, "gb2312" is GB 18030. All labels of that standard
--- are read as it says; a few others of mail go to iconv.
---@class moonmilter.charset
local charset = {}

--- The converter for a label.
---@param label string?  in any case, with or without its hyphens
---@return string? name  what the converter is called, for moonmilter.codec; nil when the label is unknown
function charset.name(label) end

--- True when ASCII text is the same bytes in this charset, anywhere in the text: not for UTF-16, UTF-7, ISO-2022-JP and
--- their kin, and not for an unknown label.
---@param label string?
---@return boolean
function charset.is_ascii_superset(label) end

--- Text without a charset label: UTF-8 if it is well-formed, else windows-1252, in which every byte is a character.
---@param bytes string
---@return string text  UTF-8
function charset.guess(bytes) end

--- Bytes in a charset as UTF-8. Always gives text; what cannot be converted becomes U+FFFD.
---@param bytes string
---@param label string?  as the message spells it; nil, unknown, or ASCII with 8-bit bytes: guessed
---@return string text
---@return integer replaced  characters that became U+FFFD
---@return "charset"? code   the label is unknown, or this system's iconv lacks it
function charset.to_utf8(bytes, label) end

--- A converter for text that comes in pieces. Without a known charset the bytes go through unchanged.
---@param label string?
---@return moonmilter.Converter
function charset.converter(label) end

return charset
