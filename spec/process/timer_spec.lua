-- A timer for the whole host runs in one worker, a timer per worker in each.
local host = require "spec.support.host"

describe("timers of a host with two workers", function()
  it("run in every worker, or in one when they are for the host", function()
    local h = host.start { workers = 2, scripts = { ["10-timer.lua"] = [[
      local timer = require "moonmilter.timer"
      local log = require "moonmilter.log"
      function on_load(host)
        timer.every(0.1, function() log.info("each-%d.", host.pid) end)
        timer.every(0.1, function() log.info("once-%d.", host.pid) end, { per_host = true })
      end
      function on_eom() end]] } }
    finally(function() h:stop() end)
    assert.truthy(h:wait_log("once-", 3))
    local from = host.now()
    host.wait_until(3, function() return host.now() - from > 0.6 end, "half a second of beats")
    local each, once = {}, {}
    for kind, pid in h:log():gmatch "(%a+)%-(%d+)%." do
      (kind == "each" and each or once)[pid] = true
    end
    local function count(set)
      local n = 0
      for _ in pairs(set) do
        n = n + 1
      end
      return n
    end
    assert.equal(2, count(each))
    assert.equal(1, count(once))
  end)
end)
