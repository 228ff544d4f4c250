-- What whoever starts the host has open, ignores, blocks or may do does not reach workers, scripts or their programs.
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

-- Words before the program: a shell that has done something first.
local function after(commands) return { "sh", "-c", commands .. '; exec "$@"', "sh" } end

local SHOW = { ["10-show.lua"] = [[
  local process = require "moonmilter.process"
  function on_eom(ctx)
    local r = process.run { argv = { "sh", "-c", "ls /proc/$$/fd; umask; env; cat /proc/$$/status" } }
    for line in ((r and r.stdout) or "none"):gmatch "[^\n]+" do ctx:add_header("X-Line", (line:gsub("%c", " "))) end
  end]] }

local function files_of(pid)
  local list = {}
  for path in (process.run(("ls -l /proc/%d/fd"):format(pid))):gmatch "%-> ([^\n]+)" do list[#list + 1] = path end
  return table.concat(list, "\n")
end

local function status_of(pid, name)
  return (process.read_file(("/proc/%d/status"):format(pid)) or ""):match(name .. ":%s*(%S+)")
end

local function everyone(h)
  local list = { h:pid() }
  for _, pid in ipairs(h:workers()) do list[#list + 1] = pid end
  return list
end

local function seen_by_a_program(h)
  local mta = assert(h:connect())
  mta:envelope "body"
  local reply = mta:eom()
  mta:quit()
  local lines = {}
  for _, edit in ipairs(reply.edits) do lines[#lines + 1] = edit:match "X%-Line%z([^%z]*)" end
  return table.concat(lines, "\n") .. "\n"
end

local function has_no_capability(h)
  for _, pid in ipairs(everyone(h)) do
    for _, set in ipairs { "CapInh", "CapPrm", "CapEff", "CapAmb" } do
      assert.equal(("0"):rep(16), status_of(pid, set), set)
    end
  end
end

local CAPABILITIES = { "--inh-caps=+chown,+net_bind_service", "--ambient-caps=+chown,+net_bind_service" }
local is_root = posix_unistd.geteuid() == 0

for _, workers in ipairs { 0, 2 } do
  describe("a host, workers=" .. workers, function()
    local h
    before_each(function() h = nil end)
    after_each(function() if h then h:stop() end end)

    it("gives up files, signals, capabilities, a wide umask and the service manager's variables", function()
      local through = { "setpriv", CAPABILITIES[1], CAPABILITIES[2] }
      if not is_root then through = {} end
      for _, word in ipairs(after "trap '' TERM HUP CHLD USR1 VTALRM; umask 0; exec 4</etc/passwd 8</etc/hostname") do
        through[#through + 1] = word
      end
      h = host.start { workers = workers, scripts = SHOW, through = through,
        env = { NOTIFY_SOCKET = "/nowhere", WATCHDOG_USEC = "9000000" } }
      for _, pid in ipairs(everyone(h)) do
        assert.is_nil(files_of(pid):find("/etc/", 1, true), files_of(pid))
        assert.matches("/dev/null", files_of(pid)) -- standard input
        assert.equal("0022", status_of(pid, "Umask"))
      end
      if is_root then has_no_capability(h) end
      local seen = seen_by_a_program(h)
      assert.matches("^0\n1\n2\n0022\n", seen)
      assert.matches("CapInh: 0+\n", seen)
      if workers > 0 then
        assert.is_nil(seen:find("NOTIFY_SOCKET", 1, true))
        assert.is_nil(seen:find("WATCHDOG", 1, true))
      end
      for _, pid in ipairs(h:workers()) do
        host.kill(pid, "SIGKILL")
        assert.truthy(h:wait_log("worker_ended pid=" .. pid, 3)) -- with SIGCHLD ignored the kernel keeps no status
      end
      h:signal "SIGTERM"
      assert.truthy(host.wait_until(5, function() return not h.child:running() end))
    end)
  end)
end

describe("a host that is given something on purpose", function()
  local h
  before_each(function() h = nil end)
  after_each(function() if h then h:stop() end end)

  it("keeps a socket that a listener names", function()
    h = host.start { workers = 2, scripts = SHOW, unready = true, arguments = { "-s", "fd:9" },
      through = { "perl", "-MSocket", "-MPOSIX", "-e", [[
        socket(S, PF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(0, INADDR_LOOPBACK)) && listen(S, 5) or die;
        POSIX::dup2(fileno(S), 9);
        POSIX::dup2(fileno(S), 11);
        exec @ARGV]] } }
    assert.truthy(h:wait_log("moonmilter: ready", 10))
    assert.matches("listens on fd:9", h:log())
    local list = process.run(("ls /proc/%d/fd"):format(h:pid())) .. "\n"
    assert.matches("\n9\n", list)
  end)

  it("drops capabilities when it is started as a plain user that has some", function()
    if not is_root then pending "needs root" return end
    h = host.start { workers = 2, scripts = SHOW,
      through = { "setpriv", "--reuid", "nobody", "--clear-groups", CAPABILITIES[1], CAPABILITIES[2] } }
    has_no_capability(h)
  end)

  it("outlives an alarm that its parent has set", function()
    h = host.start { workers = 2, scripts = SHOW, through = { "perl", "-e", "alarm 1; exec @ARGV" } }
    host.sleep(1.2)
    assert.is_true(h.child:running())
  end)
end)
