--- Macro strings of SPF (RFC 7208 7): "%{ir}.%{v}._spf.%{d2}".
local spf_macro = {}

---@class moonmilter.SpfMacro
---@field letter string        lower case
---@field parts integer?       how many parts from the right; nil: all
---@field is_reversed boolean
---@field delimiters string?   characters; nil: the value is taken whole
---@field is_escaped boolean   as in a URL

---@alias moonmilter.SpfMacroString (string|moonmilter.SpfMacro)[]

local ESCAPES = { ["%"] = "%", _ = " ", ["-"] = "%20" }
local NAME_MAX = 253 -- characters of a name, RFC 7208 7.3

-- The letters of domain names, and of explanations only (RFC 7208 7.2).
local LETTERS = { domain = "slodiphv", text = "slodiphvcrt" }

-- Bytes that stand for themselves are the visible ones, in explanations also the space (RFC 7208 6.2).
local function is_strange(text, use)
  return text:find(use == "text" and "[^ -~]" or "[^!-~]") ~= nil
end

-- What stands between "%{" and "}".
local function macro_of(inner, letters)
  local letter, digits, reversed, delimiters = inner:match "^(%a)(%d*)([rR]?)([-.+,/_=]*)$"
  if not letter or not letters:find(letter:lower(), 1, true) then
    return nil
  end
  local parts = tonumber(digits)
  if parts == 0 then -- RFC 7208 7.1: "DIGIT … MUST be nonzero"
    return nil
  end
  local is_whole = not parts and reversed == "" and delimiters == ""
  return { letter = letter:lower(), parts = parts, is_reversed = reversed ~= "", is_escaped = letter:find "%u" ~= nil,
    delimiters = not is_whole and (delimiters ~= "" and delimiters or ".") or nil }
end

-- A name ends in a macro, or in "." and a label with a letter or an inner hyphen, which a dot may follow (RFC 7208
-- 7.1 domain-end).
local function ends_as_name(last, is_macro)
  if is_macro then
    return true
  end
  local label = last:match "%.([%w-]+)%.?$"
  return label ~= nil and label:find "[%a-]" ~= nil and not label:find "^%-" and not label:find "%-$"
end

--- Reads a macro string.
---@param text string
---@param use "domain"|"text"  a name to ask for, which has to end as one; an explanation, or an unknown modifier
---@return moonmilter.SpfMacroString?  nil: a syntax error
function spf_macro.parse(text, use)
  local list, literal, is_macro = {}, {}, false
  local function end_literal()
    if literal[1] then
      list[#list + 1] = table.concat(literal)
      literal = {}
    end
  end
  if is_strange(text, use) then
    return nil
  end
  local at = 1
  while at <= #text do
    local percent = text:find("%", at, true)
    local stop = (percent or #text + 1) - 1
    if stop >= at then
      literal[#literal + 1], is_macro = text:sub(at, stop), false
    end
    if not percent then
      break
    end
    local sign = text:sub(percent + 1, percent + 1)
    if ESCAPES[sign] then
      literal[#literal + 1] = ESCAPES[sign]
      at = percent + 2
    else
      local brace = sign == "{" and text:find("}", percent, true)
      local macro = brace and macro_of(text:sub(percent + 2, brace - 1), LETTERS[use])
      if not macro then
        return nil
      end
      end_literal()
      list[#list + 1] = macro
      at = brace + 1
    end
    is_macro = true
  end
  end_literal()
  if use == "domain" and not ends_as_name(text, is_macro) then
    return nil
  end
  return list
end

local function escape(text)
  return (text:gsub("[^%w._~-]", function(byte) return ("%%%02X"):format(byte:byte()) end)) -- RFC 3986 2.3
end

local function split(text, delimiters)
  local parts, first = {}, 1
  for at = 1, #text do
    if delimiters:find(text:sub(at, at), 1, true) then
      parts[#parts + 1] = text:sub(first, at - 1)
      first = at + 1
    end
  end
  parts[#parts + 1] = text:sub(first)
  return parts
end

-- RFC 7208 7.3: split, reverse, take parts from the right, join with dots.
local function transform(macro, value)
  if macro.delimiters then
    local parts = split(value, macro.delimiters)
    if macro.is_reversed then
      for i = 1, math.floor(#parts / 2) do
        parts[i], parts[#parts - i + 1] = parts[#parts - i + 1], parts[i]
      end
    end
    value = table.concat(parts, ".", math.max(1, #parts - (macro.parts or #parts) + 1))
  end
  return macro.is_escaped and escape(value) or value
end

-- The end of a name that is too long: whole labels go from the left (RFC 7208 7.3).
local function cut_name(name)
  if name:sub(-1) == "." then
    name = name:sub(1, -2)
  end
  if #name <= NAME_MAX then
    return name
  end
  local dot = name:find(".", #name - NAME_MAX, true)
  return dot and name:sub(dot + 1) or ""
end

--- The name that a macro string stands for, at most 253 characters, without a final dot. It may be no possible name.
---@param list moonmilter.SpfMacroString
---@param value_of fun(letter: string): string?, string?, string?  the value of a letter; nil, and what nil means
---@return string? name
---@return string? result  as value_of() gave them
---@return string? reason
function spf_macro.name(list, value_of)
  if not list[2] and type(list[1]) == "string" then
    return cut_name(list[1])
  end
  local pieces, size = {}, 0 -- from the right, and no further than a name can be long
  for i = #list, 1, -1 do
    local piece = list[i]
    if type(piece) == "table" then
      local value, result, reason = value_of(piece.letter)
      if not value then
        return nil, result, reason
      end
      piece = transform(piece, value)
    end
    table.insert(pieces, piece)
    size = size + #piece
    if size > NAME_MAX + 2 then
      break
    end
  end
  for i = 1, math.floor(#pieces / 2) do
    pieces[i], pieces[#pieces - i + 1] = pieces[#pieces - i + 1], pieces[i]
  end
  return cut_name(table.concat(pieces))
end

--- The text that a macro string stands for; nil when a value is missing or the text would be longer than `max`.
---@param list moonmilter.SpfMacroString
---@param value_of fun(letter: string): string?
---@param max integer  bytes
---@return string?
function spf_macro.text(list, value_of, max)
  local pieces, size = {}, 0
  for i, piece in ipairs(list) do
    if type(piece) == "table" then
      local value = value_of(piece.letter)
      piece = value and transform(piece, value)
    end
    size = size + #(piece or "")
    if not piece or size > max then
      return nil
    end
    pieces[i] = piece
  end
  return table.concat(pieces)
end

return spf_macro
