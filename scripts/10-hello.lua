-- A harmless first filter: says in the log what passes, and marks each message.
-- Copy it, or look into examples/ for more.
local log = require "moonmilter.log"

function on_eom(ctx)
  ctx:add_header("X-Moonmilter", "seen")
  log.info("message from <%s> for %d recipients", ctx.sender, #ctx.recipients)
end
