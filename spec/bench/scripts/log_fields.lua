-- Counts recipients as rcpt_eom.lua does, and shows them in the line of the message.
local log = require "moonmilter.log"

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  log.fields{ rcpts = ctx.message.rcpts, kind = "message" }
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
