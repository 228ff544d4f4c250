-- A tarpit: a client that names many recipients waits longer for each. Other clients do not wait.
local milter = require "moonmilter"

local free, step = 3, 1 -- recipients without delay; seconds added by each further one

function on_load(host)
  step = host:require_settings({ tarpit_step = "number?" }).tarpit_step or step
end

function on_rcpt(ctx)
  local excess = #ctx.recipients - free
  if excess > 0 then
    milter.sleep(math.min(excess * step, 6)) -- below the deadline of a stage, 8 seconds
  end
end
