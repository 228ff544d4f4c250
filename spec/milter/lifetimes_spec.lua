--- Lifetimes: a client's facts, a message's facts, macros, waiting handlers. And what every session may rely on:
--- exactly one of on_done and on_abort per message, on_close once and last.
local fake_mta = require "spec.support.fake_mta"

local packet = fake_mta.packet

-- Logs "event name" for each handler; specs read the names in order.
local TELLS = [[
  local milter = require "moonmilter"
  local function tell(...) milter.log.info("%s", table.concat({ ... }, " ")) end
  function on_connect(ctx, host) tell("connect", host) end
  function on_helo(ctx, name) tell("helo", name) end
  function on_mail(ctx, sender) tell("mail", sender) end
  function on_rcpt(ctx, recipient) tell("rcpt", recipient) end
  function on_eom(ctx) tell "eom" end
  function on_done(ctx, result) tell("done", result.verdict) end
  function on_abort(ctx) tell("abort", tostring(ctx.sender)) end
  function on_close(ctx) tell "close" end
]]

local function told(mta)
  local list = {}
  for line in mta.owner:log():gmatch "[^\n]+" do
    local text = line:match ' script .* text="(.*)"$' or line:match ' script .* text=(%S+)$'
    if text then
      list[#list + 1] = text
    end
  end
  return list
end

local function ends_with(list, ...)
  local wanted = { ... }
  local tail = {}
  for i = #list - #wanted + 1, #list do
    tail[#tail + 1] = list[i]
  end
  assert.same(wanted, tail)
end

describe("several messages on one connection", function()
  it("each get one on_done, and on_close comes once at the end", function()
    local mta = fake_mta.start(TELLS)
    mta:begin()
    for _ = 1, 3 do
      assert.equal("continue", mta:message().kind)
      mta:abort() -- as Postfix does after every message
      mta:abort()
    end
    mta:quit()
    local list = told(mta)
    assert.equal(3, select(2, table.concat(list, "\n"):gsub("done continue", "")))
    assert.equal(0, select(2, table.concat(list, "\n"):gsub("abort", "")))
    ends_with(list, "eom", "done continue", "close")
    mta:close()
  end)

  it("share ctx.session and each have a ctx.message", function()
    local mta = fake_mta.start [[
      function on_mail(ctx)
        ctx.session.n = (ctx.session.n or 0) + 1
        assert(next(ctx.message) == nil, "ctx.message is not fresh")
        ctx.message.n = ctx.session.n
      end
      function on_eom(ctx) ctx:add_header("X-N", tostring(ctx.message.n)) end
    ]]
    mta:begin()
    for n = 1, 3 do
      assert.same({ "add_header", "X-N", tostring(n) }, mta:message().edits[1])
    end
    mta:close()
  end)

  it("never see one another's facts", function()
    local mta = fake_mta.start { script = [[
      function on_mail(ctx)
        assert(#ctx.recipients == 0 and #ctx.headers == 0 and ctx.body_size == 0 and not ctx.queue_id)
      end
      function on_rcpt(ctx) end
      function on_header(ctx) end
      function on_body(ctx) end
      function on_eom(ctx)
        return ctx:reject(("%s %d %d %d"):format(ctx.sender, #ctx.recipients, #ctx.headers, ctx.body_size))
      end
    ]] }
    mta:begin()
    local first = mta:message { from = "<one@x>", to = { "<a@x>", "<b@x>" }, headers = { { "A", "1" }, { "B", "2" } },
      body = "12345" }
    assert.equal("550 5.7.1 one@x 2 2 5", first.text)
    local second = mta:message { from = "<two@x>", to = { "<a@x>" }, headers = {}, body = "1" }
    assert.equal("550 5.7.1 two@x 1 0 1", second.text)
    mta:close()
  end)

  it("have no open message between them", function()
    local mta = fake_mta.start [[
      function on_helo(ctx)
        local ok, err = pcall(function() return ctx.message end)
        return ctx:reject(("%s %s %s %s"):format(tostring(ctx.in_message), tostring(ctx.sender), tostring(ok), err))
      end
      function on_eom(ctx) assert(ctx.in_message) end
    ]]
    mta:connect()
    assert.truthy(mta:helo().text:find("false nil false .*no message is open"))
    assert.equal("continue", mta:message().kind)
    assert.truthy(mta:helo().text:find("false nil false .*no message is open"))
    mta:close()
  end)

  it("keep reply texts with their message", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx, r) if r == "bad@x" then return ctx:reject("no such mailbox") end end
      function on_eom(ctx) if ctx.sender == "bad@x" then return "reject" end end
    ]]
    mta:begin()
    mta:mail "<bad@x>"
    assert.equal("550 5.7.1 no such mailbox", mta:rcpt("<bad@x>").text)
    mta:rcpt "<good@x>"
    local last = mta:eom()
    assert.equal("r", last.letter)
    assert.equal("c", mta:message().letter)
    mta:close()
  end)
end)

describe("a message that ends without a final reply", function()
  local stages = {
    mail = function(mta) mta:mail() end,
    rcpt = function(mta) mta:mail() mta:rcpt() end,
    data = function(mta) mta:mail() mta:rcpt() mta:data() end,
    header = function(mta) mta:mail() mta:rcpt() mta:data() mta:header("A", "b") end,
    eoh = function(mta) mta:mail() mta:rcpt() mta:data() mta:header("A", "b") mta:eoh() end,
    body = function(mta) mta:mail() mta:rcpt() mta:data() mta:header("A", "b") mta:eoh() mta:body "x" end,
  }
  local ALL = TELLS .. "function on_data() end function on_header() end function on_eoh() end function on_body() end"
  local ends = {
    { "an abort (RSET)", function(mta) mta:abort() end, { "abort sender@example.org" } },
    { "two aborts, as Postfix likes", function(mta) mta:abort() mta:abort() end, { "abort sender@example.org" } },
    { "a new HELO", function(mta) mta:helo "again" end, { "abort sender@example.org", "helo again" } },
    { "the next MAIL without an abort", function(mta) mta:mail "<next@x>" end,
      { "abort sender@example.org", "mail next@x" } },
    { "a quit", function(mta) mta:quit() end, { "abort sender@example.org", "close" } },
    { "the next client on the same connection", function(mta) mta:feed(packet "K") end,
      { "abort sender@example.org", "close" } },
    { "the MTA's disappearance", function(mta) mta:vanish() end, { "abort sender@example.org", "close" } },
    { "rubbish", function(mta) mta:feed(packet("?", "x")) end, { "abort sender@example.org", "close" } },
  }
  for stage, reach in pairs(stages) do
    for _, ending in ipairs(ends) do
      it(("after %s, by %s, is aborted once"):format(stage, ending[1]), function()
        local mta = fake_mta.start(ALL)
        mta:begin()
        reach(mta)
        local before = #told(mta)
        ending[2](mta)
        local list = told(mta)
        local new = {}
        for i = before + 1, #list do
          new[#new + 1] = list[i]
        end
        assert.same(ending[3], new)
        mta:close()
      end)
    end
  end

  it("leaves none of its edits to the next", function()
    local mta = fake_mta.start [[
      function on_mail(ctx) if ctx.sender == "one@x" then ctx:add_header("X-One", "1") ctx:replace_body "one" ctx:quarantine "one" end end
      function on_eom(ctx) ctx:add_header("X-Two", "2") end
    ]]
    mta:begin()
    mta:mail "<one@x>"
    mta:abort()
    assert.same({ { "add_header", "X-Two", "2" } }, mta:message().edits)
    mta:close()
  end)
end)

describe("a message decided early", function()
  it("is done at once, and later content is answered without reaching a handler", function()
    local mta = fake_mta.start(TELLS .. [[
      function on_rcpt(ctx) return "discard" end
      function on_data() error "never" end
      function on_header() error "never" end
      function on_eoh() error "never" end
      function on_body() error "never" end
      function on_eom() error "never" end
      options = { lockstep = true }
    ]])
    mta:begin()
    mta:mail()
    assert.equal("discard", mta:rcpt().kind)
    ends_with(told(mta), "mail sender@example.org", "done discard")
    for _, reply in ipairs { mta:data(), mta:header("A", "b"), mta:eoh(), mta:body "x", mta:eom() } do
      assert.equal("continue", reply.kind)
    end
    ends_with(told(mta), "mail sender@example.org", "done discard")
    assert.same({}, mta:log_lines "script_error")
    mta:close()
  end)

  it("at MAIL leaves the next MAIL to be judged anew", function()
    local mta = fake_mta.start [[ function on_mail(ctx, s) if s == "bad@x" then return "reject" end end ]]
    mta:begin()
    assert.equal("reject", mta:mail("<bad@x>").kind)
    assert.equal("continue", mta:mail("<good@x>").kind)
    assert.equal("reject", mta:mail("<bad@x>").kind)
    mta:close()
  end)

  it("is not decided by a refused recipient: the others go on", function()
    local mta = fake_mta.start(TELLS .. [[ function on_rcpt(ctx, r) if r:find "^no" then return "reject" end end ]])
    mta:begin()
    local reply = mta:message { to = { "<no1@x>", "<yes@x>", "<no2@x>" } }
    assert.equal("continue", reply.kind)
    ends_with(told(mta), "eom", "done continue")
    mta:close()
  end)
end)

describe("macros", function()
  local SHOWS = [[
    local function show(ctx, ...)
      local words = {}
      for i, name in ipairs { ... } do words[i] = tostring(ctx:macro(name)) end
      return ctx:reject(table.concat(words, " "))
    end
    function on_helo(ctx) return show(ctx, "j", "tls_version", "i") end
    function on_mail(ctx) ctx.session.mail = tostring(ctx:macro "i") .. "/" .. tostring(ctx:macro "{i}") end
    function on_rcpt(ctx) return show(ctx, "rcpt_addr", "{rcpt_addr}", "i", "auth_type") end
    function on_eom(ctx) return show(ctx, "i", "rcpt_addr", "msg_id", "j", "auth_type", "nothing") end
  ]]

  it("are visible from their stage on, with or without braces", function()
    local mta = fake_mta.start(SHOWS)
    mta:introduce "sendmail"
    mta:connect()
    mta:macros("H", { { "{tls_version}", "TLSv1.3" } })
    assert.equal("550 5.7.1 mx.example TLSv1.3 nil", mta:helo().text)
    mta:macros("M", { { "i", "Q1" }, { "{auth_type}", "PLAIN" } })
    mta:mail()
    mta:macros("R", { { "{rcpt_addr}", "bob" } })
    assert.equal("550 5.7.1 bob bob Q1 PLAIN", mta:rcpt().text)
    mta:macros("R", { { "rcpt_addr", "eve" } })
    assert.equal("550 5.7.1 eve eve Q1 PLAIN", mta:rcpt().text)
    mta:macros("E", { { "{msg_id}", "<1@x>" } })
    assert.equal("550 5.7.1 Q1 eve <1@x> mx.example PLAIN nil", mta:eom().text)
    mta:close()
  end)

  it("of a message are gone with it; those of the client stay", function()
    local mta = fake_mta.start(SHOWS)
    mta:introduce "sendmail"
    mta:begin()
    mta:macros("M", { { "i", "Q1" }, { "{auth_type}", "PLAIN" } })
    mta:mail()
    mta:macros("R", { { "{rcpt_addr}", "bob" } })
    mta:rcpt()
    mta:macros("E", { { "{msg_id}", "<1@x>" } })
    mta:eom()
    mta:macros("M", { { "i", "Q2" } })
    mta:mail()
    assert.equal("550 5.7.1 nil nil Q2 nil", mta:rcpt().text)
    assert.equal("550 5.7.1 Q2 nil nil mx.example nil nil", mta:eom().text)
    assert.equal("550 5.7.1 mx.example nil nil", mta:helo().text)
    mta:close()
  end)

  it("are gone after an empty list", function()
    local mta = fake_mta.start(SHOWS)
    mta:begin()
    mta:mail()
    mta:macros("R", { { "{rcpt_addr}", "bob" } })
    mta:rcpt()
    mta:macros("R", {})
    assert.equal("550 5.7.1 nil nil nil nil", mta:rcpt().text)
    mta:close()
  end)

  it("of a STARTTLS arrive with the second HELO", function()
    local mta = fake_mta.start(SHOWS)
    mta:connect()
    assert.equal("550 5.7.1 nil nil nil", mta:helo().text)
    mta:macros("H", { { "{tls_version}", "TLSv1.2" } })
    assert.equal("550 5.7.1 nil TLSv1.2 nil", mta:helo().text)
    mta:close()
  end)

  it("of an aborted message are visible to its on_abort and its log line", function()
    for _, what in ipairs { "helo", "mail" } do
      local mta = fake_mta.start [[
        function on_mail(ctx) end
        function on_helo(ctx) end
        function on_abort(ctx) require "moonmilter".log.info("abort of %s", tostring(ctx.queue_id)) end
      ]]
      mta:begin()
      mta:macros("M", { { "i", "FIRST" } })
      mta:mail()
      if what == "mail" then -- Sendmail after RSET with MAIL unanswered: no abort, the next macros, the next MAIL
        mta:macros("M", { { "i", "SECOND" } })
        mta:mail()
      else -- Postfix at a second EHLO: HELO, then the abort
        mta:helo()
        mta:abort()
      end
      assert.truthy(mta.owner:log():find("abort of FIRST", 1, true), mta.owner:log())
      assert.truthy(mta:log_lines("message")[1]:find("queue_id=FIRST", 1, true), mta:log_lines("message")[1])
      if what == "mail" then
        mta:abort()
        assert.truthy(mta:log_lines("message")[2]:find("queue_id=SECOND", 1, true))
      end
      mta:close()
    end
  end)
end)

describe("a second client on the same connection (QUIT_NC)", function()
  it("shares only the negotiation with the first", function()
    local mta = fake_mta.start(TELLS .. [[
      local id
      function on_connect(ctx, host, address)
        assert(next(ctx.session) == nil)
        assert(ctx.id ~= id, "two clients with one id")
        id = ctx.id
        ctx.session.seen = true
        tell("connect", host, tostring(ctx.helo), tostring(ctx:macro "j"), ctx.client.ip)
      end
    ]])
    mta:macros("C", { { "j", "one" } })
    mta:connect("first.example", "192.0.2.1")
    mta:helo()
    mta:message()
    mta:feed(packet "K")
    ends_with(told(mta), "eom", "done continue", "close")
    mta:connect("second.example", "2001:db8::2")
    ends_with(told(mta), "close", "connect second.example nil nil 2001:db8::2")
    assert.equal("continue", mta:message().kind)
    mta:quit()
    ends_with(told(mta), "done continue", "close")
    assert.is_true(mta:is_finished())
    mta:close()
  end)

  it("cannot use a ctx that the first has kept", function()
    local mta = fake_mta.start [[
      local kept
      function on_connect(ctx)
        if kept then return ctx:reject(tostring(select(2, pcall(function() return kept.client end)))) end
        kept = ctx
      end
    ]]
    mta:connect()
    mta:feed(packet "K")
    assert.truthy(mta:connect().text:find("the session has ended"))
    mta:close()
  end)
end)

describe("a handler that waits", function()
  local SLEEPS = TELLS .. [[
    function on_data() end function on_header() end function on_eoh() end function on_body() end function on_unknown() end
    local function sleeper(stage, old)
      return function(ctx, ...)
        if old then old(ctx, ...) end
        local ok, err = pcall(milter.sleep, 30)
        tell("woken", stage, tostring(err))
        local again, more = pcall(milter.sleep, 0)
        tell("again", tostring(again), tostring(more))
        pcall(ctx.add_header, ctx, "X-Late", "late")
        pcall(ctx.progress, ctx)
        pcall(ctx.reject, ctx, "late")
        return "reject"
      end
    end
    options = { lockstep = true }
  ]]
  local order = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }
  local send = {
    connect = function(mta) mta:feed(packet("C", "h\0U")) end, helo = function(mta) mta:feed(packet("H", "h\0")) end,
    mail = function(mta) mta:feed(packet("M", "<a@b>\0")) end,
    rcpt = function(mta) mta:feed(packet("R", "<c@d>\0")) end,
    data = function(mta) mta:feed(packet "T") end, header = function(mta) mta:feed(packet("L", "A\0 b\0")) end,
    eoh = function(mta) mta:feed(packet "N") end, body = function(mta) mta:feed(packet("B", "x")) end,
    eom = function(mta) mta:feed(packet("E", "")) end, unknown = function(mta) mta:feed(packet("U", "x\0")) end,
  }
  local function reach(stage)
    local mta = fake_mta.start(SLEEPS .. ("on_%s = sleeper(%q, on_%s)"):format(stage, stage, stage))
    for _, earlier in ipairs(stage == "unknown" and { "connect" } or order) do
      if earlier == stage then
        break
      end
      send[earlier](mta)
      assert.equal("c", (mta:receive()))
    end
    send[stage](mta)
    assert.is_true(mta:is_waiting())
    return mta
  end

  for i, stage in ipairs(order) do
    if i > 2 then
      it(("at %s is cancelled by an abort and never answered"):format(stage), function()
        local mta = reach(stage)
        mta:abort()
        assert.is_false(mta:is_waiting())
        assert.is_nil((mta:receive(0)))
        ends_with(told(mta), "woken " .. stage .. " cancelled: abort", "again false cancelled: abort", "abort a@b")
        mta:feed(packet("M", "<next@x>\0"))
        assert.equal(stage == "mail", mta:is_waiting())
        if stage ~= "mail" then
          assert.equal("c", (mta:receive()))
        end
        mta:close()
      end)
    else
      it(("at %s still needs its answer after an abort"):format(stage), function()
        local mta = reach(stage)
        mta:abort()
        assert.is_true(mta:is_waiting())
        mta:close()
      end)
    end
    for name, go in pairs { quit = function(mta) mta:quit() end, disappearance = function(mta) mta:vanish() end,
      ["next client"] = function(mta) mta:feed(packet "K") end } do
      it(("at %s is cancelled by the MTA's %s"):format(stage, name), function()
        local mta = reach(stage)
        go(mta)
        assert.is_false(mta:is_waiting())
        assert.equal(name ~= "next client", mta:is_finished())
        local woken = { "woken " .. stage .. " cancelled: disconnect", "again false cancelled: disconnect" }
        if i > 2 then
          woken[#woken + 1] = "abort a@b"
        end
        woken[#woken + 1] = "close"
        ends_with(told(mta), unpack(woken))
        assert.is_nil((mta:receive(0)))
        mta:close()
      end)
    end
  end

  it("is cancelled by an abort in the same segment as the command", function()
    local mta = fake_mta.start(SLEEPS .. "on_eom = sleeper('eom', on_eom)")
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(packet("E", "") .. packet "A" .. packet("M", "<next@x>\0"))
    assert.equal("c", (mta:receive(1))) -- with a slow handler the rest has a turn of its own (MM_TURN)
    assert.is_false(mta:is_waiting())
    assert.is_nil((mta:receive(0)))
    ends_with(told(mta), "abort sender@example.org", "mail next@x")
    mta:close()
  end)

  it("is cancelled by a quit after an abort that did not concern it", function()
    local mta = reach "helo"
    mta:abort()
    assert.is_true(mta:is_waiting())
    mta:quit()
    assert.is_true(mta:is_finished())
    ends_with(told(mta), "woken helo cancelled: disconnect", "again false cancelled: disconnect", "close")
    mta:close()
  end)

  it("in message one cannot send anything in message two", function()
    local mta = fake_mta.start(TELLS .. [[
      function on_eom(ctx)
        if ctx.sender ~= "one@x" then return end
        pcall(milter.sleep, 0.05)
        pcall(function() ctx:add_header("X-One", "late") end)
        pcall(function() ctx:progress() end)
        milter.sleep(0.05)
        return ctx:reject("late")
      end
    ]])
    mta:begin()
    mta:mail "<one@x>"
    mta:rcpt()
    mta:feed(packet("E", ""))
    mta:abort()
    mta:mail "<two@x>"
    mta:rcpt()
    for _ = 1, 4 do
      mta.owner:turn(0.05)
    end
    local reply = mta:eom()
    assert.equal("continue", reply.kind)
    assert.same({}, reply.edits)
    mta:close()
  end)

  it("lets the host serve other sessions", function()
    local host = assert(fake_mta.host { script = [[
      local milter = require "moonmilter"
      function on_mail(ctx, s) if s == "slow@x" then milter.sleep(0.2) end end
    ]] })
    local slow, quick = fake_mta.start { host = host }, fake_mta.start { host = host }
    slow:begin()
    quick:begin()
    slow:feed(packet("M", "<slow@x>\0"))
    assert.equal("continue", quick:mail("<quick@x>").kind)
    assert.is_true(slow:is_waiting())
    assert.equal("c", (slow:receive()))
    slow:close()
    quick:close()
    host:close()
  end)

  it("receives the MTA's further packets only when it is done, then all in order", function()
    local mta = fake_mta.start(TELLS .. [[
      function on_header(ctx, name) tell("header", name) if name == "A" then milter.sleep(0.05) end end
      function on_eoh(ctx) tell "eoh" end
    ]])
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(packet("L", "A\0 1\0"))
    mta:feed(packet("L", "B\0 2\0") .. packet("L", "C\0 3\0"))
    mta:feed(packet "N")
    assert.is_true(mta:is_waiting())
    ends_with(told(mta), "header A")
    assert.equal("c", (mta:receive()))
    ends_with(told(mta), "header A", "header B", "header C", "eoh")
    mta:close()
  end)

  it("in on_abort or on_done delays what follows, and both run to their end", function()
    local mta = fake_mta.start(TELLS .. [[
      function on_abort(ctx) milter.sleep(0.02) tell "abort slept" end
      function on_done(ctx) milter.sleep(0.02) tell "done slept" end
      function on_close(ctx) milter.sleep(0.02) tell "close slept" end
    ]])
    mta:begin()
    assert.equal("continue", mta:message().kind)
    mta:feed(packet("M", "<a@b>\0"))
    mta:settle()
    assert.equal("c", (mta:receive()))
    mta:abort()
    mta:quit()
    mta:settle()
    assert.is_true(mta:is_finished())
    ends_with(told(mta), "done slept", "mail a@b", "abort slept", "close slept")
    mta:close()
  end)

  it("in on_abort still gets on_close when the host drops the session", function()
    for _, handler in ipairs { "on_abort", "on_done" } do
      local host = assert(fake_mta.host { script = TELLS .. handler .. " = function() tell 'waits' "
        .. "milter.sleep(30) end" })
      local mta = fake_mta.start { host = host }
      mta:begin()
      if handler == "on_done" then
        mta:feed(packet("M", "<a@b>\0") .. packet("E", ""))
      else
        mta:feed(packet("M", "<a@b>\0") .. packet("A"))
      end
      assert.is_true(mta:is_waiting())
      mta:close()
      ends_with(told { owner = host }, "waits", "close")
      host:close()
    end
  end)
end)

describe("a handler that waits too long", function()
  local function host_with(script, ...)
    return { script = script, set = { ... } }
  end
  it("gets the on_error verdict, with the cause in the log, without affecting the next message", function()
    local mta = fake_mta.start(host_with([[
      local milter = require "moonmilter"
      function on_mail(ctx, s)
        ctx:add_header("X-Half", "1")
        if s == "slow@x" then milter.sleep(20) end
      end
    ]], "stage_deadline=0.5"))
    mta:begin()
    local reply = mta:mail "<slow@x>"
    assert.equal("tempfail", reply.kind)
    assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
    local errors = mta:log_lines "script_error"
    assert.equal(1, #errors)
    assert.truthy(errors[1]:find("deadline", 1, true), errors[1])
    assert.equal("continue", mta:mail("<quick@x>").kind)
    mta:close()
  end)

  it("at end of message loses its edits and sends progress meanwhile", function()
    local mta = fake_mta.start(host_with([[
      local milter = require "moonmilter"
      function on_eom(ctx) ctx:add_header("X-Half", "1") milter.sleep(20) end
    ]], "eom_deadline=1.2", "progress_every=0.5"))
    mta:begin()
    local reply = mta:message()
    assert.equal("tempfail", reply.kind)
    assert.same({}, reply.edits)
    assert.equal(2, reply.progress)
    mta:close()
  end)

  it("at another stage sends no progress", function()
    local mta = fake_mta.start(host_with([[
      local milter = require "moonmilter"
      function on_rcpt(ctx) milter.sleep(0.7) end
    ]], "progress_every=0.2"))
    mta:begin()
    mta:mail()
    local reply = mta:rcpt()
    assert.equal("continue", reply.kind)
    assert.equal(0, reply.progress)
    mta:close()
  end)

  it("in on_close of one script does not prevent those of the others", function()
    local mta = fake_mta.start { files = {
      ["1.lua"] = "function on_mail() end function on_close() require 'moonmilter'.sleep(30) end",
      ["2.lua"] = TELLS,
    }, set = { "stage_deadline=0.5" } }
    mta:begin()
    mta:quit()
    mta:settle()
    assert.is_true(mta:is_finished())
    ends_with(told(mta), "close")
    assert.equal(1, #mta:log_lines "script_error")
    mta:close()
  end)
end)

describe("ctx:progress()", function()
  it("sends progress at end of message and is an error elsewhere", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx) return ctx:reject(tostring(select(2, pcall(ctx.progress, ctx)))) end
      function on_eom(ctx) ctx:progress() ctx:progress() ctx:add_header("X-A", "1") end
    ]]
    mta:begin()
    mta:mail()
    assert.truthy(mta:rcpt().text:find "only at end of message")
    local reply = mta:eom()
    assert.equal(2, reply.progress)
    assert.equal("pphc", table.concat(reply.raw))
    mta:close()
  end)
end)

describe("a ctx of another session", function()
  it("cannot be edited, decided or kept busy", function()
    local host = assert(fake_mta.host { script = [[
      local first
      local milter = require "moonmilter"
      function on_eom(ctx)
        if not first then first = ctx milter.sleep(0.3) return end
        local said = {}
        for _, call in ipairs { "add_header", "progress", "quarantine", "reject" } do
          said[#said + 1] = tostring(pcall(first[call], first, "X-Foreign", "1"))
        end
        return ctx:reject(table.concat(said, " "))
      end
    ]] })
    local one, two = fake_mta.start { host = host }, fake_mta.start { host = host }
    for _, mta in ipairs { one, two } do
      mta:begin()
      mta:mail()
      mta:rcpt()
    end
    one:feed(packet("E", ""))
    assert.equal("550 5.7.1 false false false false", two:eom().text)
    local reply = one:reply()
    assert.equal("continue", reply.kind)
    assert.same({}, reply.edits)
    one:close()
    two:close()
    host:close()
  end)
end)
