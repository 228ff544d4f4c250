--- Lists of tags, "a=b; c=d": the grammar of DKIM signatures, key records and ARC sets (RFC 6376 3.2). DMARC records
--- use it with rules of their own (RFC 9989 4.7).
---
--- Names differ by case. A name that occurs twice makes the whole list invalid, and so does an empty tag ("a=b;;"); one
--- ";" may end the list. Blanks and folds may stand around names and values; a fold is CRLF or, as milters see it, LF.
local seal = require "moonmilter.seal"

local taglist = {}

---@alias moonmilter.identity.TagList table<string, string>  values by name, without blanks and folds around them; those
--- inside stay

--- Read a list.
---@param text string
---@return moonmilter.identity.TagList|nil tags  nil: the text breaks the grammar
---@return table|string spans  { name, first, last, name, … } in order: where the text between "=" and ";" begins and ends,
--- blanks included; or what is wrong
---@return integer|nil position  of the wrong tag
function taglist.parse(text)
  return seal.tags(text)
end

--- The text with the value of one tag removed, with the blanks around it (RFC 6376 3.5, b=). The list must be valid.
---@param text string
---@param spans table
---@param name string
---@return string
function taglist.remove(text, spans, name)
  for i = 1, #spans, 3 do
    if spans[i] == name then
      return text:sub(1, spans[i + 1] - 1) .. text:sub(spans[i + 2] + 1)
    end
  end
  return text
end

--- A value without the blanks and folds inside: of b=, bh=, p= and of lists.
---@param value string
---@return string
function taglist.solid(value)
  return seal.solid(value)
end

--- The items of a list in a value, "a : b", without blanks around them. An empty item is kept as "".
---@param value string
---@return string[]
function taglist.items(value)
  local text, out, at = seal.solid(value), {}, 1
  repeat
    local stop = text:find(":", at, true) or #text + 1
    out[#out + 1] = text:sub(at, stop - 1)
    at = stop + 1
  until at > #text + 1
  return out
end

return taglist
