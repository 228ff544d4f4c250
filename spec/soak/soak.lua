-- A bounded soak: mixed sessions through a host with workers, scripts reloaded every few seconds, and at the end as
-- much memory and as many descriptors as after the beginning. Fails when there are more, or an answer was wrong.
--
--   SOAK_SECONDS=600 luajit spec/soak/soak.lua
--
-- SOAK_LEAK=yes adds a script that leaks memory and descriptors: then it must fail.
package.path = "./?.lua;" .. package.path
local socket = require "socket"

local host = require "spec.support.host"
local load = require "spec.soak.load"
local process = require "spec.support.process"

local SECONDS = tonumber(os.getenv "SOAK_SECONDS") or 600
local SESSIONS = 40
local WORKERS = 2
local RELOAD_EVERY = 3
local SAY_EVERY = 5
local WARM_UP = math.max(5, SECONDS / 5)
local PAUSE = 0.004 -- seconds between two checks of the sessions: the load is long, not maximal
local GROWTH_KB, GROWTH_SHARE = 4096, 0.05 -- permitted growth: memory is not returned at once

local LEAK = [[
  local ffi = require "ffi"
  ffi.cdef "void *malloc(size_t); void *memset(void *, int, size_t); int open(const char *, int, ...);"
  local count = 0
  function on_rcpt()
    count = count + 1
    ffi.C.memset(ffi.C.malloc(20000), 1, 20000)
    if count % 50 == 0 then ffi.C.open("/dev/null", 0) end
  end]]

local FILTER = assert(process.read_file "spec/soak/filter.lua")
local echo_port = load.echo_server()

local function source(mark)
  return (FILTER:gsub('MARK = "start"', ("MARK = %q"):format(mark)):gsub("ECHO_PORT = 0", "ECHO_PORT = " .. echo_port))
end

local scripts = { ["10-soak.lua"] = source "start", ["90-leak.lua"] = os.getenv "SOAK_LEAK" and LEAK or nil }
-- The history is full, and so as large as it gets, before the first measure.
local h = host.start { workers = WORKERS, scripts = scripts, life = SECONDS + 120,
  arguments = { "--log=/dev/null", "--memory_hard=256M", "--history=500" } }

local function members()
  local list = h:workers()
  table.insert(list, 1, h:pid())
  return list
end

-- Resident kilobytes and descriptors of master and workers, in this order.
local function look()
  local sample = { kb = {}, descriptors = {}, pids = members() }
  for i, pid in ipairs(sample.pids) do
    sample.kb[i] = host.memory(pid) or 0
    sample.descriptors[i] = host.exists(pid) and host.descriptors(pid) or 0
  end
  return sample
end

local function open_sessions()
  local count = 0
  for _, row in ipairs(h:status()) do count = count + row.sessions end
  return count
end

local reloads = 0
local function reload()
  reloads = reloads + 1
  h:write { ["10-soak.lua"] = source("generation" .. reloads) }
  if reloads % 4 == 0 then h:write { ["20-broken.lua"] = "function on_rcpt(" } else os.remove(h.scripts
    .. "/20-broken.lua") end
  h:signal "SIGHUP"
end

local before = look()
local began = socket.gettime()
local function elapsed() return socket.gettime() - began end
local counts = load.start(h.where, SESSIONS, function() return elapsed() >= SECONDS end)

local samples = {}
local sample_at, reload_at, say_at = 1, RELOAD_EVERY, SAY_EVERY
while counts.running > 0 and elapsed() < SECONDS + 60 do
  load.turn(0.1)
  socket.sleep(PAUSE)
  local now = elapsed()
  if now >= sample_at then
    sample_at = now + 1
    local sample = look()
    sample.at = now
    if now < SECONDS then samples[#samples + 1] = sample end
  end
  if now >= reload_at and now < SECONDS then
    reload_at = now + RELOAD_EVERY
    reload()
  end
  if now >= say_at then
    say_at = now + SAY_EVERY
    local last = samples[#samples]
    print(("%4.0f s: %d messages, %d odd, %d wrong, %d reloads; KiB %s; descriptors %s"):format(now,
      counts.messages, counts.odd, counts.wrong, reloads, table.concat(last.kb, " "),
      table.concat(last.descriptors, " ")))
    io.stdout:flush()
  end
end

-- ---- the end: leftovers and growth ----

local problems = {}
local function fail(...) problems[#problems + 1] = (...):format(select(2, ...)) end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

-- The median of a member's memory over the samples of a time.
local function memory_between(member, from, to)
  local list = {}
  for _, sample in ipairs(samples) do
    if sample.at >= from and sample.at < to then list[#list + 1] = sample.kb[member] end
  end
  return median(list)
end

if counts.running > 0 then fail("%d sessions of the load have not come to an end", counts.running) end
if counts.wrong > 0 then fail("%d wrong answers, such as %s", counts.wrong, counts.example) end

load.hang_up_on_echoes()
local generations = ""
local settled = host.try_until(6, function()
  generations = h:ctl "generations"
  local after = look()
  for i = 1, #before.pids do
    if after.descriptors[i] > before.descriptors[i] then return false end
  end
  return open_sessions() == 0 and not generations:find("generation=%d+ [^\n]*\n[^\n]*generation=%d+ "
    .. "[^\n]*\n.*generation=%d")
end)
local after = look()
if open_sessions() > 0 then fail("%d sessions are left", open_sessions()) end
if not settled then fail("something is left: descriptors %s, before %s; generations:\n%s",
  table.concat(after.descriptors, " "), table.concat(before.descriptors, " "), generations) end
if table.concat(before.pids, " ") ~= table.concat(after.pids, " ") then fail("processes have changed: a "
  .. "worker died") end

local third = (SECONDS - WARM_UP) / 3
for i = 1, #before.pids do
  local name = i == 1 and "master" or "worker " .. i - 1
  local earlier, later = memory_between(i, WARM_UP, WARM_UP + third), memory_between(i, SECONDS - third, SECONDS)
  print(("%s: %d KiB at the start, %d after warming up, %d in the end; descriptors %d, %d"):format(name,
    before.kb[i], earlier, later, before.descriptors[i], after.descriptors[i]))
  if later - earlier > math.max(GROWTH_KB, earlier * GROWTH_SHARE) then
    fail("%s: memory grew from %d to %d KiB", name, earlier, later)
  end
end
print(("%.0f s, %d sessions, %d messages (%d odd), %d wrong, %d reloads, %d broken ones among them"):format(elapsed(),
  counts.sessions, counts.messages, counts.odd, counts.wrong, reloads, math.floor(reloads / 4)))
h:stop()

for _, problem in ipairs(problems) do print("NOT FLAT: " .. problem) end
print(#problems == 0 and "flat" or "failed")
os.exit(#problems == 0 and 0 or 1)
