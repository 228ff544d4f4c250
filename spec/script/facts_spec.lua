--- The facts of ctx, and when they are known.
local fake_mta = require "spec.support.fake_mta"

-- Evaluates an expression at a stage and returns it as a string, through the text of a reject.
local function at(stage, expression, act, options)
  options = options or {}
  options.script = ("function on_%s(ctx, ...) local args = { ... } return ctx:reject('is ' .. tostring(%s)) end\n%s")
    :format(stage, expression, options.more or "")
  local mta = fake_mta.start(options)
  local reply = act(mta)
  local errors = mta:log_lines "script_error"
  assert.same({}, errors)
  mta:close()
  return (reply.text:match "^550 5.7.1 is (.*)$")
end

local function at_connect(expression, host, ip, port)
  return at("connect", expression, function(mta) return mta:connect(host, ip, port) end)
end

local function at_eom(expression, message, options)
  return at("eom", expression, function(mta)
    mta:connect "client.example"
    mta:helo "helo.example"
    return mta:message(message)
  end, options)
end

describe("ctx.client", function()
  local all = "table.concat({ ctx.client.family, tostring(ctx.client.host), tostring(ctx.client.ip), "
    .. "tostring(ctx.client.port), tostring(ctx.client.path) }, ' ')"
  it("has address, port and name of an IPv4 client", function()
    assert.equal("inet mail.example 192.0.2.1 25000 nil", at_connect(all, "mail.example", "192.0.2.1", 25000))
  end)
  it("has an IPv6 address without Sendmail's prefix", function()
    for _, written in ipairs { "2001:db8::1", "IPv6:2001:db8::1", "ipv6:2001:db8::1" } do
      assert.equal("inet6 [x] 2001:db8::1 1 nil", at_connect(all, "[x]", written, 1))
    end
  end)
  it("has a path for a unix client", function()
    assert.equal("unix localhost nil nil /run/x", at_connect(all, "localhost", "/run/x", 0))
  end)
  it("is a table even for an unknown client, and before one is known", function()
    assert.equal("unknown unknown nil nil nil", at_connect(all, "unknown", "unknown"))
    assert.equal("unknown nil nil nil nil", at("helo", all, function(mta) return mta:helo() end, { more = "" }))
  end)
  it("agrees with on_connect's arguments", function()
    assert.equal("mail.example 192.0.2.1", at_connect("args[1] .. ' ' .. args[2]", "mail.example", "192.0.2.1"))
    assert.equal("unknown 1", at_connect("args[1] .. ' ' .. #args", "unknown", "unknown"))
  end)
end)

describe("the envelope", function()
  it("has sender and recipients without brackets, as the client spelled them, and the raw form beside them", function()
    local message = { from = "<Ann.B@One.Example>", to = { "<Bob@X>", '<"odd one"@Y>' } }
    assert.equal("Ann.B@One.Example <Ann.B@One.Example>", at_eom("ctx.sender .. ' ' .. ctx.sender_raw", message))
    assert.equal('2 Bob@X <Bob@X> "odd one"@Y', at_eom(
      "#ctx.recipients .. ' ' .. ctx.recipients[1].address .. ' ' .. ctx.recipients[1].raw .. ' ' .. ctx.recipients[2].address", message))
  end)
  it("has an empty sender for a bounce", function()
    assert.equal("[] <>", at_eom("'[' .. ctx.sender .. '] ' .. ctx.sender_raw", { from = "<>" }))
  end)
  it("accepts local submissions of Postfix, which come without brackets", function()
    assert.equal("root root", at_eom("ctx.sender .. ' ' .. ctx.recipients[1].address",
      { from = "root", to = { "root" } }))
  end)
  it("has ESMTP parameters by upper-case name and as a list", function()
    local function mail(mta) return mta:mail("<a@b>", "SIZE=100", "body=8BITMIME", "SMTPUTF8", "X=1=2") end
    assert.equal("100 8BITMIME true 1=2",
      at("mail", "('%s %s %s %s'):format(args[2].SIZE, args[2].BODY, tostring(args[2].SMTPUTF8), args[2].X)", mail))
    assert.equal("4 body=8BITMIME <a@b>", at("mail", "#args[2] .. ' ' .. args[2][2] .. ' ' .. args[2].raw", mail))
    assert.equal("100", at("mail", "ctx.sender_params.SIZE", mail))
    assert.equal("NEVER", at("rcpt", "args[2].NOTIFY",
      function(mta) mta:mail() return mta:rcpt("<a@b>", "NOTIFY=NEVER") end))
  end)
  it("marks recipients that were refused", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx, recipient) if recipient == "no@x" then return "reject" end return #ctx.recipients and nil end
      function on_eom(ctx)
        local list = {}
        for i, r in ipairs(ctx.recipients) do list[i] = r.address .. "=" .. tostring(r.refused) end
        return ctx:reject(table.concat(list, " "))
      end
    ]]
    mta:connect()
    assert.equal("550 5.7.1 yes@x=false no@x=true yes@y=false",
      mta:message({ to = { "<yes@x>", "<no@x>", "<yes@y>" } }).text)
    mta:close()
  end)
  it("grows with the message, many recipients included", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx, r) assert(ctx.recipients[#ctx.recipients].address == r) end
      function on_eom(ctx) return ctx:reject(tostring(#ctx.recipients)) end
    ]]
    mta:connect()
    mta:mail()
    for i = 1, 2000 do
      assert.equal("continue", mta:rcpt(("<r%d@x>"):format(i)).kind)
    end
    assert.equal("550 5.7.1 2000", mta:eom().text)
    mta:close()
  end)
end)

describe("ctx.headers", function()
  local message = { headers = { { "Subject", "hello" }, { "X-A", "1" }, { "x-a", "2" }, { "Folded", "a\n b" },
    { "Empty", "" } } }
  local cases = {
    ["ctx.headers:get 'subject'"] = "hello", ["ctx.headers:get('X-A', 2)"] = "2", ["ctx.headers:get('X-A', -1)"] = "2",
    ["ctx.headers:get('X-A', 3)"] = "nil", ["ctx.headers:get('X-A', 0)"] = "nil",
    ["ctx.headers:get('X-A', -3)"] = "nil",
    ["ctx.headers:get 'nothing'"] = "nil", ["#ctx.headers"] = "5",
    ["ctx.headers[3].name .. ctx.headers[3].value"] = "x-a2",
    ["ctx.headers:count 'X-a'"] = "2", ["#ctx.headers:all 'X-a'"] = "2",
    ["ctx.headers:field('Subject').raw"] = "Subject: hello",
    ["'[' .. ctx.headers:get 'Empty' .. ']'"] = "[]", ["(ctx.headers:get 'Folded'):gsub('\\n', '|')"] = "a| b",
    ["(function() local n = 0 for _ in ctx.headers:each() do n = n + 1 end return n end)()"] = "5",
    ["(function() ctx:add_header('X-A', '3') return ctx.headers:get('X-A', -1) .. #ctx.headers end)()"] = "36",
    ["(function() ctx:delete_header('X-A') return #ctx.headers end)()"] = "3",
    ["(function() local f = ctx.headers:field 'Subject' f:set 'new' return f.value .. ctx.headers:get 'Subject' end)()"] = "newnew",
    ["(function() local f = ctx.headers:field 'Subject' f:delete() return pcall(f.set, f, 'x') end)()"] = "false",
    ["(function() local l = ctx.headers ctx:insert_header(0, 'N', '1') return #l .. #ctx.headers .. ctx.headers[1].name end)()"] = "56N",
  }
  for expression, wanted in pairs(cases) do
    it(("%s is %s"):format(expression, wanted), function()
      assert.equal(wanted, at_eom(expression, message))
    end)
  end
  it("shows that a field had no space after its colon", function()
    assert.equal("Subject:nosp", at("eom", "ctx.headers[1].raw", function(mta)
      mta:connect()
      mta:mail()
      mta:command("L", "Subject\0nosp\0")
      return mta:eom()
    end))
  end)
  it("contains the fields so far in on_header", function()
    assert.equal("1 2", at("eom", "ctx.message.seen", function(mta)
      mta:connect()
      return mta:message()
    end, { more = "function on_header(ctx) ctx.message.seen = (ctx.message.seen and ctx.message.seen .. ' ' or '') .. "
      .. "#ctx.headers end" }))
  end)
  it("raises for a field object of an earlier message", function()
    local mta = fake_mta.start [[
      local kept
      function on_eom(ctx)
        if kept then return ctx:reject(tostring(select(2, pcall(kept.set, kept, "x")))) end
        kept = ctx.headers[1]
        ctx:add_header("X-A", "1")
      end
    ]]
    mta:connect()
    mta:message()
    mta:mail()
    assert.truthy(mta:eom().text:find "belongs to message 1 of this session")
    mta:close()
  end)
  it("is cut when a header is endless, says so where truncate shows it, and refuses to count", function()
    local mta = fake_mta.start { set = { "over=truncate" }, script = [[
      function on_eom(ctx)
        return ctx:reject(tostring(#ctx.headers < 40 and ctx.headers.truncated)
          .. tostring(select(2, pcall(ctx.delete_header, ctx, "X"))))
      end
    ]] }
    mta:connect()
    mta:mail()
    for _ = 1, 40 do
      mta:header("X", ("x"):rep(60000))
    end
    assert.truthy(mta:eom().text:find "true.*has more than the 1048576 bytes")
    mta:close()
  end)
end)

describe("other facts", function()
  local function session(mta)
    mta:introduce "postfix"
    mta:connect()
    mta:macros("H", { { "{tls_version}", "TLSv1.3" }, { "{cipher}", "AES" }, { "{cipher_bits}", "256" },
      { "{cert_subject}", "" } })
    mta:helo "helo.example"
    mta:macros("M", { { "i", "4ABC" }, { "{auth_type}", "PLAIN" }, { "{auth_authen}", "ann" },
      { "{auth_author}", "bob" } })
    return mta:message()
  end
  for expression, wanted in pairs {
    ["ctx.stage"] = "eom", ["ctx.helo"] = "helo.example", ["ctx.queue_id"] = "4ABC", ["ctx.in_message"] = "true",
    ["ctx.auth.type .. ctx.auth.authen .. ctx.auth.author"] = "PLAINannbob",
    ["ctx.tls.version .. ctx.tls.cipher .. ctx.tls.bits"] = "TLSv1.3AES256",
    ["ctx.tls.subject"] = "nil", ["ctx.mta.kind .. ctx.mta.version .. ctx.mta.software"] = "postfix6Postfix 3.7.11",
    ["ctx.mta.host"] = "mx.example",
    ["ctx.mta.actions.add_header"] = "true", ["ctx.mta.steps.skip"] = "true", ["ctx.mta.steps.rejected_rcpt"] = "nil",
    ["ctx:can 'add_header'"] = "true", ["ctx:can 'insert_header'"] = "true", ["ctx:can 'skip'"] = "true",
    ["ctx:can 'rejected_rcpt'"] = "false",
    ["pcall(ctx.can, ctx, 'fly')"] = "false", ["ctx.body_size"] = "7",
    ["ctx.deadline > require 'moonmilter'.now() + 200"] = "true",
    ["ctx.host.name .. ctx.host.generation"] = "default1", ["type(ctx.host.settings)"] = "table",
    ["#ctx.id > 5"] = "true",
    ["tostring(ctx):match '^ctx '"] = "ctx ", ["getmetatable(ctx)"] = "false", ["ctx.session == ctx.session"] = "true",
    ["pcall(function() ctx.sender = 1 end)"] = "false",
    ["select(2, pcall(function() return ctx.sendr end))"] = "script.lua",
  } do
    it(("%s is %s"):format(expression, wanted), function()
      local value = at("eom", expression, session)
      assert.truthy(value == wanted or (wanted == "script.lua" and value:find 'ctx has no member "sendr"'), value)
    end)
  end
  it("auth, tls and queue_id are nil when the MTA does not send them", function()
    assert.equal("nil nil nil", at_eom("('%s %s %s'):format(tostring(ctx.auth), tostring(ctx.tls), "
      .. "tostring(ctx.queue_id))"))
  end)
  it("Sendmail is recognized by the daemon name, an MTA without one is unknown", function()
    assert.equal("sendmail", at("connect", "ctx.mta.kind",
      function(mta) mta:introduce "sendmail" return mta:connect() end))
    assert.equal("unknown", at("connect", "ctx.mta.kind", function(mta) return mta:connect() end))
  end)
  it("that were not requested from the MTA raise and say what to do", function()
    for fact, stage in pairs { client = "helo", helo = "connect", headers = "helo", recipients = "helo",
      sender = "helo" } do
      local mta = fake_mta.start(([[
        function on_%s(ctx) return ctx:reject(tostring(select(2, pcall(function() return ctx["%s" .. "%s"] end)))) end
      ]]):format(stage, fact:sub(1, 2), fact:sub(3)))
      local reply = stage == "connect" and mta:connect() or mta:helo()
      if fact == "headers" then
        assert.truthy(reply.text) -- no message is open: an empty list
      else
        assert.truthy(reply.text:find('facts = { "' .. fact .. '" }', 1, true), reply.text)
      end
      mta:close()
    end
  end)
end)

describe("arguments", function()
  local function said(script, act)
    local mta = fake_mta.start(script)
    mta:connect("client.example", "192.0.2.1")
    mta:helo "helo.example"
    local reply = act(mta)
    assert.same({}, mta:log_lines "script_error")
    mta:close()
    return reply.text
  end
  local function at_rcpt(script)
    return said(script, function(mta)
      mta:mail("<a@x>")
      return mta:rcpt("<b@y>", "NOTIFY=NEVER")
    end)
  end

  it("are passed to a handler that declares them, even if another does not", function()
    assert.equal("550 5.7.1 3 b@y NEVER", at_rcpt [[
      function on_mail() end
      function on_rcpt(ctx, ...)
        local recipient, params = ...
        return ctx:reject(1 + select("#", ...) .. " " .. recipient .. " " .. params.NOTIFY)
      end
    ]])
    assert.equal("550 5.7.1 b@y", at_rcpt "function on_rcpt(ctx, recipient) return ctx:reject(recipient) end")
    assert.equal("550 5.7.1 none", at_rcpt "function on_rcpt(ctx) return ctx:reject('none') end")
  end)

  it("reach a handler that is not a plain Lua function", function()
    assert.equal("550 5.7.1 b@y NEVER", at_rcpt [[
      on_rcpt = coroutine.wrap(function(ctx, recipient, params)
        return ctx:reject(recipient .. " " .. params.NOTIFY)
      end)
    ]])
  end)
end)

describe("ctx.message and ctx.session", function()
  local function said(expression)
    local mta = fake_mta.start(([[
      function on_mail(ctx)
        ctx.message.mine, ctx.session.mine = 1, 2
        local ok, why = pcall(function() %s end)
        return ctx:reject(tostring(why))
      end
    ]]):format(expression))
    finally(function() mta:close() end)
    mta:connect "client.example"
    mta:helo "helo.example"
    return mta:mail().text
  end

  for expression, form in pairs {
    ["return ctx.message.sender"] = "ctx.sender;", ["ctx.message.sender = 1"] = "ctx.sender;",
    ["return ctx.session.client"] = "ctx.client;", ["ctx.session.headers = {}"] = "ctx.headers;",
    ["return ctx.message.deadline"] = "ctx.deadline;", ["return ctx.session.reject"] = "ctx:reject(...);",
    ["ctx.message.body = 'x'"] = "ctx:body(...);", ["return ctx.session.message"] = "ctx.message;",
  } do
    it(("have no name of ctx: %s"):format(expression), function()
      local reply = said(expression)
      assert.truthy(reply:find("script.lua:3: ", 1, true), reply)
      assert.truthy(reply:find("is a member of ctx: write " .. form, 1, true), reply)
    end)
  end

  for expression, wanted in pairs {
    ["return ctx.message.other"] = "nil", ["return ctx.session[1]"] = "nil", ["return ctx.message._field_set"] = "nil",
    ["return ctx.message.mine + ctx.session.mine"] = "3", ["return (next(ctx.session))"] = "mine",
    ["local n = 0 for _ in pairs(ctx.message) do n = n + 1 end return n"] = "1",
    ["table.insert(ctx.message, 'x') return #ctx.message .. ctx.message[1]"] = "1x",
    ["ctx.message.mine = nil return next(ctx.message)"] = "nil",
    ["rawset(ctx.message, 'sender', 'raw') return ctx.message.sender"] = "raw",
  } do
    it(("are plain tables: %s"):format(expression), function()
      assert.equal("550 5.7.1 " .. wanted, said(expression))
    end)
  end

  it("cannot be replaced, and end with their message or session", function()
    local mta = fake_mta.start [[
      local kept, old
      function on_connect(ctx)
        kept = kept or ctx
        old = ctx.session.seen
        ctx.session.seen = true
      end
      function on_mail(ctx)
        local before = tostring(ctx.message.count)
        ctx.message.count = (ctx.message.count or 0) + 1
        local ok, why = pcall(function() ctx.message = {} end)
        local also = pcall(function() ctx.session = {} end)
        ctx.message.said = table.concat({ before, ctx.message.count, tostring(ok), tostring(also),
          tostring(why:find("read only", 1, true) ~= nil), tostring(old) }, " ")
      end
      function on_rcpt(ctx)
        local gone = kept ~= ctx and select(2, pcall(function() return kept.message end)) or "own"
        return ctx:reject(ctx.message.said .. " " .. gone:gsub("^.-: ", ""))
      end
    ]]
    for _ = 1, 2 do
      mta:connect "client.example"
      mta:helo "helo.example"
      for _ = 1, 2 do
        mta:mail()
        local reply = mta:rcpt()
        assert.truthy(reply.text:find("nil 1 false false true nil", 1, true), reply.text)
        mta:abort()
      end
      mta:feed(fake_mta.packet("K", ""))
    end
    mta:connect()
    mta:helo()
    mta:mail()
    local reply = mta:rcpt()
    assert.truthy(reply.text:find("the session has ended", 1, true), reply.text)
    mta:close()
  end)
end)
