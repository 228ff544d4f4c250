--- Why a method of ctx has raised, for programs: ctx.error_code.
local fake_mta = require "spec.support.fake_mta"

--- What ctx.error_code is after a call at a stage.
local function code_after(stage, call, options)
  options = options or {}
  options.script = ([[
    function on_%s(ctx)
      local ok = pcall(function() %s end)
      return ctx:reject(tostring(ok) .. " " .. tostring(ctx.error_code))
    end
  ]]):format(stage, call)
  local mta = fake_mta.start(options)
  finally(function() mta:close() end)
  mta:connect "client.example"
  mta:helo "helo.example"
  local reply = stage == "mail" and mta:mail() or mta:message()
  assert.same({}, mta:log_lines "script_error")
  return (reply.text:match "^550 5.7.1 (.*)$")
end

describe("ctx.error_code", function()
  for code, call in pairs {
    bad_value = "ctx:add_header('X Y', 'z')",
    too_large = "ctx:add_header(('x'):rep(2000), 'z')",
    wrong_stage = "ctx:skip()",
  } do
    it(("is %s after %s"):format(code, call), function()
      assert.equal("false " .. code, code_after("eom", call))
    end)
  end

  it("is too_large after a reply line that is too long", function()
    assert.equal("false too_large", code_after("eom", "ctx:reject(('x'):rep(2000))"))
  end)

  it("is bad_value after a reply code that does not fit", function()
    assert.equal("false bad_value", code_after("eom", "ctx:reject(450, 'x')"))
  end)

  it("is not_granted after an edit that the MTA has not offered", function()
    assert.equal("false not_granted", code_after("eom", "ctx:quarantine 'x'", { offer = { actions = 0x01 } }))
  end)

  it("is nil when nothing has raised, and again after a call that succeeds", function()
    assert.equal("true nil", code_after("eom", ""))
    assert.equal("true nil", code_after("eom", "pcall(ctx.add_header, ctx, '', '') ctx:add_header('X', 'y')"))
  end)
end)

describe("ctx.message_number", function()
  it("counts the messages of a session, from 1, and is nil outside of one", function()
    local mta = fake_mta.start { script = [[
      function on_helo(ctx) return ctx:tempfail(tostring(ctx.message_number)) end
      function on_eom(ctx) return ctx:reject(tostring(ctx.message_number)) end
    ]] }
    finally(function() mta:close() end)
    mta:connect "client.example"
    assert.matches("nil", mta:helo("a").text)
    assert.matches(" 1$", mta:message().text)
    assert.matches(" 2$", mta:message().text)
  end)
end)

describe("close of a handle", function()
  for name, noun in pairs {
    socket = "a socket", datagram = "a UDP socket", http = "a request", database = "a database", map = "a map",
  } do
    it("names what it expects: " .. noun, function()
      local mta = fake_mta.start { script = ([[
        local core = require "moonmilter.core"
        function on_mail(ctx)
          local close = core.%s.close
          local _, text = pcall(close, 1)
          local _, other = pcall(close, io.stderr)
          return ctx:reject(text .. "; " .. other)
        end
      ]]):format(name) }
      finally(function() mta:close() end)
      mta:connect()
      assert.equal(("550 5.7.1 close: %s is expected, not a number; close: %s is expected, not a userdata"):format(noun,
        noun), mta:mail().text)
    end)
  end
end)
