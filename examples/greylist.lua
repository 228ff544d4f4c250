-- Greylisting: a sender that nobody knows gets a temporary failure once, and is known for weeks when it retries. What
-- is known survives restarts (state_dir).
-- moonmilter.conf: settings = { delay = 60 }
local greylist = require "moonmilter.greylist"

local grey

function on_load(host)
  local settings = host:require_settings { delay = "number?", durable = "boolean?" }
  grey = greylist.new { delay = settings.delay or 60, durable = settings.durable ~= false }
end

function on_rcpt(ctx, recipient)
  if ctx.auth then
    return
  end
  local ok, state = grey:check(ctx, recipient)
  if not ok then
    return ctx:tempfail(451, "4.7.1", ("Greylisted, please try again in %d seconds"):format(state.wait))
  end
end
