---@meta moonmilter.timer
-- require "moonmilter.timer", for editors (LuaLS). Never loaded. Manual: docs/timer.md.

--- Work that belongs to no session: later, or again and again. Timers belong to the generation of scripts that started
--- them, at most 1000 of them; one more raises.
---@class moonmilter.timer
local timer = {}

---@class moonmilter.Timer
local Timer = {}

--- Stops the timer; a function that is running is cancelled.
---@return boolean  false: it was over already, or per_host leaves it to another worker
function Timer:cancel() end

---@class moonmilter.timer.Options
---@field jitter number?     up to so many seconds are added to each wait, at random; default 0
---@field per_host boolean?  in one worker of the host only; default: in every worker
---@field first number?      seconds until the first call; default: as between the others

--- Calls fn(...) once, after so many seconds, whatever has become of the session by then. fn may wait. An error is
--- logged. Raises at the caller's line when seconds are out of range or fn is no function.
---@param seconds number  0 to 1e9
---@param fn function
---@param ... any  arguments of fn
---@return moonmilter.Timer
function timer.at(seconds, fn, ...) end

--- Calls fn() again and again, so many seconds after it has last returned: calls never overlap. fn may wait. An error
--- is logged and the timer goes on. Raises at the caller's line when seconds are out of range, fn is no function, or an
--- option is unknown or of another type.
---@param seconds number  0.001 to 1e9
---@param fn function
---@param options moonmilter.timer.Options?
---@return moonmilter.Timer
function timer.every(seconds, fn, options) end

return timer
