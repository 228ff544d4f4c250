-- The classic: how many recipients did the client name?
function on_rcpt(ctx, recipient, params)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
