-- Counts recipients as rcpt_eom.lua does; every message reads a value from a Redis server.
local redis = require "moonmilter.redis"

local client = redis.new { unix = os.getenv "BENCH_REDIS" }

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  local value, text = client:get "blocked"
  if text then return ctx:tempfail(451, "4.3.0", text) end
  if value then return ctx:tempfail(451, "4.7.1", "Blocked") end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
