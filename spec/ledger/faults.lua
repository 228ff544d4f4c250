--- The faults of the ledger: actions on the filter, its host or the MTA while mail flows, and how to verify that they
--- happened. What a fault counts is in w.seen, which is empty when it begins. A fault's fields:
---
---   name      ends the sentence "nothing is lost, doubled, half edited or judged wrongly …"
---   seconds   minimum duration; long: with SLOW=1 (default 15)
---   kinds, stages, arguments, stay, through, unix   see world.lua
---   mta       options for the MTA's start, by kind; the fault then has its own MTA
---   kept      the filter's socket stays open while the filter is away; also its own MTA
---   messages  minimum number of messages (20)
---   alone     messages that make trouble fail alone: no worker dies, no other message is deferred
---   counts    every message takes from a limit and counts in a store; counts.lua audits the sums
---   rules     for the audit
---   masters_die   no process counts the lost sessions
---   is_free   no message gets even a temporary failure
---   every     seconds between two strikes
---   strike    function(w, n): strikes for the n-th time
---   enough    function(w): true when it has struck enough
---   settle    function(w): when all messages are with the MTA
---   check     function(w, sums): raises unless the fault has had an effect
local lfs = require "lfs"
local socket = require "socket"

local counts = require "spec.ledger.counts"
local filter = require "spec.mta.filter"
local ledger = require "spec.ledger.ledger"
local mta_client = require "spec.support.mta_client"
local peers = require "spec.ledger.peers"
local process = require "spec.support.process"

local EVERY_KIND = "keep,refuse,keep,rcpt,keep,discard,keep,later"
local STAGES = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }
local EVERY_STAGE = table.concat(STAGES, ",")
local STAGES_OF_A_MESSAGE = table.concat(STAGES, ",", 3)

local function kill(pid, name) return process.kill(pid, name or "SIGKILL") end

local function exists(pid)
  local text = process.read_file(("/proc/%d/stat"):format(pid))
  return text ~= nil and not text:match "%) Z"
end

local function kill_a_worker(w)
  local pids = w:workers()
  if #pids > 0 then kill(pids[math.random(#pids)]) end
end

-- Kills a worker right after its line about a message, when the MTA has hardly begun to read the reply.
local function kill_in_a_burst(w)
  local workers = {}
  for _, session in ipairs(w:sessions()) do workers[session.session] = session.worker end
  local read = #w:log()
  local worker = process.try_until(1, function()
    local found
    for id in w:log():sub(read + 1):gmatch '"event":"message","session":"([^"]+)"' do found = workers[id] or found end
    return found
  end)
  if worker then kill(worker) end
end

-- Kills the worker of a message that waits at a stage; the stages one after the other.
local function kill_at_a_stage(w)
  w.seen.struck = w.seen.struck or { count = 0 }
  local stage = STAGES[w.seen.struck.count % #STAGES + 1]
  local worker = process.try_until(1, function()
    for _, session in ipairs(w:sessions()) do
      if session.stage == stage and session.waits_for == "sleep" then return session.worker end
    end
  end)
  if not worker then return end
  kill(worker)
  w.seen.struck.count = w.seen.struck.count + 1
end

-- Stops a worker until another has taken its place; then it ends its sessions. All of it is shorter than MTAs wait.
local function stop_a_worker(w)
  local pids = w:workers()
  local pid = pids[math.random(#pids)]
  kill(pid, "SIGSTOP")
  local line = '"event":"worker_stopped","pid":' .. pid
  local said = process.try_until(6, function() return w:log():find(line, 1, true) end)
  socket.sleep(0.3)
  kill(pid, "SIGCONT")
  assert(said, "a stopped worker was not noticed")
  assert(process.wait_until(10, function() return not exists(pid) end, "the end of worker " .. pid))
  w.seen.stopped = (w.seen.stopped or 0) + 1
end

local function write_generation(w, n)
  w:write { ["10-ledger.lua"] = w:source("generation" .. n) }
  w:reload()
end

-- Reloads, and every third time the death of a worker.
local function reload_and_kill(w, n)
  if n % 3 == 0 then kill_a_worker(w) else write_generation(w, n) end
end

local BROKEN = {
  { "a syntax error", { ["20-broken.lua"] = "function on_rcpt(" } },
  { "an error while it loads", { ["20-broken.lua"] = "local x; x.y = 1" } },
  { "an error in on_load", { ["20-broken.lua"] = "function on_load() error 'no list' end" } },
  { "an endless loop while it loads", { ["20-broken.lua"] = "while true do pcall(error) end" } },
  { "a loop in C while it loads", { ["20-broken.lua"] = "local t = ('a.'):rep(2000); t:find '.-.-.-.-.-.-b'" } },
  { "a module that is missing", { ["20-broken.lua"] = "require 'not_there'" } },
  { "a handler that does not exist", { ["20-broken.lua"] = "function on_rctp() end" } },
  { "a crash while it loads", { ["20-broken.lua"] = "local ffi = require 'ffi'; ffi.cast('int *', 8)[0] = 1" } },
  { "no directory" },
}

local function reload_broken(w, n)
  local case = BROKEN[(n - 1) % #BROKEN + 1]
  local scripts, failed = w.filter.scripts, w:count '"event":"reload"[^\n]*"failed"'
  if case[2] then w:write(case[2]) else assert(os.rename(scripts, scripts .. "-away")) end
  w:reload()
  local said = process.try_until(8, function() return w:count '"event":"reload"[^\n]*"failed"' > failed end)
  if not case[2] then assert(os.rename(scripts .. "-away", scripts)) end
  w:write { ["20-broken.lua"] = false }
  assert(said, case[1] .. ": the reload was not refused")
  w.seen.refused = (w.seen.refused or 0) + 1
  write_generation(w, n) -- and a good one
end

-- SIGTERM, and at once a new one at the same address. The old one still ends its sessions.
local function restart(w)
  local old = w.filter
  old.child:signal "SIGTERM"
  assert(old:wait_log("no new connections", 5))
  w:serve(w.options)
end

-- kill -9 of the master: no process cleans up, the socket's file stays, the workers end by themselves.
local function kill_the_master(w)
  w.seen.orphans = w.seen.orphans or {}
  for _, pid in ipairs(w:workers()) do w.seen.orphans[#w.seen.orphans + 1] = pid end
  local master = w.filter.child:pid()
  kill(master)
  assert(process.wait_until(5, function() return not exists(master) end, "the master's end"))
  w:serve(w.options)
end

-- Connections until there is no descriptor left, for a moment.
local function take_descriptors(w)
  local taken = {}
  for _ = 1, 60 do
    local connection = mta_client.dial(w.path or w.port, 1)
    taken[#taken + 1] = connection
  end
  socket.sleep(0.4)
  for _, connection in ipairs(taken) do connection:close() end
end

local function start_a_second_one(w)
  local f = w.filter
  local argv = { os.getenv "MOONMILTER" or "build/moonmilter", "run", "-s", f.spec, f.scripts }
  local pipe = io.popen(table.concat(argv, " ") .. " 2>&1; echo status $?")
  local text = pipe:read "*a"
  pipe:close()
  assert(text:find("in use", 1, true) and text:find("status 69", 1, true), text)
  w.seen.seconds = (w.seen.seconds or 0) + 1
end

local function remove_the_socket(w)
  assert(os.remove(w.path))
  local back = process.try_until(10, function() return lfs.attributes(w.path) end)
  assert(back, "the socket's file did not come back")
  w.seen.removed = (w.seen.removed or 0) + 1
end

local LETTERS = { greet = "C", helo = "H", mail = "M", rcpt = "R", data = "T", header = "L", eoh = "N",
  body = "B", eom = "E" }
local BYTES = { greet = "c.example\0004\0\001192.0.2.1\0", helo = "c\0", mail = "<a@b>\0", rcpt = "<c@d>\0",
  header = "A\0b\0", body = "x" }

-- An MTA that goes away at each step, before the answer; every second time by a reset, or in the middle of a packet.
local function leave_at_a_step(w, n)
  local at = (n - 1) % #mta_client.STEPS + 1
  local step = mta_client.STEPS[at]
  local mta = mta_client.connect(w.path or w.port, 2)
  if not mta then return end
  if at > 1 then mta:envelope(mta_client.STEPS[at - 1]) end
  local packet = mta_client.packet(LETTERS[step], BYTES[step])
  mta.socket:send(n % 3 == 0 and packet:sub(1, 4) or packet)
  if n % 2 == 0 then mta.socket:setoption("linger", { on = true, timeout = 0 }) end
  mta:close()
end

-- The MTA's own processes below its first one.
local function mta_processes(w, name)
  local list = {}
  local function visit(pid)
    for word in (process.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch "%d+" do
      local child = tonumber(word)
      if (process.read_file(("/proc/%d/comm"):format(child)) or ""):match "%S+" == name then list[#list + 1] = child end
      visit(child)
    end
  end
  visit(w.mta.child:pid())
  return list
end

-- An MTA's process that holds an SMTP session dies, and with it the milter connection.
local function kill_an_mta_process(w)
  local list = {}
  if w.kind == "postfix" then
    list = mta_processes(w, "smtpd")
  else -- not the daemon, and not the delivering processes, which would deliver the same mail again
    for _, pid in ipairs(mta_processes(w, "sendmail")) do
      if (process.read_file(("/proc/%d/cmdline"):format(pid)) or ""):find "server " then list[#list + 1] = pid end
    end
  end
  if #list > 0 then
    kill(list[math.random(#list)])
    w.seen.killed = (w.seen.killed or 0) + 1
  end
end

-- Traces begin, their readers stand still until they have lost lines, go on, and are killed; now and then a worker is.
local function trace_and_stop(w, n)
  local readers = w.seen.readers or {}
  w.seen.readers = readers
  local reader = process.start({ filter.host_program(), "ctl", "--control", w.control, "trace",
    n % 2 == 0 and "--to" or "--client", n % 2 == 0 and "*" or "0.0.0.0/0" }, { output = os.tmpname(), life = 60 })
  local function has_begun() return reader:text():find(" watches", 1, true) or not reader:running() end
  if not process.try_until(10, has_begun) then error("a trace has not begun:\n" .. reader:text()) end
  if reader:running() then reader:signal "SIGSTOP" end
  readers[#readers + 1] = reader
  if #readers > 2 then
    local oldest = table.remove(readers, 1)
    if oldest:running() then oldest:signal "SIGCONT" end
    process.wait_until(5, function() return oldest:text():find("== message", 1, true) or not oldest:running() end)
    w.seen.traced = (w.seen.traced or 0) + select(2, oldest:text():gsub("== message", ""))
    w.seen.lost = (w.seen.lost or 0) + select(2, oldest:text():gsub("lines were lost", ""))
    oldest:stop()
  end
  if n % 4 == 0 then kill_a_worker(w) end
end

local function end_traces(w)
  for _, reader in ipairs(w.seen.readers or {}) do
    if reader:running() then reader:signal "SIGCONT" end
    reader:stop()
  end
end

local function at_least(n, what, count)
  return assert(count >= n, ("%s: %d, at least %d are needed"):format(what, count, n))
end

local function has_hosts(n)
  return function(w) return #w.filters >= n end
end

local function has_deaths(n)
  return function(w) return w:deaths() >= n end
end

-- fits(attempt, outcome lines): does one of the clients' attempts fit so far?
local function has_attempt(w, fits)
  local lines = ledger.read_log(w:log())
  for _, attempt in ipairs((ledger.read_clients(w.files))) do
    if fits(attempt, lines[attempt.id.name] or {}) then return true end
  end
  return false
end

local function is_put_off(attempt)
  return attempt.code and attempt.code >= 400 and attempt.code < 500 and attempt.id.kind ~= "later"
end

-- The filter let the message pass, but the MTA has not read all of the reply.
local function is_cut_off(attempt, lines)
  for _, line in ipairs(lines) do
    if line.verdict == "continue" then return is_put_off(attempt) end
  end
end

local AWAY = { -- the MTA lets mail pass while the filter is away
  postfix = { default_action = "accept" },
  sendmail = { flags = "" },
}

return {
  { name = "while workers are killed", seconds = 3, kinds = EVERY_KIND, stages = "eom", every = 0.3,
    strike = kill_a_worker, enough = has_deaths(2) },
  { name = "while workers are killed at each stage of a message", seconds = 1, kinds = EVERY_KIND, stages = EVERY_STAGE,
    stay = 0.2, arguments = { "--workers=8" }, every = 0.1, strike = kill_at_a_stage,
    enough = function(w) return w.seen.struck and w.seen.struck.count >= #STAGES and w:deaths() >= 1 end },
  { name = "while workers are killed in the middle of large edits", seconds = 1, kinds = "large",
    stages = "none", unix = true, arguments = { "--workers=4" }, every = 0.1, strike = kill_in_a_burst,
    enough = function(w) return w:deaths() >= 8 and has_attempt(w, is_cut_off) end },
  { name = "while workers are killed and the MTA lets mail pass meanwhile", seconds = 3, kinds = EVERY_KIND,
    stages = "eom", every = 0.2, strike = kill_a_worker, mta = AWAY, rules = { may_pass = true },
    enough = has_deaths(5),
    check = function(_, sums) at_least(1, "messages that passed unfiltered", sums.unfiltered) end },
  { name = "while scripts are reloaded twenty times a second", is_free = true, seconds = 3, long = 60,
    kinds = EVERY_KIND, stages = "eom",
    every = 0.05, strike = write_generation,
    enough = function(w) return w:count '"event":"reload"[^\n]*"ok"' >= 3 end },
  { name = "while limits and stores are used, workers are killed and scripts reloaded", seconds = 3,
    kinds = EVERY_KIND, stages = "mail,rcpt,eom", counts = true, every = 0.1, arguments = { "--workers=3" },
    strike = reload_and_kill, enough = function(w)
      return w:count "above the limit" >= 20 and w:deaths() >= 3 and w:count '"event":"reload"[^\n]*"ok"' >= 3
        and counts.torn(w:shared "store dump tally", w:workers()) >= 1
    end },
  { name = "while a shadow would change everything, traces run, workers are killed and scripts reloaded", seconds = 3,
    kinds = EVERY_KIND, stages = "mail,rcpt,eom", every = 0.2,
    arguments = { "--workers=3", "--shadow=spec/ledger/shadow.lua", "--cpu_slice=0.1" },
    strike = function(w, n)
      trace_and_stop(w, n)
      reload_and_kill(w, n)
    end,
    settle = end_traces,
    enough = function(w)
      return (w.seen.traced or 0) >= 20 and w:deaths() >= 3 and w:count '"event":"reload"[^\n]*"ok"' >= 3
        and w:count '"event":"shadow"[^\n]*"differs":"verdict"' >= 3
        and w:count '"event":"shadow"[^\n]*"differs":"error"' >= 1
    end },
  { name = "while broken scripts are loaded", is_free = true, seconds = 1, kinds = EVERY_KIND,
    stages = "eom", every = 0.05, arguments = { "--cpu_session=0.5", "--hang_timeout=1" }, strike = reload_broken,
    enough = function(w) return (w.seen.refused or 0) >= #BROKEN end },
  { name = "while the host is ended and started again", seconds = 3, kinds = EVERY_KIND,
    stages = EVERY_STAGE, every = 0.6, arguments = { "--drain_timeout=0.5" }, strike = restart,
    enough = has_hosts(3) },
  { name = "while the host is ended and started again behind a socket that stays", is_free = true,
    seconds = 3, kept = true, kinds = EVERY_KIND, stages = EVERY_STAGE, every = 0.6,
    arguments = { "--drain_timeout=20" }, strike = restart,
    enough = has_hosts(3) },
  { name = "while the host is ended and started again and the MTA lets mail pass meanwhile", seconds = 2,
    kinds = EVERY_KIND, stages = "eom", every = 0.6, arguments = { "--drain_timeout=0.2" }, strike = restart,
    mta = AWAY, rules = { may_pass = true },
    enough = has_hosts(2) },
  { name = "while the master is killed", seconds = 3, kinds = EVERY_KIND, stages = EVERY_STAGE, every = 0.7,
    arguments = { "--drain_timeout=1" }, strike = kill_the_master, masters_die = true, enough = has_hosts(3),
    check = function(w)
      for _, pid in ipairs(w.seen.orphans) do
        assert(process.wait_until(15, function() return not exists(pid) end, "the end of orphan " .. pid))
      end
    end },
  { name = "while descriptors run out", seconds = 3, kinds = EVERY_KIND, stages = "eom", every = 0.3,
    through = { "prlimit", "--nofile=22:22" }, strike = take_descriptors,
    enough = function(w) return w:count "trying again" >= 1 end },
  { name = "while scripts run away", seconds = 1, stages = STAGES_OF_A_MESSAGE, every = 0.3,
    messages = 10, alone = true, kinds = "keep,refuse,loop,keep,eat,discard,long,keep,raise,rcpt,keep,catch",
    arguments = { "--memory_hard=32M", "--memory_soft=24M", "--stage_deadline=0.7", "--eom_deadline=0.8",
      "--hang_timeout=20" },
    strike = function() end,
    enough = function(w)
      return w:count "cpu_slice: computed" >= 3 and w:count "memory_hard" >= 1 and w:count "deadline: " >= 1
        and w:count "on purpose" >= 1
    end },
  { name = "while scripts are stuck in C", seconds = 1, stages = STAGES_OF_A_MESSAGE, every = 0.3, messages = 15,
    kinds = "keep,refuse,keep,rcpt,keep,stuck,discard,keep,keep,later", strike = function() end,
    arguments = { "--poison_time=0.5" }, enough = function(w) return w:count "hang_timeout" >= 2 end },
  { name = "while messages kill workers", seconds = 1, stages = "header,eoh,body,eom", every = 0.3, messages = 15,
    kinds = "keep,refuse,keep,rcpt,keep,poison,discard,keep,keep,later", strike = function() end,
    enough = function(w) return w:count '"event":"poison"' >= 3 and w:count '"decided_by":"poison"' >= 6 end,
    check = function(w) -- one death for each such message, however often it came again
      at_least(w:count '"event":"poison"', "refusals without a death", w:count '"decided_by":"poison"')
      assert(w:deaths() == w:count '"event":"poison"', "a message killed twice")
    end },
  { name = "while workers are stopped", seconds = 1, kinds = EVERY_KIND, stages = "eom", every = 0.1,
    strike = stop_a_worker, enough = function(w) return (w.seen.stopped or 0) >= 2 end },
  { name = "while other MTAs fill the memory of the workers", seconds = 2, stages = "eom", every = 0.7,
    kinds = EVERY_KIND .. ",large", arguments = { "--memory_held=12M" }, strike = peers.take_memory,
    enough = function(w)
      return w:count '"limit":"memory_held"' >= 2 and (w.seen.refused or 0) >= 20 and has_attempt(w, is_put_off)
    end,
    check = function(w)
      assert(process.wait_until(10, function() return w:held() == 0 end), "the workers hold " .. w:held())
    end },
  { name = "while packets are pipelined", is_free = true, seconds = 2, stages = "none", every = 0.5,
    kinds = "keep,fields,refuse,fields,rcpt,keep,discard,fields,later", arguments = { "--workers=1" },
    strike = peers.pipeline, enough = function(w) return peers.overtaken(w) >= 2 end },
  { name = "while traces begin, stand still and end", seconds = 3, kinds = EVERY_KIND, stages = "eom", every = 0.3,
    strike = trace_and_stop, settle = end_traces,
    enough = function(w) return (w.seen.traced or 0) >= 20 and w:deaths() >= 1 end },
  { name = "while a second instance is started", is_free = true, seconds = 2, kinds = EVERY_KIND,
    stages = "eom", every = 0.2, strike = start_a_second_one,
    enough = function(w) return w.seen.seconds >= 3 end },
  { name = "while the socket's file is removed", seconds = 1, kinds = EVERY_KIND, stages = "eom",
    every = 1.7, unix = true, strike = remove_the_socket, enough = function(w) return (w.seen.removed or 0) >= 3
      and w:count "it has been recreated" >= 1 end },
  { name = "while MTAs go away at every step", is_free = true, seconds = 2, kinds = EVERY_KIND,
    stages = "eom", every = 0.01, strike = leave_at_a_step },
  { name = "while clients hang up at every stage", is_free = true, seconds = 2,
    kinds = "keep,drop,refuse,drop,keep,drop,discard,drop",
    stages = EVERY_STAGE, every = 0.5, strike = function() end,
    check = function(_, sums) at_least(20, "clients that hung up", sums.dropped) end },
  { name = "while the MTA's processes are killed", seconds = 3, kinds = EVERY_KIND, stages = EVERY_STAGE, every = 0.3,
    strike = kill_an_mta_process, rules = { may_break = true }, settle = function(w)
      if w.kind == "sendmail" then w.mta:flush() end -- a killed process leaves what it had accepted in the queue
    end,
    enough = function(w) return (w.seen.killed or 0) >= 2 end },
}
