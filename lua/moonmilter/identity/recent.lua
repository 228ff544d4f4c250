--- A table that remembers the values used last: for what is a pure function of a text, such as a parsed key record.
---
--- Two tables take turns. A value that is found in the older one moves to the newer one; when the newer one is full,
--- the older one goes. So between `size` / 2 and `size` values are kept, and each access costs the same.
local recent = {}

local Recent = {}
Recent.__index = Recent

---@param size integer  values kept at most
---@return table
function recent.new(size)
  return setmetatable({ half = math.ceil(size / 2), count = 0, newer = {}, older = {} }, Recent)
end

---@param key string
---@return any value  nil: not kept
function Recent:get(key)
  local value = self.newer[key]
  if value == nil then
    value = self.older[key]
    if value ~= nil then
      self:keep(key, value)
    end
  end
  return value
end

---@param key string
---@param value any  not nil
function Recent:keep(key, value)
  if self.newer[key] == nil then
    if self.count >= self.half then
      self.older, self.newer, self.count = self.newer, {}, 0
    end
    self.count = self.count + 1
  end
  self.newer[key] = value
end

return recent
