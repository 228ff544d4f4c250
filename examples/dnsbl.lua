-- Block lists with weights: the queries start at connect and run in parallel to the dialogue; the answer is needed at
-- the first recipient.
local milter = require "moonmilter"
local log = require "moonmilter.log"
local dns = require "moonmilter.dns"

local REFUSE_FROM = 5
local lists = dns.lists { -- those you have an agreement with; their pages say what their codes mean
  ["bl.example"] = { ["127.0.0.2-11"] = 5, ["127.255.255.0/24"] = "error" },
  ["other-bl.example"] = { ["127.0.0.2-3"] = 5, ["127.0.0.4"] = 2 },
}

function on_connect(ctx, hostname, address)
  if ctx.client.family == "inet" or ctx.client.family == "inet6" then
    ctx.session.lookup = milter.spawn(lists.ip, lists, address, { timeout = 4 })
  end
end

function on_rcpt(ctx)
  local lookup = ctx.session.lookup
  if not lookup then
    return
  end
  local found = lookup:wait()
  for list, why in pairs(found.failures) do -- a list that does not answer, or refuses us, counts against no client
    log.warn("%s: %s", list, why.text)
  end
  if found.total >= REFUSE_FROM then
    log.info("%s: %s", ctx.client.ip, tostring(found))
    return ctx:reject("5.7.1", ("%s is listed by %s"):format(ctx.client.ip, found.why[1].list))
  end
end
