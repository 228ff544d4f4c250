--- Charset names as mail uses them, and conversion of text in those charsets to UTF-8.
--- Only the names below reach iconv: the sender chooses the label, and the bugs of iconv implementations have been in
--- rarely used converters. A label means what mail readers take it for (WHATWG Encoding 4.2), often a superset of its
--- literal meaning: "gb2312" is read as GB 18030, "ks_c_5601-1987" as CP949.
local codec = require "moonmilter.codec"

local charset = {}

-- Left: iconv's name. Right: labels, lower case. "iso-8859-1" is read as windows-1252, as every mail reader does: they
-- differ only in bytes 0x80-0x9F, which no ISO 8859-1 text has.
local labels = {
  ["UTF-8"] = "utf-8 utf8 unicode-1-1-utf-8 utf-8-mac x-utf8 cp65001",
  ["US-ASCII"] = "us-ascii ascii ansi_x3.4-1968 ansi_x3.4-1986 iso646-us iso_646.irv:1991 cp367 us 7bit 8bit",
  ["WINDOWS-1252"] = "iso-8859-1 iso8859-1 iso_8859-1 latin1 latin-1 l1 cp819 iso88591 windows-1252 cp1252 "
    .. "cp-1252 x-cp1252",
  ["ISO-8859-2"] = "iso-8859-2 iso8859-2 iso_8859-2 latin2 l2",
  ["ISO-8859-3"] = "iso-8859-3 iso8859-3 latin3",
  ["ISO-8859-4"] = "iso-8859-4 iso8859-4 latin4",
  ["ISO-8859-5"] = "iso-8859-5 iso8859-5 cyrillic",
  ["ISO-8859-6"] = "iso-8859-6 iso8859-6 arabic asmo-708 iso-8859-6-i iso-8859-6-e",
  ["ISO-8859-7"] = "iso-8859-7 iso8859-7 greek",
  ["ISO-8859-8"] = "iso-8859-8 iso8859-8 hebrew iso-8859-8-i iso-8859-8-e logical visual",
  ["WINDOWS-1254"] = "iso-8859-9 iso8859-9 latin5 windows-1254 cp1254",
  ["ISO-8859-10"] = "iso-8859-10 latin6",
  ["ISO-8859-13"] = "iso-8859-13",
  ["ISO-8859-14"] = "iso-8859-14",
  ["ISO-8859-15"] = "iso-8859-15 iso8859-15 latin9 latin-9 l9",
  ["ISO-8859-16"] = "iso-8859-16",
  ["WINDOWS-1250"] = "windows-1250 cp1250 x-cp1250",
  ["WINDOWS-1251"] = "windows-1251 cp1251 x-cp1251 win-1251",
  ["WINDOWS-1253"] = "windows-1253 cp1253",
  ["WINDOWS-1255"] = "windows-1255 cp1255",
  ["WINDOWS-1256"] = "windows-1256 cp1256",
  ["WINDOWS-1257"] = "windows-1257 cp1257",
  ["WINDOWS-1258"] = "windows-1258 cp1258",
  ["WINDOWS-874"] = "windows-874 cp874 tis-620 iso-8859-11 dos-874",
  ["CP437"] = "cp437 ibm437 437",
  ["CP850"] = "cp850 ibm850 cp-850 850",
  ["CP852"] = "cp852 ibm852",
  ["CP866"] = "cp866 ibm866 866",
  ["KOI8-R"] = "koi8-r koi8 koi koi8_r cskoi8r",
  ["KOI8-U"] = "koi8-u koi8-ru",
  ["MACINTOSH"] = "macintosh mac x-mac-roman x-mac macroman",
  ["GB18030"] = "gb2312 gbk gb18030 x-gbk cp936 ms936 windows-936 gb_2312-80 chinese euc-cn x-euc-cn gb2312-80",
  ["BIG5-HKSCS"] = "big5 big5-hkscs cn-big5 x-x-big5 big-5 cp950",
  ["HZ-GB-2312"] = "hz-gb-2312 hz", -- glibc has no converter: there, the charset is guessed
  ["EUC-JP"] = "euc-jp x-euc-jp eucjp",
  ["ISO-2022-JP"] = "iso-2022-jp csiso2022jp",
  ["ISO-2022-JP-2"] = "iso-2022-jp-2 iso-2022-jp-1",
  ["CP932"] = "shift_jis shift-jis sjis x-sjis ms_kanji windows-31j cp932 ms932",
  ["CP949"] = "ks_c_5601-1987 ks_c_5601 ksc5601 ksc_5601 euc-kr euckr korean windows-949 cp949 uhc iso-ir-149",
  ["ISO-2022-KR"] = "iso-2022-kr",
  ["EUC-TW"] = "euc-tw x-euc-tw",
  ["VISCII"] = "viscii",
  ["TCVN5712-1"] = "tcvn tcvn5712-1",
  ["UTF-7"] = "utf-7 unicode-1-1-utf-7 x-unicode-2-0-utf-7",
  ["UTF-16"] = "utf-16 unicode ucs-2 iso-10646-ucs-2",
  ["UTF-16LE"] = "utf-16le",
  ["UTF-16BE"] = "utf-16be",
  ["UTF-32"] = "utf-32",
}

local iconv_name = {}
for name, list in pairs(labels) do
  for label in list:gmatch("%S+") do
    iconv_name[label] = name
  end
end

-- Charsets in which a byte below 0x80 is not always the ASCII character: text cannot be appended byte by byte.
local not_ascii = {
  ["UTF-16"] = true, ["UTF-16LE"] = true, ["UTF-16BE"] = true, ["UTF-32"] = true, ["UTF-7"] = true,
  ["ISO-2022-JP"] = true, ["ISO-2022-JP-2"] = true, ["ISO-2022-KR"] = true, ["HZ-GB-2312"] = true,
}

--- The converter for a label.
---@param label string|nil
---@return string|nil name  what iconv calls it; nil when the label is unknown
function charset.name(label)
  return label and iconv_name[label:lower()] or nil
end

--- True when ASCII text is the same bytes in this charset, anywhere in the text.
---@param label string|nil
---@return boolean
function charset.is_ascii_superset(label)
  local name = charset.name(label)
  return name ~= nil and not not_ascii[name]
end

--- Text without a charset label: UTF-8 if it is well-formed, else windows-1252, in which every byte is a character.
---@param bytes string
---@return string text
function charset.guess(bytes)
  if not bytes:find("[\128-\255]") or codec.is_utf8(bytes) then
    return bytes
  end
  return (codec.to_utf8(bytes, "WINDOWS-1252"))
end

--- Bytes in a charset as UTF-8. Always gives text; what cannot be converted becomes U+FFFD.
---@param bytes string
---@param label? string    as the message spells it; nil, unknown or ASCII with 8-bit bytes: guessed
---@return string text     well-formed UTF-8
---@return integer replaced  characters that became U+FFFD
---@return string|nil code   "charset" when the label is unknown
function charset.to_utf8(bytes, label)
  local name = charset.name(label)
  if name == "UTF-8" then
    return codec.clean_utf8(bytes)
  end
  if not name or name == "US-ASCII" then
    return charset.guess(bytes), 0, (label and not name) and "charset" or nil
  end
  local text, replaced = codec.to_utf8(bytes, name)
  if not text then -- this system's iconv lacks it
    return charset.guess(bytes), 0, "charset"
  end
  return text, replaced
end

local pass_through = {
  feed = function(_, chunk) return chunk end,
  finish = function() return "", 0 end,
  close = function() end,
}

--- A converter for text that comes in pieces: `:feed(chunk)` -> text, `:finish()` -> text, replaced; `:close()`.
--- Without a known charset the bytes go through unchanged.
---@param label string|nil
---@return table converter
function charset.converter(label)
  local name = charset.name(label)
  if not name or name == "US-ASCII" then
    return pass_through
  end
  return codec.converter(name) or pass_through
end

return charset
