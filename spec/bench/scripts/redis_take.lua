-- Counts recipients as rcpt_eom.lua does; every message takes from a limit that is written by hand on a Redis server: a
-- counter for each second.
local redis = require "moonmilter.redis"

local client = redis.new { unix = os.getenv "BENCH_REDIS" }

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  local key = ("out:account:%d"):format(os.time())
  local sum, text = client:incr(key)
  if sum == 1 then sum, text = client:expire(key, 2) end
  if not sum then return ctx:tempfail(451, "4.3.0", text) end
  if tonumber(sum) > 1000000 then return ctx:tempfail(451, "4.7.1", "Too many messages") end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
