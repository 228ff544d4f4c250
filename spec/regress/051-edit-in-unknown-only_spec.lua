-- A script with only on_unknown did not learn of messages: ctx.message was nil and an edit raised "no message is open"
-- in the middle of one. Now such a script learns where messages begin and end. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("a script with on_unknown only", function()
  local SCRIPT = [[
    function on_unknown(ctx, command)
      if not ctx.in_message then return ctx:reject(550, "5.5.1", "outside") end
      ctx.message.seen = (ctx.message.seen or 0) + 1
      if command == "SEEN" then return ctx:reject(550, "5.5.1", "seen " .. ctx.message.seen) end
      ctx:add_header("X-Unknown", command)
    end
  ]]

  it("has a ctx.message and can edit from MAIL to the message's end, and only then", function()
    local mta = fake_mta.start { script = SCRIPT }
    mta:begin()
    assert.matches("outside", mta:unknown("FIRST").text)
    for _ = 1, 2 do
      mta:mail()
      assert.equal("continue", mta:unknown("NOISE").kind)
      mta:rcpt()
      assert.matches("seen 2", mta:unknown("SEEN").text)
      mta:eoh()
      local reply = mta:eom()
      assert.equal("continue", reply.kind)
      assert.same({ { "add_header", "X-Unknown", "NOISE" } }, reply.edits)
      assert.matches("outside", mta:unknown("AFTER").text)
    end
    mta:mail()
    assert.equal("continue", mta:unknown("NOISE").kind)
    mta:abort()
    assert.matches("outside", mta:unknown("AFTER").text)
    mta:mail()
    mta:eoh()
    assert.same({}, mta:eom().edits)
    assert.same({}, mta:log_lines "script_error")
    mta:close()
  end)
end)
