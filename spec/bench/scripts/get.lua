-- Counts recipients as rcpt_eom.lua does; every message reads a value from a store.
local store = require "moonmilter.store"

local accounts = store.open "accounts"

function on_load()
  accounts:set("blocked", false)
end

function on_rcpt(ctx)
  ctx.message.rcpts = (ctx.message.rcpts or 0) + 1
end

function on_eom(ctx)
  if accounts:get "blocked" then return ctx:tempfail(451, "4.7.1", "Blocked") end
  ctx:add_header("X-Rcpt-Count", ctx.message.rcpts)
end
