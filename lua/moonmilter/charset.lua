--- Charset names as mail uses them, and conversion of text in those charsets to UTF-8.
--- A label means what mail readers take it for: all labels of the WHATWG Encoding Standard (4.2) have its meaning,
--- often a superset of the literal one ("gb2312" is read as GB 18030, "ks_c_5601-1987" as CP949), and its decoders
--- read them (host/codec/whatwg.h). Other labels of mail go to iconv, and only those below: the sender chooses the
--- label, and the bugs of iconv implementations have been in rarely used converters.
local codec = require "moonmilter.codec"

local charset = {}

-- Left: the converter. Right: labels, lower case. "iso-8859-1" is read as windows-1252, as every mail reader does: they
-- differ only in bytes 0x80-0x9F, which no ISO 8859-1 text has.
local labels = {
  -- read by codec/whatwg.c
  ["UTF-8"] = "cp65001 csutf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf-8-mac utf8 utf_8"
    .. " x-unicode20utf8 x-utf8",
  ["US-ASCII"] = "7bit 8bit ansi_x3.4-1968 ansi_x3.4-1986 ascii cp367 csascii ibm367 iso-ir-6 iso646-us"
    .. " iso_646.irv:1991 us us-ascii",
  BIG5 = "big-5 big5 big5-eten big5-hkscs big5_hkscs big5hkscs cn-big5 cp950 cp951 csbig5 csbig5hkscs ms950"
    .. " windows-950 x-big5 x-windows-950 x-x-big5",
  ["EUC-JP"] = "cp20932 cp51932 cseucpkdfmtjapanese euc-jp euc_jp eucjp eucjp-ms eucjp-win"
    .. " extended_unix_code_packed_format_for_japanese ujis x-euc-jp",
  ["EUC-KR"] = "cp51949 cp949 cseuckr csksc56011987 euc-kr euc_kr euckr iso-ir-149 korean ks_c_5601"
    .. " ks_c_5601-1987 ks_c_5601-1989 ks_x_1001 ksc5601 ksc5601-1987 ksc_5601 ksc_5601-1987 ksx1001 ms949 uhc"
    .. " windows-949 x-euc-kr x-windows-949",
  GB18030 = "chinese cp54936 cp936 csgb18030 csgb2312 csgbk csiso58gb231280 euc-cn euccn gb-2312 gb18030 gb2312"
    .. " gb2312-80 gb_18030 gb_2312 gb_2312-80 gbk iso-ir-165 iso-ir-58 ms936 windows-936 x-cp936 x-euc-cn x-gbk"
    .. " x-windows-936",
  ["HZ-GB-2312"] = "cp52936 hz hz-gb-2312",
  IBM866 = "866 cp-866 cp866 csibm866 ibm-866 ibm866",
  ["ISO-2022-JP"] = "cp50220 cp50221 cp50222 csiso2022jp csiso2022jp1 iso-2022-jp iso-2022-jp-1 iso-2022-jp-ms"
    .. " iso2022-jp iso2022jp jis jis_encoding",
  ["ISO-8859-10"] = "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 iso_8859-10 iso_8859-10:1992 l6"
    .. " latin6",
  ["ISO-8859-13"] = "iso-8859-13 iso8859-13 iso885913 iso_8859-13 latin-7 latin7",
  ["ISO-8859-14"] = "iso-8859-14 iso-celtic iso-ir-199 iso8859-14 iso885914 iso_8859-14 iso_8859-14:1998 l8"
    .. " latin-8 latin8",
  ["ISO-8859-15"] = "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 iso_8859-15:1998 l9 latin-9 latin9",
  ["ISO-8859-16"] = "csiso885916 iso-8859-16 iso-ir-226 iso8859-16 iso885916 iso_8859-16 iso_8859-16:2001 l10"
    .. " latin-10 latin10",
  ["ISO-8859-2"] = "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin-2"
    .. " latin2",
  ["ISO-8859-3"] = "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin-3"
    .. " latin3",
  ["ISO-8859-4"] = "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin-4"
    .. " latin4",
  ["ISO-8859-5"] = "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5"
    .. " iso_8859-5:1988",
  ["ISO-8859-6"] = "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e"
    .. " iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
  ["ISO-8859-7"] = "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597"
    .. " iso_8859-7 iso_8859-7:1987 sun_eu_greek",
  ["ISO-8859-8"] = "csiso88598e csiso88598i csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-8859-8-i"
    .. " iso-ir-138 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 logical visual",
  ["KOI8-R"] = "cskoi8r koi koi8 koi8-r koi8_r koi8r",
  ["KOI8-U"] = "cskoi8u koi8-ru koi8-u koi8_u koi8u",
  MACINTOSH = "csmacintosh mac mac-roman macintosh macroman x-mac-roman x-macroman",
  SHIFT_JIS = "cp932 cp943 csshiftjis cswindows31j ibm943 ms932 ms_kanji shift-jis shift_jis shift_jis-ms sjis"
    .. " sjis-win windows-31j windows-932 x-ms-cp932 x-sjis x-windows-932",
  ["UTF-16BE"] = "csutf16be unicodebig unicodefffe utf-16be utf16be",
  ["UTF-16LE"] = "csunicode csutf16 csutf16le iso-10646-ucs-2 ucs-2 unicode unicodefeff unicodelittle utf-16"
    .. " utf-16le utf16 utf16le",
  ["UTF-32BE"] = "csucs4 csutf32be iso-10646-ucs-4 ucs-4 ucs-4be utf-32be utf32be",
  ["UTF-32LE"] = "csutf32 csutf32le ucs-4le utf-32 utf-32le utf32 utf32le",
  ["WINDOWS-1250"] = "cp-1250 cp1250 cswindows1250 ms-ee win-1250 windows-1250 x-cp1250",
  ["WINDOWS-1251"] = "cp-1251 cp1251 cswindows1251 ms-cyrl win-1251 windows-1251 x-cp1251",
  ["WINDOWS-1252"] = "ansi cp-1252 cp1252 cp819 csisolatin1 cswindows1252 ibm819 iso-8859-1 iso-ir-100 iso8859-1"
    .. " iso88591 iso_8859-1 iso_8859-1:1987 l1 latin-1 latin1 windows-1252 x-cp1252",
  ["WINDOWS-1253"] = "cp1253 cswindows1253 ms-greek windows-1253 x-cp1253",
  ["WINDOWS-1254"] = "cp1254 csisolatin5 cswindows1254 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9"
    .. " iso_8859-9:1989 l5 latin-5 latin5 windows-1254 x-cp1254",
  ["WINDOWS-1255"] = "cp1255 cswindows1255 ms-hebr windows-1255 x-cp1255",
  ["WINDOWS-1256"] = "cp1256 cswindows1256 ms-arab windows-1256 x-cp1256",
  ["WINDOWS-1257"] = "cp1257 cswindows1257 winbaltrim windows-1257 x-cp1257",
  ["WINDOWS-874"] = "cp874 cstis620 dos-874 ibm874 iso-8859-11 iso-ir-166 iso8859-11 iso885911 ms874 tis-620"
    .. " tis-620-2533 tis620 tis620-0 tis620.2533-0 tis620.2533-1 windows-874 x-windows-874",
  ["X-MAC-CYRILLIC"] = "mac-cyrillic maccyrillic x-mac-cyrillic x-mac-ukrainian x-maccyrillic",
  ["X-USER-DEFINED"] = "x-user-defined",
  -- read by iconv
  ["ARMSCII-8"] = "armscii-8",
  CP437 = "437 cp437 cspc8codepage437 ibm437",
  CP737 = "cp737 ibm737",
  CP775 = "cp775 cspc775baltic ibm775",
  CP850 = "850 cp-850 cp850 cspc850multilingual ibm850",
  CP852 = "852 cp852 cspcp852 ibm852",
  CP858 = "ccsid00858 cp00858 cp858 ibm00858",
  ["EUC-TW"] = "cns11643 euc-tw euctw x-euc-tw",
  ["GEORGIAN-PS"] = "georgian-ps",
  ["HP-ROMAN8"] = "hp-roman8 r8 roman8",
  IBM855 = "855 cp855 csibm855 ibm855",
  IBM857 = "857 cp857 csibm857 ibm857",
  IBM860 = "cp860 ibm860",
  IBM861 = "cp861 ibm861",
  IBM862 = "862 cp862 cspc862latinhebrew dos-862 ibm862",
  IBM863 = "cp863 ibm863",
  IBM864 = "cp864 ibm864",
  IBM865 = "cp865 ibm865",
  IBM869 = "cp869 ibm869",
  ["ISO-2022-CN"] = "cp50227 csiso2022cn iso-2022-cn",
  ["ISO-2022-CN-EXT"] = "iso-2022-cn-ext",
  ["ISO-2022-JP-2"] = "csiso2022jp2 iso-2022-jp-2",
  ["ISO-2022-JP-3"] = "iso-2022-jp-2004 iso-2022-jp-3",
  ["ISO-2022-KR"] = "cp50225 csiso2022kr iso-2022-kr iso2022kr",
  JOHAB = "cp1361 johab ms1361",
  ["KOI8-T"] = "koi8-t",
  ["MAC-CENTRALEUROPE"] = "mac-centraleurope x-mac-ce x-mac-centraleurroman",
  PT154 = "cp154 pt154 ptcp154",
  ["TCVN5712-1"] = "tcvn tcvn-5712 tcvn5712-1 x-viet-tcvn5712",
  ["UTF-7"] = "cp65000 csutf7 unicode-1-1-utf-7 utf-7 utf7 x-unicode-2-0-utf-7",
  VISCII = "csviscii viscii",
  ["WINDOWS-1258"] = "cp1258 cswindows1258 windows-1258 x-cp1258",
}

-- "ISO8859_1", "cp-1251", "UTF 8": Java, PHP and hand-made mail spell labels so.
local function squeeze(label)
  return (label:gsub("[^%w]", ""))
end

local LABEL_MAX = 64 -- bytes; the longest below has 47

local converter_of, squeezed = {}, {}
for name, list in pairs(labels) do
  for label in list:gmatch("%S+") do
    converter_of[label], squeezed[squeeze(label)] = name, name
  end
end

-- Charsets in which a byte below 0x80 is not always the ASCII character: text cannot be appended byte by byte.
local not_ascii = {
  ["UTF-16LE"] = true, ["UTF-16BE"] = true, ["UTF-32LE"] = true, ["UTF-32BE"] = true, ["UTF-7"] = true,
  ["ISO-2022-JP"] = true, ["ISO-2022-JP-2"] = true, ["ISO-2022-JP-3"] = true, ["ISO-2022-KR"] = true,
  ["ISO-2022-CN"] = true, ["ISO-2022-CN-EXT"] = true, ["HZ-GB-2312"] = true,
}

--- The converter for a label.
---@param label string|nil  blanks and quotes around it are left out, "-", "_" and blanks inside may be missing
---@return string|nil name  what it is called; nil when the label is unknown
function charset.name(label)
  if not label or #label > LABEL_MAX then
    return nil
  end
  -- at most 64 bytes: asked above
  label = label:lower():match "^[%s'\"]*(.-)[%s'\"]*$"
  return converter_of[label] or squeezed[squeeze(label)]
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
