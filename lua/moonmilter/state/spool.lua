--- What keeps and sends the events of a sink. A worker gathers those of a tenth of a second and writes them into a
--- store that all workers of the host share (core.event). There they wait; one generation of one worker, whichever has
--- the place, sends them in the order in which they came and removes what the receiver has. When that worker ends, is
--- killed or loads new scripts, the kernel gives the place to the next one that asks. An event is removed after it was
--- sent, so it may be sent twice, with the same id, but is never lost between.
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local spool = {}

local raw, now, timer_sleep = core.event, core.now, wait.wrap(core.timer_sleep)

local LOOK = 1 -- seconds between looks whether the place is free
local FIRST = 0.5 -- seconds between tries: doubled after each failure up to `retry`, less up to a half at random
local EPISODE = 10 -- seconds without a drop after which events are kept again
local RETRY_AFTER_MAX = 3600 -- seconds that a receiver may ask for
local BYTES_MAX = 1024 * 1024 -- of a batch
local ASIDE_MAX = 100 -- events that the receiver does not take and that are kept
local REFUSALS_MAX = 10 -- in a row; with more, it is not the events
local PENDING_MAX = 4 * 1024 * 1024 -- bytes that a worker keeps while another one holds the spool
local WRITE = 0.1 -- seconds that a worker gathers events: a killed one loses those

-- ---- what went wrong ----

local function waiting(sink)
  local count = raw.state(sink.number)
  return count or 0
end

local function fail(sink, text, retry_after)
  sink.failures = sink.failures + 1
  if sink.failures == 1 then
    sink.failed_at = now()
    log.warn("event sink %s: %s: %s; %d events wait, and more are kept until it takes them", sink.name, sink.to, text,
      waiting(sink))
  end
  raw.note(sink.number, text)
  local pause = math.min(sink.retry, FIRST * 2 ^ math.min(sink.failures - 1, 10)) * (0.5 + core.random() / 2)
  return math.max(pause, math.min(retry_after or 0, RETRY_AFTER_MAX))
end

local function recover(sink)
  if sink.failures > 0 then
    log.info("event sink %s: %s takes events again, after %.0f s; %d wait", sink.name, sink.to, now() - sink.failed_at,
      waiting(sink))
  end
  if sink.failures > 0 or not sink.has_sent then -- what another worker has noted is over, too
    raw.note(sink.number, nil)
  end
  sink.failures, sink.refusals, sink.has_sent = 0, 0, true
end

-- ---- one batch ----

-- Another worker may hold the spool for a moment. If that lasts, the events are sent again, with the same ids.
local function remove(sink, ids)
  for _ = 1, 10 do
    if raw.remove(sink.number, ids) then
      return
    end
    timer_sleep(0.05)
  end
end

-- A batch that is refused is halved until the event is found that the receiver does not take; that one is set aside, so
-- that the others reach it.
local function refuse(sink, ids, lines, text)
  if #ids > 1 then
    sink.size = math.ceil(#ids / 2)
    return 0
  end
  sink.refusals = sink.refusals + 1
  if sink.refusals > REFUSALS_MAX then
    return fail(sink, "refuses every event: " .. text)
  end
  log.warn("event sink %s: %s refuses the event %s, which is set aside: %s", sink.name, sink.to, ids[1], text)
  if not raw.set_aside(sink.number, ids[1], lines[1], ASIDE_MAX) then
    return LOOK
  end
  raw.count(sink.name, "failed", 1)
  return 0
end

-- -> seconds until the next batch
local function send(sink)
  local ids, lines = raw.take(sink.number, sink.size, BYTES_MAX)
  if not ids then
    return LOOK
  elseif not ids[1] then
    return sink.flush
  end
  local result, text, retry_after = sink.receiver:send(ids, lines)
  if result == "failed" then
    return fail(sink, text, retry_after)
  elseif result == "refused" then
    return refuse(sink, ids, lines, text)
  end
  remove(sink, ids)
  raw.count(sink.name, "sent", #ids)
  local was_full = #ids >= sink.size
  recover(sink)
  sink.size = math.min(sink.batch, sink.size * 2)
  return was_full and 0 or sink.flush
end

-- ---- into the spool ----

--- An event is lost: counted, and said once until the spool takes events again.
function spool.drop(sink, count, code)
  raw.count(sink.name, "dropped", count)
  if sink.dropped == 0 then
    local why = code == "full" and ("its spool has %s, which is max, because %s does not take them"):format(sink.max,
      sink.to) or code == "size" and "an event is over 64 KB" or code == "busy" and "another process holds the spool"
      or "its spool fails: " .. tostring(code)
    log.warn("event sink %s: events are dropped: %s", sink.name, why)
  end
  sink.dropped, sink.dropped_at = sink.dropped + count, now()
end

local function end_drops(sink)
  log.info("event sink %s: events are kept again; %d were dropped by this worker", sink.name, sink.dropped)
  sink.dropped = 0
end

--- Writes the events that this worker has gathered, in one step: that costs about as much as one event. When another
--- process holds the spool, which is rare and short, they stay until the next time.
---@return boolean? done, string? code
function spool.write(sink)
  local ids = sink.ids
  if not ids[1] then
    return true
  end
  local ok, _, code = raw.put(sink.number, ids, sink.lines)
  if not ok and code == "busy" and sink.bytes < PENDING_MAX then
    return nil, code
  end
  local count = #ids
  sink.ids, sink.lines, sink.bytes = {}, {}, 0
  sink.full_at = not ok and now() or nil
  if not ok then
    spool.drop(sink, count, code)
    return nil, code
  elseif sink.dropped > 0 and now() - sink.dropped_at > EPISODE then -- a spool that is full has room for a few, too
    end_drops(sink)
  end
  return true
end

-- ---- the loop ----

-- -> seconds until the next batch
local function turn(sink)
  if not raw.leads(sink.place) then
    return LOOK
  end
  return send(sink)
end

local function guard(e)
  return wait.cancelled(e) or debug.traceback(tostring(e), 2)
end

-- Calls fn, which returns seconds until the next call, for ever. timer_sleep raises when the next generation takes over
-- or the host ends; what fn has begun before that it finishes.
local function repeat_until_over(sink, fn, finish)
  local pause = 0
  while true do
    local ok, err = pcall(timer_sleep, pause)
    if ok then
      ok, pause = xpcall(fn, guard, sink)
      err = pause
    end
    if not ok and wait.cancelled(err) then
      finish(sink)
      error(err, 0)
    elseif not ok then
      log.error("event sink %s: %s", sink.name, err)
      pause = LOOK
    end
  end
end

local function leave(sink)
  raw.close(sink.place)
end

local function write_soon(sink)
  spool.write(sink)
  return WRITE
end

-- From now on each event is written at once: sessions of older scripts may still put some.
local function end_gathering(sink)
  sink.gathers = false
  spool.write(sink)
end

--- Begins to send.
function spool.start(sink)
  sink.failures, sink.refusals, sink.size, sink.gathers = 0, 0, sink.batch, true
  tasks.detach("generation", repeat_until_over, sink, write_soon, end_gathering)
  tasks.detach("generation", repeat_until_over, sink, turn, leave)
end

return spool
