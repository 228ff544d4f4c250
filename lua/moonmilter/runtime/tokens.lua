--- The words of a Lua source that has compiled, one after another: for moonmilter.runtime.syntax.
local tokens = {}

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true "
  .. "until while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

local ESCAPES = { a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v", ["\n"] = "\n" }

local function decimal(digits)
  return string.char(tonumber(digits) % 256)
end

local function hexadecimal(digits)
  return string.char(tonumber(digits, 16))
end

-- What a quoted string means. \u{…} stays as it is: no name that a script may write has one.
local function unescape(text)
  text = text:gsub("\\z%s*", ""):gsub("\\\r?\n", "\\\n")
  return (text:gsub("\\(x?)([%d%x]?%x?%d?)(.?)", function(x, digits, char)
    if x == "x" and #digits >= 2 then
      return hexadecimal(digits:sub(1, 2)) .. digits:sub(3) .. char
    end
    local number = x == "" and digits:match "^%d+"
    if number then
      return decimal(number) .. digits:sub(#number + 1) .. char
    end
    local all = x .. digits .. char
    return (ESCAPES[all:sub(1, 1)] or all:sub(1, 1)) .. all:sub(2)
  end))
end

local function long_bracket(source, at)
  local level = source:match("^%[(=*)%[", at)
  if not level then
    return nil
  end
  local first = at + #level + 2
  local last, after = source:find("]" .. level .. "]", first, true)
  return source:sub(first, last - 1), after + 1
end

local function quoted(source, at)
  local quote, from = source:sub(at, at), at + 1
  while true do
    local stop = source:find(quote == '"' and '[\\"]' or "[\\']", from)
    if source:byte(stop) ~= 92 then
      local text = source:sub(at + 1, stop - 1)
      return text:find("\\", 1, true) and unescape(text) or text, stop + 1
    end
    from = stop + 2
  end
end

local function number_end(source, at)
  local after = source:match("^0[xX][%x.]*()", at) or source:match("^[%d.]+()", at)
  local is_hexadecimal = source:find("^0[xX]", at)
  after = is_hexadecimal and source:match("^[pP][+-]?%d+()", after) or not is_hexadecimal
    and source:match("^[eE][+-]?%d+()", after) or after
  return source:match("^[uUlLiI]+()", after) or after
end

local function skip_blanks(source, at)
  while true do
    at = source:match("^%s*()", at)
    if source:sub(at, at + 1) ~= "--" then
      return at
    end
    local _, after = long_bracket(source, at + 2)
    at = after or source:find("\n", at, true) or #source + 1
  end
end

--- The token at or after a byte: its kind ("name" "string" "number" "eof", or the word or sign itself), its first byte,
--- the byte after it, and its value.
local function next_token(source, at)
  at = skip_blanks(source, at)
  if at > #source then
    return "eof", at, at
  end
  local name, after = source:match("^([%a_\128-\255][%w_\128-\255]*)()", at)
  if name then
    return KEYWORDS[name] and name or "name", at, after, name
  end
  if source:find("^%.?%d", at) then
    return "number", at, number_end(source, at)
  end
  local char = source:sub(at, at)
  if char == '"' or char == "'" then
    local text, stop = quoted(source, at)
    return "string", at, stop, text
  end
  local text, stop = long_bracket(source, at)
  if text then
    return "string", at, stop, (text:gsub("^\r?\n", ""))
  end
  local sign = source:match("^%.%.%.", at) or source:match("^%.%.", at) or source:match("^[=~<>]=", at)
    or source:match("^::", at) or char
  return sign, at, at + #sign
end

--- All tokens: { kind =, at =, after =, line =, value = }, the last of kind "eof".
---@param source string
---@return table[]
function tokens.read(source)
  local list, at, line, counted = {}, source:match "^#[^\n]*()" or 1, 1, 1
  repeat
    local kind, first, after, value = next_token(source, at)
    line = line + select(2, source:sub(counted, first - 1):gsub("\n", ""))
    counted = first
    list[#list + 1] = { kind = kind, at = first, after = after, line = line, value = value }
    at = after
  until kind == "eof"
  return list
end

return tokens
