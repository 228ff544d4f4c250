-- moonmilter with real MTAs: the cases that libmilter also passes, and what only moonmilter promises (docs: design
-- sections 2 to 5). Every title states what a postmaster sees; each spec runs on Postfix and on Sendmail.
local socket = require "socket"

local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local compose = cases.compose

cases.define("moonmilter", function(options)
  return filter.host("spec/mta/stand_in.lua", options)
end, filter.host_unavailable())

local function unavailable()
  return filter.host_unavailable() or postfix.unavailable() or sendmail.unavailable()
end

-- A message whose X-Run fields contain Lua for scripted.lua. `message` may add fields, body, to, from.
local function running(code, message)
  message = message or {}
  local fields = { unpack(message.fields or {}) }
  for _, line in ipairs(type(code) == "table" and code or { code }) do fields[#fields + 1] = "X-Run: " .. line end
  return { fields = fields, body = message.body, to = message.to, from = message.from, without = message.without }
end

-- Both MTAs with one host each that runs scripted.lua.
local function with_both(define)
  if unavailable() then return pending(unavailable()) end
  local worlds = {}

  setup(function()
    for _, mta_module in ipairs(cases.mtas) do
      local host = filter.host("spec/mta/scripted.lua", { unix = mta_module.kind == "sendmail" })
      worlds[mta_module.kind] = cases.world(mta_module, host)
    end
  end)

  teardown(function()
    for _, world in pairs(worlds) do
      world.mta:stop()
      world.filter:stop()
    end
  end)

  -- Runs a check with both worlds.
  define(function(check)
    for _, mta_module in ipairs(cases.mtas) do
      local world = worlds[mta_module.kind]
      local ok, problem = xpcall(function() check(world) end, function(text)
        return type(text) == "table" and text or debug.traceback(tostring(text), 2)
      end)
      if not ok then
        if type(problem) == "table" then error(problem, 0) end
        error(("with %s: %s\n%s"):format(mta_module.kind, problem, world.filter:log():sub(-2000)), 0)
      end
    end
  end, worlds)
end

local THREE = { "X-A: 1", "X-A: 2", "X-A: 3" }

describe("header edits of a script give the same message on both MTAs:", function()
  with_both(function(on_both, worlds)
    -- Values of X-A after the edits, on both.
    local function values(expected, code, fields)
      on_both(function(world)
        local message = world:arrives(running("eom " .. code, { fields = fields or THREE }))
        assert.same(expected, message:all "X-A", world.kind)
      end)
    end

    it("delete 1 then change 2: 2 is the second of the remaining fields", function()
      values({ "2", "new" }, "ctx:delete_header('X-A', 1) ctx:change_header('X-A', 2, 'new')")
    end)

    it("delete 1 twice: the first two are gone", function()
      values({ "3" }, "ctx:delete_header('X-A', 1) ctx:delete_header('X-A', 1)")
    end)

    it("change 2 then delete 1", function()
      values({ "new", "3" }, "ctx:change_header('X-A', 2, 'new') ctx:delete_header('X-A', 1)")
    end)

    it("delete without a number: all of that name", function()
      values({}, "ctx:delete_header('X-A')")
    end)

    it("delete -1: the last one", function()
      values({ "1", "2" }, "ctx:delete_header('X-A', -1)")
    end)

    it("change -1: the last one", function()
      values({ "1", "2", "new" }, "ctx:change_header('X-A', -1, 'new')")
    end)

    it("change twice: the last value", function()
      values({ "1", "b", "3" }, "ctx:change_header('X-A', 2, 'a') ctx:change_header('X-A', 2, 'b')")
    end)

    it("change to an empty value: deleted", function()
      values({ "1", "3" }, "ctx:change_header('X-A', 2, '')")
    end)

    it("add a name that exists: after the others", function()
      values({ "1", "2", "3", "4" }, "ctx:add_header('X-A', '4')")
    end)

    it("add two of a name: in order", function()
      values({ "a", "b" }, "ctx:add_header('X-A', 'a') ctx:add_header('X-A', 'b')", {})
    end)

    it("add, then change the added field", function()
      values({ "1", "2", "3", "new" }, "ctx:add_header('X-A', '4') ctx:change_header('X-A', 4, 'new')")
    end)

    it("add, then delete the added field: none is left", function()
      values({ "1", "2", "3" }, "ctx:add_header('X-A', '4') ctx:delete_header('X-A', 4)")
    end)

    it("delete all, then add: only the new one", function()
      values({ "new" }, "ctx:delete_header('X-A') ctx:add_header('X-A', 'new')")
    end)

    it("names are compared without regard to case", function()
      values({ "1", "new", "3" }, "ctx:change_header('x-a', 2, 'new')")
    end)

    it("an edit in on_header counts the fields seen so far, and is kept", function()
      on_both(function(world)
        local message = world:arrives {
          fields = { "X-A: 1", "X-Run: header ctx:change_header('X-A', 1, 'new')", "X-A: 2" },
        }
        assert.same({ "new", "2" }, message:all "X-A")
      end)
    end)

    it("insert at 0: above everything, the MTA's Received too", function()
      on_both(function(world)
        local message = world:arrives(running "eom ctx:insert_header(0, 'X-New', 'v')")
        assert.equal(1, message:position "X-New")
      end)
    end)

    it("insert at 0 twice: the second above the first", function()
      on_both(function(world)
        local message = world:arrives(running "eom ctx:insert_header(0, 'X-N1', 'v') ctx:insert_header(0, 'X-N2', 'v')")
        assert.same({ "X-N2", "X-N1" }, { message.headers[1].name, message.headers[2].name })
      end)
    end)

    it("insert at 1: right below the MTA's Received", function()
      on_both(function(world)
        local message = world:arrives(running "eom ctx:insert_header(1, 'X-New', 'v')")
        assert.equal(message:position "Received" + 1, message:position "X-New")
        assert.equal(message:position "From" - 1, message:position "X-New")
      end)
    end)

    it("insert at 1 to 5, and far beyond the end: the same places on both", function()
      for _, position in ipairs { 1, 2, 3, 4, 5, 6, 1000 } do
        local seen = {}
        on_both(function(world)
          local message = world:arrives(running(("eom ctx:insert_header(%d, 'X-New', 'v')"):format(position)))
          seen[world.kind] = message:names()
        end)
        assert.same(seen.postfix, seen.sendmail)
      end
    end)

    it("a long mix of edits: the same fields in the same order on both", function()
      local seen = {}
      on_both(function(world)
        local message = world:arrives(running({
          "eom ctx:insert_header(3, 'X-B', 'inserted') ctx:delete_header('X-A', 2) ctx:add_header('X-A', 'added')",
          "eom ctx:change_header('X-A', -1, 'changed') ctx:insert_header(1, 'X-A', 'top') ctx:delete_header('X-A', 2)",
          "eom ctx:change_header('Subject', 1, 'other') ctx:add_header('X-C', 'one\\n two')",
          "eom ctx:insert_header(0, 'X-D', '')",
        }, { fields = THREE }))
        seen[world.kind] = {}
        for i, field in ipairs(message.headers) do
          local value = (field.name == "Received" or field.name == "Message-Id") and "" or field.value
          seen[world.kind][i] = field.name .. ": " .. value
        end
      end)
      assert.same(seen.postfix, seen.sendmail)
      assert.is_true(#seen.postfix > 8)
    end)

    it("insert after a field that Sendmail generates itself: before the same field on both", function()
      on_both(function(world)
        local message = world:arrives(running(
          "eom ctx:add_header('Date', 'Fri, 2 Jan 2026 00:00:00 +0000') ctx:add_header('X-Z', 'z') " ..
          "ctx:insert_header(#ctx.headers, 'X-New', 'v')", { without = "Date" }))
        local dates = message:all "Date" -- Postfix also adds its own, and shows it to no milter
        assert.equal("Fri, 2 Jan 2026 00:00:00 +0000", dates[#dates])
        assert.equal(message:position "X-Z" - 1, message:position "X-New")
      end)
    end)

    it("add a field that Sendmail also generates: it drops its own, and the rest is as on Postfix", function()
      for _, name in ipairs { "Resent-Date", "Resent-From", "Resent-Message-Id", "Full-Name", "Return-Path" } do
        on_both(function(world)
          local message = world:arrives(running(("eom ctx:add_header('%s', '<a@b.example>') "):format(name) ..
            "ctx:add_header('X-Z', 'z') ctx:insert_header(#ctx.headers, 'X-New', 'v')"))
          assert.same(world.kind == "postfix" and { "<a@b.example>" } or {}, message:all(name), name)
          assert.equal(message:position "X-Z" - 1, message:position "X-New")
        end)
      end
    end)

    it("ctx.headers shows queued edits", function()
      on_both(function(world)
        local message = world:arrives(running(
          "eom ctx:delete_header('X-A', 1) ctx:add_header('X-A', '4') ctx:add_header('X-Seen', " ..
          "ctx.headers:get('X-A') .. ctx.headers:get('X-A', 2) .. ctx.headers:get('X-A', 3))", { fields = THREE }))
        assert.equal("234", message:get "X-Seen")
      end)
    end)

    it("a value keeps its spaces", function()
      on_both(function(world)
        local message = world:arrives(running("eom ctx:add_header('X-Copy', '[' .. ctx.headers:get('X-A') .. ']')",
          { fields = { "X-A:   spaced" } }))
        assert.equal("[  spaced]", message:get "X-Copy")
        assert.equal("  spaced", message:get "X-A")
      end)
    end)

    it("are usable with every protocol version that Postfix can be configured to speak", function()
      local mta = worlds.postfix.mta
      finally(function() mta:configure { milter_protocol = "6" } end)
      for _, version in ipairs { "2", "3", "4", "6" } do
        mta:configure { milter_protocol = version }
        local message = worlds.postfix:arrives(running(
          "eom ctx:add_header('X-A', ' v') ctx:change_header('X-A', 1, 'new') ctx:replace_body('other\\n')",
          { fields = { "X-A: 1" } }))
        assert.same({ "new", " v" }, message:all "X-A", "version " .. version)
        assert.equal("other\n", message.body)
      end
    end)
  end)
end)

describe("replies of a script reach the client of both MTAs:", function()
  with_both(function(on_both)
    local function final(expected, code)
      on_both(function(world)
        local result, sent = world:send(running("eom " .. code))
        assert.same(expected, result.final.lines)
        assert.is_true(world:lost(sent))
      end)
    end

    it("reject with a text only: 550 5.7.1", function()
      final({ "550 5.7.1 no" }, "ctx:reject('no')")
    end)

    it("tempfail with a text only: 451 4.7.1", function()
      final({ "451 4.7.1 later" }, "ctx:tempfail('later')")
    end)

    it("reject with a code, a status and a text", function()
      final({ "554 5.6.0 no" }, "ctx:reject(554, '5.6.0', 'no')")
    end)

    it("a % stays a %", function()
      final({ "550 5.7.1 100% of 5%d and %s%%" }, "ctx:reject('100% of 5%d and %s%%')")
    end)

    it("32 lines of text", function()
      local code = "local t = {} for i = 1, 32 do t[i] = 'line ' .. i end ctx:reject(550, '5.7.1', unpack(t))"
      local lines = {}
      for i = 1, 32 do lines[i] = ("550%s5.7.1 line %d"):format(i < 32 and "-" or " ", i) end
      final(lines, code)
    end)

    it("a line of 400 bytes", function()
      final({ "550 5.7.1 " .. ("x"):rep(400) }, "ctx:reject(('x'):rep(400))")
    end)

    it("from any depth, through pcall", function()
      final({ "550 5.7.1 deep" },
        "local function f(n) if n > 0 then return f(n - 1) + 0 end ctx:reject('deep') end " ..
        "pcall(f, 9) ctx:tempfail('no')")
    end)

    it("disconnect: 421, and the session is over", function()
      for _, stage in ipairs { "header", "eoh", "body", "eom" } do
        on_both(function(world)
          local client = world:connect()
          local sent = compose(running(stage .. " ctx:disconnect('going away')"))
          local result = client:send_message(sent)
          assert.equal(421, result.final.code, stage)
          assert.matches("going away$", result.final.text)
          assert.is_true(client:closed())
          assert.is_true(world:lost(sent))
        end)
      end
    end)

    it("edits before a reject or tempfail have no effect", function()
      on_both(function(world)
        local client = world:connect()
        local edits = "ctx:add_header('X-Half', 'v') ctx:replace_body('half') ctx:add_recipient('eve@two.example') "
        for _, verdict in ipairs { "ctx:reject('no')", "ctx:tempfail('later')", "return 'discard'" } do
          client:send_message(compose(running("eom " .. edits .. verdict)))
        end
        local sent = compose {}
        assert.equal(250, client:send_message(sent).final.code)
        client:quit()
        local message = assert(world.mta:wait_message(sent.token, 15))
        assert.is_nil(message:get "X-Half")
        assert.same({ "bob@two.example" }, message.recipients)
        assert.equal("first line\n.second line\n", message.body)
        assert.same({}, world.mta:delivered())
      end)
    end)

    it("a reply of one message never answers another", function()
      on_both(function(world)
        local client = world:connect()
        local first = client:send_message(compose(running "eom pcall(ctx.reject, ctx, 'only the first')"))
        assert.matches("only the first", first.final.text)
        local second = client:send_message(compose(running "eom return 'reject'"))
        assert.not_matches("only the first", second.final.text)
        client:quit()
      end)
    end)
  end)
end)

describe("a body that a script makes arrives on both MTAs:", function()
  with_both(function(on_both)
    local function body(expected, code)
      on_both(function(world)
        local message = world:arrives(running("eom " .. code))
        assert.equal(#expected, #message.body)
        assert.is_true(expected == message.body)
      end)
    end

    it("an empty one", function() body("", "ctx:replace_body('')") end)
    it("one with LF line ends", function() body("a\nb\n", "ctx:replace_body('a\\nb\\n')") end)
    it("one with CRLF line ends", function() body("a\nb\n", "ctx:replace_body('a\\r\\nb\\r\\n')") end)
    it("one of exactly one packet, and one of a byte more", function()
      body(("x"):rep(79):rep(1) .. "\n" .. (("y"):rep(63) .. "\n"):rep(1022) .. ("z"):rep(45) .. "\n",
        "ctx:replace_body(('x'):rep(79) .. '\\n' .. (('y'):rep(63) .. '\\n'):rep(1022) .. ('z'):rep(45) .. '\\n')")
    end)
    it("5 MB in one string", function()
      body((("0123456789"):rep(7) .. "\n"):rep(70423),
        "ctx:replace_body((('0123456789'):rep(7) .. '\\r\\n'):rep(70423))")
    end)
    it("5 MB from an iterator", function()
      body((("0123456789"):rep(7) .. "\n"):rep(70000),
        "local n = 0 ctx:replace_body(function() n = n + 1 if n <= 700 then " ..
        "return (('0123456789'):rep(7) .. '\\r\\n'):rep(100) end end)")
    end)
    it("one set at end of headers, before the body was seen", function()
      on_both(function(world)
        assert.equal("early\n", world:arrives(running "eoh ctx:replace_body('early\\n')").body)
      end)
    end)
    it("one with edits queued in earlier stages", function()
      on_both(function(world)
        local message = world:arrives(running { "eoh ctx:add_header('X-1', 'eoh')",
          "body ctx:add_header('X-2', 'body')", "eom ctx:add_header('X-3', 'eom')" })
        assert.same({ "eoh", "body", "eom" }, { message:get "X-1", message:get "X-2", message:get "X-3" })
      end)
    end)
  end)
end)

describe("a script that fails defers that message and no other, on both MTAs:", function()
  with_both(function(on_both)
    -- What the next message of the same session must look like.
    local function unharmed(world, client)
      local sent = compose(running "eom ctx:add_header('X-New', 'v')")
      assert.equal(250, client:send_message(sent).final.code)
      assert.equal("v", assert(world.mta:wait_message(sent.token, 15)):get "X-New")
    end

    it("at connect: 451 for the session's mail; the next session is fine", function()
      on_both(function(world)
        assert.equal(451, world:send({}, { address = "127.0.0.8" }).mail.code)
        unharmed(world, world:connect())
      end)
    end)

    it("at HELO: 451 for the session's mail; the next session is fine", function()
      on_both(function(world)
        assert.equal(451, world:send({}, { helo = "helo.error.example" }).mail.code)
        unharmed(world, world:connect())
      end)
    end)

    it("at MAIL: 451", function()
      on_both(function(world)
        local client = world:connect()
        assert.equal(451, client:send_message(compose { from = "mail.error@one.example" }).mail.code)
        unharmed(world, client)
        client:quit()
      end)
    end)

    it("at RCPT: 451 for that recipient, the others get the message", function()
      on_both(function(world)
        local client = world:connect()
        local sent = compose { to = { "bob@two.example", "rcpt.error@two.example" } }
        local result = client:send_message(sent)
        assert.same({ 250, 451 }, { result.rcpt[1].code, result.rcpt[2].code })
        assert.equal(250, result.final.code)
        assert.same({ "bob@two.example" }, assert(world.mta:wait_message(sent.token, 15)).recipients)
        unharmed(world, client)
        client:quit()
      end)
    end)

    it("at DATA: 451", function()
      on_both(function(world)
        local client = world:connect()
        assert.equal(451, client:send_message(compose { to = { "data.error@two.example" } }).data.code)
        unharmed(world, client)
        client:quit()
      end)
    end)

    for _, stage in ipairs { "header", "eoh", "body", "eom" } do
      it(("at %s: 451, and no edit that was made before shows"):format(stage), function()
        on_both(function(world)
          local client = world:connect()
          local sent = compose(running(stage .. " ctx:add_header('X-Half', 'v') error 'told to fail'"))
          assert.equal(451, client:send_message(sent).final.code)
          assert.is_true(world:lost(sent))
          unharmed(world, client)
          client:quit()
        end)
      end)
    end

    for what, code in pairs {
      ["an error that is not a string"] = "error({})",
      ["a call of nil"] = "nothing.at_all()",
      ["a verdict that does not exist"] = "return 'rejekt'",
      ["a verdict that the stage does not allow"] = "return 'skip'",
      ["a header value with CR LF"] = "ctx:add_header('X-A', 'a\\r\\nX-B: b')",
      ["a header value with NUL"] = "ctx:add_header('X-A', 'a\\0b')",
      ["a header name with a space"] = "ctx:add_header('X A', 'v')",
      ["a recipient with a line end"] = "ctx:add_recipient('a@b\\r\\nRCPT TO:<c@d>')",
      ["a reply with a line end"] = "ctx:reject('a\\r\\n250 ok')",
      ["a reply whose code has the wrong class"] = "ctx:reject(451, '4.7.1', 'x')",
      ["a stack overflow"] = "local function f() return 1 + f() end f()",
      ["an error in a coroutine"] = "coroutine.wrap(function() error 'inside' end)()",
    } do
      it(what .. ": 451", function()
        on_both(function(world)
          local client = world:connect()
          local sent = compose(running("eom " .. code))
          assert.equal(451, client:send_message(sent).final.code)
          assert.is_true(world:lost(sent))
          unharmed(world, client)
          client:quit()
        end)
      end)
    end
  end)
end)

describe("a script that waits, on both MTAs:", function()
  with_both(function(on_both)
    it("milter.sleep(2) at end of message: delivered after two seconds; other sessions do not wait", function()
      on_both(function(world)
        local slow = world:connect()
        local sent = compose(running "eom milter.sleep(2) ctx:add_header('X-New', 'slept')")
        local began = socket.gettime()
        for _, command in ipairs { "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>", "DATA" } do
          slow:cmd(command)
        end
        slow:send(smtp.wire_form(sent.data))
        assert.equal("v", world:arrives(running "eom ctx:add_header('X-New', 'v')"):get "X-New")
        assert.is_true(socket.gettime() - began < 2, "the other session waited")
        assert.equal(250, slow:reply().code)
        assert.is_true(socket.gettime() - began >= 2, "did not wait")
        slow:quit()
        assert.equal("slept", assert(world.mta:wait_message(sent.token, 15)):get "X-New")
      end)
    end)

    for _, stage in ipairs { "header", "eoh", "body" } do
      it(("milter.sleep at %s: everything goes on after it"):format(stage), function()
        on_both(function(world)
          local message = world:arrives(running { stage .. " milter.sleep(0.2) ctx:add_header('X-1', 'v')",
            "eom ctx:add_header('X-2', 'v')" })
          assert.equal("v", message:get "X-1")
          assert.equal("v", message:get "X-2")
        end)
      end)
    end

    it("client lost while the script sleeps: the host goes on, and no late answer reaches another message", function()
      on_both(function(world)
        local lost = world:connect()
        local sent = compose(running "eom milter.sleep(0.5) ctx:reject('late')")
        for _, command in ipairs { "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>", "DATA" } do
          lost:cmd(command)
        end
        lost:send(smtp.wire_form(sent.data))
        lost:drop(true)
        local client = world:connect()
        for _ = 1, 10 do
          assert.equal(250, client:send_message(compose {}).final.code)
          socket.sleep(0.1)
        end
        client:quit()
        assert(world.mta:wait_delivered(10, 15))
        assert.is_true(world:lost(sent))
        assert.is_true(world.filter:running())
      end)
    end)

    it("the state of a session lasts over its messages, that of a message does not", function()
      on_both(function(world)
        local client = world:connect()
        for i = 1, 3 do
          local sent = compose(running("eom ctx:add_header('X-Count', ctx.session.messages .. ' ' .. " ..
            "tostring(ctx.message.mark)) ctx.message.mark = 1"))
          assert.equal(250, client:send_message(sent).final.code)
          assert.equal(i .. " nil", assert(world.mta:wait_message(sent.token, 15)):get "X-Count")
        end
        client:quit()
      end)
    end)
  end)
end)

describe("a script that receives few parts of a message, on both MTAs:", function()
  if unavailable() then return pending(unavailable()) end
  local host, worlds

  -- No word here makes the MTA send the header.
  local SCRIPT = [[
    function on_unknown(ctx, command)
      if command == "SEEN" then return ctx:reject(550, "5.5.1", ctx.in_message and "inside" or "outside") end
      if command == "LATER" then return ctx:tempfail(451, "4.7.1", "come back") end
      if ctx.in_message then ctx.message.names = (ctx.message.names or "") .. command:sub(1, 5) end
      if ctx.in_message then ctx:add_header("X-Unknown", ctx.message.names) end
    end
    function on_eom(ctx)
      ctx:add_header("X-A", "added")
      ctx:add_header("Comments", "added")
      ctx:add_header("Message-Id", "<made@filter.example>")
    end
  ]]

  setup(function()
    host = filter.host { ["10-little.lua"] = SCRIPT }
    worlds = { cases.world(postfix, host), cases.world(sendmail, host) }
  end)

  teardown(function()
    for _, world in ipairs(worlds or {}) do world.mta:stop() end
    if host then host:stop() end
  end)

  it("a field that it adds comes after those of its name, at the end", function()
    for _, world in ipairs(worlds) do
      local message = world:arrives { fields = { "X-A: 1", "X-A: 2", "Comments: own", "X-Z: z" } }
      assert.same({ "1", "2", "added" }, message:all "X-A", world.kind)
      assert.same({ "own", "added" }, message:all "Comments", world.kind)
      assert.is_true(message:position "X-Z" < #message.headers - 1, world.kind)
    end
  end)

  it("a Message-Id that it adds replaces the one that Sendmail generates", function()
    local client = worlds[2]:connect()
    local sent = { from = "ann@one.example", to = { "bob@two.example" }, data = "Subject: no id of its own\n\ntext\n" }
    assert.equal(250, client:send_message(sent).final.code)
    client:quit()
    local message = assert(worlds[2].mta:wait_message("no id of its own", 15))
    assert.same({ "<made@filter.example>" }, message:all "Message-Id")
  end)

  it("the handler of an unknown command can edit the open message, and knows when there is none", function()
    for _, world in ipairs(worlds) do
      local is_heeded = world.kind == "sendmail" or postfix.heeds_unknown()
      local function seen(client) return client:cmd("SEEN").text:match "%w+$" end
      local function expect(word) return is_heeded and word or "recognized" end
      -- Sendmail asks no filter about a command after a RSET or the end of a message, until the next MAIL.
      local between = world.kind == "postfix" and expect "outside" or nil
      local client = world:connect()
      assert.equal(expect "outside", seen(client), world.kind)
      client:cmd "MAIL FROM:<ann@one.example>"
      assert.equal(expect "inside", seen(client), world.kind)
      assert.same({ "451 4.7.1 come back" }, client:cmd("LATER").lines, world.kind)
      client:cmd "NOISE"
      client:reset()
      assert.equal(between, seen(client), world.kind)
      client:cmd "MAIL FROM:<ann@one.example>"
      client:cmd "RCPT TO:<bob@two.example>"
      client:cmd "OTHER"
      client:cmd "DATA"
      local sent = compose {}
      client:send(smtp.wire_form(sent.data))
      assert.equal(250, client:reply().code, world.kind)
      assert.equal(between, seen(client), world.kind)
      client:quit()
      assert.same({ "OTHER" }, assert(world.mta:wait_message(sent.token, 15)):all "X-Unknown", world.kind)
    end
  end)
end)

describe("several scripts:", function()
  if unavailable() then return pending(unavailable()) end
  local host, worlds

  local function script(name)
    return ([[
      function on_rcpt(ctx, recipient)
        if recipient == "NAME.reject@two.example" then return ctx:reject("refused by NAME") end
      end
      function on_eom(ctx)
        ctx:add_header("X-Order", "NAME")
        if ctx.headers:get "X-Verdict" == "NAME.accept" then return "accept" end
        if ctx.headers:get "X-Verdict" == "NAME.reject" then return ctx:reject("refused by NAME") end
      end
    ]]):gsub("NAME", name)
  end

  setup(function()
    host = filter.host { ["10-first.lua"] = script "first", ["20-second.lua"] = script "second" }
    worlds = { cases.world(postfix, host), cases.world(sendmail, host) }
  end)

  teardown(function()
    for _, world in ipairs(worlds or {}) do world.mta:stop() end
    if host then host:stop() end
  end)

  it("run in the order of their file names", function()
    for _, world in ipairs(worlds) do
      assert.same({ "first", "second" }, world:arrives({}):all "X-Order")
    end
  end)

  it("accept of one lets the others go on", function()
    for _, world in ipairs(worlds) do
      assert.same({ "first", "second" }, world:arrives({ fields = { "X-Verdict: first.accept" } }):all "X-Order")
    end
  end)

  it("reject of either decides", function()
    for _, world in ipairs(worlds) do
      for _, name in ipairs { "first", "second" } do
        local result = world:send { fields = { ("X-Verdict: %s.reject"):format(name) } }
        assert.same({ "550 5.7.1 refused by " .. name }, result.final.lines)
        result = world:send { to = { name .. ".reject@two.example" } }
        assert.matches("refused by " .. name, result.rcpt[1].text)
      end
    end
  end)
end)

-- A script that records the life of sessions and messages.
local DIARY = [[
  local function note(ctx, what) io.stderr:write(("DIARY %s %s\n"):format(ctx.id, what)) end
  function on_connect(ctx) note(ctx, "connect " .. ctx.mta.kind) end
  function on_mail(ctx, sender)
    note(ctx, "mail")
    if sender:match "^reject" then return ctx:reject "no" end
    if sender:match "^error" then error "told to fail" end
  end
  function on_rcpt(ctx, recipient)
    if recipient:match "^reject" then return ctx:reject "no" end
    if recipient:match "^discard" then return "discard" end
    if recipient:match "^disconnect" then return ctx:disconnect "going away" end
  end
  function on_data() end
  function on_eom(ctx)
    if ctx.headers:get "X-Verdict" then return ctx.headers:get "X-Verdict" end
  end
  function on_abort(ctx) note(ctx, "abort") end
  function on_done(ctx, result) note(ctx, "done " .. tostring(result)) end
  function on_close(ctx) note(ctx, "close") end
]]

local MAIL, RCPT = "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>"

-- Actions of clients, and how many messages each opens at the filter.
local LIVES = {
  { "two messages", function(client)
    client:send_message(compose {})
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "nothing but HELO and QUIT", function(client) client:quit() end, 0 },
  { "RSET after MAIL, then a message", function(client)
    client:cmd(MAIL)
    client:reset()
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "QUIT after RCPT", function(client)
    client:cmd(MAIL)
    client:cmd(RCPT)
    client:quit()
  end, 1 },
  { "a second EHLO after RCPT, then a message", function(client)
    client:cmd(MAIL)
    client:cmd(RCPT)
    client:cmd "EHLO again.example"
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "a connection lost after RCPT", function(client)
    client:cmd(MAIL)
    client:cmd(RCPT)
    client:drop(true)
  end, 1 },
  { "a connection lost in the body", function(client)
    client:cmd(MAIL)
    client:cmd(RCPT)
    client:cmd "DATA"
    client:send "Subject: x\r\n\r\nhalf"
    client:drop()
  end, 1 },
  { "a sender refused, then a message", function(client)
    client:send_message(compose { from = "reject@one.example" })
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "a handler that fails at MAIL, then a message", function(client)
    client:send_message(compose { from = "error@one.example" })
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "all recipients refused, then QUIT", function(client)
    client:cmd(MAIL)
    client:cmd "RCPT TO:<reject@two.example>"
    client:quit()
  end, 1 },
  { "a message discarded at RCPT, then a message", function(client)
    client:send_message(compose { to = { "discard@two.example" } })
    client:send_message(compose {})
    client:quit()
  end, 2 },
  { "421 at RCPT", function(client)
    client:cmd(MAIL)
    client:cmd "RCPT TO:<disconnect@two.example>"
    client:drop()
  end, 1 },
  { "every verdict at end of message", function(client)
    for _, verdict in ipairs { "reject", "tempfail", "discard", "accept", "continue" } do
      client:send_message(compose { fields = { "X-Verdict: " .. verdict } })
    end
    client:quit()
  end, 5 },
}

describe("a script with on_abort and no other handler of messages", function()
  for _, mta_module in ipairs(cases.mtas) do
    -- Postfix writes an abort together with its next command, to every milter.
    local is_at_once = mta_module.kind == "sendmail"
    it("gets on_abort for a RSET " .. (is_at_once and "at once with Sendmail" or "at the next MAIL with Postfix"),
      function()
      if unavailable() then return pending(unavailable()) end
      local host = filter.host({ ["abort.lua"] = 'function on_abort(ctx) io.stderr:write("GIVEN UP ", ctx.sender, '
        .. '"\\n") end' },
        { unix = mta_module.kind == "sendmail" })
      local world = cases.world(mta_module, host)
      finally(function()
        world.mta:stop()
        host:stop()
      end)
      local client = world:connect()
      client:cmd(MAIL)
      client:reset()
      if not is_at_once then client:cmd(MAIL) end
      assert.truthy(process.wait_until(5, function() return host:log():match "GIVEN UP <?ann@one.example" end,
        host:log()))
      client:quit()
    end)
  end
end)

describe("the life of a session: on_done or on_abort once for each message, on_close once and last:", function()
  for _, mta_module in ipairs(cases.mtas) do
    describe("with " .. mta_module.kind, function()
      if unavailable() then return pending(unavailable()) end
      local host, world

      setup(function()
        host = filter.host({ ["diary.lua"] = DIARY }, { unix = mta_module.kind == "sendmail" })
        world = cases.world(mta_module, host)
      end)

      teardown(function()
        if world then world.mta:stop() end
        if host then host:stop() end
      end)

      for _, life in ipairs(LIVES) do
        local what, live, messages = unpack(life)
        it(what, function()
          local mark = host:mark()
          live(world:connect())
          local id = assert(process.wait_until(5, function() -- a mere probe of the port has no on_connect
            return host:log(mark):match "DIARY (%S+) connect"
          end, "on_connect"))
          assert(host:wait_log(("DIARY %s close"):format(id), 5, mark))
          socket.sleep(0.05)
          local events = {}
          for of, event in host:log(mark):gmatch "DIARY (%S+) ([^\n]+)" do
            if of == id then events[#events + 1] = event end
          end
          local text = table.concat(events, ", ")
          assert.equal("connect " .. mta_module.kind, table.remove(events, 1), text)
          assert.equal("close", table.remove(events), text)
          local open, count = false, 0
          for _, event in ipairs(events) do
            if event == "mail" then
              assert.is_false(open, text)
              open, count = true, count + 1
            else
              assert.matches("^[ad][bo][on]", event, text) -- abort, done
              assert.is_true(open, text)
              open = false
            end
          end
          assert.is_false(open, text)
          assert.equal(messages, count, text)
        end)
      end
    end)
  end
end)

describe("reload by SIGHUP", function()
  local function versioned(version)
    return { ["version.lua"] = ([[
      local milter = require "moonmilter"
      function on_mail() end
      function on_eom(ctx)
        milter.sleep(0.002)
        ctx:add_header("X-Version", "%s")
      end
    ]]):format(version) }
  end

  for _, mta_module in ipairs(cases.mtas) do
    describe("with " .. mta_module.kind, function()
      if unavailable() then return pending(unavailable()) end
      local host, world

      setup(function()
        host = filter.host(versioned "one", { unix = mta_module.kind == "sendmail" })
        world = cases.world(mta_module, host)
      end)

      teardown(function()
        if world then world.mta:stop() end
        if host then host:stop() end
      end)

      -- Waits until new sessions run a version.
      local function serves(version)
        return process.wait_until(5, function() return world:arrives({}):get "X-Version" == version end, version)
      end

      it("new sessions see the new scripts, a session under way keeps its own", function()
        local client = world:connect()
        assert.equal(250, client:cmd("MAIL FROM:<ann@one.example>").code)
        host:write(versioned "two")
        host:reload()
        assert(serves "two")
        assert.equal(250, client:cmd("RCPT TO:<bob@two.example>").code)
        local sent = compose {}
        assert.equal(354, client:cmd("DATA").code)
        client:send(smtp.wire_form(sent.data))
        assert.equal(250, client:reply().code)
        client:quit()
        assert.equal("one", assert(world.mta:wait_message(sent.token, 15)):get "X-Version")
      end)

      it("a script that does not compile changes nothing, and the log says where", function()
        local mark = host:mark()
        host:write { ["version.lua"] = "function on_eom(ctx)\n  ctx:add_header(\n" }
        host:reload()
        assert(host:wait_log("version.lua:", 5, mark))
        assert.equal("two", world:arrives({}):get "X-Version")
        host:write(versioned "three")
        host:reload()
        assert(serves "three")
      end)

      it("under traffic no message is lost, deferred, doubled or left without its header", function()
        world.mta:delivered()
        local count = 300
        local source = process.start({ assert(process.which "smtp-source"), "-s", "4", "-m", tostring(count), "-f",
          "ann@one.example", "-t", "bob@two.example", "-l", "2000", ("127.0.0.1:%d"):format(world.mta.port) },
          { output = world.mta.directory .. "/source" })
        for i = 1, 20 do
          host:write(versioned("r" .. i))
          host:reload()
          socket.sleep(0.05)
        end
        assert(process.wait_until(60, function() return not source:running() end, "the end of smtp-source"))
        assert.equal("", source:text())
        assert(host:running(), "the host ended")
        local list = assert(world.mta:wait_delivered(count, 60))
        for _, message in ipairs(list) do assert.equal(1, #message:all "X-Version") end
        assert.equal(count, #list)
        assert.same({}, world.mta:delivered())
        assert(serves "r20")
      end)
    end)
  end
end)

describe("stop by SIGTERM", function()
  for _, mta_module in ipairs(cases.mtas) do
    it(("lets a message that is being filtered finish, with %s"):format(mta_module.kind), function()
      if unavailable() then return pending(unavailable()) end
      local host = filter.host("spec/mta/scripted.lua")
      local world = cases.world(mta_module, host)
      finally(function()
        world.mta:stop()
        host:stop()
      end)
      local client = world:connect()
      local sent = compose(running "eom milter.sleep(1) ctx:add_header('X-New', 'v')")
      for _, command in ipairs { "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>", "DATA" } do
        client:cmd(command)
      end
      client:send(smtp.wire_form(sent.data))
      socket.sleep(0.5)
      host.child:signal "SIGTERM"
      assert.equal(250, client:reply().code)
      client:quit()
      assert.equal("v", assert(world.mta:wait_message(sent.token, 15)):get "X-New")
      assert(process.wait_until(10, function() return not host:running() end, "the end of the host"))
    end)
  end
end)

describe("the paths of mail", function()
  if unavailable() then return pending(unavailable()) end

  it("Postfix's locally submitted mail: the client is localhost, addresses come without brackets", function()
    local host = filter.host("spec/mta/stand_in.lua")
    local mta = postfix.start { non_smtpd_milters = { host.milter } }
    finally(function()
      mta:stop()
      host:stop()
    end)
    local sent = compose { orders = { "eom facts" } }
    mta:submit(sent)
    local message = assert(mta:wait_message(sent.token, 10))
    assert.equal("localhost 127.0.0.1", message:get "X-Facts-Client")
  end)

  it("Sendmail over TCP: as over a unix socket, and without 40 ms for each pair of packets", function()
    local host = filter.host("spec/mta/stand_in.lua")
    local world = cases.world(sendmail, host)
    finally(function()
      world.mta:stop()
      host:stop()
    end)
    assert.equal("<bob@two.example>", world:arrives({ orders = { "eom facts" } }):get "X-Facts-Recipients")
    -- Sendmail sends macros and command as two packets and Nagle's rule holds the second back until the first is
    -- acknowledged, which a kernel delays by default (against this: TCP_QUICKACK after each read): 137 ms per message
    -- with libmilter, 7 ms with the option.
    local client = world:connect()
    local best = math.huge
    for _ = 1, 20 do    -- a busy machine adds to it
      local began = socket.gettime()
      assert.equal(250, client:send_message(compose {}).final.code)
      best = math.min(best, socket.gettime() - began)
      if best < 0.06 then break end
    end
    client:quit()
    assert.is_true(best < 0.06, ("%.0f ms for a message"):format(best * 1000))
  end)

  for _, mta_module in ipairs(cases.mtas) do
    it(("a filter after another on one %s sees the first one's edits, and both edits arrive"):format(mta_module.kind),
      function()
        local first = filter.host { ["a.lua"] = "function on_eom(ctx) ctx:add_header('X-First', 'v') end" }
        local second = filter.host { ["b.lua"] = [[
          function on_eom(ctx)
            ctx:add_header("X-Second", ctx.headers:get "X-First" or "unseen")
          end
        ]] }
        local mta = mta_module.start { milters = { first.milter, second.milter } }
        finally(function()
          mta:stop()
          first:stop()
          second:stop()
        end)
        local client = smtp.connect(mta.port)
        local sent = compose {}
        assert.equal(250, client:send_message(sent).final.code)
        client:quit()
        local message = assert(mta:wait_message(sent.token, 10))
        assert.same({ "v", "v" }, { message:get "X-First", message:get "X-Second" })
      end)
  end
end)
