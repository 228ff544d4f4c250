-- No wait blocks the loop: a probe sleeps for a millisecond again and again while everything else stalls, and measures
-- how late it wakes: in processor time, which other processes do not disturb, and on the clock, with a margin for them.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"
local support = require "spec.async.support"

-- A stall would last 200 ms or more. Use LAG_MS=5 on an otherwise idle machine.
local LIMIT = tonumber(os.getenv "LAG_MS") or 40

describe("the loop", function()
  it(("is never held up for more than %d ms of its own work by name servers that stall or programs "
    .. "that hang"):format(LIMIT), function()
      local port = process.free_port()
      local server = support.name_server(port)
      local mta = fake_mta.start { set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=0.3" }, script = [[
        local milter = require "moonmilter"
        local dns, run = require "moonmilter.dns", require("moonmilter.process").run
        local clock = os.clock
        function on_mail(ctx)
          local worst, latest, over = 0, 0, false
          local probe = milter.spawn(function()
            while not over do
              local cpu, wall = clock(), milter.now()
              milter.sleep(0.001)
              worst = math.max(worst, clock() - cpu)
              latest = math.max(latest, milter.now() - wall)
            end
          end)
          local list = {}
          for i = 1, 20 do
            list[#list + 1] = function() return dns.a("silent" .. i .. ".example") end
            list[#list + 1] = function() return dns.a("slow" .. i .. ".example") end
            list[#list + 1] = function() return dns.txt("big" .. i .. ".example") end
            list[#list + 1] = function() return dns.a("servfail" .. i .. ".example") end
          end
          for _ = 1, 5 do
            list[#list + 1] = function() return run { argv = { "sleep", "60" }, timeout = 0.2 } end
            list[#list + 1] = function() return run { argv = { "yes" }, max_output = 100000 } end
          end
          milter.all(list)
          over = true
          probe:wait()
          return ctx:reject(("%.1f %.1f"):format(worst * 1000, latest * 1000))
        end
      ]] }
      finally(function()
        mta:close()
        server:stop()
      end)
      mta:begin()
      local worst, latest = mta:mail().text:match "^550 5.7.1 ([%d.]+) ([%d.]+)$"
      assert.is_true(tonumber(worst) < LIMIT, worst .. " ms of processor time")
      assert.is_true(tonumber(latest) < 250, latest .. " ms on the clock")
    end)
end)
