-- Limits what an account may send: 200 recipients an hour, 50 of them at once. One alarm for each crossing.
-- moonmilter.conf: settings = { rate = "200/h", burst = 50 }
local limit = require "moonmilter.limit"
local log = require "moonmilter.log"

local out

function on_load(host)
  local settings = host:require_settings { rate = "string?", burst = "number?" }
  out = limit.new { name = "account", rate = settings.rate or "200/h", burst = settings.burst or 50 }
end

function on_rcpt(ctx)
  local account = ctx.auth and ctx.auth.authen
  local ok, state = out:take(account, { of = "message" }) -- without a login there is no limit
  if state.crossed then
    log.warn("account %s has reached its limit; ctl limit reset account %s lets it send again", account, account)
  end
  if not ok then
    return ctx:tempfail(451, "4.7.1", ("Too many recipients, try again in %d seconds"):format(state.retry_after))
  end
end
