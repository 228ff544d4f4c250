--- Readers of HTTP at a fixed rate beside a load of mail, and what they cost it: with the server under test, with one
--- that does nothing but answer the same bytes (still_server.c), and without readers, in turns.
local ffi = require "ffi"

local cjson = require "cjson"
local process = require "spec.support.process"
local socket = require "socket"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

ffi.cdef [[
struct sched_param { int priority; };
int sched_setscheduler(int pid, int policy, const struct sched_param *);
]]
local SCHED_IDLE = 5

local readers = {}

local TURNS = { "without", "control", "with" }

local function request(target)
  return ("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(target)
end

--- An answer as it comes: head, body; nothing when there is no whole one.
local function receive(s)
  local head, length = {}, nil
  repeat
    local line = s:receive "*l"
    if not line then return nil end
    head[#head + 1] = line
    length = tonumber(line:match "^[Cc]ontent%-[Ll]ength: (%d+)") or length
  until line == ""
  local body = length and s:receive(length)
  return body and table.concat(head, "\r\n") .. "\r\n", body
end

--- Starts the server of the control with the answers that another gives now.
local function start_still(program, port, targets, directory)
  local to = process.free_port()
  local argv = { program, tostring(to) }
  for i, target in ipairs(targets) do
    local s = assert(socket.connect("127.0.0.1", port))
    s:settimeout(10)
    s:send(request(target))
    local head, body = receive(s)
    s:close()
    assert(head and head:match "^HTTP/1%.1 200", target)
    argv[#argv + 1] = target
    argv[#argv + 1] = process.write_file(("%s/answer%d"):format(directory, i), head .. body)
  end
  local child = process.start(argv, { output = directory .. "/still.out", life = 3600 })
  assert(process.wait_until(10, function()
    local s = socket.connect("127.0.0.1", to)
    return s and s:close()
  end, "the server of the control"))
  return child, to
end

--- Requests at their times over one connection that is kept; a time is from when a request was due to its answer's end.
local function read(port, targets, share, seconds, result)
  local s, times, failed = nil, {}, 0
  local begin, due = socket.gettime(), socket.gettime()
  while due - begin < seconds do
    local now = socket.gettime()
    if due > now then socket.sleep(due - now) end
    if not s then
      s = assert(socket.connect("127.0.0.1", port))
      s:settimeout(10)
      s:setoption("tcp-nodelay", true)
    end
    s:send(request(targets[#times % #targets + 1]))
    local head = receive(s)
    if not head or not head:find "^HTTP/1%.1 200" then failed = failed + 1 end
    if not head or head:find "\nConnection: close" then
      s:close()
      s = nil
    end
    times[#times + 1] = socket.gettime() - due
    due = due + share
  end
  table.sort(times)
  process.write_file(result, ("%d %d %.6f\n"):format(#times, failed, times[math.ceil(#times * 0.99)]))
end

-- Readers are on other machines: they take from mail only what the kernel does for their sockets.
local function start_readers(options, port)
  local list = {}
  for i = 1, options.readers do
    local pid = unistd.fork()
    if pid == 0 then
      ffi.C.sched_setscheduler(0, SCHED_IDLE, ffi.new "struct sched_param")
      local ok = pcall(read, port, options.targets, options.readers / options.rate, options.seconds + 1,
        options.directory .. "/reader" .. i)
      unistd._exit(ok and 0 or 1)
    end
    list[i] = pid
  end
  return list
end

local function finish_readers(options, list)
  local asked, failed, slowest = 0, 0, 0
  for i, pid in ipairs(list) do
    local _, _, status = wait.wait(pid)
    assert(status == 0, "a reader has failed")
    local n, bad, p99 = process.read_file(options.directory .. "/reader" .. i):match "(%S+) (%S+) (%S+)"
    asked, failed, slowest = asked + n, failed + bad, math.max(slowest, tonumber(p99))
  end
  return asked / (options.seconds + 1), failed, slowest * 1e3
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

--- Prints a line for each round and the medians.
---   port, targets, rate, readers: what is asked, how often a second, over how many connections
---   load: the command that puts mail on the host for `seconds`, and prints JSON
---   cpu: seconds of CPU that the server under test has used; still: program of the control; directory; rounds
function readers.measure(options)
  process.run(options.load) -- so that there is something to show, and code has been compiled
  local still, still_port = start_still(options.still, options.port, options.targets, options.directory)
  local p50, p99 = {}, {}
  for _, turn in ipairs(TURNS) do p50[turn], p99[turn] = {}, {} end
  for round = 1, options.rounds do
    for i = 1, #TURNS do
      local turn = TURNS[(round + i) % #TURNS + 1]
      local before = options.cpu()
      local list = turn == "without" and {} or start_readers(options, turn == "with" and options.port or still_port)
      local message = cjson.decode(process.run(options.load):match "{.*}").message
      local used = options.cpu() - before
      p50[turn][round], p99[turn][round] = message.p50 / 1e3, message.p99 / 1e3
      io.write(("round %d %-8s p50 %.3f ms, p99 %.3f ms"):format(round, turn, message.p50 / 1e3, message.p99 / 1e3))
      if list[1] then
        io.write((", %.0f requests/s, %d failed, their p99 %.1f ms"):format(finish_readers(options, list)))
      end
      io.write(turn == "with" and (", server %.0f %% CPU\n"):format(used / options.seconds * 100) or "\n")
      io.flush()
    end
  end
  still:stop()
  for name, times in pairs { p50 = p50, p99 = p99 } do
    local without, control, with = median(times.without), median(times.control), median(times.with)
    print(("%s of mail, medians: %.3f ms without readers, %.3f with the control (%.2f), %.3f with %d requests/s "
      .. "(%.2f, of the control %.2f)"):format(name, without, control, control / without, with, options.rate,
      with / without, with / control))
  end
end

return readers
