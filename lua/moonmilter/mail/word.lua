--- The one grammar of an encoded word, "=?charset?B|Q?text?=" (RFC 2047 2), for everything that reads one: text,
--- addresses, parameters. It is what mail readers accept: blanks, folds, commas and "?" inside the text, quotes around
--- the charset.
local lpeg = require "lpeg"

local word = {}

local P, S, C = lpeg.P, lpeg.S, lpeg.C

-- The text ends at "?=", and holds neither that nor the start of another word: so at most two attempts look at a byte,
-- and the whole is linear. ("=?=" is padding and end, not a start.)
local ends = P "?=" + P "=?" * -P "="

-- A word whose text and charset hold none of `specials`; each of its three parts goes through `take`.
local function spelled(specials, take)
  -- the charset ends at the next "?" at the latest; a long language tag may follow it (RFC 2231 5)
  local charset = (P(1) - S("? \t\r\n()<>@,;[]\\" .. specials)) ^ 1
  local text = (P(1) - ends - (specials == "" and P(false) or S(specials))) ^ 0
  return P "=?" * take(charset) * "?" * take(S "bBqQ") * "?" * take(text) * "?="
end

local function unchanged(pattern)
  return pattern
end

--- Captures charset, encoding and text.
word.parts = spelled("", C)

--- Among the tokens of a value with parameters, without captures. ";" and quotes end parameters for other readers:
--- a word that held them would hide a parameter.
word.in_parameter = spelled(';"', unchanged)

--- Among the tokens of an address: not a word that holds "@" and, beside it, what ends an address or begins another. A
--- reader who looks for addresses first finds one in it, so its bytes are tokens like others.
word.in_address = spelled("@", unchanged) + spelled("<>,;", unchanged)

local anywhere = (P(1) - word.parts) ^ 0 * word.parts

--- Is there a word in a text?
---@param text string
---@return boolean
function word.is_in(text)
  return text:find("=?", 1, true) ~= nil and lpeg.match(anywhere, text) ~= nil
end

return word
