--- Encoded words: text that is not ASCII, in a header field (RFC 2047).
--- Reading is as lenient as mail readers are: words inside quotes, without white space between them, over 75
--- characters, with blanks and commas inside, with a character, a base64 group or a Q triplet cut over two words.
--- Writing keeps every rule.
local lpeg = require "lpeg"
local charset = require "moonmilter.charset"
local codec = require "moonmilter.codec"
local word = require "moonmilter.mail.word"

local encoded_word = {}

local P, S, C, Cc, Ct = lpeg.P, lpeg.S, lpeg.C, lpeg.Cc, lpeg.Ct

local WORD_MAX = 75 -- RFC 2047 2
local WORD_MIN = 30 -- a field name that leaves less room gets a line over 76 instead

-- White space between words is not text (RFC 2047 6.2).
local run = Ct(Ct(word.parts) * (S " \t" ^ 0 * Ct(word.parts)) ^ 0)
local plain = C((P(1) - P "=?") ^ 1 + P "=?")
local value = Ct((run + plain) ^ 0)

-- "utf-8*EN" is a charset and a language (RFC 2231 5); some senders quote the charset.
local function label_of(spelling)
  return ((spelling:match "^[^*]+" or ""):gsub("[\"']", ""):lower())
end

local function is_same_charset(a, b)
  return a == b or a ~= nil and charset.name(a) ~= nil and charset.name(a) == charset.name(b)
end

-- The bytes that the base64 of one or more words says, and how many characters are there that no text has.
local function base64_bytes(texts, label)
  local bytes = {}
  for i, text in ipairs(texts) do
    bytes[i] = (codec.base64_decode(text))
  end
  local joined = table.concat(bytes)
  local read, replaced = charset.to_utf8(joined, label)
  return joined, replaced + select(2, read:gsub("[%z\1-\8\14-\31]", ""))
end

-- Could a writer have ended a base64 text here, without padding? The bits that are too many would be zero.
local function may_end(text)
  local digits = text:gsub("[^A-Za-z0-9+/]", "")
  local over = #digits % 4
  local last = digits:sub(-1)
  return over == 0 or over == 2 and last:find "[AQgw]" ~= nil or over == 3 and last:find "[AEIMQUYcgkosw048]" ~= nil
end

-- Neighbours in base64 are one stream, cut anywhere, which ends at padding. Where a writer may as well have left the
-- padding out, the reading counts that gives text.
local function decode_base64(texts, label)
  local streams, is_open, is_doubtful, is_cut = {}, false, false, false
  for i, text in ipairs(texts) do
    if is_open then
      local stream = streams[#streams]
      stream[#stream + 1] = text
    else
      streams[#streams + 1] = { text }
    end
    is_open = not text:find "=%s*$"
    if is_open and i < #texts then
      local ends_whole = #text:gsub("[^A-Za-z0-9+/]", "") % 4 == 0
      is_doubtful = is_doubtful or not ends_whole
      is_cut = is_cut or not may_end(text)
    end
  end
  for i, stream in ipairs(streams) do
    streams[i] = table.concat(stream)
  end
  local joined, wrong = base64_bytes(streams, label)
  if is_doubtful and not is_cut and wrong > 0 then
    local apart, wrong_apart = base64_bytes(texts, label)
    return wrong_apart < wrong and apart or joined
  end
  return joined
end

-- Neighbours of one encoding, as bytes. RFC 2047 5 (3) wants whole groups and characters in each word; senders cut
-- anywhere.
local function decode_texts(texts, encoding, label)
  if encoding == "b" then
    return decode_base64(texts, label)
  end
  return (codec.q_decode(table.concat(texts)))
end

-- One run of words. What neighbours in the same charset and encoding hold is joined before it is decoded, and the bytes
-- of neighbours in the same charset before they are converted.
local function decode_run(words, out)
  local label, encoding, texts, bytes = nil, nil, {}, {}
  local function end_texts()
    if texts[1] then
      bytes[#bytes + 1] = decode_texts(texts, encoding, label)
      texts = {}
    end
  end
  local function end_bytes()
    if bytes[1] then
      out[#out + 1] = charset.to_utf8(table.concat(bytes), label)
      bytes = {}
    end
  end
  for _, w in ipairs(words) do
    local this_label, this_encoding = label_of(w[1]), w[2]:lower()
    local is_same = is_same_charset(label, this_label)
    if not is_same or this_encoding ~= encoding then
      end_texts()
    end
    if not is_same then
      end_bytes()
    end
    label, encoding = this_label, this_encoding
    texts[#texts + 1] = w[3]
  end
  end_texts()
  end_bytes()
end

-- Text outside words: old Japanese mailers write ISO-2022-JP as it is.
local function plain_text(bytes)
  if bytes:find("\27$", 1, true) and not bytes:find "[\128-\255]" then
    return (charset.to_utf8(bytes, "iso-2022-jp"))
  end
  return charset.guess(bytes)
end

--- Decode every encoded word in a text. Line folds are undone first.
---@param text string  a header value, as the MTA delivers it
---@return string text  well-formed UTF-8, never with CR, LF or NUL (they become blanks: decoded text goes back into
---  headers and log lines, and an encoded line end must not end a line there)
function encoded_word.decode(text)
  text = text:gsub("\r?\n", "")
  if not text:find("=?", 1, true) then
    return (plain_text(text):gsub("[%z\r\n]", " "))
  end
  local out = {}
  for _, piece in ipairs(lpeg.match(value, text)) do
    if type(piece) == "string" then
      out[#out + 1] = plain_text(piece)
    else
      decode_run(piece, out)
    end
  end
  return (table.concat(out):gsub("[%z\r\n]", " "))
end

-- Characters that need no encoding in a Q word anywhere, phrases included (RFC 2047 5 (3)); a blank becomes "_".
local function q_encode(text)
  return (text:gsub("[^A-Za-z0-9!*+/ -]", function(c) return ("=%02X"):format(c:byte()) end):gsub(" ", "_"))
end

-- UTF-8 characters; decode() and clean_utf8 ensure that there is nothing else.
local character = lpeg.R "\0\127" + lpeg.R "\194\244" * lpeg.R "\128\191" ^ 1 + P(1)
local characters = Ct(C(character) ^ 0)

--- Encode a text as encoded words, each of whole characters and at most 75 long.
---@param text string  any text; ill-formed UTF-8 becomes U+FFFD first
---@param used? integer  columns already taken on the first line: lines with words end at 76 (RFC 2047 2)
---@return string[] words  join them with a blank or a fold
function encoded_word.words(text, used)
  text = codec.clean_utf8(text)
  local q = q_encode(text)
  local is_q = #q <= math.ceil(#text / 3) * 4
  local overhead = #"=?UTF-8?Q??="
  local room = math.max(WORD_MAX - (used or 0), WORD_MIN) - overhead
  local words, piece, size = {}, {}, 0
  local function flush()
    local bytes = table.concat(piece)
    words[#words + 1] = is_q and "=?UTF-8?Q?" .. q_encode(bytes) .. "?=" or "=?UTF-8?B?"
      .. codec.base64_encode(bytes) .. "?="
    piece, size, room = {}, 0, WORD_MAX - overhead
  end
  for _, c in ipairs(lpeg.match(characters, text)) do
    local cost = is_q and #q_encode(c) or #c
    local limit = is_q and room or math.floor(room / 4) * 3
    if size + cost > limit then
      flush()
    end
    piece[#piece + 1] = c
    size = size + cost
  end
  if size > 0 then
    flush()
  end
  return words
end

-- Runs of blanks and of other characters, alternating.
local blanks = Cc(true) * C(S " \t" ^ 1)
local solid = Cc(false) * C((P(1) - S " \t") ^ 1)
local pieces = Ct((Ct(blanks) + Ct(solid)) ^ 0)

local SOLID_MAX = 900 -- longer words cannot be folded to fit RFC 5322 2.1.1's 998, so they are encoded too

--- Encode unstructured text (Subject, Comments, most X- fields). ASCII words stay readable.
--- `decode(encode(text)) == text` for every well-formed text without line ends and NUL.
---@param text string  raises on CR, LF, NUL: one header value is one line of text
---@param used? integer  columns taken by "Name: "; default 0
---@return string value  not folded; words are separated by single blanks so that header.fold can
function encoded_word.encode(text, used)
  if text:find("[%z\r\n]") then
    error("encode: text has a CR, LF or NUL; a header value is one line", 2)
  end
  text = codec.clean_utf8(text)
  local list = lpeg.match(pieces, text)
  local needs = {}
  for i, piece in ipairs(list) do
    local is_blank, bytes = piece[1], piece[2]
    if is_blank then
      -- a blank at either end would be lost in transit; a tab can become a blank where a line is folded
      needs[i] = i == 1 or i == #list or bytes:find("\t", 1, true) ~= nil
    else
      needs[i] = bytes:find("[^\33-\126]") ~= nil or bytes:find("=?", 1, true) ~= nil or #bytes > SOLID_MAX
    end
  end
  for i, piece in ipairs(list) do
    if piece[1] and needs[i] then -- a word must have blanks around it: the text next to an encoded blank is encoded too
      needs[i - 1], needs[i + 1] = list[i - 1] and true, list[i + 1] and true
    end
  end
  local out, i = {}, 1
  while i <= #list do
    if not needs[i] then
      out[#out + 1] = list[i][2]
      i = i + 1
    else
      local bytes = {}
      -- blanks between two encoded pieces would vanish on reading: encode them too
      while needs[i] or (list[i] and list[i][1] and needs[i + 1]) do
        bytes[#bytes + 1] = list[i][2]
        i = i + 1
      end
      out[#out + 1] = table.concat(encoded_word.words(table.concat(bytes), #out == 0 and used or 0), " ")
    end
  end
  return table.concat(out)
end

return encoded_word
