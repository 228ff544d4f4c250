-- SIGTERM and the other signals.
local host = require "spec.support.host"

local SLOW = { ["10-slow.lua"] = [[
  local milter = require "moonmilter"
  function on_eom(ctx) milter.sleep(tonumber(ctx.headers:get "X-Sleep") or 0) ctx:add_header("X-Seen", "yes") end]] }

for _, workers in ipairs { 0, 2 } do
  describe(("SIGTERM, workers=%d,"):format(workers), function()
    local h

    after_each(function() h:stop() end)

    local function sleeping(mta, seconds)
      mta:envelope "data"
      mta:header("X-Sleep", tostring(seconds))
      mta:eoh()
      mta:body()
      mta:send "E"
    end

    it("lets messages finish with their real verdict and keeps idle connections until then", function()
      h = host.start { workers = workers, scripts = SLOW }
      local busy, idle, halfway = assert(h:connect()), assert(h:connect()), assert(h:connect())
      sleeping(busy, 1)
      halfway:envelope "rcpt"
      host.sleep(0.2)
      h:signal "SIGTERM"
      assert.truthy(h:wait_log "no new connections")
      assert.truthy(host.wait_until(1, function() return not h:dial() end, "refused connections"))
      local reply = busy:reply()
      assert.equal("continue", reply.kind)
      assert.equal(1, #reply.edits)
      assert.equal("continue", idle:message().kind) -- the next mail of a session is also filtered
      for _, step in ipairs { "data", "header", "eoh", "body", "eom" } do
        reply = step == "header" and halfway:header("Subject", "x") or halfway[step](halfway)
        assert.equal("continue", reply.kind)
      end
      busy:quit()
      idle:quit()
      assert.is_true(h.child:running())
      halfway:quit()
      assert.truthy(host.wait_until(2, function() return h:log():find "moonmilter: stopped" end, "the end"))
    end)

    it("answers 451 when drain_timeout is over", function()
      h = host.start { workers = workers, scripts = SLOW, arguments = { "--drain_timeout=0.5" } }
      local busy, idle = assert(h:connect()), assert(h:connect())
      sleeping(busy, 20)
      host.sleep(0.2)
      h:signal "SIGTERM"
      local reply = busy:reply()
      assert.is_true(reply.kind == "tempfail" or (reply.text or ""):match "^451" ~= nil, reply.kind)
      assert.equal(0, #reply.edits)
      assert.equal("closed", busy:reply().kind)
      assert.equal("closed", idle:reply().kind)
      assert.truthy(host.wait_until(2, function() return h:log():find "moonmilter: stopped" end, "the end"))
      local line = h:log():match "[^\n]* message [^\n]*"
      assert.matches("verdict=tempfail stage=eom decided_by=stop ", line) -- the verdict that the MTA received
      assert.is_nil(line:find "aborted=")
    end)

    it("by force calls on_done for a message that gets its final reply so, on_abort for one that gets none", function()
      h = host.start { workers = workers, scripts = { ["10-tell.lua"] = [[
        local milter = require "moonmilter"
        function on_rcpt(ctx, recipient) if recipient == "slow@example.com" then milter.sleep(20) end end
        function on_eom() milter.sleep(20) end
        function on_done(ctx, result) print("done " .. ctx.sender .. " " .. result.verdict) end
        function on_abort(ctx) print("abort " .. ctx.sender) end
      ]] }, arguments = { "--drain_timeout=0.3" } }
      local at_eom, at_rcpt, between = assert(h:connect()), assert(h:connect()), assert(h:connect())
      for sender, mta in pairs { eom = at_eom, rcpt = at_rcpt, between = between } do
        mta:mail(sender .. "@example.org")
      end
      for _, step in ipairs { "rcpt", "data", "eoh", "body" } do
        at_eom[step](at_eom)
      end
      at_eom:send "E"
      at_rcpt:send("R", "<slow@example.com>\0")
      host.sleep(0.2)
      h:signal "SIGTERM"
      assert.truthy(host.wait_until(3, function() return h:log():find "moonmilter: stopped" end, "the end"))
      assert.truthy(h:log():find("done eom@example.org tempfail", 1, true), h:log())
      assert.truthy(h:log():find("abort rcpt@example.org", 1, true), h:log())
      assert.truthy(h:log():find("abort between@example.org", 1, true), h:log())
      assert.is_nil(h:log():find("abort eom", 1, true))
    end)

    it("sent twice stops at once", function()
      h = host.start { workers = workers, scripts = SLOW }
      local busy = assert(h:connect())
      sleeping(busy, 20)
      host.sleep(0.2)
      h:signal "SIGTERM"
      assert.truthy(h:wait_log "no new connections")
      h:signal "SIGTERM"
      local reply = busy:reply()
      assert.is_true(reply.kind == "tempfail" or (reply.text or ""):match "^451" ~= nil, reply.kind)
      assert.truthy(host.wait_until(2, function() return h:log():find "moonmilter: stopped" end, "the end"))
    end)

    it("has the same effect as ctl stop", function()
      h = host.start { workers = workers, scripts = SLOW }
      assert.equal(0, select(2, h:ctl "stop"))
      assert.truthy(host.wait_until(2, function() return h:log():find "moonmilter: stopped" end, "the end"))
      assert.equal(69, select(2, h:ctl "status"))
    end)
  end)
end

describe("SIGUSR1", function()
  for _, workers in ipairs { 0, 2 } do
    it("reopens the log, as the serving user, workers=" .. workers, function()
      local h = host.start { workers = workers, scripts = SLOW, log = true }
      local mta = assert(h:connect())
      mta:message()
      assert.truthy(host.wait_until(2, function() return h:log_file():find "event=message"
        or h:log_file():find "message" end))
      assert(os.rename(h.log_path, h.log_path .. ".1"))
      h:signal "SIGUSR1"
      assert.truthy(host.wait_until(2, function() return io.open(h.log_path) end, "a new log"))
      host.sleep(0.2)
      mta:message()
      mta:quit()
      assert.truthy(host.wait_until(2, function() return h:log_file():find "message" end, "lines in it"))
      h:stop()
    end)
  end
end)

describe("ctl", function()
  for _, workers in ipairs { 0, 2 } do
    it("shows sessions and where they wait, workers=" .. workers, function()
      local h = host.start { workers = workers, scripts = { ["10-wait.lua"] = [[
        local milter = require "moonmilter"
        local function lookup() milter.sleep(5) end
        function on_rcpt(ctx) lookup() end]] } }
      local mta = assert(h:connect())
      mta:envelope("mail", "4Qwait")
      mta:send("R", "<a@b>\0")
      host.sleep(0.3)
      local output = h:ctl "sessions"
      assert.matches("client=client%.example address=192%.0%.2%.1 queue_id=4Qwait stage=rcpt age=%S+ held=%d+ script=10%-wait "
        .. "waits_for=sleep", output)
      assert.matches("10%-wait%.lua:2: in function 'lookup'", output)
      assert.matches("10%-wait%.lua:3", output)
      mta:close()
      h:stop()
    end)

    it("changes the log level, workers=" .. workers, function()
      local h = host.start { workers = workers, scripts = SLOW }
      assert.equal(0, select(2, h:ctl("loglevel", "error")))
      host.sleep(0.2)
      local before = #h:log()
      local mta = assert(h:connect())
      mta:message()
      host.sleep(0.2)
      assert.equal(before, #h:log())
      assert.equal(0, select(2, h:ctl("loglevel", "info")))
      host.sleep(0.2)
      mta:message()
      mta:quit()
      assert.truthy(h:wait_log "verdict=")
      local output, status = h:ctl("loglevel", "loud")
      assert.equal(64, status)
      assert.matches("debug, info, warn or error", output)
      assert.equal(64, select(2, h:ctl "dance"))
      h:stop()
    end)
  end
end)
