--- Filters for the specs: the stand-in on libmilter, and moonmilter with scripts.
local lfs = require "lfs"

local process = require "spec.support.process"

local filter = {}
local methods = {}
methods.__index = methods

local HERE = "spec/mta/"

-- Where to listen: a free port, or a unix socket in a directory that only root writes to.
local function listen_at(options)
  if options.spec then return { directory = process.directory(), spec = options.spec } end
  if options.unix then
    local directory = process.directory()
    local path = type(options.unix) == "string" and options.unix or directory .. "/filter.sock"
    return { directory = directory, path = path, spec = "unix:" .. path, milter = "unix:" .. path }
  end
  local port = options.port or process.free_port()
  return { port = port, directory = process.directory(), spec = ("inet:%d@127.0.0.1"):format(port),
    milter = ("inet:127.0.0.1:%d"):format(port) }
end

-- Compiles a filter on libmilter if it is older than its source, and starts it.
local function on_libmilter(name, options)
  local program, source = "build/mta/" .. name, HERE .. name .. ".c"
  if (lfs.attributes(program, "modification") or 0) < lfs.attributes(source, "modification") then
    process.run(("mkdir -p build/mta && cc -std=gnu11 -O1 -Wall -Wextra -o %s %s -lmilter -lpthread"):format(program,
      source))
  end
  local self = setmetatable(listen_at(options or {}), methods)
  self.kind = "libmilter"
  self.child = process.start({ program, self.spec }, {
    output = self.directory .. "/output", remove = self.directory,
    grace = 0.2, -- libmilter takes five seconds to stop
  })
  assert(self.child:wait_text("listening on", 5))
  return self
end

--- Starts the filter that follows orders.
---@param options? { unix?: boolean, port?: integer }
---@return table  milter: its socket as Postfix writes it; spec: as libmilter writes it
function filter.stand_in(options) return on_libmilter("stand_in", options) end

--- Starts the filter that records what it receives.
---@param options? { unix?: boolean }
function filter.echo(options) return on_libmilter("echo", options) end

--- Starts the sample filter.
---@param options? { unix?: boolean }
function filter.sample(options) return on_libmilter("sample", options) end

--- Starts a program that embeds a host and takes the socket as its argument.
---@param program string
---@param options? { unix?: boolean }
function filter.embedded(program, options)
  local self = setmetatable(listen_at(options or {}), methods)
  self.kind = "embedded"
  self.child = process.start({ "env", "-u", "LD_PRELOAD", program, self.spec }, {
    output = self.directory .. "/output", remove = self.directory, grace = 10,
  })
  assert(self.child:wait_text("listening on", 10))
  return self
end

--- The host's program: $MOONMILTER, by default build/moonmilter.
function filter.host_program()
  return os.getenv "MOONMILTER" or "build/moonmilter"
end

--- Why the host cannot run here, or nil.
function filter.host_unavailable()
  if not lfs.attributes(filter.host_program()) then return filter.host_program() .. " is not built" end
end

--- Starts moonmilter in the foreground with scripts.
---@param scripts table<string, string>|string  sources by file name, or the path of one script
---@param options? { unix?: boolean|string, port?: integer, spec?: string, arguments?: string[],
---  env?: table<string, string>, through?: string[] }  unix may be the socket's path; spec: where to listen, verbatim;
---  through: words before the command
---@return table  milter, spec; output with :log(); scripts is their directory
function filter.host(scripts, options)
  options = options or {}
  local self = setmetatable(listen_at(options), methods)
  self.kind = "moonmilter"
  self.scripts = self.directory .. "/scripts"
  assert(lfs.mkdir(self.scripts))
  if type(scripts) == "string" then
    scripts = { [scripts:match "[^/]+$"] = assert(process.read_file(scripts)) }
  end
  self:write(scripts)
  local argv = { filter.host_program(), "run", "-s", self.spec }
  for _, argument in ipairs(options.arguments or {}) do argv[#argv + 1] = argument end
  argv[#argv + 1] = self.scripts
  for i, word in ipairs(options.through or {}) do table.insert(argv, i, word) end
  self.child = process.start(argv,
    { output = self.directory .. "/output", remove = self.directory, grace = 10, env = options.env })
  local ok, text = pcall(function()
    assert(self.child:wait_text("moonmilter: ready", 10))
  end)
  if not ok then
    text = ("%s: %s\n%s"):format(filter.host_program(), text, self.child:text())
    self.child:stop()
    error(text, 2)
  end
  return self
end

--- Writes scripts into the host's directory (the host sees them after reload), each atomically, as editors do.
function methods:write(scripts)
  for name, source in pairs(scripts) do
    assert(os.rename(process.write_file(self.directory .. "/new", source), self.scripts .. "/" .. name))
  end
end

--- SIGHUP.
function methods:reload()
  self.child:signal "SIGHUP"
end

--- The filter's output so far. `from` skips that many bytes of it (see :mark).
function methods:log(from)
  return self.child:text():sub((from or 0) + 1)
end

--- Length of the output so far.
function methods:mark()
  return #self.child:text()
end

--- Waits until the filter has printed a text after `from` bytes.
function methods:wait_log(text, seconds, from)
  return process.wait_until(seconds or 5, function()
    return self:log(from):find(text, 1, true)
  end, ("%q in the filter's output:\n%s"):format(text, self:log(from)))
end

function methods:running()
  return self.child:running()
end

--- Ends the filter with SIGTERM, and after its grace time with SIGKILL.
function methods:stop()
  self.child:stop()
end

return filter
