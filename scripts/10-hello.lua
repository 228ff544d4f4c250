-- A harmless first filter: logs each message and marks it.
-- Copy it, or see examples/ for more.
local log = require "moonmilter.log"

function on_eom(ctx)
  ctx:add_header("X-Moonmilter", "seen")
  log.info("message from <%s> for %d recipients", ctx.sender, #ctx.recipients)
end
