-- A user coroutine that waited inside a table.sort comparator or a gsub replacement could not pass its wait on to the
-- host. The error came as it should, but the wait stayed armed: its timer later resumed a coroutine that had ended, and
-- the worker died of a segmentation fault. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

local COMMON = [[
  local milter = require "moonmilter"
  local function sleep_inside() coroutine.wrap(function() milter.sleep(0) end)() end
]]

describe("a wait that C code blocks", function()
  it("is an error that the handler may catch, and leaves no timer", function()
    local mta = fake_mta.start(COMMON .. [[
      function on_helo(ctx)
        ctx.session.ok, ctx.session.err = pcall(string.gsub, "abc", "%w", function() sleep_inside() end)
      end
      function on_mail(ctx)
        return ctx:reject(tostring(ctx.session.ok) .. " " .. ctx.session.err:match "[^\n]*")
      end
    ]])
    mta:connect()
    assert.equal("continue", mta:helo().kind)
    for _ = 1, 5 do
      mta.owner:turn(0.01)
    end
    local text = mta:mail().text
    assert.truthy(text:find("false .*cannot wait inside a function that C code calls back"), text)
    mta:close()
  end)

  it("fails the handler when it is not caught, and the session goes on", function()
    local mta = fake_mta.start(COMMON .. [[
      function on_mail(ctx) table.sort({ 3, 1, 2 }, function(a, b) sleep_inside() return a < b end) end
      function on_helo(ctx) end
    ]])
    mta:begin()
    assert.equal("tempfail", mta:mail().kind)
    for _ = 1, 5 do
      mta.owner:turn(0.01)
    end
    assert.equal("continue", mta:helo().kind)
    assert.equal("tempfail", mta:mail().kind)
    mta:close()
  end)

  it("does not prevent later waits, nor a verdict from ending the handler", function()
    local mta = fake_mta.start(COMMON .. [[
      function on_helo(ctx)
        pcall(string.gsub, "abc", "%w", function() sleep_inside() end)
        milter.sleep(0.01)
        ctx.session.slept = true
        pcall(string.gsub, "abc", "%w", function() sleep_inside() end)
        ctx:continue()
        ctx.session.beyond = true
      end
      function on_mail(ctx) return ctx:reject(tostring(ctx.session.slept) .. " " .. tostring(ctx.session.beyond)) end
    ]])
    mta:connect()
    assert.equal("continue", mta:helo().kind)
    assert.equal("550 5.7.1 true nil", mta:mail().text)
    mta:close()
  end)
end)
