-- A shadow beside the filter of the ledger (filter.lua): it would change and refuse everything, waits, spins, eats and
-- raises. None of it may be seen in any mail.
-- luacheck: allow defined top, ignore 131
local milter = require "moonmilter"

local count = 0

function on_rcpt(ctx)
  count = count + 1
  if count % 5 == 0 then ctx:delete_recipient(ctx.recipient) end
  if count % 7 == 0 then return ctx:reject(550, "5.7.1", "the shadow refuses") end
end

function on_body() end

function on_eom(ctx)
  count = count + 1
  ctx:add_header("X-Shadow", "must not be seen")
  ctx:change_from "shadow@evil.example"
  ctx:add_recipient "shadow@evil.example"
  ctx:replace_body "the shadow's body\r\n"
  if count % 3 == 0 then milter.sleep(0.2) end
  if count % 11 == 0 then error "on purpose" end
  if count % 13 == 0 then while true do end end -- luacheck: ignore 542
  if count % 17 == 0 then return ctx:discard() end
end
