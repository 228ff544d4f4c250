-- moonmilter.testing: the MTA through which a test talks.
local testing = require "moonmilter.testing"

local function error_of(fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  return err
end

local function start(options)
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

describe("moonmilter.testing", function()
  it("runs a message through a script and shows the result", function()
    local mta = start { scripts = "examples/tag-subject.lua" }
    local result = mta:message { from = "ann@example.org", to = { "bob@example.com", "eve@example.com" },
      headers = { Subject = "hello" }, body = "line\r\n" }
    assert.equal("accept", result.verdict)
    assert.equal(250, result.code)
    assert.same({ { "change_header", "Subject", 1, "[external] hello" } }, result.edits)
    assert.equal("[external] hello", result.message:get "subject")
    assert.equal("line\r\n", result.message.body)
    assert.same({ "<bob@example.com>", "<eve@example.com>" }, result.recipients)
    assert.equal("<ann@example.org>", result.sender)
    assert.same({}, mta:complaints())
  end)

  it("goes step by step and fills in the steps that the test leaves out", function()
    local mta = start [[
      function on_connect(ctx, host, ip) ctx.session.where = host .. " " .. tostring(ip) end
      function on_helo(ctx, name) ctx.session.where = ctx.session.where .. " " .. name end
      function on_eom(ctx) ctx:add_header("X-Where", ctx.session.where .. " " .. ctx.sender) end
    ]]
    mta:connect { host = "relay.example", ip = "2001:db8::1" }
    mta:helo "relay"
    mta:mail("<ann@example.org>", { SIZE = 100 })
    mta:rcpt "bob@example.com"
    mta:header("Subject", "x")
    mta:body "x\r\n"
    assert.equal("relay.example 2001:db8::1 relay ann@example.org", mta:eom().message:get "X-Where")
    assert.equal("client.example.org 192.0.2.1 client.example.org ann@example.org",
      start [[
        function on_connect(ctx, host, ip) ctx.session.where = host .. " " .. tostring(ip) end
        function on_helo(ctx, name) ctx.session.where = ctx.session.where .. " " .. name end
        function on_eom(ctx) ctx:add_header("X-Where", ctx.session.where .. " " .. ctx.sender) end
      ]]:message().message:get "X-Where")
  end)

  it("distinguishes a refused recipient from a refused message", function()
    local mta = start [[
      function on_rcpt(ctx, address)
        if address == "bob@example.com" then return ctx:reject(550, "5.1.1", "no bobs here", "only 100% eves") end
        if address == "later@example.com" then return ctx:tempfail() end
      end
    ]]
    local result = mta:message { to = { "bob@example.com", "eve@example.com" } }
    assert.equal("accept", result.verdict)
    assert.equal("no bobs here\nonly 100% eves", result.refused["<bob@example.com>"].text)
    assert.equal("5.1.1", result.refused["<bob@example.com>"].status)
    assert.equal("550-5.1.1 no bobs here\n550 5.1.1 only 100% eves", result.refused["<bob@example.com>"].smtp)
    assert.same({ "<eve@example.com>" }, result.recipients)
    result = mta:message { to = "later@example.com" }
    assert.equal("tempfail", result.verdict)
    assert.equal("rcpt", result.stage)
    assert.equal(451, result.code)
    assert.equal(nil, result.message)
    assert.equal("accept", mta:message { to = "eve@example.com" }.verdict)
  end)

  it("sends a file, a text, or a file with changes", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local file = io.open(path, "wb")
    file:write "From: Ann <ann@example.org>\nTo: bob@example.com, eve@example.com\nSubject: folded\n subject\n\nbody"
    file:close()
    local mta = start [[ function on_header(ctx, name, value) ctx.message[name] = value end
      function on_eom(ctx)
        ctx:add_header("X-Seen", #ctx.recipients .. " " .. ctx.sender .. " " .. ctx.message.Subject:gsub("%s+", " ")) end ]]
    local result = mta:message(path)
    assert.equal("2 ann@example.org folded subject", result.message:get "X-Seen")
    assert.equal("body\r\n", result.message.body)
    assert.equal("1 x@y folded subject", mta:message { eml = path, from = "x@y", to = "z@z" }.message:get "X-Seen")
    assert.equal("1 a@b hi", mta:message("From: a@b\nSubject: hi\n\nx\n").message:get "X-Seen")
  end)

  it("applies edits as the MTA of the profile does", function()
    local script = [[ function on_eom(ctx) ctx:insert_header(0, "X-Top", "1") ctx:add_header("Received", "by us")
      ctx:change_from("new@example.org") ctx:delete_recipient("bob@example.com") ctx:add_recipient("eve@example.com")
      ctx:quarantine("why") ctx:replace_body("new\nbody\n") end ]]
    for _, kind in ipairs { "postfix", "sendmail" } do
      local result = start { script = script, mta = kind }:message()
      assert.same({ "<eve@example.com>" }, result.recipients)
      assert.equal("<new@example.org>", result.sender)
      assert.equal("why", result.quarantined)
      assert.equal("new\r\nbody\r\n", result.message.body)
      assert.equal("1", result.message:get "X-Top")
    end
  end)

  it("offers what the test sets and sends the macros of its profile", function()
    local script = [[ function on_rcpt(ctx) ctx.message.early = ctx.queue_id end
      function on_eom(ctx) ctx:add_header("X", ctx.mta.kind .. " " .. tostring(ctx.message.early ~= nil) .. " "
        .. tostring(ctx.queue_id ~= nil) .. " " .. tostring(ctx:macro "tag") .. " "
        .. tostring(ctx.auth and ctx.auth.user or ctx:macro "auth_authen")) end ]]
    local postfix = start { script = script, macros = { tag = "mine" } }
    postfix:connect { auth = "ann" }
    assert.equal("postfix false true mine ann", postfix:message().message:get "X")
    local sendmail = start { script = script, mta = "sendmail" }
    assert.equal("sendmail true true nil nil", sendmail:message().message:get "X")
    assert.equal("accept", start { script = script, version = 2, actions = 0x3f, steps = 0x7f }:message().verdict)
    assert.equal("accept", start { script = script, version = 6, actions = 0x1ff, steps = 0 }:message().verdict)
  end)

  it("lets a session be refused, accepted and begun again", function()
    local mta = start [[ function on_connect(ctx, host) if host == "bad.example" then return ctx:reject(554, "5.7.1", "go away") end
      if host == "good.example" then return ctx:accept() end end function on_eom(ctx) ctx:add_header("X-Seen", "1") end ]]
    local refused = mta:connect { host = "bad.example" }
    assert.equal("554 5.7.1 go away", refused.smtp)
    assert.equal("go away", mta:message().text)
    assert.matches("the session is over since reject at connect: 554 5.7.1 go away",
      error_of(function() mta:mail() end))
    mta:connect { host = "good.example" }
    assert.equal(nil, mta:message().message:get "X-Seen")
    mta:connect()
    assert.equal("1", mta:message().message:get "X-Seen")
  end)

  it("raises at the test's line for an impossible action of a client", function()
    local mta = start [[ function on_mail(ctx, a) if a == "bad@x" then return ctx:reject() end end ]]
    assert.matches("mta_spec.lua:%d+: rcpt: there is no message", error_of(function() mta:rcpt() end))
    mta:mail()
    assert.matches("mta_spec.lua:%d+: mail: a message is already open", error_of(function() mta:mail() end))
    assert.matches("data: no recipient was accepted, an MTA answers 554", error_of(function() mta:data() end))
    mta:abort()
    mta:mail "bad@x"
    assert.matches("its verdict was: reject at mail: 550 5.7.1 Command rejected", error_of(function() mta:rcpt() end))
    assert.matches("mta_spec.lua:%d+: message: there is no form", error_of(function() mta:message { form = "x" } end))
    assert.matches("there is no option scirpt", error_of(function() testing.start { scirpt = "x" } end))
    assert.matches("mta_spec.lua:%d+: there is no option dsn; did you mean dns",
      error_of(function() testing.start { script = "", dsn = {} } end))
    assert.matches("mta_spec.lua:%d+: there is nothing to test", error_of(function() testing.start {} end))
    assert.matches("mta_spec.lua:%d+: connect: ip \"1.2.3\" is not an address",
      error_of(function() mta:connect { ip = "1.2.3" } end))
    assert.matches("mta_spec.lua:%d+: the scripts do not load: .*on_rcpt",
      error_of(function() testing.start "function on_rctp() end" end))
    local asks = start "function on_mail() require 'moonmilter.http'.get 'http://nobody.example/' end"
    assert.matches("mta_spec.lua:%d+: http: this test has no answer for GET http://nobody.example/",
      error_of(function() asks:message() end))
    assert.matches("on_rcpt", testing.load_error "function on_rctp() end")
    assert.equal(nil, testing.load_error "function on_rcpt() end")
  end)

  it("shows the log, and its complaints", function()
    local mta = start [[ local log = require "moonmilter".log
      function on_mail(ctx) log.info("hello") end function on_eom() error "oh no" end ]]
    assert.equal("tempfail", mta:message().verdict)
    assert.equal(1, #mta:log "hello")
    assert.matches("oh no", mta:complaints()[1])
  end)

  it("goes away without a notice, and gives up in between", function()
    local mta = start [[ local n = 0 function on_abort() n = n + 1 end function on_close() n = n + 10 end
      function on_eom(ctx) ctx:add_header("X-N", n) end ]]
    mta:mail()
    mta:rcpt()
    mta:abort()
    local other = mta:another()
    other:mail()
    other:vanish()
    assert.equal("12", mta:message().message:get "X-N")
  end)

  it("reloads scripts", function()
    local mta = start { files = { ["10-a.lua"] = "function on_eom(ctx) ctx:add_header('X', 1) end" } }
    mta:write("10-a.lua", "function on_eom(ctx) ctx:add_header('X', 2) end")
    assert.is_true(mta:reload())
    assert.equal("1", mta:message().message:get "X")
    mta:connect()
    assert.equal("2", mta:message().message:get "X")
    mta:write("10-a.lua", "function on_eom(")
    local ok, why = mta:reload()
    assert.equal(nil, ok)
    assert.matches("10%-a.lua:1", why)
  end)
end)
