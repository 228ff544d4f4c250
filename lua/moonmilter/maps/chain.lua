--- Several maps in turn: the first that has the key answers. A failure ends the search, because a later map must not
--- answer what an earlier one might have answered otherwise (Postfix does the same).
local chain = {}

local Chain = {}
Chain.__index = Chain

---@param key string
---@param is_part boolean?  the key is a part of an address
---@return any value
---@return string? text
---@return string? code
function Chain:get(key, is_part)
  for _, source in ipairs(self.sources) do
    local value, text, code = source:get(key, is_part)
    if value ~= nil then
      return value
    elseif text ~= nil then
      return nil, text, code
    end
  end
  return nil
end

--- Entries of all maps, those of the first map first.
function Chain:each()
  local at, step, state, key = 0, nil, nil, nil
  return function()
    while true do
      if step then
        local value
        key, value = step(state, key)
        if key ~= nil then
          return key, value
        end
      end
      at = at + 1
      if not self.sources[at] then
        return nil
      end
      step, state, key = self.sources[at]:each()
    end
  end
end

function Chain:close()
  for _, source in ipairs(self.sources) do
    source:close()
  end
end

---@param sources table[]
function chain.new(sources)
  return setmetatable({ sources = sources }, Chain)
end

return chain
