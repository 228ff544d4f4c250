--- Starts programs under a guard (guard.lua) and waits for their effects, always with a limit.
local lfs = require "lfs"
local socket = require "socket"
local posix = {
  fcntl = require "posix.fcntl",
  signal = require "posix.signal",
  stdlib = require "posix.stdlib",
  unistd = require "posix.unistd",
  wait = require "posix.sys.wait",
}

local process = {}

local GUARD = (debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "guard.lua"
local LUAJIT = "luajit"
local LIFE = 600 -- seconds until a guard ends its command whatever happens
local GRACE = 5 -- seconds between SIGTERM and SIGKILL

-- Where the spec waits: the nearest line that is not of the kits in spec/support.
local function line_of_spec()
  for level = 3, 30 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and not info.short_src:find("spec/support/", 1, true) then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
  end
  return ""
end

--- Calls condition() until it returns true or anything else that is not nil or false, at most so many seconds. A
--- machine that stands still for a while, or whose clock is set, takes no time from what is waited for: so it is called
--- ten times a second at least, or fifty times.
---@param seconds number
---@param condition fun(): any
---@return any value  nil: it never did
function process.try_until(seconds, condition)
  local limit, calls = socket.gettime() + seconds, math.min(10 * seconds, 50)
  while true do
    local value = condition()
    if value then return value end
    calls = calls - 1
    if calls <= 0 and socket.gettime() >= limit then return nil end
    socket.sleep(0.01)
  end
end

--- The same for what must come: when the time is over, raises, and says what did not come at which line of the spec.
---@param seconds number
---@param condition fun(): any
---@param what string|fun(): string  the function is called at the end
---@return any value
function process.wait_until(seconds, condition, what)
  local value = process.try_until(seconds, condition)
  if value then return value end
  if type(what) == "function" then what = what() end
  error(("%snot within %g s: %s"):format(line_of_spec(), seconds, what or "what this line waits for"), 0)
end

-- Below the ports that the kernel gives to connections (32768 and up), which may take one while nobody listens there.
local PORTS_FROM, PORTS = 10240, 22000

--- A free TCP port of 127.0.0.1. Each port is given out once per run; runs at the same time begin at other ports.
local next_port = (posix.unistd.getpid() * 7919 + math.floor(socket.gettime() * 1000)) % PORTS
function process.free_port()
  for _ = 1, PORTS do
    next_port = (next_port + 1) % PORTS
    local probe = socket.bind("127.0.0.1", PORTS_FROM + next_port)
    if probe then
      probe:close()
      return PORTS_FROM + next_port
    end
  end
  error "no free port"
end

--- A new directory that other users can reach but not write to, below one that only root writes to: MTAs refuse sockets
--- and queues elsewhere. The caller passes it as `remove` to process.start.
function process.directory()
  local base = os.getenv "SPEC_DIRECTORY" or posix.unistd.geteuid() == 0 and "/run" or os.getenv "TMPDIR" or "/tmp"
  local directory = assert(posix.stdlib.mkdtemp(base .. "/mm-spec-XXXXXX"))
  assert(os.execute("chmod 755 " .. directory))
  return directory
end

function process.read_file(path)
  local file, text = io.open(path, "rb")
  if not file then return nil, text end
  local data = file:read "*a"
  file:close()
  return data
end

function process.write_file(path, data)
  local file = assert(io.open(path, "wb"))
  assert(file:write(data))
  assert(file:close())
  return path
end

--- Runs a command to its end; its output when it succeeds, an error with its output when it fails.
function process.run(command)
  local output = os.tmpname()
  local status = os.execute(("{ %s\n} >%s 2>&1 </dev/null"):format(command, output))
  local text = process.read_file(output)
  os.remove(output)
  if status ~= 0 and status ~= true then error(("failed: %s\n%s"):format(command, text), 2) end
  return text
end

--- Full path of a program, or nil.
function process.which(name)
  for directory in ((os.getenv "PATH" or "") .. ":/usr/sbin:/sbin"):gmatch "[^:]+" do
    local path = directory .. "/" .. name
    if posix.unistd.access(path, "x") == 0 then return path end
  end
end

-- True when no thread of a process runs: all are stopped, or have ended.
local function stands_still(pid)
  local directory = ("/proc/%d/task"):format(pid)
  if not lfs.attributes(directory) then return true end
  for thread in lfs.dir(directory) do
    local stat = thread:match "^%d+$" and process.read_file(directory .. "/" .. thread .. "/stat")
    if stat and not stat:match "^.*%) [TtZX]" then return false end
  end
  return true
end

--- Sends a signal. After SIGSTOP it waits until every thread of the process stands still: kill(2) returns before that,
--- and a thread on another core may answer once more.
---@param pid integer|string
---@param name string  "SIGSTOP"
function process.kill(pid, name)
  local number = assert(posix.signal[name], name)
  local result, text, code = posix.signal.kill(tonumber(pid), number)
  if name == "SIGSTOP" and result == 0 then
    assert(process.wait_until(20, function() return stands_still(pid) end, "process " .. pid .. " to stand still"))
  end
  return result, text, code
end

-- The processes that the threads of a process started.
local function children_of(pid)
  local pids, directory = {}, ("/proc/%d/task"):format(pid)
  for thread in lfs.dir(directory) do
    local text = thread:match "^%d+$" and process.read_file(directory .. "/" .. thread .. "/children") or ""
    for child in text:gmatch "%d+" do pids[#pids + 1] = tonumber(child) end
  end
  return pids
end

--- Sends a signal to a process and to all that it started. They are stopped first, so that none of them starts another
--- meanwhile that gets no signal.
function process.kill_tree(pid, name)
  if name ~= "SIGCONT" and process.kill(pid, "SIGSTOP") ~= 0 then return end
  for _, child in ipairs(children_of(pid)) do process.kill_tree(child, name) end
  if name ~= "SIGSTOP" then process.kill(pid, name) end
end

local child = {}
child.__index = child

---@class process.Options
---@field output string      file that gets standard output and error
---@field life? number       seconds after which the command ends in any case (600)
---@field grace? number      seconds between SIGTERM and SIGKILL (5)
---@field remove? string     directory to remove at the end
---@field env? table<string, string>

--- Starts a program. It ends with the spec at the latest.
---@param argv string[]
---@param options process.Options
function process.start(argv, options)
  local guarded = { GUARD, tostring(options.life or LIFE), tostring(options.grace or GRACE), options.remove or "-" }
  for i = 1, #argv do guarded[#guarded + 1] = argv[i] end
  process.write_file(options.output, "")
  local reader, writer = assert(posix.unistd.pipe())
  posix.fcntl.fcntl(writer, posix.fcntl.F_SETFD, posix.fcntl.FD_CLOEXEC)
  local pid = assert(posix.unistd.fork())
  if pid == 0 then
    local output = posix.fcntl.open(options.output, posix.fcntl.O_WRONLY + posix.fcntl.O_CREAT + posix.fcntl.O_APPEND,
      420)
    posix.unistd.dup2(reader, 0)
    posix.unistd.dup2(output, 1)
    posix.unistd.dup2(output, 2)
    for name, value in pairs(options.env or {}) do posix.stdlib.setenv(name, value) end
    posix.unistd.execp(LUAJIT, guarded)
    posix.unistd._exit(127)
  end
  posix.unistd.close(reader)
  -- Kept open: a program's last output must be readable although its directory is removed by then.
  local output = assert(io.open(options.output, "rb"))
  return setmetatable({ guard = pid, writer = writer, output = output }, child)
end

--- Process id of the command itself, the guard's first child.
function child:pid()
  if not self.first then
    self.first = process.wait_until(2, function()
      local text = process.read_file(("/proc/%d/task/%d/children"):format(self.guard, self.guard))
      return text and tonumber(text:match "%d+")
    end, "the command's process")
  end
  return self.first
end

--- As process.kill().
function child:signal(name)
  return process.kill(self:pid(), name)
end

--- True while the command or a process that it started runs.
function child:running()
  if not self.guard then return false end
  if posix.wait.wait(self.guard, posix.wait.WNOHANG) == self.guard then
    self.guard = nil
    posix.unistd.close(self.writer)
    return false
  end
  return true
end

--- The output so far.
function child:text()
  self.output:seek "set"
  return self.output:read "*a" or ""
end

--- Waits until the command printed a text (plain, or a pattern with `true`).
function child:wait_text(text, seconds, pattern)
  return process.wait_until(seconds, function()
    return self:text():find(text, 1, not pattern) or (not self:running() and error(
      ("ended before it printed %q:\n%s"):format(text, self:text()), 0))
  end, ("%q in:\n%s"):format(text, self:text()))
end

--- Ends the command and all that it started; returns when all have ended.
---@param keep? boolean  keep the directory named as `remove`
function child:stop(keep)
  if not self.guard then return end
  if keep then posix.unistd.write(self.writer, "k") end
  posix.unistd.close(self.writer)
  posix.wait.wait(self.guard)
  self.guard = nil
end

--- Waits until a server accepts connections at 127.0.0.1:port and, if wanted, sends a line that begins with a code.
function process.wait_port(port, seconds, greeting)
  return process.wait_until(seconds, function()
    local probe = socket.tcp()
    probe:settimeout(greeting and seconds or 1)
    local ok = probe:connect("127.0.0.1", port)
    if ok and greeting then
      ok = probe:receive "*l"
      ok = ok and ok:find "^%d%d%d"
      probe:send "QUIT\r\n"
    end
    probe:close()
    return ok
  end, ("a listener at port %d"):format(port))
end

--- The child processes of a process with that name.
---@return string[] pids
function process.children(parent, name)
  local pids = {}
  for pid in lfs.dir "/proc" do
    local stat = pid:match "^%d+$" and process.read_file("/proc/" .. pid .. "/stat")
    local comm, ppid = (stat or ""):match "%((.*)%) %S (%d+)"
    if comm == name and ppid == tostring(parent) then pids[#pids + 1] = pid end
  end
  return pids
end

--- The files in a directory tree, with their directory.
function process.files(directory, list)
  list = list or {}
  if not lfs.attributes(directory) then return list end
  for name in lfs.dir(directory) do
    local path = directory .. "/" .. name
    local mode = name ~= "." and name ~= ".." and lfs.attributes(path, "mode")
    if mode == "directory" then process.files(path, list) elseif mode == "file" then list[#list + 1] = path end
  end
  return list
end

return process
