-- Counts recipients: the two handlers that need it, no more.
function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
