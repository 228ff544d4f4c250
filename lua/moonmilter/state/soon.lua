--- A limit of several hosts for which no message waits. A worker counts by itself, and tells the server a few times a
--- second what it has let pass; the reply is what all others have. It decides on the last reply and its own count
--- since. What passed too much is a debt on the server, so that the rate holds in the long run.
local core = require "moonmilter.core"
local gcra = require "moonmilter.state.gcra"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local soon = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local DELAY, JITTER = 0.2, 0.1 -- seconds between two exchanges with the server
local BATCH = 200 -- keys of one call
local YOUNG_MAX = 50000 -- keys, and as many old ones
local LEAST_LIFE = 60 -- seconds that an unused key is kept, at least
local UNKNOWN = { timeout = true, closed = true } -- the server may have counted: never sent again

local Soon = {}
Soon.__index = Soon

--- of: { name, interval, capacity, server, share }
function soon.new(of)
  of.prefix = ("moonmilter:limit:%s:"):format(of.name)
  of.whole = of.interval * of.capacity
  of.young, of.old, of.count, of.grows_old_at = {}, {}, 0, 0 -- key -> entry
  of.touched = {} -- entries that the server does not know yet
  of.held = 0 -- messages under way that may give back
  return setmetatable(of, Soon)
end

-- An entry: missing seconds at a time; delta: units since the last exchange; is_refused since then; crossing: the
-- server has said that ours was the first refusal.
local function entry_of(self, key)
  local entry, time = self.young[key], now()
  if entry then
    return entry
  end
  if self.count >= YOUNG_MAX or time >= self.grows_old_at then
    self.old, self.young, self.count = self.young, {}, 0
    self.grows_old_at = time + math.max(self.whole, LEAST_LIFE)
  end
  entry = self.touched[key] or self.old[key] or { missing = 0, at = time, delta = 0 }
  self.young[key], self.count = entry, self.count + 1
  return entry
end

-- ---- exchanges with the server ----

local function send(self, keys, entries)
  local calls, sent = {}, {}
  for i, entry in ipairs(entries) do
    calls[i] = { key = self.prefix .. keys[i], interval = self.interval, capacity = self.capacity, count = entry.delta,
      what = entry.is_refused and "refused" or "count" }
    sent[i], entry.delta, entry.is_refused = entry.delta, 0, nil
  end
  local replies, failures = self.server:each_key(gcra.request(calls))
  for i, entry in ipairs(entries) do
    if replies[i] then
      local _, missing, is_first = gcra.read(replies[i])
      entry.missing, entry.at = missing + entry.delta * self.interval, now()
      entry.crossing = entry.crossing or is_first
    elseif not UNKNOWN[failures[i].code] then
      entry.delta = entry.delta + sent[i]
      self.touched[keys[i]] = entry
    end
  end
end

local function exchange(self)
  local touched, keys, entries = self.touched, {}, {}
  self.touched = {}
  for key, entry in pairs(touched) do
    keys[#keys + 1], entries[#entries + 1] = key, entry
    if #keys == BATCH then
      send(self, keys, entries)
      keys, entries = {}, {}
    end
  end
  if keys[1] then
    send(self, keys, entries)
  end
end

local function exchange_while_used(self)
  repeat
    sleep(DELAY + math.random() * JITTER)
    exchange(self)
  until self.held == 0 and next(self.touched) == nil
  self.is_exchanging = false
end

local function touch(self, key, entry)
  self.touched[key] = entry
  if not self.is_exchanging then -- no room for a task: the next take tries again
    self.is_exchanging = pcall(tasks.detach, "generation", exchange_while_used, self)
  end
end

-- ---- the limit ----

--- Takes count units, or none; 0: only looks. Does not wait.
---@return boolean ok, moonmilter.limit.State state
function Soon:take(key, count)
  local why = self.server:trouble(self.prefix .. key)
  if why then
    return self.share:decide(key, count, why, "down")
  end
  local entry, time = entry_of(self, key), now()
  local missing = math.max(entry.missing - math.max(time - entry.at, 0), 0)
  local wanted = missing + count * self.interval
  local ok = wanted <= self.whole + math.min(1e-6, self.interval / 1000)
  local left = ok and math.max(wanted, 0) or missing
  local is_first = not ok and entry.crossing or false
  if count ~= 0 then
    entry.missing, entry.at = left, time
    entry.delta = ok and entry.delta + count or entry.delta
    entry.is_refused = entry.is_refused or not ok
    entry.crossing = ok and entry.crossing or nil
    touch(self, key, entry)
  end
  if ok then
    self.share:note(key, count)
  end
  return gcra.state(self, ok, left, count, is_first)
end

Soon.look = gcra.look

--- Gives back what take() has taken unless the message passes.
function Soon:hold(key, count, state)
  local is_shared = state.state == "shared"
  self.held = self.held + 1
  tasks.at_end(function()
    self.held = self.held - 1
    if core.has_passed() then
      return
    elseif not is_shared then
      self.share:note(key, -count)
    else
      self:take(key, -count)
    end
  end)
end

--- Fills a bucket. Waits for the server.
function Soon:reset(key)
  self.young[key], self.old[key], self.touched[key] = nil, nil, nil
  self.share:reset(key)
  local had, text, code = self.server:use("call", "DEL", self.prefix .. key)
  if not had then
    return nil, text, code
  end
  return tonumber(had) > 0
end

return soon
