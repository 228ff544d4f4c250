--- Different values that a key has had in some time, counted over all workers of this host.
local store = require "moonmilter.store"

local distinct = {}

local Distinct = {}
Distinct.__index = Distinct

local kept -- the store

--- of: { prefix, max, per }  max: values of a key; per: seconds from the first one on
function distinct.new(of)
  kept = kept or store.open("distinct", { when_full = "evict" })
  return setmetatable(of, Distinct)
end

-- The length keeps keys apart that contain the separator.
local function base_of(self, key)
  return ("%s%d:%s:"):format(self.prefix, #key, key)
end

-- One value less; a count whose time is over stays away.
local function one_less(count)
  return count and count > 1 and count - 1 or nil
end

-- Counts first and notes the value then: of several workers none lets more values pass, and a value that is noted has
-- passed.
local function note_value(self, base, value)
  local count, text, code = kept:incr(base, 1, self.per)
  if count == nil then
    return nil, text, code
  elseif count > self.max then -- another worker took the last one
    kept:update(base, one_less)
    return kept:get(base .. value) ~= nil, self.max
  end
  local _, left = kept:get(base)
  local added
  added, text, code = kept:add(base .. value, true, type(left) == "number" and left > 0 and left or self.per)
  if added then
    return true, count
  end
  kept:update(base, one_less)
  if added == nil then
    return nil, text, code
  end
  return true, count - 1 -- another worker has noted it
end

--- Notes a value. One that was noted before is free; a new one beyond the limit is refused and not noted.
---@return boolean? ok  nil: the store failed
---@return integer|string count_or_text
---@return string? code
function Distinct:add(key, value)
  local base = base_of(self, key)
  local seen, text, code = kept:get(base .. value)
  local count, left = kept:get(base)
  if (seen == nil and text) or (count == nil and left) then
    return nil, text or left, code
  elseif seen then
    return true, count or 0
  elseif (count or 0) >= self.max then
    return false, count
  end
  return note_value(self, base, value)
end

--- Notes a new value that has passed, whatever the limit says. life: seconds until the time of the key is over.
function Distinct:note(key, value, life)
  local base = base_of(self, key)
  if kept:add(base .. value, true, life) then
    kept:incr(base, 1, life)
  end
end

return distinct
