-- Workers that are stopped (SIGSTOP, a terminal, a debugger): said, shown, replaced, left out of reloads, and never
-- serving what is old when they go on.
-- Takes long.
local posix_poll = require "posix.poll"
local posix_socket = require "posix.sys.socket"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

-- With SLOW=1: each of these waits for some seconds.
local function slow_it(title, test)
  if os.getenv "SLOW" then return it(title, test) end
  pending(title .. " (SLOW=1 runs it)")
end

local function marked(mark)
  return { ["10-mark.lua"] = ("function on_eom(ctx) ctx:add_header('X-Mark', '%s') end"):format(mark) }
end

local function state_of(h, pid)
  for _, row in ipairs(h:status()) do if row.pid == pid then return row.state end end
end

-- The mark that a message gets.
local function mark_of(h)
  local mta = assert(h:connect(5))
  local reply = mta:message()
  mta:quit()
  return (table.concat(reply.edits):match "X%-Mark%z(%w+)")
end

describe("a worker that is stopped", function()
  local h, stopped
  before_each(function() h, stopped = nil, {} end)
  after_each(function()
    for _, pid in ipairs(stopped) do if host.exists(pid) then host.kill(pid, "SIGCONT") end end
    if h then h:stop() end
  end)

  local function stop(pid)
    stopped[#stopped + 1] = pid
    host.kill(pid, "SIGSTOP")
  end

  it("is logged, shown and replaced, also when all are, and does not hold up a reload", function()
    h = host.start { workers = 2, scripts = marked "old" }
    for _, pid in ipairs(h:workers()) do stop(pid) end
    for _, pid in ipairs(stopped) do assert.truthy(h:wait_log("worker_stopped pid=" .. pid, 5)) end
    assert.truthy(h:wait_serving(2, 5))
    for _, pid in ipairs(stopped) do assert.equal("stopped", state_of(h, pid)) end
    assert.equal("old", mark_of(h))
    h:write(marked "new")
    local began = host.now()
    local text, status = h:ctl "reload"
    assert.same({ "generation 2 serves\n", 0 }, { text, status })
    assert.is_true(host.now() - began < 5)
    assert.equal("new", mark_of(h))
    local listing, incomplete = h:ctl "sessions"
    assert.equal(75, incomplete)
    assert.matches("stopped", listing)
  end)

  slow_it("does not hold up a reload that has begun", function()
    h = host.start { workers = 2, scripts = marked "old" }
    stop(h:workers()[1])
    h:write(marked "new")
    local text, status = h:ctl "reload"
    assert.same({ "generation 2 serves\n", 0 }, { text, status })
    assert.equal("new", mark_of(h))
  end)

  it("serves no new session when it goes on: its own sessions, then it ends", function()
    h = host.start { workers = 1, scripts = marked "old" }
    local victim = h:workers()[1]
    local mine = assert(h:connect())
    mine:envelope "rcpt"
    stop(victim)
    assert.truthy(h:wait_log("worker_stopped pid=" .. victim, 5))
    assert.truthy(h:wait_serving(1, 5))
    h:write(marked "new")
    assert.equal("generation 2 serves\n", (h:ctl "reload"))
    host.kill(victim, "SIGCONT")
    for _ = 1, 30 do assert.equal("new", mark_of(h)) end
    local reply = mine:eom()
    assert.matches("old", table.concat(reply.edits)) -- a session keeps the scripts it began with
    mine:quit()
    assert.truthy(host.wait_until(5, function() return not host.exists(victim) end))
    assert.truthy(host.wait_until(5, function() return #h:workers() == 1 end))
  end)

  slow_it("does not pile up: at most as many as there are workers stay", function()
    h = host.start { workers = 1, scripts = marked "old" }
    for n = 1, 3 do
      local pid
      for _, row in ipairs(h:status()) do if row.state == "serving" then pid = row.pid end end
      stop(pid)
      assert.truthy(h:wait_log("worker_stopped pid=" .. pid, 5))
      assert.truthy(h:wait_serving(1, 5 + n))
    end
    assert.truthy(host.wait_until(5, function() return #h:workers() == 2 end))
  end)

  slow_it("does not keep the host from stopping", function()
    h = host.start { workers = 2, scripts = marked "old", arguments = { "--drain_timeout=0" } }
    stop(h:workers()[1])
    h:signal "SIGTERM"
    assert.truthy(host.wait_until(8, function() return not h.child:running() end))
  end)

  slow_it("fails a reload with the reason when it is the one that tries the scripts", function()
    h = host.start { workers = 1, scripts = marked "old" }
    h:write { ["10-mark.lua"] = [[
      local ffi = require "ffi"
      ffi.cdef "int raise(int);"
      ffi.C.raise(19)]] }
    local began = host.now()
    local text, status = h:ctl "reload"
    assert.equal(78, status)
    assert.matches("is stopped", text)
    assert.is_true(host.now() - began < 10)
    assert.equal("old", mark_of(h))
  end)
end)

describe("the service manager's watchdog", function()
  it("is not fed while no worker serves, and again when one does", function()
    local has_systemd = os.execute("ldd " .. host.program() .. " 2>/dev/null | grep -q libsystemd")
    if not (has_systemd == 0 or has_systemd == true) then pending "built without libsystemd" return end
    local directory = process.directory()
    local inbox = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_DGRAM, 0))
    assert(posix_socket.bind(inbox, { family = posix_socket.AF_UNIX, path = directory .. "/notify" }))
    os.execute("chmod 777 " .. directory .. "/notify")
    local h = host.start { workers = 1, scripts = marked "old",
      env = { NOTIFY_SOCKET = directory .. "/notify", WATCHDOG_USEC = "1000000" } }
    -- How often in this time; ends early after `enough` times.
    local function fed(seconds, enough)
      local count, till = 0, host.now() + seconds
      repeat
        while posix_poll.rpoll(inbox, 20) == 1 do
          if posix_socket.recv(inbox, 4096):find("WATCHDOG=1", 1, true) then count = count + 1 end
        end
      until host.now() >= till or enough and count >= enough
      return count
    end
    local before = fed(1.2, 1)
    local victims = h:workers()
    for _, pid in ipairs(victims) do host.kill(pid, "SIGSTOP") end
    fed(0.6)
    local while_stopped = fed(1)
    local serves = h:wait_log("worker_stopped", 5) and h:wait_serving(1, 8)
    fed(0)
    local afterwards = fed(1.2, 1)
    for _, pid in ipairs(victims) do host.kill(pid, "SIGCONT") end
    h:stop()
    posix_unistd.close(inbox)
    os.execute("rm -rf " .. directory)
    assert.is_true(before > 0)
    assert.equal(0, while_stopped)
    assert.truthy(serves)
    assert.is_true(afterwards > 0)
  end)
end)

for _, workers in ipairs(os.getenv "SLOW" and { 0, 1 } or { 1 }) do
  describe("a host that is stopped, workers=" .. workers, function()
    it("is named by ctl, instead of letting it wait for ever", function()
      local h = host.start { workers = workers, scripts = marked "old" }
      h:signal "SIGSTOP"
      local began = host.now()
      local text, status = h:ctl "status"
      local served = workers == 0 or mark_of(h) == "old"
      h:signal "SIGCONT"
      local later = h:ctl "status"
      h:stop()
      assert.equal(75, status)
      assert.matches("process %d+ does not answer; it is stopped", text)
      assert.is_true(host.now() - began < 10)
      assert.is_true(served) -- its workers go on
      assert.matches("state=serving", later)
    end)
  end)
end
