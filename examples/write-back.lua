-- Whoever our users have written to may write back: marks such mail, so that later filters let it pass.
-- A login sends: its recipients become known for five weeks. Mail from a known sender gets X-Known-Sender: yes.
local store = require "moonmilter.store"

local known

function on_load(host)
  local settings = host:require_settings { durable = "boolean?" }
  known = store.open("known_senders", { ttl = 36 * 86400, durable = settings.durable ~= false, when_full = "evict" })
end

function on_rcpt(ctx, recipient)
  if ctx.auth then
    known:set(recipient:lower(), true)
  end
end

function on_eom(ctx)
  for _, field in ipairs(ctx.headers:all "X-Known-Sender") do -- what a sender claims
    field:delete()
  end
  if not ctx.auth and known:get(ctx.sender:lower()) then
    ctx:add_header("X-Known-Sender", "yes")
  end
end
