--- Words of structured header fields: one pass over the text (two when quotes are not balanced), linear for any input.
--- The grammar modules above (address, header, authres) parse lists of these tokens; none of them looks at characters.
--- Nested comments are counted, without recursion: LPeg's own recursion fails at depth 400.
local lpeg = require "lpeg"
local word = require "moonmilter.mail.word"

local token = {}

---@class moonmilter.Token
---@field kind  string   "atom", "quoted", "literal" ([..]), "encoded" (=?..?=), "stray" (a quote, bracket or parenthesis
--- without its partner), or the special character itself
---@field text  string   meaning: quotes, brackets and backslashes removed
---@field start integer  first byte in the text, from 1
---@field stop  integer  last byte
---@field blank boolean  white space or a comment precedes it
---@field is_doubtful boolean|nil  other readers may see other tokens here

---@class moonmilter.Tokens
---@field comments { text: string, before: integer }[]  with the index of the token that follows
---@field unclosed string|nil   "quoted string", "comment" or "domain literal" that is still open at the end of the text
---@field unclosed_at integer|nil
---@field ends_in_comment boolean|nil  the last comment is not closed

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

-- ---- what has no partner ----
-- An unclosed quote, comment or bracket must cost no more than its own mailbox or clause, so it becomes a token of its
-- own, and what follows is read on (RFC 7103 7.1.4 to 7.1.6).

-- What is known of the text being read: each of these would take a search to its end again at every stray.
local known

-- From an open comment on, every "(" with a partner: its place -> after the ")".
local function partners(text, at)
  local found, open, size = {}, {}, #text
  while at <= size do
    at = lpeg.match(comment_mark, text, at)
    local mark = text:byte(at)
    if mark == 40 then
      open[#open + 1] = at
    elseif mark == 41 and open[1] then
      found[table.remove(open)] = at + 1
    end
    at = at + (mark == 92 and 2 or 1)
  end
  return found
end

-- After the last byte that could belong to an address: an open comment there hides none.
local function last_address_byte(text)
  local at = #text
  while at > 0 and not text:find("^[@<,;]", at) do
    at = at - 1
  end
  return at
end

-- A comment in which nothing hides, closed or not; LPeg holds at most 32,767 values of match-time captures: no values.
local function comment_with_partner(text, after)
  if not known.partners then
    local stop, is_open = comment_end(text, after)
    if not is_open then
      return stop
    end
    known.partners, known.last = partners(text, after), last_address_byte(text)
  end
  return known.partners[after - 1] or after > known.last and #text + 1
end

-- A quoted string that holds what ends addresses. It counts as one unless a list went on inside it:
-- `5" A <a@x>, 6" B <b@y>`, and where quotes are not balanced `"A <a@x>, "B" <b@y>`.
local function quotes_name(text, after, start)
  local inner = text:sub(start + 1, after - 2)
  if known.is_trace or not inner:find "[,;]" and not (inner:find("<", 1, true) and inner:find("@", 1, true)) then
    return true
  end
  known.is_list_quoted = true
  if start > 1 and text:find("^[^ \t\r\n()<%[%]:;@\\,.]", start - 1)
    or text:find('^[^ \t\r\n()<>%[%]:;@\\,."]', after) then
    known.has_stray_quote = true -- no blank before it, or none before the word after it
    return false
  end
  return not known.is_unbalanced or text:find("^[ \t\r\n]*[<(@.]", after) ~= nil
end

-- No quote closes this one, nor any that follows it.
local function is_last_quote(_, after)
  known.open_quote, known.has_stray_quote = known.open_quote or after - 1, true
  return false
end

local function may_close()
  return not known.open_quote
end

-- ---- tokens ----

local open_quoted = P '"' * ((P(1) - S '"\\') ^ 1 + P "\\" * P(1)) ^ 0
local quoted = open_quoted * (P '"' * Cc "closed" + P "\\" ^ -1 * Cc "unclosed")
local closed_quoted = Cmt(P(true), may_close) * (P '"' * ((P(1) - S '"\\<,;') ^ 1 + P "\\" * (P(1) - S "<,;")) ^ 0 * '"'
  + Cmt(Cp() * open_quoted * '"', quotes_name)
  + #(open_quoted * -P(1)) * Cmt(P '"', is_last_quote) + #(open_quoted * "\\" * -P(1)) * Cmt(P '"', is_last_quote))
local literal = P "[" * ((P(1) - S "[]\\") ^ 1 + P "\\" * P(1)) ^ 0 * (P "]" * Cc "closed" + P(true) * Cc "unclosed")
local closed_literal = P "[" * ((P(1) - S '[]\\@<>,;"') ^ 1 + P "\\" * P(1)) ^ 0 * "]"

-- Text in ISO-2022-JP that nobody has encoded: its bytes hold quotes and parentheses. As word.in_address.
local function japanese(specials)
  return P "\27$" * S "@B" * (P(1) - S("\27\r\n" .. specials)) ^ 0 * P "\27(" * S "BJ"
end

-- One value only: LPeg holds at most 32,767 values of match-time captures.
local function after_comment(text, at)
  return (comment_end(text, at))
end

local function kind(name, pattern, state)
  return Cc(name) * Cp() * pattern * (state and P(true) or Cc "closed") * Cp()
end

local whole_comment = kind("comment", P "(" * Cmt(P(true), after_comment))
local partnered_comment = kind("comment", Cmt(P "(", comment_with_partner))
local any_special = function(special) return C(special) * Cp() * Cc "closed" * Cp() end -- start is one too high

-- Dialects differ in what ends an atom: RFC 5322 3.2.3 specials, or RFC 2045 5.1 tspecials. Control characters and
-- 8-bit bytes stay in the atom: RFC 6532 allows the latter, and the grammar above refuses the former.
local ADDRESS, MIME = '()<>[]:;@\\,."', '()<>@,;:\\"/[]?='

local function lexer(specials, ...)
  local one = P(false)
  for _, pattern in ipairs { ... } do
    one = one + pattern
  end
  return Ct((white ^ 0 * (one + any_special(S(specials)))) ^ 0)
end

local function atom_of(specials, inside)
  return kind("atom", (inside + (P(1) - S(specials) - white - word.in_address)) ^ 1)
end

local strays = kind("stray", S '()[]"')
local mime_atom = kind("atom", (P(1) - S(MIME) - white) ^ 1)
local mime_word = kind("encoded", word.in_parameter)

local dialects = {
  -- headers with addresses
  address = lexer(ADDRESS, partnered_comment, kind("quoted", closed_quoted), kind("literal", closed_literal),
    kind("encoded", word.in_address), atom_of(ADDRESS, japanese "@" + japanese "<>,;"), strays),
  -- the envelope, which knows no encoded words
  path = lexer(ADDRESS, whole_comment, kind("quoted", quoted, true), kind("literal", literal, true),
    kind("atom", (P(1) - S(ADDRESS) - white) ^ 1)),
  -- values with parameters
  mime = lexer(MIME, whole_comment, kind("quoted", quoted, true), kind("literal", literal, true), mime_word, mime_atom),
  -- what other hosts write of a message: what is not closed does not swallow the rest
  trace = lexer(MIME, partnered_comment, kind("quoted", closed_quoted), kind("literal", closed_literal), mime_word,
    mime_atom, strays),
}

local function unescape(text)
  return (text:gsub("\\(.)", "%1"))
end

-- A backslash before anything but '"' and "\" stays: names like "C:\work\a.exe" occur in the wild, and mail readers
-- (and Python's email.utils.unquote) read them this way.
local function unescape_mime(text)
  return (text:gsub('\\(["\\])', "%1"))
end

-- The tokens of a text as a flat list, four values each.
local function flat_tokens(text, dialect)
  known = { is_trace = dialect == "trace" }
  local flat = lpeg.match(dialects[dialect], text)
  if dialect == "address" and known.has_stray_quote and known.is_list_quoted then
    known = { is_unbalanced = true }
    flat = lpeg.match(dialects[dialect], text)
  end
  known = nil
  return flat
end

-- What is open at the end of the text.
local opens = { ['"'] = "quoted string", ["("] = "comment", ["["] = "domain literal", quoted = "quoted string",
  literal = "domain literal", comment = "comment" }

-- Other readers may see more than one token in such text, which does not end where they think.
local function is_doubtful(name, meaning)
  if name == "encoded" and meaning:find '[()<>,;"\\%[%]]' then
    local rest = meaning:gsub('"[^"\\]*"', ""):gsub("%([^()]*%)", ""):gsub("%[[^%[%]]*%]", "")
    return rest:find '[()<>,;"\\%[%]]' ~= nil
  end
  return name == "stray" or name == "atom" and meaning:find("\27$", 1, true) ~= nil
end

local function note_unclosed(tokens, name, at)
  if name and not tokens.unclosed then
    tokens.unclosed, tokens.unclosed_at = name, at
  end
end

local function add_comment(tokens, text, start, stop, is_last)
  local is_open = is_last and select(2, comment_end(text, start + 1))
  note_unclosed(tokens, is_open and opens.comment, start)
  tokens.ends_in_comment = is_open or nil
  tokens.comments[#tokens.comments + 1] = { text = unescape(text:sub(start + 1, is_open and stop or stop - 1)),
    before = #tokens + 1, start = start }
end

--- Split a header value into tokens.
---@param text string     unfolded or folded, no matter
---@param dialect "address"|"path"|"mime"|"trace"
---@return moonmilter.Token[] tokens
function token.lex(text, dialect)
  local tokens = { comments = {} }
  local flat = flat_tokens(text, dialect)
  local clean = (dialect == "mime" or dialect == "trace") and unescape_mime or unescape
  local n, last = 0, 0
  for i = 1, #flat, 4 do
    local name, start, state, stop = flat[i], flat[i + 1], flat[i + 2], flat[i + 3] - 1
    if name == "comment" then
      add_comment(tokens, text, start, stop, stop == #text)
    else
      local meaning = name
      if name == "quoted" then
        meaning = clean(text:sub(start + 1, state == "closed" and stop - 1 or stop):gsub("\r?\n", ""))
      elseif name == "literal" then
        meaning = unescape(text:sub(start + 1, state == "closed" and stop - 1 or stop))
      elseif #name > 1 then
        meaning = text:sub(start, stop)
      else
        start, stop = start - 1, start - 1
      end
      n = n + 1
      tokens[n] = { kind = name, text = meaning, start = start, stop = stop, blank = start > last + 1,
        is_doubtful = dialect == "address" and is_doubtful(name, meaning) or nil }
      note_unclosed(tokens, name == "stray" and opens[meaning] or state == "unclosed" and opens[name], start)
      last = stop
    end
  end
  return tokens
end

return token
