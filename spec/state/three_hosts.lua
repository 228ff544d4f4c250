--- Three hosts with two workers each, in three network namespaces, and a real redis-server in a fourth; without the
--- right to make namespaces all are on the loopback interface. The clocks of the hosts differ by a minute. The specs
--- speak to the hosts by unix sockets.
local host = require "spec.support.host"
local process = require "spec.support.process"
local socket = require "socket"

local three_hosts = {}

local SCRIPT = [[
  local limit, milter = require "moonmilter.limit", require "moonmilter"
  local ffi = require "ffi"
  ffi.cdef "int getpid(void); struct timespec { long s, ns; }; int clock_gettime(int, struct timespec *);"
  local time = ffi.new "struct timespec"
  local function monotonic()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.s) + tonumber(time.ns) / 1e9
  end
  local limits = {}
  for _, name in ipairs { "exact", "soon" } do
    limits[name] = limit.new { name = name, rate = "%s", shared = "hosts", hosts = 3, mode = name,
      redis = { host = "%s", port = %d, timeout = 0.5, connect_timeout = 0.5 } }
  end
  local busy = limit.concurrency { name = "busy", max = 6, shared = "hosts",
    redis = { host = "%s", port = %d, timeout = 0.5, connect_timeout = 0.5 } }
  -- "soon.KEY@…" takes from the limit of that name; the answer says what came of it and how long it took.
  function on_mail(ctx, sender)
    local name, key = sender:match "^(%%l+)%%.([^@]+)"
    local begun = monotonic()
    local ok, state
    if name == "busy" then ok, state = busy:enter(key) else ok, state = limits[name]:take(key) end
    return ctx:tempfail(451, "4.7.1", ("%%s %%s %%.7f %%d"):format(tostring(ok), state.state, monotonic() - begun,
      ffi.C.getpid()))
  end ]]

local World = {}
World.__index = World

-- ---- the network ----

local names = 0

local function try(command)
  return (os.execute(command .. " >/dev/null 2>&1")) == 0
end

--- Can this process make network namespaces? nil and why not.
function three_hosts.namespaces()
  local name = ("mm-%d-probe"):format(require "posix.unistd".getpid())
  if not try "command -v ip" then return nil, "there is no ip (iproute2)" end
  if not try("ip netns add " .. name) then return nil, "this user may not make network namespaces" end
  try("ip netns del " .. name)
  return true
end

local function make_network(world)
  names = names + 1
  local base = ("mm%d-%d"):format(require "posix.unistd".getpid() % 100000, names)
  world.spaces = { server = base .. "s" }
  local commands = [[set -e
    ip netns add SERVER
    ip -n SERVER link set lo up
    ip -n SERVER link add bridge0 type bridge
    ip -n SERVER addr add 10.77.0.1/24 dev bridge0
    ip -n SERVER link set bridge0 up]]
  process.run((commands:gsub("%u+", { SERVER = base .. "s" })))
  for i = 1, 3 do
    world.spaces[i] = base .. "h" .. i
    commands = [[set -e
      ip netns add HOST
      ip -n HOST link set lo up
      ip -n SERVER link add LINK type veth peer name eth0 netns HOST
      ip -n SERVER link set LINK master bridge0 up
      ip -n HOST addr add ADDRESS/24 dev eth0
      ip -n HOST link set eth0 up]]
    process.run((commands:gsub("%u+", { HOST = world.spaces[i], SERVER = base .. "s", LINK = "link" .. i,
      ADDRESS = "10.77.0.1" .. i })))
  end
end

-- The words before a command that runs in a namespace.
local function inside(world, space)
  return world.spaces and { "ip", "netns", "exec", world.spaces[space] } or {}
end

-- ---- redis-server ----

local function argv_of(world, port, more)
  local argv = inside(world, "server")
  local words = ("redis-server --port %d --bind %s --protected-mode no --save '' --appendonly no --dir %s --unixsocket "
    .. "%s/redis-%d.sock %s"):format(port, world.address, world.directory, world.directory, port, more or "")
  for word in words:gmatch "%S+" do
    argv[#argv + 1] = word == "''" and "" or word
  end
  return argv
end

function World:redis_cli(words, port)
  local text = process.run(("redis-cli -s %s/redis-%d.sock %s"):format(self.directory, port or self.port, words))
  return (text:gsub("%s+$", ""))
end

--- Starts a redis-server; more: further options.
function World:start_redis(port, more)
  local child = process.start(argv_of(self, port, more), { output = ("%s/redis-%d.log"):format(self.directory, port),
    life = 300 })
  assert(process.wait_until(10, function()
    return select(2, pcall(self.redis_cli, self, "ping", port)) == "PONG"
  end, "redis-server answers"))
  return child
end

-- ---- the hosts ----

local function preload(world)
  local path = world.directory .. "/skewed_clock.so"
  process.run(("${CC:-cc} -shared -fPIC -O1 -o %s spec/state/skewed_clock.c -ldl"):format(path))
  return path
end

local function begin(world, rate)
  local ok = three_hosts.namespaces()
  world.address, world.port = ok and "10.77.0.1" or "127.0.0.1", process.free_port()
  if ok then make_network(world) end
  world.redis = world:start_redis(world.port)
  local shim = preload(world)
  for i, skew in ipairs { 0, 60, -60 } do
    local before = os.getenv "LD_PRELOAD" -- the sanitizer of `make asan`
    local through = { "env", "LD_PRELOAD=" .. (before and before .. ":" or "") .. shim, "SKEW=" .. skew,
      ("ASAN_OPTIONS=%s:verify_asan_link_order=0"):format(os.getenv "ASAN_OPTIONS" or "") }
    for _, word in ipairs(inside(world, i)) do through[#through + 1] = word end
    local state_dir = ("%s/state%d"):format(world.directory, i)
    process.run(("mkdir -p %s; chown nobody %s 2>/dev/null || true"):format(state_dir, state_dir))
    world.hosts[i] = host.start { workers = 2, unix = true, through = through, life = 300,
      arguments = { "--state_dir=" .. state_dir },
      scripts = { ["10-limits.lua"] = SCRIPT:format(rate, world.address, world.port, world.address, world.port) } }
  end
end

--- rate: of the two limits, "exact" and "soon".
function three_hosts.start(rate)
  local world = setmetatable({ directory = process.directory(), hosts = {}, lines = {} }, World)
  local ok, why = pcall(begin, world, rate)
  if not ok then
    world:close()
    error(why, 0)
  end
  return world
end

--- So many connections to each host, which are kept.
function World:connect(count)
  for _, h in ipairs(self.hosts) do
    for _ = 1, count do
      local mta = host.wait_until(10, function() return h:connect() end, "a connection")
      mta:envelope "helo"
      self.lines[#self.lines + 1] = { mta = mta, host = h }
    end
  end
end

-- A connection whose worker was killed is made again.
local function again(line)
  line.mta:close()
  line.mta = host.wait_until(10, function() return line.host:connect() end, "a connection")
  line.mta:envelope "helo"
end

--- MAIL from all connections beside each other, `rounds` times. -> { passed, refused, lost, states = { shared = … },
--- seconds = sorted list, slow = by process id } ; between(round): called while they wait for the answer.
function World:mails(sender, rounds, between)
  local sums = { passed = 0, refused = 0, lost = 0, states = {}, seconds = {}, slow = {} }
  for round = 1, rounds do
    for _, line in ipairs(self.lines) do line.mta:send("M", ("<%s@a.example>\0"):format(sender)) end
    if between then between(round) end
    for _, line in ipairs(self.lines) do
      local reply = line.mta:reply()
      local ok, state, seconds, pid = tostring(reply.text):match "(%l+) (%l+) ([%d.]+) (%d+)"
      if ok then
        sums.passed = sums.passed + (ok == "true" and 1 or 0)
        sums.refused = sums.refused + (ok == "false" and 1 or 0)
        sums.states[state] = (sums.states[state] or 0) + 1
        sums.seconds[#sums.seconds + 1] = tonumber(seconds)
        if tonumber(seconds) > 0.1 then sums.slow[pid] = (sums.slow[pid] or 0) + 1 end
      else
        sums.lost = sums.lost + 1
        again(line)
      end
    end
  end
  table.sort(sums.seconds)
  return sums
end

--- A quantile of its seconds.
function three_hosts.quantile(sums, part)
  return sums.seconds[math.max(1, math.ceil(#sums.seconds * part))]
end

--- Waits until each host answers "shared" for a key. -> seconds
function World:wait_shared(sender, seconds)
  local begun = socket.gettime()
  repeat
    local sums = self:mails(sender, 1)
    if (sums.states.shared or 0) == #self.lines then return socket.gettime() - begun end
    socket.sleep(0.05)
  until socket.gettime() - begun > seconds
  return math.huge
end

--- Connections of clients to the server, by the address they come from.
function World:clients()
  local count = {}
  for address in self:redis_cli("client list"):gmatch "%f[%w]addr=([%d.]+):" do
    count[address] = (count[address] or 0) + 1
  end
  return count
end

function World:close()
  for _, line in ipairs(self.lines) do line.mta:close() end
  local tables = {}
  for _, h in ipairs(self.hosts) do
    tables[#tables + 1] = h:memory_directory()
    h:stop()
  end
  for _, path in ipairs(tables) do process.run("rm -rf " .. path) end
  if self.redis then
    pcall(self.redis.signal, self.redis, "SIGCONT")
    self.redis:stop()
  end
  if self.replica then self.replica:stop() end
  for _, space in pairs(self.spaces or {}) do process.run("ip netns del " .. space) end
  process.run("rm -rf " .. self.directory)
end

return three_hosts
