--- How much text one call of a parser takes. Every parser takes linear time, so this bounds the time of a call, and it
--- is more than any MTA passes on by itself.
local bound = {}

--- Bytes of a field's value: Postfix passes on 102,400 (header_size_limit), Sendmail 32,768 of a whole header.
bound.FIELD_MAX = 128 * 1024
--- Bytes of what the standard allows no line end in: an id, a path, a date (a line has at most 998, RFC 5322 2.1.1).
bound.LINE_MAX = 998

--- Nothing when a text is short enough; else what a parser returns: nil, text, position, code.
---@param what string  begins the text: "address"
---@param text string
---@param max integer
---@return nil
---@return string|nil text
---@return integer|nil position  first byte too many
---@return "length"|nil code
function bound.fault(what, text, max)
  if #text > max then
    return nil, ("%s: %d bytes; at most %d are read"):format(what, #text, max), max + 1, "length"
  end
end

--- A field's value as far as it is read, and the table of its defects when that is not the whole.
---@param text string
---@return string text
---@return { ["over-length"]: true }|nil defects
function bound.cut(text)
  if #text <= bound.FIELD_MAX then
    return text
  end
  return text:sub(1, bound.FIELD_MAX), { ["over-length"] = true }
end

return bound
