-- Counts recipients as rcpt_eom.lua does; every message takes from an outgoing limit of its sender's domain.
local limit = require "moonmilter.limit"

local out = limit.new { name = "out", rate = "1000000/1s", burst = 1e9 }

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  local ok = out:take("account", { of = "message" })
  if not ok then return ctx:tempfail(451, "4.7.1", "Too many messages") end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
