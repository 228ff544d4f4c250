-- Counts recipients, with every handler defined and each touching its arguments: every step of the protocol enters Lua.
function on_connect(ctx, hostname, address)
  ctx.session.from = hostname
end

function on_helo(ctx, name)
  ctx.session.seen = #name
end

function on_mail(ctx)
  ctx.message.rcpts = 0
  ctx.message.seen = 0
end

function on_rcpt(ctx)
  ctx.message.rcpts = ctx.message.rcpts + 1
end

function on_data()
end

function on_header(ctx, name, value)
  ctx.message.seen = ctx.message.seen + #name + #value
end

function on_eoh()
end

function on_body(ctx, chunk)
  ctx.message.seen = ctx.message.seen + #chunk
end

function on_eom(ctx)
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end

function on_unknown()
end

function on_abort()
end

function on_close()
end
