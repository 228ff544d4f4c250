--- An MTA, a filter at one address over all its restarts, and sending clients: the target of a fault.
local lfs = require "lfs"
local posix_socket = require "posix.sys.socket"
local posix_unistd = require "posix.unistd"

local filter = require "spec.mta.filter"
local ledger = require "spec.ledger.ledger"
local message = require "spec.ledger.message"
local process = require "spec.support.process"

local world = {}
local methods = {}
methods.__index = methods

local CLIENTS = 4
-- Seconds for which a message is refused that was struck twice by chance: clients give up after GIVE_UP (client.lua).
local POISON_TIME = 1
local FILTER = assert(process.read_file "spec/ledger/filter.lua")
local runs = 0

-- The filter's socket, held by the spec. The filter receives it at a descriptor number that guards leave open, as from
-- a service manager.
local KEPT = 300
local function keep_socket(self)
  local address = self.path and { family = posix_socket.AF_UNIX, path = self.path }
    or { family = posix_socket.AF_INET, addr = "127.0.0.1", port = self.port }
  local fd = assert(posix_socket.socket(address.family, posix_socket.SOCK_STREAM, 0))
  assert(posix_socket.bind(fd, address))
  assert(posix_socket.listen(fd, 100))
  if self.path then process.run("chmod 666 " .. self.path) end
  assert(posix_unistd.dup2(fd, KEPT))
  posix_unistd.close(fd)
  self.spec = "fd:" .. KEPT
end

--- mta: the module (postfix, sendmail); options: unix (the filter's socket is one), mta (options for its start), kept
--- (the socket stays open between filters; one world at a time)
function world.start(mta_module, options)
  local self = setmetatable({ kind = mta_module.kind, directory = process.directory(), mark = 0 }, methods)
  self.path = options.unix and self.directory .. "/filter.sock" or nil
  process.run("chown nobody " .. self.directory) -- the serving user can recreate the socket
  self.port = not options.unix and process.free_port() or nil
  self.milter = self.path and "unix:" .. self.path or ("inet:127.0.0.1:%d"):format(self.port)
  local mta_options = options.mta or {}
  mta_options.milters = { self.milter }
  self.mta = mta_module.start(mta_options)
  if options.kept then keep_socket(self) end
  return self
end

--- The filter's source: a mark that shows which generation edited, how long it waits at a stage, what it counts.
function methods:source(mark, stay)
  return (FILTER:gsub('MARK = "start"', ("MARK = %q"):format(mark)):gsub("STAY = [%d.]+", "STAY = " .. (stay or 0.02))
    :gsub("COUNTS = nil", "COUNTS = " .. (self.counts or "nil")))
end

--- Starts the filter, always at the same address.
function methods:serve(options)
  self.control = ("%s/control%d.sock"):format(self.directory, #self.filters) -- a draining filter keeps its own
  local arguments = { "--workers=2", "--control=" .. self.control, "--log_format=json", "--socket_mode=0666",
    "--cpu_slice=0.3", "--hang_timeout=1.5", "--stage_deadline=5", "--poison_time=" .. POISON_TIME }
  for _, argument in ipairs(options.arguments or {}) do arguments[#arguments + 1] = argument end
  local f = filter.host({ ["10-ledger.lua"] = self:source("start", options.stay) },
    { spec = self.spec, unix = self.path, port = self.port, arguments = arguments, through = options.through })
  self.filters[#self.filters + 1] = f
  self.filter = f
  return f
end

--- Writes scripts into the filter's directory; false removes one.
function methods:write(scripts)
  for name, source in pairs(scripts) do
    if source then self.filter:write { [name] = source } else os.remove(self.filter.scripts .. "/" .. name) end
  end
end

function methods:reload() self.filter.child:signal "SIGHUP" end

--- The output of all filters of this run, each from its start.
function methods:log()
  local texts = {}
  for i, f in ipairs(self.filters) do texts[i] = f:log() end
  return table.concat(texts, "\n")
end

function methods:count(pattern)
  return select(2, self:log():gsub(pattern, ""))
end

--- How many workers have died, and how many sessions with them.
function methods:deaths()
  local deaths, lost = 0, 0
  for line in self:log():gmatch "[^\n]+" do
    if line:find('"event":"worker_ended"', 1, true) and line:find('"signal"', 1, true) then
      deaths = deaths + 1
      lost = lost + tonumber(line:match '"sessions_lost":(%d+)' or 0)
    end
  end
  return deaths, lost
end

--- Notes a wrong answer that no message of the clients shows.
function methods:say(...) self.found[#self.found + 1] = (...):format(select(2, ...)) end

--- What the serving filter's workers hold for their sessions, in bytes, as `moonmilter ctl` shows it.
function methods:held()
  local pipe = assert(io.popen(("%s ctl --control %s status 2>&1"):format(filter.host_program(), self.control)))
  local sum = 0
  for bytes in pipe:read "*a":gmatch "held_bytes=(%d+)" do sum = sum + tonumber(bytes) end
  pipe:close()
  return sum
end

--- Lines of `moonmilter ctl` about what the serving filter's workers share, such as those of "limit show ledger".
function methods:shared(request)
  local pipe = assert(io.popen(("%s ctl --control %s %s 2>&1"):format(filter.host_program(), self.control, request)))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- Process ids of the serving filter's workers.
function methods:workers()
  local pid = self.filter.child:pid()
  local pids = {}
  for word in (process.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch "%d+" do
    pids[#pids + 1] = tonumber(word)
  end
  return pids
end

--- Sessions of the serving filter as `moonmilter ctl` shows them: worker, stage, waits_for and more.
function methods:sessions()
  local pipe = assert(io.popen(("%s ctl --control %s sessions 2>&1"):format(filter.host_program(), self.control)))
  local list, worker = {}, nil
  for line in pipe:lines() do
    worker = tonumber(line:match "^worker pid=(%d+)") or worker
    if line:match "^session=" then
      local session = { worker = worker }
      for key, value in line:gmatch "([%w_]+)=(%S+)" do session[key] = value end
      list[#list + 1] = session
    end
  end
  pipe:close()
  return list
end

--- Begins a run: filter and clients. options: kinds, stages ("one,two,…"), arguments, stay, through, counts
function methods:begin(options)
  runs = runs + 1
  self.run = ("%s%d"):format(self.kind:sub(1, 1), runs)
  self.filters, self.mark = {}, #self.mta:log()
  self.found, self.seen, self.counts = {}, {}, options.counts
  self.files, self.clients = {}, {}
  self:serve(options)
  for i = 1, CLIENTS do
    self.files[i] = ("%s/%s-%d"):format(self.directory, self.run, i)
    self.clients[i] = process.start({ "luajit", "spec/ledger/client.lua", tostring(self.mta.port),
      ("%s-%d"):format(self.run, i), self.files[i], options.kinds, options.stages },
      { output = self.files[i] .. ".output" })
  end
end

-- Delivered messages, without those of an earlier run.
local function delivered_in(self)
  local list = {}
  for _, copy in ipairs(self.mta:delivered()) do
    local id = message.parse(copy.sender or "")
    if not id or id.token:find("ledger-" .. self.run .. "-", 1, true) then list[#list + 1] = copy end
  end
  return list
end

--- Stops new messages, waits until every message has a final outcome, and returns the four sources. settle(w), if
--- given, is called when the clients have ended.
function methods:finish(settle)
  local attempts
  for _, file in ipairs(self.files) do process.write_file(file .. ".stop", "") end
  assert(process.wait_until(75, function()
    local ended
    attempts, ended = ledger.read_clients(self.files)
    return ended == CLIENTS
  end, "the clients' end"))
  for i, client in ipairs(self.clients) do
    local said = client:text()
    client:stop()
    if said ~= "" then error(("client %d: %s"):format(i, said)) end
  end
  if settle then settle(self) end
  assert(self.mta:wait_idle(30))
  return {
    limits = self.counts and { self:shared "limit show ledger ''", self:shared "limit show churn all" },
    tally = self.counts and self:shared "store dump tally",
    attempts = attempts, lines = ledger.read_log(self:log()), delivered = delivered_in(self),
    mta = ledger.read_mta[self.kind](self.mta:log():sub(self.mark + 1)),
  }
end

--- Ends the filters and clients of a run, whatever its result.
function methods:end_run()
  for _, client in ipairs(self.clients or {}) do client:stop() end
  for _, f in ipairs(self.filters or {}) do f:stop() end
  self.clients, self.filters = {}, {}
end

function methods:stop()
  self:end_run()
  self.mta:stop()
  if self.spec then posix_unistd.close(KEPT) end
  if lfs.attributes(self.directory) then os.execute("rm -r " .. self.directory) end
end

world.CLIENTS = CLIENTS

return world
