-- A tarpit: who names many recipients waits longer for each. Nobody else waits with them.
local milter = require "moonmilter"

local free, step = 3, 1 -- recipients without delay; seconds that each further one adds

function on_load(host)
  step = host.settings.tarpit_step or step
end

function on_rcpt(ctx)
  local excess = #ctx.recipients - free
  if excess > 0 then
    milter.sleep(math.min(excess * step, 6)) -- below the deadline of a stage, 8 seconds
  end
end
