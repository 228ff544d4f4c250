-- moonmilter profile: what handlers cost, and on which lines, in a running host.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = {
  ["10-heavy.lua"] = [[
local function burn(n)
  local x = 0
  for i = 1, n do
    x = (x * 31 + i) % 1000003
  end
  return x
end
function on_rcpt(ctx, r)
  if not r:find "light" then ctx.message.x = burn(3e6) end
end]],
  ["20-wait.lua"] = [[
local milter = require "moonmilter"
function on_data(ctx) milter.sleep(ctx.sender:find "long" and 30 or 0.05) end]],
  ["30-cheap.lua"] = "function on_header() end",
  ["40-fails.lua"] = "function on_eoh() local t = nil; t.x = 1 end",
}

local HEAVY_LINE = "10%-heavy%.lua:4 in burn"

local function open_files(pid)
  return tonumber(process.run(("ls /proc/%d/fd | wc -l"):format(pid)))
end

--- `moonmilter profile` in parallel to the test; the function returns its output and its exit status.
local function begin(h, options)
  local before = open_files(h:pid())
  local pipe = assert(io.popen(("exec 2>&1; %s profile --control %s %s; echo \"status $?\""):format(host.program(),
    h.control, options or "")))
  host.wait_until(20, function()
    local now = open_files(h:pid())
    before = math.min(before, now) -- connections of earlier specs may still close
    return now > before
  end, "the request")
  host.sleep(0.3) -- its workers must receive it, too
  return function()
    local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return output, tonumber(status)
  end
end

local function json(h, options)
  local output, status = h:ctl("profile", "--json", options or "")
  assert.equal(0, status, output)
  return cjson.decode(output)
end

local function handler(report, script, name)
  for _, row in ipairs(report.handlers) do
    if row.script:find(script, 1, true) and row.handler == name then return row end
  end
end

local function send(h, count, queue_id)
  local mta = assert(h:connect())
  for i = 1, count do
    local reply, step = mta:message(queue_id and queue_id .. i)
    assert.equal("reply", reply.kind)
    assert.equal("eoh", step)
  end
  mta:quit()
end

local function timers(pid)
  local _, count = ("\n" .. (process.read_file(("/proc/%d/timers"):format(pid)) or "")):gsub("\nID:", "")
  return count
end

for _, workers in ipairs { 0, 2 } do
  describe(("a profile, workers=%d,"):format(workers), function()
    local h

    setup(function() h = host.start { workers = workers, scripts = SCRIPTS, arguments = { "--log_level=warn" } } end)
    teardown(function() h:stop() end)

    it("shows which handlers compute, wait and fail, and counts every call", function()
      h:ctl("profile", "--reset")
      for _ = 1, 4 do send(h, 3, "4Q") end
      local report = json(h)
      assert.equal(math.max(workers, 1), #report.workers)
      local heavy, wait = handler(report, "10-heavy.lua", "on_rcpt"), handler(report, "20-wait.lua", "on_data")
      local cheap, fails = handler(report, "30-cheap.lua", "on_header"), handler(report, "40-fails.lua", "on_eoh")
      for _, row in ipairs { heavy, wait, cheap, fails } do assert.equal(12, row.calls, row.script) end
      assert.same({ 0, 0, 0, 12 }, { heavy.errors, wait.errors, cheap.errors, fails.errors })

      assert.is_true(heavy.busy_seconds > 20 * wait.busy_seconds)
      assert.is_true(heavy.busy_seconds > 20 * cheap.busy_seconds)
      assert.is_true(heavy.busy_seconds_max >= heavy.busy_seconds / 12 and heavy.busy_seconds_max <= heavy.busy_seconds)
      assert.is_true(heavy.cpu_seconds > 20 * wait.cpu_seconds)
      assert.is_true(heavy.cpu_seconds <= heavy.busy_seconds * 1.01)
      assert.equal(0, heavy.waiting_seconds)
      assert.is_true(wait.waiting_seconds >= 12 * 0.0499, wait.waiting_seconds)
      assert.is_true(wait.waiting_seconds_max >= wait.waiting_seconds / 12)
      assert.is_true(wait.busy_seconds < wait.waiting_seconds / 10)
      assert.equal(0, wait.waiting_now)

      assert.is_true(wait.slowest.seconds >= 0.0499)
      assert.matches("^%x+%-%x+$", wait.slowest.session)
      assert.matches("^4Q%d$", wait.slowest.queue_id)
      assert.is_true(math.abs(os.time() - wait.slowest.ended_at) < 60)
      assert.equal(heavy.busy_seconds_max, heavy.slowest.busy_seconds)

      local cpu = 0
      for _, worker in ipairs(report.workers) do cpu = cpu + worker.cpu_seconds end
      assert.is_true(cpu > 0)
    end)

    it("is a table for people, with the slowest calls below", function()
      send(h, 1, "4Qpeople")
      local output, status = h:ctl "profile"
      assert.equal(0, status)
      assert.matches("\nscript +handler +calls +errors +cpu +busy +mean +max +waiting +mean +max +now\n", output)
      assert.matches("\n10%-heavy%.lua +on_rcpt +%d+ +0 +[%d.]+ m?s +[%d.]+ m?s", output)
      assert.matches("\nslowest call of a handler\n", output)
      assert.matches("20%-wait%.lua +on_data +[%d.]+ m?s, busy +[%d.]+ .s +ended 20%d%d%-%d%d%-%d%dT[%d:]+Z  "
        .. "session=%S+  queue_id=4Q", output)
    end)

    it("counts from zero after --reset, which prints the figures before it", function()
      send(h, 1)
      local before = json(h, "--reset")
      assert.is_true(handler(before, "30-cheap.lua", "on_header").calls >= 1)
      assert.same({}, json(h).handlers)
      send(h, 2)
      local after = json(h)
      assert.equal(2, handler(after, "30-cheap.lua", "on_header").calls)
      assert.is_true(after.workers[1].seconds < 30)
    end)

    it("of some seconds covers the events in them", function()
      send(h, 2)
      local finish = begin(h, "--json --seconds 2")
      send(h, 3)
      local report = cjson.decode((finish()))
      assert.equal(3, handler(report, "10-heavy.lua", "on_rcpt").calls)
      assert.equal(3, handler(report, "40-fails.lua", "on_eoh").errors)
      assert.is_true(math.abs(report.workers[1].seconds - 2) < 1)
    end)

    it("shows calls that are waiting, and counts them once when they are given up", function()
      h:ctl("profile", "--reset")
      local mta = assert(h:connect())
      mta:greet()
      mta:helo()
      mta:mail "long@one.example"
      mta:rcpt "light@two.example"
      mta:send "T"
      local row = host.wait_until(3, function()
        local found = handler(json(h), "20-wait.lua", "on_data")
        return found and found.waiting_now == 1 and found
      end, "a waiting call")
      assert.equal(0, row.calls)
      json(h, "--reset") -- it still waits then
      assert.equal(1, handler(json(h), "20-wait.lua", "on_data").waiting_now)
      mta:abort()
      mta:quit()
      row = host.wait_until(3, function()
        local found = handler(json(h), "20-wait.lua", "on_data")
        return found and found.calls == 1 and found
      end, "its end")
      assert.equal(0, row.waiting_now)
      assert.equal(0, row.errors)
      assert.is_true(row.waiting_seconds > 0 and row.waiting_seconds < 30)
    end)

    it("by samples names the line, in compiled code too", function()
      local finish = begin(h, "--samples --seconds 3")
      for _ = 1, 2 do send(h, 12) end
      local output, status = finish()
      assert.equal(0, status, output)
      assert.matches("%d+ samples; Lua was running in %d+ of them", output)
      assert.matches("\n *time  line\n *[%d.]+ %%  %S*" .. HEAVY_LINE, output)
      assert.matches("\n *time  handler\n *[%d.]+ %%  10%-heavy%.lua on_rcpt", output)
      assert.matches("\n *[%d.]+ %% *[%d.]+ %%  burn %S*10%-heavy%.lua:1\n", output)
      assert.is_true(tonumber(output:match "compiled code ([%d.]+) %%") > 50, output)
    end)

    it("by samples is JSON and folded stacks, too", function()
      local finish = begin(h, "--samples --json --seconds 2")
      send(h, 8)
      local report = cjson.decode((finish()))
      assert.matches(HEAVY_LINE, report.lines[1].line)
      assert.is_true(report.samples > 0 and report.samples <= report.looks_in_lua
        and report.looks_in_lua <= report.looks)
      finish = begin(h, "--folded --seconds 2")
      send(h, 8)
      local output, status = finish()
      assert.equal(0, status)
      for line in output:gmatch "[^\n]+" do assert.matches("^[^;]+;.+ %d+$", line) end
      assert.matches("10%-heavy%.lua on_rcpt;on_rcpt %S+10%-heavy%.lua:8;burn "
        .. "%S+10%-heavy%.lua:1;%S+10%-heavy%.lua:4 %d+\n", output)
    end)

    it("goes on over a reload, with the calls before and after it", function()
      local finish = begin(h, "--json --seconds 3")
      send(h, 2)
      assert.equal(0, select(2, h:ctl "reload"))
      send(h, 2)
      local report = cjson.decode((finish()))
      assert.equal(4, handler(report, "30-cheap.lua", "on_header").calls)
    end)

    it("leaves no timer behind, even when its client has gone", function()
      local pid = workers > 0 and h:workers()[1] or h:pid()
      local before = timers(pid)
      if before == 0 then pending "the kernel shows no timers" return end
      local finish = begin(h, "--samples --seconds 1")
      assert.equal(before + 1, timers(pid))
      finish()
      assert.equal(before, timers(pid))

      local child = process.start({ host.program(), "profile", "--control", h.control, "--samples",
        "--seconds", "600" },
        { output = os.tmpname() })
      host.wait_until(3, function() return timers(pid) == before + 1 end, "sampling")
      local output, status = h:ctl("profile", "--seconds", "1")
      assert.equal(75, status)
      assert.matches("a profile is already under way", output)
      child:signal "SIGKILL"
      child:stop()
      host.wait_until(3, function() return timers(pid) == before end, "the end of sampling")
      assert.equal(0, select(2, h:ctl "profile"))
    end)

    it("reports what is wrong with the request", function()
      for _, case in ipairs {
        { "--seconds 0", "%-%-seconds: give a number from" }, { "--seconds 4000", "%-%-seconds: give a number from" },
        { "--worker x", "%-%-worker: give a process id" }, { "--folded --json", "give one of them" },
        { "now", "only options are allowed" },
        { "--sample-rate", "Usage: moonmilter profile" }, { "--worker 1", "there is no such worker" },
      } do
        local output, status = h:ctl("profile", case[1])
        assert.equal(64, status, case[1])
        assert.matches(case[2], output)
      end
    end)
  end)
end

describe("a profile", function()
  local h

  after_each(function()
    if h then h:stop() end
    h = nil
  end)

  it("of one worker leaves the others out", function()
    h = host.start { workers = 2, scripts = SCRIPTS }
    local pid = h:workers()[2]
    local report = json(h, "--worker " .. pid)
    assert.equal(1, #report.workers)
    assert.equal(pid, report.workers[1].pid)
  end)

  it("contains the other workers' figures when a worker dies meanwhile, and says so", function()
    h = host.start { workers = 2, scripts = SCRIPTS }
    for _, options in ipairs { "--json --seconds 3", "--samples --json --seconds 3" } do
      assert.truthy(h:wait_serving(2))
      local pids = h:workers()
      local finish = begin(h, options)
      host.kill(pids[1], "SIGKILL")
      local output, status = finish()
      assert.equal(75, status, output)
      assert.matches("a worker has ended meanwhile; its part is missing", output)
      local report = cjson.decode(output:match "(%b{})")
      if report.workers then
        assert.equal(1, #report.workers)
        assert.equal(pids[2], report.workers[1].pid)
      end
    end
  end)

  it("leaves the CPU budget in force", function()
    for _, loop in ipairs {
      "while true do end", "while true do pcall(function() while true do end end) end",
      "local t while true do t = { t and #t } end",
    } do
      h = host.start { workers = 1, arguments = { "--cpu_slice=0.2" },
        scripts = { ["10-loop.lua"] = "function on_rcpt(ctx, r) if r:find 'loop' then " .. loop .. " end end" } }
      local finish = begin(h, "--samples --seconds 3")
      for _ = 1, 2 do
        local mta = assert(h:connect())
        mta:envelope "mail"
        assert.matches("^451 4%.3%.0", mta:rcpt("loop@two.example").text)
        assert.equal("continue", mta:rcpt().kind)
        mta:quit()
      end
      assert.matches("10%-loop%.lua:1", (finish()))
      assert.truthy(h:wait_log "cpu_slice: computed for")
      local mta = assert(h:connect()) -- and afterwards
      mta:envelope "mail"
      assert.matches("^451 4%.3%.0", mta:rcpt("loop@two.example").text)
      mta:quit()
      h:stop()
      h = nil
    end
  end)

  it("covers old generations that still serve sessions, which are interpreted", function()
    h = host.start { workers = 1, scripts = SCRIPTS }
    local mta = assert(h:connect())
    mta:envelope "mail"
    h:write { ["10-heavy.lua"] = "function on_rcpt() end" }
    assert.equal(0, select(2, h:ctl "reload"))
    local finish = begin(h, "--samples --seconds 2")
    for _ = 1, 5 do mta:rcpt() end
    local output = finish()
    assert.matches(HEAVY_LINE, output)
    assert.matches("interpreted 100%.0 %%", output)
    mta:quit()
  end)

  it("counts tasks and kept bodies as well as handlers, and distinguishes milters", function()
    h = host.start { workers = 1, scripts = {
      ["10-task.lua"] = [[
        local milter = require "moonmilter"
        function on_mail(ctx) ctx:body { max_size = 1000 } milter.spawn(function() milter.sleep(0.01) error "in a task" end) end
        function on_eom() milter.sleep(0.05) end]],
    } }
    local mta = assert(h:connect())
    assert.equal("continue", mta:message().kind)
    mta:quit()
    local report = json(h)
    assert.equal(1, handler(report, "10-task.lua", "task").calls)
    assert.equal(1, handler(report, "10-task.lua", "task").errors)
    assert.is_true(handler(report, "10-task.lua", "task").waiting_seconds >= 0.009)
    assert.equal(2, handler(report, "10-task.lua", "ctx:body").calls) -- the piece and the end
    assert.equal(1, handler(report, "10-task.lua", "on_eom").calls)
    assert.equal("default", report.handlers[1].milter)
  end)

  it("reports that no host runs", function()
    local function ask(words)
      local pipe = io.popen(("%s %s 2>&1; echo \"status $?\""):format(host.program(), words))
      local text = pipe:read "*a"
      pipe:close()
      return text, tonumber(text:match "status (%d+)\n$")
    end
    local text, status = ask "profile --control /nonexistent/control.sock"
    assert.equal(69, status)
    assert.matches("no host with this control socket is running", text)
    local directory = process.directory()
    finally(function() os.execute("rm -r " .. directory) end)
    local file = process.write_file(directory .. "/m.conf", 'listen = "inet:1@127.0.0.1"\nscripts = "."\n')
    text, status = ask("ctl -c " .. file .. " profile --samples")
    assert.equal(78, status)
    assert.matches("sets no control socket", text)
  end)
end)
