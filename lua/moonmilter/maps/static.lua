--- static:VALUE or static:{ value with blanks }: the same value for every key, for the end of a chain, as in Postfix.
local spec = require "moonmilter.maps.spec"

local static = {}

local Source = {}
Source.__index = Source

function Source:get()
  return self.value
end

function Source.info()
  return {}
end

---@param argument string
function static.open(argument)
  local inner = argument:match "^{(.*)}$"
  return setmetatable({ value = inner and spec.trim(inner) or argument }, Source)
end

return static
