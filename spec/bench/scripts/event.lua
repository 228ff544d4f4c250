-- Counts recipients as rcpt_eom.lua does; every message puts an event, which goes to a file.
local event = require "moonmilter.event"

local sink = event.sink{ to = "file:/dev/shm/moonmilter-bench-events", name = "bench" }

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  sink:put{ recipients = ctx.message.rcpts, verdict = "continue", kind = "message" }
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
