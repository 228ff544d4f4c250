-- The error for a misspelt method of ctx did not suggest the right word; after a script had removed entries from
-- ctx.recipients, the next access raised an error without a cause. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("ctx", function()
  it("suggests the intended member", function()
    local mta = fake_mta.start 'function on_eom(ctx)\n  ctx:add_heder("X-A", "b")\nend'
    finally(function() mta:close() end)
    mta:message()
    assert.truthy(mta.owner:log():find([[script.lua:2: ctx has no member \"add_heder\"; did you mean \"add_header\"?]],
      1, true))
  end)

  it("reports the mistake in ctx.headers.Subject and ctx.client.address, which were silently nil", function()
    local mta = fake_mta.start [[
      function on_connect(ctx)
        assert(ctx.client.path == nil and ctx.client.ip)
        print(select(2, pcall(function() return ctx.client.address end)))
      end
      function on_eom(ctx)
        assert(ctx.headers[99] == nil)
        print(select(2, pcall(function() return ctx.headers.Subject end)))
      end
    ]]
    finally(function() mta:close() end)
    mta:connect()
    mta:message()
    local log = mta.owner:log()
    assert.truthy(log:find([[ctx.client has no member \"address\"; there are family, host, ip, path and port]],
      1, true), log)
    assert.truthy(log:find([[headers have no member \"Subject\"; say headers:get \"Subject\"]], 1, true), log)
  end)

  it("tolerates a script that changes the list of recipients", function()
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
