--- The text that a signature covers: chosen header fields in canonical form (RFC 6376 3.7, 5.4.2).
local seal = require "moonmilter.seal"

local signed = {}

-- raws: whole fields, top first; by_name: lists of positions, top first, by names in lower case
local SignedHeader = {}
SignedHeader.__index = SignedHeader

--- A header, from which signatures choose fields.
---@param headers table[]  fields with `raw` or `name` and `value`, top first: ctx.headers, header.block, or a list
---@return table header
function signed.header(headers)
  local raws, by_name = {}, {}
  for i = 1, #headers do
    local field = headers[i]
    local raw = field.raw or field.name .. ": " .. field.value
    local name = (field.name or raw:match "^[^:]*"):lower()
    local last = name:byte(-1)
    if last == 32 or last == 9 then -- a blank before the colon
      name = name:match "^.*[^ \t]" or ""
    end
    local list = by_name[name]
    if list then
      list[#list + 1] = i
    else
      by_name[name] = { i }
    end
    raws[i] = raw
  end
  return setmetatable({ raws = raws, by_name = by_name, canonical = { simple = {}, relaxed = {} } }, SignedHeader)
end

--- How many fields have this name?
---@param name string  lower case
---@return integer
function SignedHeader:count(name)
  return #(self.by_name[name] or "")
end

--- The fields of this name, top first, as { raw, name }, and their positions.
---@param name string  lower case
---@return { raw: string, name: string, position: integer }[]
function SignedHeader:all(name)
  local list = {}
  for i, position in ipairs(self.by_name[name] or {}) do
    list[i] = { raw = self.raws[position], name = name, position = position }
  end
  return list
end

-- The canonical form of a field, computed once for all signatures.
function SignedHeader:canonical_of(canon, position)
  local known = self.canonical[canon]
  known[position] = known[position] or seal.header(canon, self.raws[position])
  return known[position]
end

--- The text that is signed. A name that occurs several times takes fields from the last up; one that is missing takes
--- nothing (RFC 6376 5.4.2).
---@param canon "simple"|"relaxed"
---@param names string[]  of h=, lower case
---@param last string     the signature's own field with an empty b=
---@param own integer|nil its position, which no name takes
---@return string
function SignedHeader:text(canon, names, last, own)
  local out, taken = {}, {}
  for _, name in ipairs(names) do
    local positions = self.by_name[name]
    local at = positions and (taken[name] or #positions)
    if at and at > 0 and positions[at] == own then
      at = at - 1
    end
    if at and at > 0 then
      out[#out + 1] = self:canonical_of(canon, positions[at])
      taken[name] = at - 1
    end
  end
  out[#out + 1] = seal.header(canon, last)
  return table.concat(out, "\r\n")
end

--- How many fields of this name h= leaves unsigned.
---@param counts table<string, integer>  how often each name occurs in h=
---@param name string  lower case
---@return integer
function SignedHeader:unsigned(counts, name)
  return math.max(0, self:count(name) - (counts[name] or 0))
end

return signed
