-- Block lists: the queries start at connect and run in parallel to the dialogue; the answer is needed at the first
-- recipient.
local milter = require "moonmilter"
local log = require "moonmilter.log"
local dns = require "moonmilter.dns"

local zones = { "bl.example", "other-bl.example" } -- those you have an agreement with

function on_connect(ctx, hostname, address)
  if ctx.client.family == "inet" or ctx.client.family == "inet6" then
    ctx.session.lookup = milter.spawn(dns.dnsbl, address, zones, { timeout = 4 })
  end
end

function on_rcpt(ctx)
  local lookup = ctx.session.lookup
  if not lookup then
    return
  end
  local listed, failures = lookup:wait()
  for zone, why in pairs(failures) do -- a list that does not answer, or refuses us, counts against no client
    log.warn("%s: %s", zone, why.text)
  end
  local zone = next(listed)
  if zone then
    return ctx:reject("5.7.1", ("%s is listed by %s"):format(ctx.client.ip, zone))
  end
end
