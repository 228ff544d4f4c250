--- Starts build/moonmilter for specs of whole processes and observes it from outside.
local lfs = require "lfs"
local socket = require "socket"

local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local host = {}
local methods = {}
methods.__index = methods

function host.program() return os.getenv "MOONMILTER" or "build/moonmilter" end

--- options: scripts (source by file name), workers, arguments (list), unix (a unix socket instead of a port),
--- life (seconds), unready (do not wait for "ready").
function host.start(options)
  local directory = process.directory()
  local self = setmetatable({ directory = directory, scripts = directory .. "/scripts", connections = {} }, methods)
  self.control = directory .. "/control.sock"
  assert(lfs.mkdir(self.scripts))
  -- the user that serves: a foreign owner of scripts would be refused
  local user = table.concat(options.arguments or {}, " "):match "%-%-user=(%S+)" or "nobody"
  process.run(("chown %s %s %s 2>/dev/null || true"):format(user, directory, self.scripts))
  self:write(options.scripts or {})
  self.port = process.free_port()
  self.path = directory .. "/milter.sock"
  self.where = options.unix and self.path or self.port
  local argv = { host.program(), "run", "-s", options.unix and "unix:" .. self.path
    or ("inet:%d@127.0.0.1"):format(self.port), "--workers=" .. (options.workers or 0), options.no_control
    and "--log-level=info" or "--control=" .. self.control }
  if options.log then
    self.log_path = directory .. "/log"
    argv[#argv + 1] = "--log=" .. self.log_path
  end
  for _, argument in ipairs(options.arguments or {}) do argv[#argv + 1] = argument end
  argv[#argv + 1] = self.scripts
  self.argv = argv
  for i, word in ipairs(options.through or {}) do table.insert(argv, i, word) end
  self.child = process.start(argv, { output = directory .. "/output", remove = directory, grace = 10,
    life = options.life or 120, env = options.env })
  if not options.unready then
    local ok, why = pcall(self.child.wait_text, self.child, "moonmilter: ready", 10)
    if not ok then
      why = tostring(why) .. "\n" .. self.child:text()
      self.child:stop()
      error(why, 2)
    end
  end
  return self
end

function methods:write(scripts)
  for name, source in pairs(scripts) do
    assert(os.rename(process.write_file(self.directory .. "/new", source), self.scripts .. "/" .. name))
  end
end

local function keep(self, connection, why)
  table.insert(self.connections, connection)
  return connection, why
end

function methods:connect(timeout) return keep(self, mta_client.connect(self.where, timeout)) end
function methods:dial(timeout) return keep(self, mta_client.dial(self.where, timeout)) end
function methods:pid() return self.child:pid() end
function methods:signal(name) return self.child:signal(name) end
function methods:log() return self.child:text() end
function methods:log_file() return process.read_file(self.log_path) or "" end

--- Closes its connections first: it would wait for the messages in them.
function methods:stop()
  for _, connection in ipairs(self.connections) do connection:close() end
  self.child:stop()
end

function methods:wait_log(text, seconds)
  return process.wait_until(seconds or 5, function() return self:log():find(text, 1, true) end,
    ("%q in\n%s"):format(text, self:log()))
end

--- Process ids of the workers, in order of their start.
function methods:workers()
  local pids = {}
  local text = process.read_file(("/proc/%d/task/%d/children"):format(self:pid(), self:pid())) or ""
  for pid in text:gmatch "%d+" do pids[#pids + 1] = tonumber(pid) end
  return pids
end

--- The directory of its tables in memory, once one is open. With a state_dir it stays for the next start: the spec
--- removes it.
function methods:memory_directory()
  local pids = self:workers()
  pids[#pids + 1] = self:pid()
  for _, pid in ipairs(pids) do
    local maps = process.read_file(("/proc/%d/maps"):format(pid)) or ""
    local path = maps:match "/dev/shm/moonmilter%-%d+%-%x+"
    if path then return path end
  end
end

--- moonmilter ctl: its output and exit status.
function methods:ctl(...)
  local words = table.concat({ ... }, " ")
  local pipe = assert(io.popen(("%s ctl --control %s %s 2>&1; echo \"status $?\""):format(host.program(),
    self.control, words)))
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)status (%d+)\n$"
  return output, tonumber(status)
end

--- The rows of `ctl status` for workers, as tables.
function methods:status()
  local rows = {}
  for line in self:ctl("status"):gmatch "[^\n]+" do
    if line:match "^worker " then
      local row = {}
      for key, value in line:gmatch "([%w_]+)=(%S+)" do row[key] = tonumber(value) or value end
      rows[#rows + 1] = row
    end
  end
  return rows
end

--- The lines of `ctl sessions`, with the worker's process id.
function methods:sessions()
  local list, worker = {}, nil
  for line in self:ctl("sessions"):gmatch "[^\n]+" do
    worker = tonumber(line:match "^worker pid=(%d+)") or worker
    if line:match "^session=" then
      local session = { worker = worker }
      for key, value in line:gmatch "([%w_]+)=(%S+)" do session[key] = tonumber(value) or value end
      list[#list + 1] = session
    end
  end
  return list
end

function methods:generation() return tonumber((self:ctl "status"):match "generation=(%d+) ") end

--- Waits until so many workers serve.
function methods:wait_serving(count, seconds)
  return process.wait_until(seconds or 5, function()
    local serving = 0
    for _, row in ipairs(self:status()) do
      if row.state == "serving" then serving = serving + 1 end
    end
    return serving == count
  end, count .. " serving workers\n" .. self:ctl "status")
end

--- Runs the program in a directory until it ends by itself, or until it serves: then it is ended, with status 124.
---@param arguments string  for the shell
---@param before string|nil  a command that runs the program: "setpriv --reuid=nobody"
---@return string output, number status
function host.until_ready(directory, arguments, before)
  local function path(file) return (process.run("readlink -f " .. file):gsub("%s+$", "")) end
  local pipe = io.popen(("cd %s; %s %s %s %s 2>&1; echo \"status $?\""):format(directory, before or "",
    path "spec/support/until_ready", path(host.program()), arguments))
  local text, status = pipe:read "*a":match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, tonumber(status)
end

host.kill = process.kill

function host.exists(pid)
  local text = process.read_file(("/proc/%d/stat"):format(pid))
  return text ~= nil and not text:match "%) Z"
end

--- CPU seconds of a process.
function host.cpu(pid)
  local text = process.read_file(("/proc/%d/stat"):format(pid))
  if not text then return 0 end
  local fields = {}
  for word in text:match "%) (.*)$":gmatch "%S+" do fields[#fields + 1] = word end
  return (tonumber(fields[12]) + tonumber(fields[13])) / 100
end

--- Resident kilobytes and open descriptors.
function host.memory(pid)
  return tonumber((process.read_file(("/proc/%d/status"):format(pid)) or ""):match "VmRSS:%s*(%d+)")
end

--- Page faults since the process began.
function host.page_faults(pid)
  local text = process.read_file(("/proc/%d/stat"):format(pid))
  return tonumber(text:match "%) %S %S+ %S+ %S+ %S+ %S+ %S+ (%d+)")
end

function host.descriptors(pid)
  local count = 0
  for _ in lfs.dir(("/proc/%d/fd"):format(pid)) do count = count + 1 end
  return count - 2
end

host.sleep = socket.sleep
host.now = socket.gettime
host.wait_until = process.wait_until
host.try_until = process.try_until

return host
