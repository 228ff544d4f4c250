-- Counts recipients: with only the two handlers that it needs.
function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
