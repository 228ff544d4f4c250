--- Words of structured header fields: one pass over the text, linear for any input.
--- The grammar modules above (address, header, authres) parse lists of these tokens; none of them looks at characters.
--- Nested comments are counted, without recursion: LPeg's own recursion fails at depth 400.
local lpeg = require "lpeg"

local token = {}

---@class moonmilter.Token
---@field kind  string   "atom", "quoted", "literal" ([..]), "encoded" (=?..?=), or the special character itself
---@field text  string   meaning: quotes, brackets and backslashes removed
---@field start integer  first byte in the text, from 1
---@field stop  integer  last byte
---@field blank boolean  white space or a comment precedes it

---@class moonmilter.Tokens
---@field comments { text: string, before: integer }[]  with the index of the token that follows
---@field unclosed string|nil   "quoted string", "comment" or "domain literal" that is still open at the end of the text
---@field unclosed_at integer|nil

local P, S, C, Cc, Cp, Ct, Cmt = lpeg.P, lpeg.S, lpeg.C, lpeg.Cc, lpeg.Cp, lpeg.Ct, lpeg.Cmt

local white = S " \t\r\n"
local comment_mark = (P(1) - S "()\\") ^ 0 * Cp()

-- After "(": to after the matching ")", or to the end and true. A backslash takes the next byte with it.
local function comment_end(text, at)
  local depth, size = 1, #text
  while true do
    at = lpeg.match(comment_mark, text, at)
    if at > size then
      return at, true
    end
    local mark = text:byte(at)
    if mark == 92 then -- "\"
      at = at + 2
    else
      depth = depth + (mark == 40 and 1 or -1)
      at = at + 1
      if depth == 0 then
        return at, false
      end
    end
    if at > size + 1 then
      at = size + 1
    end
  end
end

local quoted = P '"' * ((P(1) - S '"\\') ^ 1 + P "\\" * P(1)) ^ 0 * (P '"' * Cc "closed" + P "\\" ^ -1 * Cc "unclosed")
local literal = P "[" * ((P(1) - S "[]\\") ^ 1 + P "\\" * P(1)) ^ 0 * (P "]" * Cc "closed" + P(true) * Cc "unclosed")
local encoded = P "=?" * (P(1) - S '?= \t\r\n()<>@,;:"/[]') ^ 1 * "?" * S "bBqQ" * "?" * (P(1)
  - S "? \t\r\n") ^ 0 * "?="

-- One value only: LPeg holds at most 32,767 values of match-time captures.
local function after_comment(text, at)
  return (comment_end(text, at))
end

-- Dialects differ in what ends an atom: RFC 5322 3.2.3 specials, or RFC 2045 5.1 tspecials. Control characters and
-- 8-bit bytes stay in the atom: RFC 6532 allows the latter, and the grammar above refuses the former.
local function lexer(specials)
  local special = S(specials)
  local atom = (P(1) - special - white) ^ 1
  local one = Cc "comment" * Cp() * P "(" * Cmt(P(true), after_comment) * Cc "closed" * Cp()
    + Cc "quoted" * Cp() * quoted * Cp()
    + Cc "literal" * Cp() * literal * Cp()
    + Cc "encoded" * Cp() * encoded * Cc "closed" * Cp()
    + Cc "atom" * Cp() * atom * Cc "closed" * Cp()
    + C(special) * Cp() * Cc "closed" * Cp() -- start comes out one too high; corrected below
  return Ct((white ^ 0 * one) ^ 0)
end

local dialects = {
  address = lexer '()<>[]:;@\\,."',
  mime = lexer '()<>@,;:\\"/[]?=',
}

local function unescape(text)
  return (text:gsub("\\(.)", "%1"))
end

-- A backslash before anything but '"' and "\" stays: names like "C:\work\a.exe" occur in the wild, and mail readers
-- (and Python's email.utils.unquote) read them this way.
local function unescape_mime(text)
  return (text:gsub('\\(["\\])', "%1"))
end

--- Split a header value into tokens.
---@param text string     unfolded or folded, no matter
---@param dialect "address"|"mime"
---@return moonmilter.Token[] tokens
function token.lex(text, dialect)
  local tokens = { comments = {} }
  local flat = lpeg.match(dialects[dialect], text)
  local clean = dialect == "mime" and unescape_mime or unescape
  local n, last = 0, 0
  for i = 1, #flat, 4 do
    local kind, start, state, after = flat[i], flat[i + 1], flat[i + 2], flat[i + 3]
    local stop = after - 1
    local inner = state == "closed" and stop - 1 or stop
    if kind == "comment" then
      if after > #text and select(2, comment_end(text, start + 1)) then
        state, inner = "unclosed", stop
      end
      tokens.comments[#tokens.comments + 1] = { text = unescape(text:sub(start + 1, inner)), before = n + 1,
        start = start }
    else
      local meaning
      if kind == "quoted" then
        meaning = clean(text:sub(start + 1, inner):gsub("\r?\n", ""))
      elseif kind == "literal" then
        meaning = unescape(text:sub(start + 1, inner))
      elseif kind == "atom" or kind == "encoded" then
        meaning = text:sub(start, stop)
      else
        start, stop, meaning = start - 1, start - 1, kind
      end
      n = n + 1
      tokens[n] = { kind = kind, text = meaning, start = start, stop = stop, blank = start > last + 1 }
      last = stop
    end
    if state == "unclosed" then
      tokens.unclosed = kind == "quoted" and "quoted string" or kind == "literal" and "domain literal" or "comment"
      tokens.unclosed_at = start
    end
  end
  return tokens
end

return token
