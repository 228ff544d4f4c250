--- Encoded words: text that is not ASCII, in a header field (RFC 2047).
--- Reading is as lenient as mail readers are: words inside quotes, without white space between them, over 75
--- characters, with blanks inside, with a character split over two words. Writing keeps every rule.
local lpeg = require "lpeg"
local charset = require "moonmilter.charset"
local codec = require "moonmilter.codec"

local encoded_word = {}

local P, S, C, Cc, Ct = lpeg.P, lpeg.S, lpeg.C, lpeg.Cc, lpeg.Ct

local WORD_MAX = 75 -- RFC 2047 2
local WORD_MIN = 30 -- a field name that leaves less room gets a line over 76 instead

-- The encoded text ends at "?=", and may hold neither that nor the start of another word: so at most two attempts look
-- at a byte, and the whole is linear. ("=?=" is padding and end, not a start.)
local name = (P(1) - S "? \t\r\n") ^ 1 -- ends at the next "?" at the latest; a long language tag may follow a charset
local starts = P "=?" * -P "="
local word = Ct(P "=?" * C(name) * "?" * C(S "bBqQ") * "?" * C((P(1) - (P "?=" + starts)) ^ 0) * "?=")
local run = Ct(word * (S " \t" ^ 0 * word) ^ 0) -- white space between words is not text, RFC 2047 6.2
local plain = C((P(1) - P "=?") ^ 1 + P "=?")
local value = Ct((run + plain) ^ 0)

-- One run of words. Bytes of neighbours in the same charset are joined before conversion, because senders split
-- multi-byte characters over words although RFC 2047 5 (3) forbids it.
local function decode_run(words, out)
  local label, bytes = nil, {}
  local function flush()
    if label then
      out[#out + 1] = charset.to_utf8(table.concat(bytes), label)
      bytes = {}
    end
  end
  for _, w in ipairs(words) do
    local this = w[1]:match("^[^*]+") or "" -- "*EN" is a language tag, RFC 2231 5
    if this:lower() ~= label then
      flush()
      label = this:lower()
    end
    local decode = w[2]:lower() == "b" and codec.base64_decode or codec.q_decode
    bytes[#bytes + 1] = (decode(w[3]))
  end
  flush()
end

--- Decode every encoded word in a text. Line folds are undone first.
---@param text string  a header value, as the MTA delivers it
---@return string text  well-formed UTF-8, never with CR, LF or NUL (they become blanks: decoded text goes back into
---  headers and log lines, and an encoded line end must not end a line there)
function encoded_word.decode(text)
  text = text:gsub("\r?\n", "")
  if not text:find("=?", 1, true) then
    return (charset.guess(text):gsub("[%z\r\n]", " "))
  end
  local out = {}
  for _, piece in ipairs(lpeg.match(value, text)) do
    if type(piece) == "string" then
      out[#out + 1] = charset.guess(piece)
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
