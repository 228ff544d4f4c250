-- Hosts of one process that were made in the same second named their sessions alike. Since 0.1.0.
local testing = require "moonmilter.testing"

describe("sessions of two hosts in one process", function()
  it("have different ids", function()
    local script = "function on_eom(ctx) ctx:add_header('X-Id', ctx.id) end"
    local first, second = testing.start { script = script }, testing.start { script = script }
    finally(function() first:close() second:close() end)
    local a, b = first:message({}).message:get "X-Id", second:message({}).message:get "X-Id"
    assert.matches("^%x+%-%x+$", a)
    assert.matches("^%x+%-%x+$", b)
    assert.are_not.equal(a, b)
  end)
end)
