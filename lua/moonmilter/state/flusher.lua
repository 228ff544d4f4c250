--- One worker of a host, the flusher, tells a server a few times a second what all workers have let pass of limits in
--- the mode "soon", and notes what the server answers for all of them. When it ends, is killed or is stopped, another
--- one takes its place (host/state/tally.h). So a host needs one connection.
local core = require "moonmilter.core"
local gcra = require "moonmilter.state.gcra"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local flusher = {}

local now, tally, sleep = core.now, core.tally, wait.wrap(core.sleep)

local DELAY, JITTER = 0.2, 0.1 -- seconds between two rounds
local IDLE = 30 -- seconds without a take, after which a worker does not look any more
local BATCH = 200 -- keys of a call; ORDER DRAIN: host/bind/tally.c
local BATCHES = 10 -- calls of a round
local UNKNOWN = { timeout = true, closed = true } -- the server may have counted: never sent again
local PREFIX = gcra.PREFIX

local Flusher = {}
Flusher.__index = Flusher

local known = setmetatable({}, { __mode = "k" }) -- server -> Flusher

--- The one of a server (state/server.lua); nil and what is wrong.
---@return table? flusher, string? text
function flusher.of(server)
  if known[server] then
    return known[server]
  end
  local number, text = tally.open(server.name)
  if not number then
    return nil, text
  end
  local self = setmetatable({
    held = 0, -- messages under way that may give back
    server = server, number = number,
    patience = DELAY + JITTER + server.patience, -- seconds until all is told, else the server counts as down
    lease = 2 * server.patience + 2 * (DELAY + JITTER), -- of one who does not answer
  }, Flusher)
  known[server] = self
  if tally.is_waiting(number) then -- what one who was killed has left
    self:start()
  end
  return self
end

-- ---- a round ----

local function send(self, counts)
  local calls = {}
  for i, c in ipairs(counts) do
    calls[i] = { key = PREFIX .. c.key, interval = c.interval, capacity = c.capacity, count = c.count,
      what = c.is_refused and "refused" or "count" }
  end
  local replies, failures = self.server:each_key(gcra.request(calls))
  for i, c in ipairs(counts) do
    if replies[i] then
      local _, missing, is_first = gcra.read(replies[i])
      tally.settle(self.number, c.key, missing, is_first)
    else
      local is_lost = failures[i] and UNKNOWN[failures[i].code]
      tally.restore(self.number, c.key, is_lost and 0 or c.count, c.is_refused)
    end
  end
end

-- What comes while it waits is for the next round, unless there was more than one call takes.
local function tell(self)
  local why = self.server:trouble()
  for _ = 1, BATCHES do
    local counts = why and {} or tally.drain(self.number)
    if not counts[1] then
      break
    end
    tally.lead(self.number, self.lease)
    send(self, counts)
    why = self.server:trouble()
    if #counts < BATCH then
      break
    end
  end
  tally.end_round(self.number, why ~= nil)
end

local function tell_while_used(self)
  repeat
    sleep(DELAY + core.random() * JITTER)
    if tally.lead(self.number, self.lease) then
      tell(self)
    end
  until self.held == 0 and now() - self.taken_at > IDLE and not tally.is_waiting(self.number)
  self.is_running = false
end

-- ---- for limits ----

--- Without room for a task, or where none may begin, the next take tries again.
function Flusher:start()
  self.taken_at = now()
  if not self.is_running then
    self.is_running = pcall(tasks.detach, "generation", tell_while_used, self)
  end
end

--- key: LIMIT:KEY. Does not wait.
---@return boolean? ok  nil: the server fails
---@return number|string remaining_or_text, number|string retry_after_or_code, boolean? crossed
function Flusher:take(key, count, interval, capacity, looks)
  self:start()
  return tally.take(self.number, key, count, interval, capacity, self.patience, looks)
end

--- Fills a bucket. Waits for the server.
---@return boolean? was_used, string? text, string? code
function Flusher:fill(key)
  local count, text, code = self.server:use("call", "DEL", PREFIX .. tally.forget(self.number, key))
  if not count then
    return nil, text, code
  end
  return tonumber(count) > 0
end

return flusher
