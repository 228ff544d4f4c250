-- Tells another system about each message and refuses one without a Message-ID: docs/event.md. Set where events go in
-- moonmilter.conf: settings = { events = "https://collect.example/mail" }.
local event = require "moonmilter.event"

local sink

function on_load(host)
  sink = event.sink{ to = host.settings.events or "file:/var/log/moonmilter/events.json", name = "verdicts" }
end

function on_eom(ctx)
  if not ctx.headers:get "Message-ID" then
    return ctx:reject(550, "5.7.1", "Message-ID is missing")
  end
end

function on_done(ctx, result)
  local id, text = sink:put{ verdict = result.verdict, from = ctx.sender, client = ctx.client.ip,
    queue_id = ctx.queue_id }
  if not id then
    ctx:note("no event: " .. text) -- the message is not to blame
  end
end
