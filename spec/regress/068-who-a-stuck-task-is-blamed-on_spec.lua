-- A spawned task that got stuck was blamed on the handler that waited meanwhile, perhaps of another script. Since
-- 0.1.0.
local host = require "spec.support.host"

describe("a spawned task that is stuck inside a C function", function()
  it("is logged with its own script, session and queue id, while a handler of another script waits", function()
    local h = host.start { workers = 1, arguments = { "--hang_timeout=2" }, scripts = {
      ["10-spawns.lua"] = [[
        local milter = require "moonmilter"
        local text = ("a."):rep(2000)
        function on_mail()
          milter.spawn(function() milter.sleep(0.1) return text:find ".-.-.-.-.-.-b" end)
        end]],
      ["20-waits.lua"] = [[
        local milter = require "moonmilter"
        function on_rcpt() milter.sleep(60) end]] } }
    finally(function() h:stop() end)
    local mta = assert(h:connect())
    mta:envelope("mail", "4Qtask")
    assert.equal("closed", mta:rcpt("ann@example.org").kind)
    assert.truthy(h:wait_log("worker_ended", 10))
    local line = h:log():match "[^\n]*worker_ended[^\n]*"
    assert.matches("10%-spawns%.lua", line)
    assert.matches("handler=task", line)
    assert.matches("session=%S+", line)
    assert.matches("queue_id=4Qtask", line)
  end)
end)
