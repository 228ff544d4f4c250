#!/usr/bin/env luajit
--- The benchmark: the same work on moonmilter, on a bare responder and on other milter libraries, in one run, taking
--- turns round by round, so that other load on the machine affects all of them. Prints Markdown tables;
--- docs/PERFORMANCE.md explains what is measured.
---
--- usage: luajit spec/bench/run.lua [--quick] [--only WORD] [--save FILE] [--docs FILE] [--host NAME=PROGRAM]...
---   --quick   one short round of each workload, less than two minutes; else five rounds, less than fifteen
---   --only    workloads whose name has WORD in it; "shared": those with a limit or a store, and those beside them
---   --save    a further file for the tables; default build/bench/tables.md
---   --docs    a file whose part between "bench: begin" and "bench: end" becomes the tables
---   --host    another moonmilter to compare with, such as one built before a change; default
---   moonmilter=build/moonmilter
---   --bench   the program that makes the load; default "build/moonmilter bench"
---   --inet    TCP on 127.0.0.1 instead of unix sockets
local fcntl = require "posix.fcntl"
local resource = require "posix.sys.resource"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local time = require "posix.time"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local built = "build/bench"

-- ---- what is measured ----

-- SMFIP_ bits for the responder when there is no moonmilter whose steps it can copy: NO… for all but rcpt and eom, or
-- NR_HDR alone; SKIP and HDR_LEADSPC in both.
local STEPS_RCPT_EOM, STEPS_EVERY = 0x100777, 0x100480

--- work: words for libmilter_filter.c and its translations; script: for moonmilter; load: options of the bench.
--- beside: the workload that does the same without; both are measured in turns. trace: words for a `ctl trace` that
--- runs meanwhile. redis: the script asks a server on this machine. Their own CPU is not counted; only moonmilter takes
--- part. history: with a history. more: another option of run, {script} is the script's path.
--- others: the scripting languages take part; only_responder: nobody else does. log: moonmilter's log level, else
--- "warn" as the others log nothing.
--- targets: largest ratio of CPU to that of the named subject (docs/PERFORMANCE.md).
local WORKLOADS = {
  { name = "rcpt and eom only", script = "rcpt_eom", work = "rcpt_eom", steps = STEPS_RCPT_EOM, others = true,
    load = "--edits 1", targets = { libmilter = 1 / 2 } },
  { name = "outgoing limit, every message", script = "limit", work = "rcpt_eom limit", steps = STEPS_RCPT_EOM,
    load = "--edits 1", beside = "rcpt and eom only", targets = { libmilter = 1 / 2, beside = 1.25 } },
  { name = "store get, every message", script = "get", work = "rcpt_eom get", steps = STEPS_RCPT_EOM,
    load = "--edits 1", beside = "rcpt and eom only", targets = { libmilter = 1 / 2 } },
  { name = "store incr, every message", script = "incr", work = "rcpt_eom incr", steps = STEPS_RCPT_EOM,
    load = "--edits 1", beside = "rcpt and eom only", targets = { libmilter = 1 / 2 } },
  { name = "Redis GET, every message", script = "redis_get", redis = true, load = "--edits 1",
    beside = "rcpt and eom only", targets = {} },
  { name = "Redis INCR, every message", script = "redis_incr", redis = true, load = "--edits 1",
    beside = "rcpt and eom only", targets = {} },
  { name = "Redis limit by hand, every message", script = "redis_take", redis = true, load = "--edits 1",
    beside = "rcpt and eom only", targets = {} },
  { name = "an event, every message", script = "event", load = "--edits 1",
    beside = "rcpt and eom only", targets = {} },
  { name = "two fields of the log line, every message", script = "log_fields", log = "info", load = "--edits 1",
    beside = "rcpt and eom only", targets = {} },
  { name = "every handler", script = "every_handler", work = "every_handler", steps = STEPS_EVERY, others = true,
    quiet = true, load = "--edits 1", targets = { libmilter = 1 / 5, responder = 1.6 } },
  { name = "every handler, logging each message", script = "every_handler", work = "every_handler", steps = STEPS_EVERY,
    log = "info", load = "--edits 1", targets = {} },
  { name = "every handler, 50 connections", script = "every_handler", work = "every_handler", steps = STEPS_EVERY,
    load = "--edits 1 --connections 50", targets = { libmilter = 1 / 5, responder = 1.6 } },
  { name = "every handler, 500 connections", script = "every_handler", work = "every_handler", steps = STEPS_EVERY,
    load = "--edits 1 --connections 500", targets = {} },
  -- At a rate that both keep up with. At full speed, the fast meet an MTA that is busy, and the slow one that sleeps.
  { name = "every handler, 50 connections, 10,000 a second", script = "every_handler", work = "every_handler",
    steps = STEPS_EVERY, load = "--edits 1 --connections 50 --rate 10000", only_responder = true, targets = {} },
  { name = "every handler, 500 connections, 10,000 a second", script = "every_handler", work = "every_handler",
    steps = STEPS_EVERY, load = "--edits 1 --connections 500 --rate 10000", only_responder = true,
    targets = { responder = 1.5 } },
  { name = "every handler, 1 connection", script = "every_handler", work = "every_handler", steps = STEPS_EVERY,
    load = "--edits 1 --connections 1", targets = {} },
  { name = "every handler, NR_* not offered", script = "every_handler", work = "every_handler", steps = STEPS_EVERY,
    load = "--edits 1 --lockstep", targets = { libmilter = 1 / 2.5 } },
  { name = "every handler, 1 message a connection", script = "every_handler", work = "every_handler",
    steps = STEPS_EVERY, load = "--edits 1 --messages-per-connection 1", targets = { libmilter = 1 / 2 } },
  { name = "every handler and outgoing limit", script = "every_handler_limit", work = "every_handler limit",
    steps = STEPS_EVERY, load = "--edits 1", beside = "every handler", targets = { libmilter = 1 / 5, beside = 1.25 } },
  { name = "every handler, another client traced", script = "every_handler", trace = "--client=203.0.113.9",
    load = "--edits 1", beside = "every handler", targets = { beside = 1.05 } },
  { name = "every handler, every session traced", script = "every_handler", trace = "--json", load = "--edits 1",
    beside = "every handler", targets = {} },
  { name = "every handler, the same as a shadow", script = "every_handler", more = "--shadow={script}",
    load = "--edits 1", beside = "every handler", targets = {} },
  { name = "every handler, history", script = "every_handler", history = true, load = "--edits 1",
    beside = "every handler", targets = { beside = 1.03 } },
  { name = "new body of 64 KB", script = "replace_body_64k", work = "rcpt_eom body=65536", steps = 0x10077f,
    body = 65536, load = "", targets = {} },
  { name = "new body of 5 MB", script = "replace_body_5m", work = "rcpt_eom body=5242880", steps = 0x10077f,
    body = 5242880, load = "--connections 4", targets = {} },
  { name = "on_body of 5 MB", script = "read_body", work = "every_handler", steps = STEPS_EVERY,
    load = "--edits 1 --connections 4 --body 5M", targets = { responder = 1.5 } },
}

local SUBJECT_NAMES = {         -- in the order of the columns
  "moonmilter in C", "responder", "libmilter", "libmilter NR_HDR", "pymilter", "PMilter",
}

-- ---- options ----

local options = { hosts = {}, save = built .. "/tables.md", bench = "build/moonmilter bench" }

local function usage(complaint)
  io.stderr:write("run.lua: ", complaint, "; the first lines of ", arg[0], " say what it takes\n")
  os.exit(64)
end

local function read_options()
  local at = 1
  local function value()
    at = at + 1
    return arg[at] or usage(arg[at - 1] .. " needs an argument")
  end
  while arg[at] do
    local word = arg[at]
    if word == "--quick" or word == "--inet" then
      options[word:sub(3)] = true
    elseif word == "--only" or word == "--save" or word == "--docs" or word == "--bench" then
      options[word:sub(3)] = value()
    elseif word == "--host" then
      local name, program = value():match "^(.-)=(.+)$"
      if not name then usage "--host takes NAME=PROGRAM" end
      options.hosts[#options.hosts + 1] = { name = name, program = program }
    else
      usage(word .. " is not an option")
    end
    at = at + 1
  end
  if #options.hosts == 0 and unistd.access("build/moonmilter", "x") == 0 then
    options.hosts[1] = { name = "moonmilter", program = "build/moonmilter" }
  end
end

-- ---- processes ----

local directory
local socket_count = 0

local function sleep(seconds)
  local whole = math.floor(seconds)
  time.nanosleep { tv_sec = whole, tv_nsec = math.floor((seconds - whole) * 1e9) }
end

--- A fresh socket, as SPEC and as the responder's argument.
local function new_socket()
  socket_count = socket_count + 1
  if options.inet then
    local port = 20900 + socket_count
    return { spec = ("inet:%d@127.0.0.1"):format(port), plain = tostring(port) }
  end
  local path = ("%s/%d.sock"):format(directory, socket_count)
  return { spec = "unix:" .. path, plain = path, path = path }
end

--- Each subject is a separate process group, so that what it starts ends with it.
local function start(words, log)
  local pid = unistd.fork()
  if pid ~= 0 then return pid end
  unistd.setpid("p", 0, 0)
  local fd = fcntl.open(log, fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_APPEND, tonumber("644", 8))
  unistd.dup2(fd, 1)
  unistd.dup2(fd, 2)
  local program = table.remove(words, 1)
  unistd.execp(program, words)
  unistd._exit(127)
end

--- libmilter stops slowly, and a sleeping thread delays it further; so only a host gets SIGTERM first.
local function stop(subject)
  if subject.tracer then
    signal.kill(-subject.tracer, signal.SIGKILL)
    wait.wait(subject.tracer)
  end
  signal.kill(subject.pid, signal.SIGTERM)
  for _ = 1, subject.is_host and 100 or 0 do
    if wait.wait(subject.pid, wait.WNOHANG) == subject.pid then return end
    sleep(0.05)
  end
  signal.kill(-subject.pid, signal.SIGKILL)
  wait.wait(subject.pid)
end

local function read_all(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

local function output_of(command)
  local pipe = io.popen(command)
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- Runs the load. Returns its JSON object as text, or nothing.
local function bench(subject, load, timing)
  local command = ("%s --json --timeout 10 --to %s --pid %d %s %s"):format(options.bench,
    subject.socket.spec, subject.pid, timing, load)
  local json = output_of(command .. " 2>>" .. directory .. "/bench.log")
  return json:match "^{" and json or nil
end

--- A number of the JSON object, or of one inside it: our own bench wrote it, so its shape is known.
local function number(json, key, inside)
  local text = inside and json:match('"' .. inside .. '":(%b{})') or json
  return tonumber(text:match('"' .. key .. '":(-?[%d.]+)'))
end

-- ---- subjects ----

local function has_program(command)
  return os.execute(command .. " >/dev/null 2>&1") == 0
end

local available

local function find_available()
  available = {
    ["moonmilter in C"] = unistd.access(built .. "/moonmilter_filter", "x") == 0,
    responder = unistd.access(built .. "/responder", "x") == 0,
    libmilter = unistd.access(built .. "/libmilter_filter", "x") == 0,
    pymilter = has_program "/usr/bin/python3 -c 'import Milter'",
    PMilter = has_program "perl -MSendmail::PMilter -e 1",
  }
  available["libmilter NR_HDR"] = available.libmilter
end

local function takes_part(name, workload)
  if not workload.work then return false end
  if workload.only_responder then return name == "responder" end
  if name == "libmilter NR_HDR" then return workload.quiet end
  if name == "moonmilter in C" then return not workload.beside and not workload.log and not workload.no_responder end
  if name == "pymilter" or name == "PMilter" then return workload.others and not options.quick end
  return not (name == "responder" and workload.no_responder)
end

local function command_of(name, workload, socket, steps)
  local words
  if name == "responder" then
    return { built .. "/responder", socket.plain, tostring(steps), tostring(workload.body or 0) }
  elseif name == "moonmilter in C" then
    words = { built .. "/moonmilter_filter", socket.spec }
  elseif name == "libmilter" then
    words = { built .. "/libmilter_filter", socket.spec }
  elseif name == "libmilter NR_HDR" then
    words = { built .. "/libmilter_filter", socket.spec, "quiet" }
  elseif name == "pymilter" then
    words = { "/usr/bin/python3", here .. "/pymilter_filter.py", socket.spec }
  else
    words = { "perl", here .. "/pmilter_filter.pl", (socket.spec:gsub("^unix:", "local:")) }
  end
  for word in workload.work:gmatch "%S+" do words[#words + 1] = word end
  return words
end

--- Starts a subject and waits until it answers. Returns nothing when it does not.
local function start_subject(name, words, socket, is_host)
  local subject = { name = name, socket = socket, is_host = is_host,
    log = ("%s/%d.log"):format(directory, socket_count) }
  subject.pid = start(words, subject.log)
  for _ = 1, 50 do
    sleep(0.1)
    if not socket.path or stat.stat(socket.path) then
      if bench(subject, "", "--connections 1 --messages 1 --warmup 0") then return subject end
    end
  end
  io.stderr:write(name, " does not serve:\n", read_all(subject.log):sub(-2000), "\n")
  stop(subject)
end

--- A reader of `moonmilter ctl trace`, whose own CPU is not counted.
local function start_trace(subject, host, control, which)
  local log = ("%s/%d.trace"):format(directory, socket_count)
  subject.tracer = start({ host.program, "ctl", "--control", control, "trace", which }, log)
  for _ = 1, 100 do
    if read_all(log):find("worker", 1, true) then return end
    sleep(0.05)
  end
  error "the trace does not begin"
end

--- All that take part in a workload, running. The responder comes last: it copies the steps moonmilter negotiated.
local function start_subjects(workload)
  local subjects, steps = {}, nil
  for _, host in ipairs(options.hosts) do
    local socket = new_socket()
    local words = { host.program, "run", "-s", socket.spec, "--workers=0", "--log_level=" .. (workload.log or "warn"),
      ("%s/scripts/%s.lua"):format(here, workload.script) }
    local control = (workload.trace or workload.history) and ("%s/%d.control"):format(directory, socket_count)
    if workload.more then table.insert(words, 3, (workload.more:gsub("{script}", words[#words]))) end
    if control then table.insert(words, 3, "--control=" .. control) end
    -- without a control socket there is none either
    if workload.trace then table.insert(words, 3, "--history=0") end
    local subject = start_subject(host.name, words, socket, true)
    if subject and workload.trace then start_trace(subject, host, control, workload.trace) end
    if subject then
      subjects[#subjects + 1] = subject
      local json = bench(subject, workload.load, "--connections 1 --messages 1 --warmup 0")
      steps = steps or json and number(json, "steps")
    end
  end
  for _, name in ipairs(SUBJECT_NAMES) do
    if available[name] and takes_part(name, workload) then
      local socket = new_socket()
      subjects[#subjects + 1] = start_subject(name, command_of(name, workload, socket, steps or workload.steps), socket)
    end
  end
  return subjects
end

-- ---- measuring ----

local function median(list)
  local sorted = {}
  for i, value in ipairs(list) do sorted[i] = value end
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  if #sorted == 0 then return nil end
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

local function rounds() return options.quick and 1 or 5 end

local function collect(sample, json, name, load)
  local function add(key, value)
    sample[key] = sample[key] or {}
    table.insert(sample[key], value)
  end
  add("cpu", number(json, "cpu_us_per_message", "process"))
  add("rate", number(json, "messages_per_second"))
  add("p50", number(json, "p50", "message"))
  add("p99", number(json, "p99", "message"))
  add("rss", number(json, "rss_bytes", "process"))
  add("own", number(json, "own_cpu_us_per_message"))
  -- The responder makes no edits; its failure of --edits is expected.
  if (number(json, "wrong") > 0 and name ~= "responder") or number(json, "lost") > 0 then
    sample.is_wrong = true
    io.stderr:write(name, " ", load, ": ", json:match '"complaints":(%b[])', "\n")
  end
end

--- Medians by subject: { cpu =, rate =, p50 =, p99 =, rss =, own =, is_wrong = }.
local function medians(samples)
  local result = {}
  for name, sample in pairs(samples) do
    result[name] = { is_wrong = sample.is_wrong }
    for key, list in pairs(sample) do
      if type(list) == "table" then result[name][key] = median(list) end
    end
  end
  return result
end

--- Measures workloads in turns, so that what the machine does meanwhile meets all of them. Medians by name of the
--- workload.
local function measure(workloads)
  local runs, results = {}, {}
  for _, workload in ipairs(workloads) do
    local samples = {}
    for _, subject in ipairs(start_subjects(workload)) do
      runs[#runs + 1] = { subject = subject, workload = workload, samples = samples }
    end
    results[workload.name] = samples
  end
  local timing = options.quick and "--seconds 1 --warmup 0.3" or "--seconds 1.8 --warmup 0.4"
  for round = 1, rounds() do
    for i = 1, #runs do
      local r = runs[round % 2 == 1 and i or #runs + 1 - i]
      local json = bench(r.subject, r.workload.load, timing)
      r.samples[r.subject.name] = r.samples[r.subject.name] or {}
      if json then collect(r.samples[r.subject.name], json, r.subject.name, r.workload.name) end
    end
  end
  for _, r in ipairs(runs) do stop(r.subject) end
  for name, samples in pairs(results) do results[name] = medians(samples) end
  return results
end

--- A Redis server for the scripts that ask one, by a unix socket; nothing when there is none on this machine.
local function start_redis()
  local path = directory .. "/redis.sock"
  if not has_program "redis-server --version" then return nil end
  stat.chmod(directory, tonumber("711", 8)) -- the filters run as another user
  stdlib.setenv("BENCH_REDIS", path)
  local subject = { pid = start({ "redis-server", "--port", "0", "--unixsocket", path, "--unixsocketperm", "777",
    "--save", "", "--appendonly", "no", "--dir", directory }, directory .. "/redis.log"), is_host = true }
  for _ = 1, 50 do
    if stat.stat(path) then return subject end
    sleep(0.1)
  end
  stop(subject)
end

local IDLE = { name = "idle", script = "every_handler", work = "every_handler", steps = STEPS_EVERY, load = "" }

--- Opening 10,000 sessions costs a process memory that it keeps, so each measurement needs a new process.
local function measure_idle()
  local result = {}
  for _ = 1, options.quick and 1 or 3 do
    for _, subject in ipairs(start_subjects(IDLE)) do
      local json = bench(subject, "--connections 0 --idle 10000", "--pause 0.5")
      local r = result[subject.name] or { cpu = {}, rss = {}, pss = {}, seconds = {} }
      result[subject.name] = r
      if json then
        table.insert(r.cpu, number(json, "held_cpu_us_each", "process"))
        table.insert(r.rss, number(json, "held_rss_bytes_each", "process"))
        table.insert(r.pss, number(json, "held_pss_bytes_each", "process"))
        table.insert(r.seconds, number(json, "held_seconds"))
      end
      stop(subject)
    end
  end
  return result
end

local ASLEEP = { name = "asleep", script = "sleeper", work = "rcpt_eom sleep=200", steps = 0x100773, load = "",
  no_responder = true }

--- The same load with and without 1,000 sessions that sleep, in turns.
local function measure_asleep()
  local result = {}
  local load = "--edits 1 --rate 1000"
  local timing = options.quick and "--seconds 5.5 --warmup 0.3" or "--seconds 11 --warmup 0.5"
  for round = 1, options.quick and 1 or 3 do
    local subjects = start_subjects(ASLEEP)
    for _, subject in ipairs(subjects) do
      local r = result[subject.name] or { alone = {}, beside = {}, alone50 = {}, beside50 = {}, woken = 0 }
      result[subject.name] = r
      local function look(extra, key)
        local json = bench(subject, load .. extra, timing)
        if not json then return end
        table.insert(r[key], number(json, "p99", "message"))
        table.insert(r[key .. "50"], number(json, "p50", "message"))
        r.woken = r.woken + number(json, "woken")
      end
      if round % 2 == 1 then look("", "alone") end
      look(" --asleep 1000", "beside")
      if round % 2 == 0 then look("", "alone") end
      stop(subject)
    end
  end
  return result
end

--- name, script and load for comparing one worker with two; the computation makes the workers the limit.
local WORKERS = {
  { name = "a filter that computes some ms", script = "compute", load = "--edits 1 --connections 16" },
  { name = "every handler", script = "every_handler", load = "--edits 1 --connections 50" },
}

--- Messages per second and CPU per message with one worker and with two, in turns. More workers need more than two
--- cores.
local function measure_workers(host)
  local result = {}
  for _, look in ipairs(WORKERS) do
    local subjects, samples = {}, {}
    for count = 1, 2 do
      local socket = new_socket()
      local words = { host.program, "run", "-s", socket.spec, "--workers=" .. count, "--log_level=warn",
        ("%s/scripts/%s.lua"):format(here, look.script) }
      subjects[count] = start_subject(count .. " workers", words, socket, true)
      samples[count] = { rate = {}, cpu = {} }
    end
    for _ = 1, rounds() do
      for count, subject in pairs(subjects) do
        local json = bench(subject, look.load, options.quick and "--seconds 2 --warmup 0.5"
          or "--seconds 4 --warmup 0.5")
        if json then
          table.insert(samples[count].rate, number(json, "messages_per_second"))
          table.insert(samples[count].cpu, number(json, "cpu_us_per_message", "process"))
        end
      end
    end
    for _, subject in pairs(subjects) do stop(subject) end
    result[look.name] = { rate = { median(samples[1].rate), median(samples[2].rate) },
      cpu = { median(samples[1].cpu), median(samples[2].cpu) } }
  end
  return result
end

-- ---- tables ----

local lines = {}

local function say(format, ...)
  lines[#lines + 1] = select("#", ...) > 0 and format:format(...) or format
  print(lines[#lines])
end

local function columns()
  local names = {}
  for _, host in ipairs(options.hosts) do names[#names + 1] = host.name end
  for _, name in ipairs(SUBJECT_NAMES) do
    if available[name] and not (options.quick and (name == "pymilter" or name == "PMilter")) then names[#names
      + 1] = name end
  end
  return names
end

local function ratio(a, b)
  return a and b and b > 0 and a / b or nil
end

local function cell(value, format)
  return value and format:format(value) or "–"
end

--- One table: a row for each workload, a column for each subject.
local function table_of(title, results, key, scale, format)
  local names = columns()
  say ""
  say("%s", title)
  say ""
  say("| workload | %s |", table.concat(names, " | "))
  say("|---|%s", ("---:|"):rep(#names))
  for _, workload in ipairs(WORKLOADS) do
    local result = results[workload.name]
    if result then
      local cells = {}
      for i, name in ipairs(names) do
        local r = result[name]
        cells[i] = cell(r and r[key] and r[key] * scale, format) .. (r and r.is_wrong and " (wrong answers!)" or "")
      end
      say("| %s | %s |", workload.name, table.concat(cells, " | "))
    end
  end
end

--- The ratios the project promises.
local function ratio_table(results, host)
  say ""
  say("**%s, as a multiple of** (in brackets what is promised)", host)
  say ""
  say "| workload | CPU of responder | CPU of libmilter | messages/s of libmilter | p99 of libmilter |"
  say "|---|---:|---:|---:|---:|"
  for _, workload in ipairs(WORKLOADS) do
    local result = results[workload.name]
    local mine = result and result[host]
    if mine and (result.responder or result.libmilter) then
      local bare, c = result.responder or {}, result.libmilter or {}
      local function promised(key)
        local limit = workload.targets[key]
        return limit and (" (≤ %.2f)"):format(limit) or ""
      end
      say("| %s | %s%s | %s%s | %s | %s |", workload.name, cell(ratio(mine.cpu, bare.cpu), "%.2f"),
        promised "responder", cell(ratio(mine.cpu, c.cpu), "%.2f"), promised "libmilter",
        cell(ratio(mine.rate, c.rate), "%.2f"),
        cell(ratio(mine.p99, c.p99), "%.2f"))
    end
  end
end

--- What a workload costs more than the one that does the same without it.
local function beside_table(results, host)
  local rows = {}
  for _, workload in ipairs(WORKLOADS) do
    local with, without = results[workload.name], results[workload.beside]
    if with and without then
      local cells = {}
      for _, name in ipairs { host, "libmilter" } do
        local a, b = with[name] or {}, without[name] or {}
        cells[#cells + 1] = cell(ratio(a.cpu, b.cpu), "%.2f")
      end
      local limit = workload.targets.beside
      rows[#rows + 1] = ("| %s | %s | %s%s | %s |"):format(workload.name, workload.beside, cells[1],
        limit and (" (≤ %.2f)"):format(limit) or "", cells[2])
    end
  end
  if #rows == 0 then return end
  say ""
  say "**CPU with what workers share, or what is watched, as a multiple of the same without** (in brackets the promise)"
  say ""
  say("| workload | without | %s | libmilter |", host)
  say "|---|---|---:|---:|"
  for _, row in ipairs(rows) do say("%s", row) end
end

local function idle_table(idle)
  say ""
  say "**10,000 idle sessions**, each"
  say ""
  say "| | CPU to open, µs | RSS, bytes | PSS, bytes | all open after, s |"
  say "|---|---:|---:|---:|---:|"
  for _, name in ipairs(columns()) do
    local r = idle[name]
    if r then
      say("| %s | %s | %s | %s | %s |", name, cell(median(r.cpu), "%.1f"), cell(median(r.rss), "%.0f"),
        cell(median(r.pss), "%.0f"), cell(median(r.seconds), "%.2f"))
    end
  end
end

local function asleep_table(asleep)
  say ""
  say "**1,000 sessions asleep in eom**, 1,000 messages a second beside them, milliseconds"
  say ""
  say "| | p50 alone | p50 beside sleepers | p99 alone | p99 beside sleepers | ratio of p99 (≤ 1.10) |"
  say "|---|---:|---:|---:|---:|---:|"
  for _, name in ipairs(columns()) do
    local r = asleep[name]
    if r then
      local function ms(key) return cell(median(r[key]) and median(r[key]) / 1000, "%.3f") end
      say("| %s | %s | %s | %s | %s | %s |%s", name, ms "alone50", ms "beside50", ms "alone", ms "beside",
        #r.beside == 0 and "serves nobody" or cell(ratio(median(r.beside), median(r.alone)), "%.2f"),
        r.woken > 0 and " sleepers woke!" or "")
    end
  end
end

local function workers_table(workers)
  say ""
  say "**Two workers against one**, master and workers together"
  say ""
  say "| | messages/s, 1 | messages/s, 2 | ratio (≥ 1.70) | CPU a message, 1, µs | CPU a message, 2, µs | ratio |"
  say "|---|---:|---:|---:|---:|---:|---:|"
  for _, look in ipairs(WORKERS) do
    local r = workers[look.name]
    say("| %s | %s | %s | %s | %s | %s | %s |", look.name, cell(r.rate[1], "%.0f"), cell(r.rate[2], "%.0f"),
      cell(ratio(r.rate[2], r.rate[1]), "%.2f"), cell(r.cpu[1], "%.1f"), cell(r.cpu[2], "%.1f"),
      cell(ratio(r.cpu[2], r.cpu[1]), "%.2f"))
  end
end

local function describe_machine()
  local model = read_all("/proc/cpuinfo"):match "model name%s*:%s*([^\n]+)" or "unknown processor"
  local cores = output_of "nproc":match "%d+"
  local kernel = output_of "uname -sr":match "[^\n]+"
  say("Machine: %s, %s cores, %s; %s; %s.", model, cores, kernel, jit.version,
    options.inet and "TCP over the loopback interface" or "unix sockets")
  say("Run: %s, %s; medians. Load unless said otherwise: 10 connections, 10 messages each, 1 recipient, 20",
    os.date "!%Y-%m-%d", rounds() == 1 and "1 round" or rounds() .. " rounds")
  say "headers, 4 KB of body, as Postfix sends them."
end

-- ---- all of it ----

local function replace_in_docs(path, text)
  local page = read_all(path)
  local _, first = page:find("<!-- bench: begin -->\n", 1, true)
  local last = page:find("<!-- bench: end -->", 1, true)
  if not (first and last) then usage(path .. " has no \"bench: begin\" and \"bench: end\"") end
  local file = assert(io.open(path, "w"))
  file:write(page:sub(1, first), text, page:sub(last))
  file:close()
end

local function wanted(name)
  if options.only == "shared" then
    for _, workload in ipairs(WORKLOADS) do
      if workload.beside and (name == workload.name or name == workload.beside) then return true end
    end
    return false
  end
  return not options.only or name:find(options.only, 1, true) ~= nil
end

read_options()
local descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
descriptors.rlim_cur = descriptors.rlim_max
resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
directory = assert(stdlib.mkdtemp "/tmp/moonmilter-bench-XXXXXX")
find_available()
describe_machine()

local results, begun = {}, os.time()
local redis = start_redis()
for _, workload in ipairs(WORKLOADS) do
  local family = {}
  for _, other in ipairs(WORKLOADS) do
    local is_of_it = other == workload and not other.beside or other.beside == workload.name
    if is_of_it and wanted(other.name) and (redis or not other.redis) then family[#family + 1] = other end
  end
  if family[1] then
    io.stderr:write(("%4d s  %s\n"):format(os.time() - begun, workload.name))
    for name, result in pairs(measure(family)) do results[name] = result end
  end
end
os.remove "/dev/shm/moonmilter-bench-events"
if redis then stop(redis) end
local idle = wanted "idle" and measure_idle()
local asleep = wanted "asleep" and measure_asleep()
local workers = wanted "workers" and options.hosts[1] and measure_workers(options.hosts[1])

for _, host in ipairs(options.hosts) do
  ratio_table(results, host.name)
  beside_table(results, host.name)
end
if idle then idle_table(idle) end
if asleep then asleep_table(asleep) end
if workers then workers_table(workers) end
table_of("**CPU of the filter, µs a message**", results, "cpu", 1, "%.1f")
table_of("**messages a second**", results, "rate", 1, "%.0f")
table_of("**p99 of a message, ms**", results, "p99", 1 / 1000, "%.2f")
table_of("**memory of the filter under load, RSS in MiB**", results, "rss", 1 / 1048576, "%.1f")
io.stderr:write(("%4d s  done; logs of what went wrong are in %s\n"):format(os.time() - begun, directory))

local text = table.concat(lines, "\n") .. "\n"
local file = assert(io.open(options.save, "w"))
file:write(text)
file:close()
if options.docs then replace_in_docs(options.docs, text) end
