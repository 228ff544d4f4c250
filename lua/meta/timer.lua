---@meta moonmilter.timer
-- require "moonmilter.timer", for editors (LuaLS). Never loaded. Manual: docs/timer.md.

--- Work outside any session: later, or repeatedly. Timers belong to the generation of scripts that started them, at
--- most 1000; one more raises.
---@class moonmilter.timer
local timer = {}

---@class moonmilter.Timer
local Timer = {}

--- Stops the timer; a function that is running is cancelled.
---@return boolean  false: it was already over, or per_host leaves it to another worker
function Timer:cancel() end

---@class moonmilter.timer.Options
---@field jitter number?     adds up to so many seconds to each wait, at random; default 0
---@field per_host boolean?  run in one worker of the host only; default: in every worker
---@field first number?      seconds until the first call; default: the same interval

--- Calls fn(...) once, after so many seconds, even if the session has ended by then. fn may wait. An error is logged.
--- Raises at the caller's line when seconds is out of range or fn is not a function.
---@param seconds number  0 to 1e9
---@param fn function
---@param ... any  arguments of fn
---@return moonmilter.Timer
function timer.at(seconds, fn, ...) end

--- Calls fn() repeatedly, so many seconds after it last returned: calls never overlap. fn may wait. An error is logged
--- and the timer goes on. Raises at the caller's line when seconds is out of range, fn is not a function, or an option
--- is unknown or of another type.
---@param seconds number  0.001 to 1e9
---@param fn function
---@param options moonmilter.timer.Options?
---@return moonmilter.Timer
function timer.every(seconds, fn, options) end

return timer
