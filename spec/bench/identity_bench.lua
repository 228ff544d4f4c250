-- What checking a message costs: SPF, DKIM (RSA 2048), DMARC and the stamp, DNS answers cached, 20 fields, 4 KB.
-- The messages go through a host in this process, so that the CPU time of both sides is counted; the same messages
-- through a script that only asks for header and body and inserts a field are subtracted, in turns, round by round.
-- Run from the top: luajit spec/bench/identity_bench.lua [messages a round]
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "build/lua/?.so;" .. package.cpath
local message = require "spec.bench.identity_message"
local testing = require "moonmilter.testing"
local zone = require "spec.auth.zone"

local MESSAGES, ROUNDS = tonumber(arg and arg[1]) or 2000, 5
local GOAL = 250 -- microseconds

local example = testing.domain("example.org", { key = "rsa" })

-- A name server with the records of example.org; it ends by itself after two minutes.
local function start_server()
  local made = {}
  for name, entry in pairs(example.dns) do
    made[name] = { { "TXT", entry.TXT } }
  end
  return zone.serve(made)
end

local SCRIPTS = {
  check = [[
    local auth = require "moonmilter.auth"
    function on_eom(ctx)
      auth.stamp(ctx, auth.check(ctx))
    end
  ]],
  plain = [[
    function on_mail(ctx) ctx.message.size = 0 end
    function on_body(ctx, chunk) ctx.message.size = ctx.message.size + #chunk end
    function on_eom(ctx)
      ctx.message.fields = #ctx.headers
      ctx:insert_header(0, "X-Checked", "no")
    end
  ]],
}

local function start(script, port)
  return testing.start { script = script, dns = "real", clock = "real", split = "whole",
    set = { dns_servers = "127.0.0.1:" .. port, log_level = "warn" } }
end

local function seconds(mta, sent, count)
  local began = os.clock()
  for _ = 1, count do
    mta:message(sent)
  end
  return os.clock() - began
end

local server = start_server()
local sent, mtas, best = message(example), {}, {}
for name, script in pairs(SCRIPTS) do
  mtas[name] = start(script, server.port)
  local reply = mtas[name]:message(sent)
  local field = reply.message:get "Authentication-Results"
  assert(name == "plain" or field:find("dkim=pass", 1, true) and field:find("dmarc=pass", 1, true)
    and field:find("spf=pass", 1, true), field)
  seconds(mtas[name], sent, 300)
end
for _ = 1, ROUNDS do
  for name, mta in pairs(mtas) do
    local used = seconds(mta, sent, MESSAGES) / MESSAGES * 1e6
    best[name] = math.min(best[name] or math.huge, used)
  end
end
local cost = best.check - best.plain
print(("check and stamp %.0f us a message, without %.0f us: %.0f us for SPF, DKIM, DMARC and the field (goal %d, which "
  .. "includes the host)"):format(best.check, best.plain, cost, GOAL))
for _, mta in pairs(mtas) do
  mta:close()
end
server.stop()
