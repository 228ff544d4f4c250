--- Places that sessions take and give back, counted over all workers: limit.concurrency is built on it. A record has
--- the places of each holder, which is a generation of scripts in a worker, and when they end unless it renews them; so
--- the places of a killed worker become free by themselves. Each change has a number above all earlier ones, by which
--- a server that is told sums out of order knows the last one (remote_places).
local core = require "moonmilter.core"
local store = require "moonmilter.store"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local places = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local HEARTBEAT = 10 -- seconds between renewals
local RENEWED_AT_ONCE = 100 -- keys, so that sessions do not wait for the renewal of many
local LEASE = 3 * HEARTBEAT -- seconds that a place lasts without one

-- Unique on the host: the same script file may be loaded in several workers and generations at the same time.
local holder = core.store.unique()
local held = {} -- key -> places that we hold
local is_renewing = false
local kept -- the store

--- The store of all places; opened when the first limit needs it.
function places.open()
  kept = kept or store.open("places", { when_full = "evict" })
  return kept
end

local function new_number()
  return math.floor(now() * 1e6)
end

-- The places of those that still renew them, their sum, and the number of the last change.
local function living(record)
  local left, sum = {}, 0
  for name, place in pairs(record or {}) do
    if name ~= "change" and place.ends > now() then
      left[name], sum = place, sum + place.count
    end
  end
  return left, sum, record and record.change or 0
end

-- The record with count places of ours, and its number; nil when nobody has a place.
local function with_own(left, count, change)
  change = math.max(change + 1, new_number())
  left[holder] = count > 0 and { count = count, ends = now() + LEASE } or nil
  if next(left) == nil then
    return nil, change
  end
  left.change = change
  return left, change
end

-- -> the sum and the number of the change; nil when the store fails
local function renew(key, count)
  local sum, change
  local _, text = kept:update(key, function(record)
    local left, all, last = living(record)
    sum = all - (left[holder] and left[holder].count or 0) + count
    record, change = with_own(left, count, last)
    return record
  end, LEASE)
  if not text then
    return sum, change
  end
end

-- As long as this generation has sessions: those of an old one hold their places, too.
local function renew_for_ever()
  while true do
    sleep(HEARTBEAT)
    local keys = {} -- held may change while we pause
    for key in pairs(held) do
      keys[#keys + 1] = key
    end
    for i, key in ipairs(keys) do
      if held[key] then
        renew(key, held[key])
      end
      if i % RENEWED_AT_ONCE == 0 then
        sleep(0.001)
      end
    end
  end
end

--- Takes a place if fewer than max are taken. taken: how many are, this one included.
---@return boolean? ok  nil: the store failed
---@return integer|string taken_or_text
---@return string|integer|nil code_or_change
function places.take(key, max)
  local taken, ok, change
  local _, text, code = kept:update(key, function(record)
    local left, sum, last = living(record)
    ok = sum < max
    taken = ok and sum + 1 or sum
    record, change = with_own(left, (held[key] or 0) + (ok and 1 or 0), last)
    return record
  end, LEASE)
  if text then
    return nil, text, code
  end
  if ok then
    held[key] = (held[key] or 0) + 1
    if not is_renewing then
      is_renewing = true
      tasks.detach("generation", renew_for_ever)
    end
  end
  return ok, taken, change
end

--- Gives a place back.
function places.give(key)
  local count = (held[key] or 1) - 1
  held[key] = count > 0 and count or nil
  renew(key, count)
end

--- How many places are taken, and the number of the last change.
---@return integer? count
---@return string|integer text_or_change
---@return string? code
function places.count(key)
  local record, text, code = kept:get(key)
  if record == nil and text then
    return nil, text, code
  end
  local _, sum, change = living(record)
  return sum, change > 0 and change or new_number()
end

return places
