#!/usr/bin/env luajit
--- What a message costs outside the kernel, in instructions: the one figure that other load on the machine does not
--- change. Each row runs twice under callgrind, with few messages and with many; the difference, divided by the
--- messages that came on top, is the cost of one. docs/PERFORMANCE.md explains what is measured.
---
--- usage: luajit spec/bench/instructions.lua [--only WORD] [--host PROGRAM] [--keep DIRECTORY]
---   --only  rows whose name has WORD in it
---   --host  a moonmilter to measure, such as one built before a change; default build/moonmilter
---   --keep  an existing directory for the profiles, for callgrind_annotate; default: none are kept
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local signal = require "posix.signal"
local time = require "posix.time"
local unistd = require "posix.unistd"

local FEW, MANY = 1000, 3000
local PATIENCE = 1200           -- tenths of a second that a subject may take to start under valgrind, or to stop
local here = arg[0]:match "^(.*)/[^/]*$" or "."
local options = { host = "build/moonmilter" }

--- script: for moonmilter; more: further options, {script} is the script's path; trace: the option of a `ctl trace`
--- that runs meanwhile, whose own instructions are not counted; peer: another program, and what it is called with after
--- its socket.
local ROWS = {
  { name = "every handler", script = "every_handler" },
  { name = "every handler, no history", script = "every_handler", more = "--history=0" },
  { name = "every handler, another client traced", script = "every_handler", trace = "--client=203.0.113.9" },
  { name = "every handler, the same as a shadow", script = "every_handler", more = "--shadow={script}" },
  { name = "every handler, no log", script = "every_handler", more = "--log_level=warn" },
  { name = "rcpt and eom only", script = "rcpt_eom" },
  { name = "rcpt and eom only, no history", script = "rcpt_eom", more = "--history=0" },
  { name = "rcpt and eom only, another client traced", script = "rcpt_eom", trace = "--client=203.0.113.9" },
  { name = "rcpt and eom only, the same as a shadow", script = "rcpt_eom", more = "--shadow={script}" },
  { name = "rcpt and eom only, no log", script = "rcpt_eom", more = "--log_level=warn" },
  { name = "libmilter, every handler", peer = "build/bench/libmilter_filter", socket = "unix:%s",
    words = "quiet every_handler" },
  { name = "libmilter, rcpt and eom only", peer = "build/bench/libmilter_filter", socket = "unix:%s",
    words = "rcpt_eom" },
  { name = "responder, every handler", peer = "build/bench/responder", socket = "%s", words = "0x100480" },
}

local function usage(complaint)
  io.stderr:write("instructions.lua: ", complaint, "; the first lines of ", arg[0], " say what it takes\n")
  os.exit(64)
end

local function read_options()
  for at = 1, #arg, 2 do
    local name = arg[at]:match "^%-%-(%l+)$"
    if name ~= "only" and name ~= "host" and name ~= "keep" then usage(arg[at] .. " is not an option") end
    options[name] = arg[at + 1] or usage(arg[at] .. " needs an argument")
  end
end

local function wait_for(condition)
  for _ = 1, PATIENCE do
    if condition() then return true end
    time.nanosleep { tv_sec = 0, tv_nsec = 100000000 }
  end
end

local function read_all(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

local function command_of(row, path)
  if row.peer then return ("%s %s %s"):format(row.peer, row.socket:format(path), row.words) end
  local script = ("%s/scripts/%s.lua"):format(here, row.script)
  -- without a control socket there is no history; valgrind's slowness would use up the limits of CPU time
  local more = (row.more or ""):gsub("{script}", script)
  return ("%s run -s unix:%s --control=%s.control --workers=0 --cpu_slice=60 --cpu_session=600 --hang_timeout=600 "
    .. "%s %s"):format(options.host, path, path, more, script)
end

--- A reader of `moonmilter ctl trace`. Its pid, once the trace runs; nothing, and what it said: it does not.
local function start_trace(row, path)
  local log = path .. ".trace"
  local pipe = io.popen(("%s ctl --control %s.control trace %s >%s 2>&1 & echo $!")
    :format(options.host, path, row.trace, log))
  local pid = pipe:read "*n"
  pipe:close()
  if wait_for(function() return read_all(log):find("worker", 1, true) end) then return pid end
  signal.kill(pid, signal.SIGKILL)
  return nil, read_all(log)
end

--- Instructions of one run with this many messages. Nothing, and a text: it has failed.
local function count(row, messages)
  local directory = stdlib.mkdtemp "/tmp/instructions.XXXXXX"
  local path, profile, log = directory .. "/sock", directory .. "/profile", directory .. "/log"
  local pipe = io.popen(([[chmod 755 %s; : >%s; chmod 666 %s
    valgrind --tool=callgrind --smc-check=all-non-file --callgrind-out-file=%s %s >%s 2>&1 & echo $!]]):format(directory,
    profile, profile, profile, command_of(row, path), log))
  local pid = pipe:read "*n"
  local function is_gone() return signal.kill(pid, 0) ~= 0 end
  wait_for(function() return stat.stat(path) or is_gone() end)
  local tracer, complaint
  if row.trace then
    tracer, complaint = start_trace(row, path)
    if not tracer then
      signal.kill(pid, signal.SIGKILL)
      return nil, "the trace does not begin: " .. complaint
    end
  end
  -- root's host becomes another user, who writes the profile when it ends
  os.execute("chmod 666 " .. profile)
  local bench = io.popen(("build/moonmilter bench --to unix:%s --json --timeout 300 --connections 10 "
    .. "--messages-per-connection 10 --messages %d --warmup 0 2>&1"):format(path, messages)):read "*a"
  if tracer then signal.kill(tracer, signal.SIGKILL) end
  if not is_gone() then signal.kill(pid, signal.SIGTERM) end
  if not wait_for(is_gone) then signal.kill(pid, signal.SIGKILL) end
  pipe:close()
  local text = read_all(profile)
  local total = tonumber(text:match "\ntotals: (%d+)" or text:match "\nsummary: (%d+)")
  local served, lost = bench:match '"messages":(%d+)', bench:match '"lost":(%d+)'
  if options.keep then
    os.execute(("cp %s '%s/%s.%d'"):format(profile, options.keep, row.name:gsub("%W+", "_"), messages))
  end
  local said = read_all(log):sub(-600)
  os.execute("rm -rf " .. directory)
  if not total or tonumber(served) ~= messages or lost ~= "0" then return nil, bench:sub(1, 300) .. said end
  return total
end

--- 1234567 -> "1,234,567"
local function grouped(number)
  return (("%d"):format(number):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

read_options()
print "| instructions a message | |\n|---|---:|"
local has_failed = false
for _, row in ipairs(ROWS) do
  local is_wanted = not options.only or row.name:find(options.only, 1, true)
  if is_wanted and row.peer and unistd.access(row.peer, "x") ~= 0 then
    io.stderr:write(row.peer, " is missing: no row for ", row.name, "\n")
  elseif is_wanted then
    local few, why = count(row, FEW)
    local many
    if few then many, why = count(row, MANY) end
    if many then
      print(("| %s | %s |"):format(row.name, grouped(math.floor((many - few) / (MANY - FEW) + 0.5))))
    else
      has_failed = true
      io.stderr:write(row.name, ": no figure: ", why, "\n")
    end
    io.stdout:flush()
  end
end
os.exit(has_failed and 1 or 0)
