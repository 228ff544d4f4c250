-- Scripts that never end: the budget ends them, the message gets on_error's answer, other sessions are not affected.
local host = require "spec.support.host"

local LOOPS = {
  ["while true do end"] = "while true do end",
  ["a loop that catches its own end"] = "while true do pcall(function() while true do end end) end",
  ["a loop of allocations"] = "local t while true do t = { t and #t } end",
  ["a loop over strings"] = "local s = '' while true do s = (s .. 'x'):sub(-10) end",
  ["a loop in a coroutine of its own"] = "coroutine.wrap(function() while true do end end)()",
  ["a loop that removes hooks"] = "while true do debug.sethook() end",
  ["endless recursion that catches its end"] = "local function f() pcall(f) return f() end f()",
  ["a loop in a metamethod"] = "return setmetatable({}, { __index = function() while true do end end }).x",
}

describe("a handler that never ends", function()
  local h

  teardown(function() if h then h:stop() end end)

  for what, source in pairs(LOOPS) do
    it("is ended at cpu_slice: " .. what, function()
      if h then h:stop() end
      h = host.start { arguments = { "--cpu_slice=0.2" }, scripts = {
        ["10-loop.lua"] = "function on_rcpt(ctx, r) if r:find 'loop' then " .. source .. " end end",
      } }
      local mta = assert(h:connect())
      mta:envelope "mail"
      local before = host.now()
      local reply = mta:rcpt "loop@two.example"
      local took = host.now() - before
      assert.equal("reply", reply.kind)
      assert.matches("^451 4%.3%.0", reply.text)
      assert.is_true(took < 5, ("took %.2f s"):format(took))
      assert.truthy(h:wait_log "cpu_slice: computed for")
      for _ = 1, 3 do -- the worker still serves
        assert.equal("continue", mta:rcpt().kind)
        assert.equal("continue", mta:command("T").kind)
        mta:abort()
        assert.equal("continue", mta:mail().kind)
      end
      mta:quit()
    end)
  end

  local STAGES = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }
  local ENDLESS = {
    ["without pcall"] = "while true do end",
    ["with pcall"] = "while true do pcall(function() while true do end end) end",
  }

  for how, loop in pairs(ENDLESS) do
    it("is ended in every handler, " .. how, function()
      if h then h:stop() end
      local handlers = {}
      for _, stage in ipairs(STAGES) do
        handlers[#handlers + 1] = ("function on_%s(ctx) if ctx.host.settings.at == %q then %s end end"):format(stage,
          stage, loop)
      end
      for _, stage in ipairs(STAGES) do
        if h then h:stop() end
        h = host.start { workers = 1, arguments = { "--cpu_slice=0.1", ("--settings={at=%q}"):format(stage) },
          scripts = { ["10-loop.lua"] = table.concat(handlers, "\n") } }
        local mta = assert(h:connect())
        local reply, step = mta:message()
        assert.equal(stage == "connect" and "greet" or stage, step)
        assert.is_true(reply.kind == "reply" and reply.text:match "^451" ~= nil or reply.kind == "tempfail", reply.kind)
        mta:close()
      end
    end)

    it("is ended where no MTA waits for its verdict, " .. how, function()
      if h then h:stop() end
      h = host.start { workers = 1, arguments = { "--cpu_slice=0.1", "--cpu_session=0.3" },
        scripts = { ["10-loop.lua"] = ([[
        local milter = require "moonmilter"
        local function endless() %s end
        on_negotiate = endless
        function on_mail() milter.spawn(endless) end
        function on_eom() milter.at_end(endless) end
        on_done, on_abort, on_close, on_unload = endless, endless, endless, endless]]):format(loop) } }
      local worker = h:workers()[1]
      local mta = assert(h:connect())
      assert.equal("continue", mta:message().kind)
      assert.equal("continue", mta:envelope("rcpt").kind)
      mta:abort()
      mta:quit()
      for _, handler in ipairs { "on_negotiate", "task", "at_end", "on_done", "on_abort", "on_close" } do
        assert.truthy(h:wait_log(("handler=%s error="):format(handler), 5))
      end
      assert.equal(0, select(2, h:ctl "reload"))
      assert.truthy(h:wait_log("handler=on_unload error=", 5))
      assert.equal(worker, h:status()[1].pid)
      assert.matches("worker_deaths=0", (h:ctl "status"))
    end)
  end

  it("is ended at cpu_session when every slice is short enough", function()
    h:stop()
    h = host.start { arguments = { "--cpu_slice=0.5", "--cpu_session=0.6" }, scripts = {
      ["10-busy.lua"] = [[
        local milter = require "moonmilter"
        function on_eom(ctx)
          while true do
            local till = os.clock() + 0.05
            while os.clock() < till do end
            milter.sleep(0.001)
          end
        end]],
    } }
    local mta = assert(h:connect())
    local before = os.time()
    local reply = mta:message()
    assert.matches("^451 4%.3%.0", reply.text)
    assert.is_true(os.time() - before < 4)
    assert.truthy(h:wait_log "cpu_session: ")
    assert.equal("reply", mta:message().kind) -- the next message has its own budget, and exhausts it
    mta:quit()
  end)

  it("is reported with file, line and the right limit while loading", function()
    local process = require "spec.support.process"
    local directory = process.directory()
    local path = process.write_file(directory .. "/10-loop.lua", "\nwhile true do end")
    local pipe = io.popen(("%s check --cpu_slice=0.1 --cpu_session=0.3 %s 2>&1"):format(host.program(), path))
    local text = pipe:read "*a"
    pipe:close()
    process.run("rm -r " .. directory)
    assert.matches("10%-loop%.lua:2: cpu_session: computed for 0%.3 s", text)
  end)

  it("costs other sessions only time", function()
    h:stop()
    h = host.start { arguments = { "--cpu_slice=0.3" }, scripts = {
      ["10-loop.lua"] = "function on_rcpt(ctx, r) if r:find 'loop' then while true do end end end",
    } }
    local other = assert(h:connect())
    other:envelope "rcpt"
    local mta = assert(h:connect())
    mta:envelope "mail"
    mta:rcpt "loop@two.example"
    assert.equal("continue", other:envelope("eom").kind)
    other:quit()
    mta:quit()
  end)

  it("together with others is not mistaken for a hung worker", function()
    h:stop()
    h = host.start { workers = 1, arguments = { "--cpu_slice=0.3", "--hang_timeout=1" }, scripts = {
      ["10-loop.lua"] = "function on_rcpt(ctx, r) if r:find 'loop' then while true do end end end",
    } }
    local worker = h:workers()[1]
    local mtas = {}
    for i = 1, 8 do
      mtas[i] = assert(h:connect())
      mtas[i]:envelope "mail"
    end
    host.kill(worker, "SIGSTOP") -- so that all arrive in one turn of the loop
    for _, mta in ipairs(mtas) do mta:send("R", "<loop@two.example>\0") end
    host.sleep(0.2)
    host.kill(worker, "SIGCONT")
    for _, mta in ipairs(mtas) do
      assert.matches("^451 4%.3%.0", mta:reply().text or "no reply")
      mta:quit()
    end
    assert.same({ worker }, h:workers())
  end)

  it("is logged with its place when it blocks the loop", function()
    h:stop()
    h = host.start { scripts = {
      ["10-slow.lua"] = [[
        local function slow() local till = os.clock() + 0.4 while os.clock() < till do end end
        function on_eom(ctx) slow() end]],
    } }
    local mta = assert(h:connect())
    assert.equal("continue", mta:message("4Q1").kind)
    assert.truthy(h:wait_log "loop_blocked")
    local line = h:log():match "[^\n]*loop_blocked[^\n]*"
    assert.matches("10%-slow%.lua:1", line)
    assert.matches("queue_id=4Q1", line)
    mta:quit()
  end)
end)

describe("work stuck inside a C function", function()
  it("costs only its worker; the log names script, handler, session and queue id", function()
    local h = host.start { workers = 2, arguments = { "--hang_timeout=2" }, scripts = {
      ["10-pattern.lua"] = [[
        local text = ("a."):rep(2000)
        function on_rcpt(ctx, r) if r:find "stuck" then return text:find ".-.-.-.-.-.-b" end end]],
    } }
    local others = {}
    for i = 1, 4 do
      others[i] = assert(h:connect())
      others[i]:envelope "rcpt"
    end
    local mta = assert(h:connect())
    mta:envelope("mail", "4Qstuck")
    assert.equal("closed", mta:rcpt("stuck@two.example").kind)
    assert.truthy(h:wait_log("worker_ended", 10))
    local line = h:log():match "[^\n]*worker_ended[^\n]*"
    assert.matches("hang_timeout", line)
    assert.matches("10%-pattern%.lua", line)
    assert.matches("handler=on_rcpt", line)
    assert.matches("queue_id=4Qstuck", line)
    assert.truthy(h:wait_serving(2))
    local alive = 0
    for _, other in ipairs(others) do
      if other:envelope("eom").kind == "continue" then alive = alive + 1 end
      other:close()
    end
    assert.is_true(alive >= 2, alive .. " of 4 others")
    h:stop()
  end)
end)
