--- The outside world of the specs of waiting: misbehaving servers, Redis, temporary directories. Each server binds to
-- loopback only, and is ended by its own process id.
local lfs = require "lfs"

local process = require "spec.support.process"

local world = {}

local function run(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("%s+$", ""))
end
world.run = run

function world.temporary()
  return run "mktemp -d ${TMPDIR:-/tmp}/moonmilter-spec.XXXXXX"
end

local function wait_for(path, seconds)
  for _ = 1, (seconds or 10) * 50 do
    local file = io.open(path, "rb")
    local text = file and file:read "*a"
    if file then
      file:close()
    end
    if text and text ~= "" then
      return text
    end
    os.execute "sleep 0.02"
  end
  error("nothing came in " .. path)
end

--- The servers of servers.py: a table of ports, `directory`, and stop().
function world.servers()
  local directory = world.temporary()
  assert(os.execute("spec/async/certificates " .. directory) == 0)
  local pid = run(("sh -c 'python3 spec/async/servers.py %s </dev/null >%s/ports 2>%s/errors & "
    .. "echo $!'"):format(directory, directory, directory))
  local servers = { directory = directory }
  for name, port in wait_for(directory .. "/ports"):gmatch "(%S+)=(%d+)" do
    servers[name] = tonumber(port)
  end
  function servers.stop()
    os.execute(("kill %s 2>/dev/null; rm -rf %s"):format(pid, directory))
  end
  return servers
end

function world.free_port()
  return tonumber(run [[python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])']])
end

--- A real redis-server on a separate port: port, unix, and kill(), stop() (SIGSTOP), go_on(), start(), close().
function world.redis(options)
  local directory = world.temporary()
  local port = world.free_port()
  local redis = { port = port, unix = directory .. "/redis.sock" }
  local password = options and options:match "requirepass (%S+)"
  password = password and "--no-auth-warning -a " .. password or ""
  local function signal(name)
    process.kill(redis.pid, name)
  end
  -- more: further options; is_loading: does not wait until it answers
  function redis.start(more, is_loading)
    redis.pid = run(("sh -c 'redis-server --port %d --bind 127.0.0.1 --unixsocket %s --save \"\" "
      .. "--appendonly no --dir %s --enable-debug-command yes %s </dev/null >%s/log 2>&1 & echo $!'"):format(port,
      redis.unix, directory, (options or "") .. " " .. (more or ""), directory))
    if is_loading then
      return
    end
    for _ = 1, 300 do
      if run(("redis-cli -p %d %s ping 2>/dev/null"):format(port, password)) == "PONG" then
        return
      end
      os.execute "sleep 0.02"
    end
    error "redis-server does not answer"
  end
  function redis.kill()
    signal "SIGKILL"
    os.execute "sleep 0.05"
  end
  function redis.stop()
    signal "SIGSTOP"
  end
  function redis.go_on()
    signal "SIGCONT"
  end
  function redis.cli(words)
    return run(("redis-cli -p %d %s %s"):format(port, password, words))
  end
  function redis.close()
    signal "SIGCONT"
    signal "SIGKILL"
    os.execute("rm -rf " .. directory)
  end
  redis.start()
  return redis
end

--- Number of descriptors that this process has open.
function world.descriptors()
  local count = 0
  for _ in lfs.dir "/proc/self/fd" do
    count = count + 1
  end
  return count - 3 -- ".", ".." and the directory itself
end

return world
