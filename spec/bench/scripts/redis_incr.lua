-- Counts recipients as rcpt_eom.lua does; every message counts on a Redis server.
local redis = require "moonmilter.redis"

local client = redis.new { unix = os.getenv "BENCH_REDIS" }

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  local sum, text = client:incr "account"
  if not sum then return ctx:tempfail(451, "4.3.0", text) end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
