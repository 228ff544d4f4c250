--- Places that sessions take and give back, counted over all workers: limit.concurrency is built on it. A record has
--- the places of each holder, which is a generation of scripts in a worker, and when they end unless it renews them; so
--- the places of a killed worker become free by themselves.
local core = require "moonmilter.core"
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

-- The places of those that still renew them, and their sum.
local function living(record)
  local left, sum = {}, 0
  for name, place in pairs(record or {}) do
    if place.ends > now() then
      left[name], sum = place, sum + place.count
    end
  end
  return left, sum
end

local function with_own(record, count)
  record[holder] = count > 0 and { count = count, ends = now() + LEASE } or nil
  return next(record) and record or nil
end

local function renew(key, count)
  return kept:update(key, function(record)
    return with_own(living(record), count)
  end, LEASE)
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
---@return string? code
function places.take(store, key, max)
  kept = store
  local taken, ok
  local _, text, code = store:update(key, function(record)
    local left, sum = living(record)
    ok = sum < max
    taken = ok and sum + 1 or sum
    return with_own(left, (held[key] or 0) + (ok and 1 or 0))
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
  return ok, taken
end

--- Gives a place back.
function places.give(key)
  local count = (held[key] or 1) - 1
  held[key] = count > 0 and count or nil
  renew(key, count)
end

--- How many places are taken.
function places.count(store, key)
  local record, text, code = store:get(key)
  if record == nil and text then
    return nil, text, code
  end
  local _, sum = living(record)
  return sum
end

return places
