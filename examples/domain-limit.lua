-- Sends no faster than a recipient's domain accepts: 30 messages a minute to each, 10 to some.
-- moonmilter.conf: settings = { slow_domains = { "example.net" } }
local address = require "moonmilter.address"
local limit = require "moonmilter.limit"

local slow = {}
local usual = limit.new { name = "domain", rate = "30/m" }
local careful = limit.new { name = "slow_domain", rate = "10/m" }

function on_load(host)
  for _, domain in ipairs(host:require_settings({ slow_domains = "table?" }).slow_domains or {}) do
    slow[domain:lower()] = true
  end
end

function on_rcpt(ctx, recipient)
  local path = address.path(recipient)
  local domain = path and path.domain and path.domain:lower()
  local ok, state = (slow[domain] and careful or usual):take(domain, { of = "message" })
  if not ok then
    return ctx:tempfail(451, "4.7.1", ("Too many messages to %s, try again in %d seconds"):format(domain,
      state.retry_after))
  end
end
