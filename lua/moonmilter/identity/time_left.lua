--- How long a check may take, so that it ends with a result before the deadline of its stage ends it with a 451.
local time_left = {}

local RESERVE = 1 -- seconds of the stage that are left to the script, but no more than a quarter of what is left

--- Seconds from now: as many as wanted, or as the stage has.
---@param deadline number?  ctx.deadline; nil: no stage waits
---@param now number        the same clock
---@param wanted number     seconds
---@return number  above 0
function time_left.of(deadline, now, wanted)
  if not deadline then
    return wanted
  end
  local left = deadline - now
  return math.max(math.min(wanted, left - math.min(RESERVE, left / 4)), 0.01)
end

return time_left
