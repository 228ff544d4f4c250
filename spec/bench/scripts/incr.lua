-- Counts recipients as rcpt_eom.lua does; every message counts in a store.
local store = require "moonmilter.store"

local accounts = store.open "accounts"

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  accounts:incr "account"
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
