-- Messages of one sender sleep at their end, as if they waited for a slow service; the others are only counted.
local milter = require "moonmilter"

function on_mail(ctx, sender)
  ctx.message.sleeps = sender == "asleep@example.org"
  ctx.message.rcpts = 0
end

function on_rcpt(ctx)
  ctx.message.rcpts = ctx.message.rcpts + 1
end

function on_eom(ctx)
  if ctx.message.sleeps then
    milter.sleep(200)
  end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
