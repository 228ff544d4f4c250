--- The text that a signature covers: chosen header fields in canonical form (RFC 6376 3.7, 5.4.2).
local seal = require "moonmilter.seal"

local signed = {}

-- fields: { raw, name in lower case }, top first; by_name: lists of positions, top first
local SignedHeader = {}
SignedHeader.__index = SignedHeader

--- A header, from which signatures choose fields.
---@param headers table[]  fields with `raw` or `name` and `value`, top first: ctx.headers, header.block, or a list
---@return table header
function signed.header(headers)
  local fields, by_name = {}, {}
  for i = 1, #headers do
    local field = headers[i]
    local raw = field.raw or field.name .. ": " .. field.value
    local name = (field.name or raw:match "^[^:]*"):lower():gsub("[ \t]+$", "") -- at most 998 bytes: a field's name
    fields[i] = { raw = raw, name = name }
    by_name[name] = by_name[name] or {}
    table.insert(by_name[name], i)
  end
  return setmetatable({ fields = fields, by_name = by_name, canonical = { simple = {}, relaxed = {} } }, SignedHeader)
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
    list[i] = { raw = self.fields[position].raw, name = name, position = position }
  end
  return list
end

-- The canonical form of a field, computed once for all signatures.
function SignedHeader:canonical_of(canon, position)
  local known = self.canonical[canon]
  known[position] = known[position] or seal.header(canon, self.fields[position].raw)
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

--- The fields of this name that the names of h= leave unsigned.
---@param names string[]  lower case
---@param name string     lower case
---@return integer
function SignedHeader:unsigned(names, name)
  local count = self:count(name)
  for _, signed_name in ipairs(names) do
    if signed_name == name and count > 0 then
      count = count - 1
    end
  end
  return count
end

return signed
