-- Master and workers: a dead worker is replaced, sessions are spread, no process is left behind.
local lfs = require "lfs"

local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local PASS = { ["10-pass.lua"] = "function on_eom(ctx) ctx:add_header('X-Seen', 'yes') end" }

-- One handler per stage, so that every step waits for a moment.
local function slow_at(stage)
  return { ["10-slow.lua"] = ([[
    local milter = require "moonmilter"
    function on_%s(ctx) milter.sleep(30) end]]):format(stage) }
end

describe("a host with workers", function()
  local h

  before_each(function() h = nil end)
  after_each(function() if h then h:stop() end end)

  it("has one for each processor with workers = \"auto\"", function()
    h = host.start { workers = "auto", scripts = PASS }
    assert.equal(tonumber((process.run "getconf _NPROCESSORS_ONLN")), #h:workers())
    assert.truthy(h:wait_serving(#h:workers()))
  end)

  it("replaces a killed worker within a second", function()
    h = host.start { workers = 2, scripts = PASS }
    local best = math.huge
    for _ = 1, 3 do -- a busy machine adds to it
      local victim = h:workers()[1]
      local at = host.now()
      host.kill(victim, "SIGKILL")
      assert.truthy(h:wait_log("worker_ended pid=" .. victim, 10))
      assert.truthy(h:wait_serving(2, 10))
      best = math.min(best, host.now() - at)
      if best < 1.5 then break end
    end
    assert.is_true(best < 1.5)
    local mta = assert(h:connect())
    assert.equal("continue", mta:message().kind)
    mta:quit()
  end)

  for _, stage in ipairs { "connect", "helo", "mail", "rcpt", "data", "eoh", "body", "eom" } do
    it("loses only the sessions of a worker killed at " .. stage, function()
      h = host.start { workers = 2, scripts = slow_at(stage) }
      local stuck, others = assert(h:connect()), {}
      for i = 1, 5 do others[i] = assert(h:connect()) end
      local letter = { connect = "C", helo = "H", mail = "M", rcpt = "R", data = "T", eoh = "N", body = "B", eom = "E" }
      local steps = { connect = nil, helo = "greet", mail = "helo", rcpt = "mail", data = "rcpt",
        eoh = "header", body = "eoh", eom = "body" }
      local data = { C = "c.example\0" .. "4\0\1" .. "192.0.2.1\0", H = "c\0", M = "<a@b>\0", R = "<c@d>\0", B = "x" }
      if steps[stage] then stuck:envelope(steps[stage]) end
      stuck:send(letter[stage], data[letter[stage]])
      local owner = assert(host.wait_until(3, function()
        for _, session in ipairs(h:sessions()) do
          if session.waits_for == "sleep" then return session.worker end
        end
      end, "a waiting session"))
      local elsewhere = 0
      for _, session in ipairs(h:sessions()) do
        if session.worker ~= owner then elsewhere = elsewhere + 1 end
      end
      host.kill(owner, "SIGKILL")
      assert.equal("closed", stuck:reply().kind) -- the MTA sees the loss at once, and answers with its own 451
      assert.truthy(h:wait_serving(2, 3))
      stuck:close()
      local survivors = #h:sessions()
      for _, other in ipairs(others) do other:close() end
      assert.equal(elsewhere, survivors)
    end)
  end

  it("starts workers ever more slowly when they die at once, and goes on answering", function()
    h = host.start { workers = 1, arguments = { "--poison_time=0" }, scripts = { ["10-die.lua"] = [[
      local ffi = require "ffi"
      ffi.cdef "int raise(int);"
      function on_rcpt(ctx, r) if r:find "die" then ffi.C.raise(9) end end]] } }
    for _ = 1, 5 do
      local mta = host.wait_until(5, function() return h:connect() end, "a connection")
      mta:envelope "mail"
      mta:rcpt "die@two.example"
      mta:close()
    end
    assert.truthy(h:wait_serving(1, 5))
    local _, deaths = h:log():gsub("worker_ended", "")
    assert.equal(5, deaths)
    local mta = assert(h:connect())
    assert.equal("continue", mta:envelope "rcpt".kind)
    mta:quit()
  end)

  it("is never long without a worker, however many have died", function()
    h = host.start { workers = 1, scripts = PASS }
    for _ = 1, 8 do
      host.kill(h:workers()[1], "SIGKILL")
      assert.truthy(host.wait_until(4, function()
        local row = h:status()[1]
        return row and row.state == "serving"
      end, "a worker"))
    end
    local _, deaths = h:log():gsub("worker_ended", "")
    assert.equal(8, deaths)
  end)

  it("logs what a crashed worker was doing", function()
    h = host.start { workers = 1, scripts = { ["10-crash.lua"] = [[
      local ffi = require "ffi"
      function on_rcpt(ctx, r) ffi.cast("int *", 8)[0] = 1 end]] } }
    local mta = assert(h:connect())
    mta:envelope("mail", "4Qcrash")
    assert.equal("closed", mta:rcpt().kind)
    mta:close()
    assert.truthy(h:wait_log "worker_ended")
    local line = h:log():match "[^\n]*worker_ended[^\n]*"
    assert.matches('signal="Segmentation fault"', line)
    assert.matches("10%-crash%.lua", line)
    assert.matches("queue_id=4Qcrash", line)
  end)

  it("leaves no worker behind when the master is killed", function()
    h = host.start { workers = 2, scripts = PASS, arguments = { "--drain_timeout=2" } }
    local idle = assert(h:connect())
    idle:envelope "rcpt"
    local workers = h:workers()
    host.kill(h:pid(), "SIGKILL")
    assert.equal("continue", idle:eom().kind) -- sessions that have begun may finish
    idle:quit()
    for _, pid in ipairs(workers) do
      assert.truthy(host.wait_until(5, function() return not host.exists(pid) end, "the end of worker " .. pid))
    end
  end)

  it("ends even a hung worker when the master is killed", function()
    h = host.start { workers = 1, arguments = { "--drain_timeout=0" }, scripts = { ["10-stuck.lua"] = [[
      local text = ("a."):rep(2000)
      function on_rcpt() return text:find ".-.-.-.-.-.-b" end]] } }
    local worker = h:workers()[1]
    local mta = assert(h:connect())
    mta:envelope "mail"
    mta:send("R", "<a@b>\0")
    host.sleep(0.3)
    host.kill(h:pid(), "SIGKILL")
    assert.truthy(host.wait_until(15, function() return not host.exists(worker) end, "the end of the worker"))
    mta:close()
  end)

  for _, unix in ipairs { false, true } do
    it("spreads long-lived connections evenly, " .. (unix and "unix socket" or "TCP"), function()
      h = host.start { workers = 4, unix = unix, scripts = PASS }
      local sessions = {}
      for i = 1, 80 do sessions[i] = assert(h:connect()) end
      local least, most = 1e9, 0
      for _, row in ipairs(h:status()) do
        least, most = math.min(least, row.sessions), math.max(most, row.sessions)
      end
      for _, mta in ipairs(sessions) do mta:quit() end
      assert.is_true(least > 0 and most / least <= 2, ("least %d, most %d"):format(least, most))
    end)
  end

  it("accepts connections that the preferred worker does not accept", function()
    h = host.start { workers = 2, scripts = PASS }
    local sessions = {}
    for i = 1, 10 do sessions[i] = assert(h:connect()) end
    host.kill(h:workers()[1], "SIGSTOP")
    for i = 11, 20 do
      local at = host.now()
      sessions[i] = assert(h:connect())
      assert.is_true(host.now() - at < 3)
    end
    host.kill(h:workers()[1], "SIGCONT")
    for _, mta in ipairs(sessions) do mta:quit() end
  end)

  it("does not mistake a stopped worker for a hung one", function()
    h = host.start { workers = 1, scripts = PASS, arguments = { "--hang_timeout=1" } }
    local worker = h:workers()[1]
    local mta = assert(h:connect())
    mta:envelope "rcpt"
    host.kill(worker, "SIGSTOP")
    host.sleep(3.5)
    host.kill(worker, "SIGCONT")
    assert.equal("continue", mta:eom().kind) -- another serves new sessions, but this one's stay
    assert.is_nil(h:log():find("hang_timeout", 1, true))
    mta:quit()
  end)

  it("replaces a worker that has served recycle_sessions sessions", function()
    h = host.start { workers = 1, scripts = PASS, arguments = { "--recycle_sessions=5" } }
    local first = h:workers()[1]
    local kept = assert(h:connect())
    kept:envelope "rcpt"
    for _ = 1, 6 do
      local mta = assert(h:connect())
      assert.equal("continue", mta:message().kind)
      mta:quit()
    end
    assert.truthy(h:wait_log("makes room", 2))
    assert.equal("continue", kept:eom().kind) -- its sessions stay until they end
    kept:quit()
    assert.truthy(host.wait_until(3, function() return not host.exists(first) end, "the first worker's end"))
    assert.truthy(h:wait_serving(1))
  end)
end)

describe("a second instance", function()
  it("reports that the socket is in use and changes nothing", function()
    local h = host.start { workers = 1, unix = true, scripts = PASS }
    local command = table.concat(h.argv, " ")
    local pipe = io.popen(command .. " 2>&1; echo status $?")
    local text = pipe:read "*a"
    pipe:close()
    assert.matches("in use", text)
    assert.matches("status 69", text)
    local mta = assert(h:connect())
    assert.equal("continue", mta:message().kind)
    mta:quit()
    h:stop()
  end)
end)

describe("a unix socket", function()
  for _, workers in ipairs { 0, 2 } do
    it("comes back when it is removed, workers=" .. workers, function()
      local h = host.start { workers = workers, unix = true, scripts = PASS }
      local before = assert(h:connect())
      before:envelope "rcpt"
      assert(os.remove(h.path))
      assert.truthy(h:wait_log("it has been recreated: unix:" .. h.path, 8))
      local mta = assert(host.wait_until(3, function() return mta_client.connect(h.path) end, "a connection"))
      assert.equal("continue", mta:message().kind)
      mta:quit()
      assert.equal("continue", before:eom().kind)
      before:quit()
      h:stop()
    end)
  end

  for _, workers in ipairs { 0, 2 } do
    it("is reported as lost by log and ctl status when it is removed and cannot come back, workers=" .. workers, function()
      local h = host.start { workers = workers, unix = true, scripts = PASS }
      assert.is_nil(h:ctl("status"):find "lost:")
      process.run("chown root " .. h.directory) -- the serving user is another
      assert(os.remove(h.path))
      assert.truthy(h:wait_log("until then MTAs cannot connect", 8))
      assert.matches("lost: unix:" .. h.path:gsub("%p", "%%%0"), (h:ctl "status"))
      process.run("chown nobody " .. h.directory)
      assert.truthy(h:wait_log("it has been recreated", 8))
      assert.is_nil(h:ctl("status"):find "lost:")
      local mta = assert(host.wait_until(3, function() return mta_client.connect(h.path) end, "a connection"))
      assert.equal("continue", mta:message().kind)
      mta:quit()
      h:stop()
    end)
  end

  it("of ctl is reported when it is removed", function()
    for _, workers in ipairs { 0, 1 } do
      local h = host.start { workers = workers, scripts = PASS }
      assert(os.remove(h.control))
      assert.truthy(h:wait_log("another process removed the control socket's file", 8))
      h:signal "SIGTERM"
      assert.truthy(host.wait_until(5, function() return h:log():find "moonmilter: stopped" end, "the end"))
      h:stop()
    end
  end)

  it("left by a dead process is replaced, and the host says so", function()
    local directory = process.directory()
    process.run("chown nobody " .. directory .. " 2>/dev/null || true")
    local path, script = directory .. "/milter.sock",
      process.write_file(directory .. "/10-pass.lua", PASS["10-pass.lua"])
    local function start(name)
      local child = process.start({ host.program(), "run", "-s", "unix:" .. path, script },
        { output = directory .. "/" .. name })
      assert(child:wait_text("moonmilter: ready", 10))
      return child
    end
    local first = start "first"
    host.kill(first:pid(), "SIGKILL")
    assert.truthy(host.wait_until(5, function() return not first:running() end, "the end"))
    assert.truthy(lfs.attributes(path))
    assert.is_nil((mta_client.connect(path)))
    local second = start "second"
    local said = process.read_file(directory .. "/second")
    assert.truthy(said:find(path .. ", instead of the socket that a dead process had left there\n", 1, true), said)
    assert.is_nil(process.read_file(directory .. "/first"):find("dead process", 1, true))
    assert.truthy(said:find("not from a chroot, as Debian's smtpd has it", 1, true), said)
    local mta = assert(mta_client.connect(path))
    assert.equal("continue", mta:message().kind)
    mta:quit()
    second:stop()
    process.run("rm -r " .. directory)
  end)

  it("of another process stays at the end", function()
    local h = host.start { workers = 1, unix = true, scripts = PASS, arguments = { "--drain_timeout=0.1" } }
    assert(os.remove(h.path))
    process.write_file(h.path, "mine")
    host.sleep(0.2)
    h:signal "SIGTERM"
    assert.truthy(host.wait_until(5, function() return h:log():find "moonmilter: stopped" end, "the end"))
    assert.equal("mine", process.read_file(h.path))
    h:stop()
  end)
end)
