-- Deadlines stay below the MTAs' limits; the host sends PROGRESS automatically, at end of message only.
local fake_mta = require "spec.support.fake_mta"
local socket = require "socket"

local mta
local HEAD = 'local milter = require "moonmilter"\n'

local function serve(source, set)
  mta = fake_mta.start { script = HEAD .. source, set = set }
  mta:begin()
end

describe("a handler that waits for too long", function()
  after_each(function()
    mta:close()
  end)

  it("ends in on_error at the stage's deadline, after its cleanup has run", function()
    serve([[
      function on_rcpt(ctx)
        local ok, err = pcall(milter.sleep, 60)
        milter.log.info("%s", err.reason)
        pcall(milter.sleep, 60)
        ctx:add_header("X-Never", "1")
      end
      function on_eom() end
    ]], { "stage_deadline=0.2" })
    mta:mail()
    local began = os.clock()
    assert.equal("451 4.3.0 Mail filter failed, please try again later", mta:rcpt().text)
    assert.is_true(os.clock() - began < 1)
    assert.matches("text=deadline", mta.owner:log())
    local line = mta:log_lines("script_error")[1]
    assert.matches("deadline: the handler still waits %(sleep%)", line)
    assert.matches("on_rcpt", line)
  end)

  it("does not affect the messages before and after it", function()
    serve([[
      function on_rcpt(ctx, recipient) if recipient == "slow@x" then milter.sleep(60) end end
      function on_eom(ctx) ctx:add_header("X-Seen", tostring(#ctx.recipients)) end
    ]], { "stage_deadline=0.1" })
    assert.equal("continue", mta:message { to = { "<a@x>" } }.kind)
    mta:mail()
    assert.equal("tempfail", mta:rcpt("<slow@x>").kind)
    mta:abort()
    local reply = mta:message { to = { "<b@x>" } }
    assert.equal("continue", reply.kind)
    assert.same({ { "add_header", "X-Seen", "1" } }, reply.edits)
  end)

  it("shares one deadline among all its waits, over several scripts", function()
    mta = fake_mta.start { files = {
      ["10-a.lua"] = HEAD .. "function on_mail() for _ = 1, 100 do milter.sleep(0.015) end end",
      ["20-b.lua"] = HEAD .. "function on_mail(ctx) return ctx:reject('not reached') end",
    }, set = { "stage_deadline=0.3" } }
    mta:begin()
    assert.equal("tempfail", mta:mail().kind)
  end)

  it("sees ctx.deadline and can use it", function()
    serve([[
      function on_mail(ctx)
        local deadline, began = ctx.deadline, milter.now()
        milter.sleep(0.1)
        local left = ctx.deadline - milter.now()
        local value, text, code = milter.timeout(left - 7.8, milter.sleep, 60)
        local has_moved, spent = math.abs(ctx.deadline - deadline) > 0.01, milter.now() - began
        return ctx:reject(("%d %s %s %s"):format(math.floor(deadline - began + 0.5), has_moved, spent >= 0.2, code))
      end
    ]], { "stage_deadline=8" })
    assert.equal("550 5.7.1 8 false true timeout", mta:mail().text)
  end)

  it("cannot outlive its deadline by waiting for a task", function()
    serve([[
      function on_mail(ctx)
        milter.spawn(milter.sleep, 60):wait()
      end
    ]], { "stage_deadline=0.1" })
    assert.equal("tempfail", mta:mail().kind)
    assert.matches("still waits %(wait%)", mta:log_lines("script_error")[1])
  end)

  for verdict, kind in pairs { accept = "accept", reject = "reject" } do
    it("gets the configured on_error = " .. verdict, function()
      serve("function on_mail(ctx) milter.sleep(60) end", { "stage_deadline=0.05", "on_error=" .. verdict })
      assert.equal(kind, mta:mail().kind)
    end)
  end
end)

describe("progress", function()
  after_each(function()
    mta:close()
  end)

  it("is sent automatically while a handler waits at end of message", function()
    serve([[
      function on_eom(ctx)
        milter.sleep(0.35)
        ctx:add_header("X-Done", "1")
      end
    ]], { "progress_every=0.1" })
    local began = socket.gettime()
    local reply = mta:message()
    assert.equal("continue", reply.kind)
    assert.is_true(reply.progress >= 2 and reply.progress <= (socket.gettime() - began) / 0.1)
    assert.same({ { "add_header", "X-Done", "1" } }, reply.edits)
    assert.equal("p", reply.raw[1])
    assert.equal("h", reply.raw[#reply.raw - 1])
  end)

  it("is sent during many short waits, too", function()
    serve([[
      function on_eom(ctx) for _ = 1, 80 do milter.sleep(0.01) end end
    ]], { "progress_every=0.1" })
    assert.is_true(mta:message().progress >= 2)     -- 7 on an idle machine
  end)

  it("is never sent at another stage", function()
    serve([[
      function on_rcpt(ctx) milter.sleep(0.3) end
      function on_data(ctx) milter.sleep(0.3) end
    ]], { "progress_every=0.05" })
    mta:mail()
    assert.equal(0, mta:rcpt().progress)
    assert.equal(0, mta:data().progress)
  end)

  it("stops at the deadline of end of message", function()
    serve([[
      function on_eom(ctx) ctx:add_header("X-Never", "1") milter.sleep(60) end
    ]], { "progress_every=0.05", "eom_deadline=0.3" })
    local reply = mta:message()
    assert.equal("tempfail", reply.kind)
    assert.same({}, reply.edits)
    assert.is_true(reply.progress >= 3)
  end)
end)
