--- The buckets of a limit on a server, exact over all hosts: one call for each take. A refusal is remembered on the
--- host until the units are there, so that a flood costs one call a refusal and not one a message.
local core = require "moonmilter.core"
local gcra = require "moonmilter.state.gcra"
local log = require "moonmilter.log"
local store = require "moonmilter.store"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local exact = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local PAUSE = 0.1 -- seconds until units go back to the server
local REMEMBERED = 60 -- seconds at most, so that a reset on another host is seen
local BATCH = 100 -- buckets of one call that gives back

local Exact = {}
Exact.__index = Exact

local refusals -- key -> when its bucket is full

--- of: { name, interval, capacity, server, share }
function exact.new(of)
  refusals = refusals or store.open("refusals", { when_full = "evict" })
  of.prefix = ("%s%s:"):format(gcra.PREFIX, of.name)
  of.returning = {} -- key -> units to give back
  of.held = 0 -- messages under way that may give back
  return setmetatable(of, Exact)
end

local function run(self, calls)
  return self.server:use("script", gcra.request(calls))
end

local function call_of(self, key, count)
  return { key = self.prefix .. key, interval = self.interval, capacity = self.capacity, count = count, what = "take" }
end

-- Seconds until the bucket is full, when it is known that so many units are not there.
local function known_missing(self, key, count)
  local full_at = refusals:get(self.prefix .. key)
  local missing = full_at and full_at - now()
  return missing and missing + (count - self.capacity) * self.interval > 0 and missing or nil
end

--- Takes count units, or none; 0: only looks.
---@return boolean ok, moonmilter.limit.State state
function Exact:take(key, count)
  local missing = count > 0 and known_missing(self, key, count)
  if missing then
    return gcra.state(self, false, missing, count, false)
  end
  local calls = {}
  local back = self.returning[key]
  if back then -- the next message finds the units of the last one
    self.returning[key] = nil
    calls[1] = call_of(self, key, -back)
  end
  calls[#calls + 1] = call_of(self, key, count)
  local replies, text, code = run(self, calls)
  if not replies then
    return self.share:decide(key, count, text, code)
  end
  local ok, is_first
  ok, missing, is_first = gcra.read(replies[#replies])
  local _, state = gcra.state(self, ok, missing, count, is_first)
  if ok then
    self.share:note(key, count)
  elseif missing > 0 then
    refusals:set(self.prefix .. key, now() + missing, math.max(math.min(state.retry_after, REMEMBERED), 0.001))
  end
  return ok, state
end

-- ---- giving back ----

local function next_batch(self)
  local calls = {}
  while #calls < BATCH do
    local key, count = next(self.returning)
    if not key then
      break
    end
    self.returning[key] = nil
    calls[#calls + 1] = call_of(self, key, -count)
  end
  return calls
end

-- What cannot be given back because the server fails is lost: after a time-out it may have been given back already.
local function return_all(self)
  local calls = next_batch(self)
  while calls[1] do
    local _, failures = self.server:each_key(gcra.request(calls))
    local _, failure = next(failures)
    if failure then
      log.debug("limit %s: units of some keys could not be given back: %s", self.name, failure.text)
    end
    calls = next_batch(self)
  end
end

-- A function of at_end cannot start a task, so this one runs as long as there are messages that may give back.
local function return_while_held(self)
  repeat
    sleep(PAUSE)
    return_all(self)
  until self.held == 0 and next(self.returning) == nil
  self.is_returning = false
end

--- Gives back what take() has taken unless the message passes.
function Exact:hold(key, count, state)
  local is_shared = state.state == "shared"
  self.held = self.held + 1
  if not self.is_returning then -- no room for a task: the next message tries again
    self.is_returning = pcall(tasks.detach, "generation", return_while_held, self)
  end
  tasks.at_end(function()
    self.held = self.held - 1
    if core.has_passed() then
      return
    end
    self.share:note(key, -count)
    refusals:delete(self.prefix .. key)
    self.returning[key] = is_shared and (self.returning[key] or 0) + count or self.returning[key]
  end)
end

Exact.look = gcra.look

--- Fills a bucket.
function Exact:reset(key)
  self.share:reset(key)
  refusals:delete(self.prefix .. key)
  local count, text, code = self.server:use("call", "DEL", self.prefix .. key)
  if not count then
    return nil, text, code
  end
  return tonumber(count) > 0
end

return exact
