--- Lists of tags, "a=b; c=d": the grammar of DKIM signatures, key records and ARC sets (RFC 6376 3.2). DMARC records
--- use it with rules of their own (RFC 9989 4.7).
---
--- Names differ by case. A name that occurs twice makes the whole list invalid, and so does an empty tag ("a=b;;"); one
--- ";" may end the list. Blanks and folds may stand around names and values; a fold is CRLF or, as milters see it, LF.
local taglist = {}

---@class moonmilter.identity.TagList
---@field [string] string  value by name: without blanks and folds around it; those inside stay

---@class moonmilter.identity.TagSpan
---@field name string
---@field first integer  where the text between "=" and ";" begins, blanks included
---@field last integer   its last byte; first - 1 when there is none

local FWS = "[ \t\r\n]*"

local function fault(position, text, ...)
  return nil, ("tag list: " .. text):format(...), position
end

-- RFC 6376 3.2 VALCHAR, and UTF-8 (RFC 8616 5); blanks and folds inside
local FOREIGN = "[^\t\r\n -:<-~\128-\255]"

-- One tag between two ";". -> name, where its value begins, the value | nil, text
local function read_tag(text, first, last)
  local spec = text:sub(first, last)
  local name, at = spec:match("^" .. FWS .. "(%a[%w_]*)" .. FWS .. "=()")
  if not name then
    return nil, spec:find "[^ \t\r\n]" and "no name and \"=\" here" or "an empty tag"
  end
  local value = spec:sub(at)
  if value:find(FOREIGN) then
    return nil, "a control character in the value of " .. name
  end
  value = value:match "[^ \t\r\n].*" or ""
  return name, first + at - 1, value:match "^.*[^ \t\r\n]" or ""
end

--- Read a list.
---@param text string
---@return moonmilter.identity.TagList|nil tags  nil: the text breaks the grammar
---@return moonmilter.identity.TagSpan[]|string spans  in order; or what is wrong
---@return integer|nil position  of the wrong tag
function taglist.parse(text)
  local tags, spans, at = {}, {}, 1
  repeat
    local stop = text:find(";", at, true) or #text + 1
    local name, first, value = read_tag(text, at, stop - 1)
    if not name and stop > #text and spans[1] and not text:find("[^ \t\r\n]", at) then
      break -- nothing after the last ";"
    elseif not name then
      return fault(at, "%s", first)
    elseif tags[name] then
      return fault(at, "%s occurs twice", name)
    end
    tags[name] = value
    spans[#spans + 1] = { name = name, first = first, last = stop - 1 }
    at = stop + 1
  until at > #text
  return tags, spans
end

--- The text with the value of one tag removed, with the blanks around it (RFC 6376 3.5, b=). The list must be valid.
---@param text string
---@param spans moonmilter.identity.TagSpan[]
---@param name string
---@return string
function taglist.remove(text, spans, name)
  for _, span in ipairs(spans) do
    if span.name == name then
      return text:sub(1, span.first - 1) .. text:sub(span.last + 1)
    end
  end
  return text
end

--- A value without the blanks and folds inside: of b=, bh=, p= and of lists.
---@param value string
---@return string
function taglist.solid(value)
  return (value:gsub("[ \t\r\n]+", ""))
end

--- The items of a list in a value, "a : b", without blanks around them. An empty item is kept as "".
---@param value string
---@return string[]
function taglist.items(value)
  local text, out, at = taglist.solid(value), {}, 1
  repeat
    local stop = text:find(":", at, true) or #text + 1
    out[#out + 1] = text:sub(at, stop - 1)
    at = stop + 1
  until at > #text + 1
  return out
end

return taglist
