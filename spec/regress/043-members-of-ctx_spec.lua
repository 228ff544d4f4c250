-- A misspelt method of ctx was answered without the right word; a script that took entries out of ctx.recipients made the
-- next look at it raise an error that named nothing. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("ctx", function()
  it("suggests the member that was meant", function()
    local mta = fake_mta.start 'function on_eom(ctx)\n  ctx:add_heder("X-A", "b")\nend'
    finally(function() mta:close() end)
    mta:message()
    assert.truthy(mta.owner:log():find([[script.lua:2: ctx has no member \"add_heder\"; did you mean \"add_header\"?]], 1, true))
  end)

  it("bears a script that changes the list of recipients", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx) table.remove(ctx.recipients, 1) end
      function on_eom(ctx) ctx:add_header("X-Left", #ctx.recipients) end
    ]]
    finally(function() mta:close() end)
    local reply = mta:message()
    assert.equal("continue", reply.kind)
    assert.equal(1, #reply.edits)
    assert.falsy(mta.owner:log():find("script_error", 1, true))
  end)
end)
