-- every_handler.lua, and every message takes from an outgoing limit.
local limit = require "moonmilter.limit"

local out = limit.new { name = "out", rate = "1000000/1s", burst = 1e9 }

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
  local ok = out:take("account", { of = "message" })
  if not ok then return ctx:tempfail(451, "4.7.1", "Too many messages") end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end

function on_unknown()
end

function on_abort()
end

function on_close()
end
