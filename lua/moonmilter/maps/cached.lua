--- A cache before a map: what was found, and that nothing was found, is kept for a while. A failure is not kept.
local core = require "moonmilter.core"

local cached = {}

local now = core.now

local VALUE_MAX = 16 * 1024 -- bytes of a key and its value; longer ones are looked up each time

local Cached = {}
Cached.__index = Cached

-- Two tables take turns: when the newer one is full, the older one goes.
local function keep(self, key, entry)
  if self.newer[key] == nil then
    if self.count >= self.half then
      self.older, self.newer, self.count = self.newer, {}, 0
    end
    self.count = self.count + 1
  end
  self.newer[key] = entry
end

---@param key string
---@return any value
---@return string? text
---@return string? code
function Cached:get(key)
  local entry = self.newer[key] or self.older[key]
  local time = now()
  if entry and time < entry.ends_at and time >= entry.began_at then -- a clock that was set back keeps nothing for ever
    self.hits = self.hits + 1
    return entry.value
  end
  local value, text, code = self.source:get(key)
  if value == nil and text ~= nil then
    return nil, text, code
  end
  local seconds = value == nil and self.negative_ttl or self.ttl
  if seconds > 0 and #key + (type(value) == "string" and #value or 0) <= VALUE_MAX then
    time = now()
    keep(self, key, { value = value, began_at = time, ends_at = time + seconds })
  end
  return value
end

function Cached:info()
  local info = self.source:info()
  info.hits = self.hits
  return info
end

function Cached:close()
  self.newer, self.older, self.count = {}, {}, 0
  if self.source.close then
    self.source:close()
  end
end

---@param source table
---@param options { ttl: number, negative_ttl: number, cache: integer }
function cached.new(source, options)
  local self = setmetatable({
    source = source, ttl = options.ttl, negative_ttl = options.negative_ttl, half = math.ceil(options.cache / 2),
    newer = {}, older = {}, count = 0, hits = 0,
  }, Cached)
  if source.each then
    self.each = function() return source:each() end
  end
  return self
end

return cached
