---@meta moonmilter
-- require "moonmilter", for editors (LuaLS). Never loaded. docs/scripting.md says more about each name.

---@class moonmilter
---@field version string  of the host, "0.1.0"
---@field log moonmilter.log
local moonmilter = {}

--- A cancelled wait, as an error value; tostring gives "cancelled: abort".
---@class moonmilter.Cancelled
---@field reason "abort"|"disconnect"|"deadline"|"shutdown"|"ended"|"cancelled"|"timeout"
---@field limit integer?  of "timeout": which milter.timeout, counted from the outermost

--- Waits. Others are served meanwhile. Raises a moonmilter.Cancelled when the message, the MTA or the time is gone.
---@param seconds number  0 or more, fractions allowed
function moonmilter.sleep(seconds) end

---@class moonmilter.Task
local Task = {}

--- Waits until it is over; returns what its function returned, raises what it raised. docs/tasks.md
---@param timeout? number  seconds; the task goes on when they are over
---@return any ...  or nil, text, "timeout" | "cancelled"
function Task:wait(timeout) end

---@return boolean  false: it was over already
function Task:cancel() end

---@return boolean
function Task:is_over() end

--- Starts fn(...) as a task of the message, the client or the scripts. It begins when the caller waits or returns.
---@param fn function
---@return moonmilter.Task
function moonmilter.spawn(fn, ...) end

--- Runs functions side by side and waits for all.
---@param list table  functions and tasks, by any keys
---@return table results   first result of each, by the same key
---@return table failures  { text =, code = } of each whose first result is nil and that says why
function moonmilter.all(list) end

--- Runs functions side by side until the first succeeds: it has not raised, and its first result, if any, is not nil.
---@param list table  functions and tasks, by any keys
---@return any ...  what it returns; when none succeeds, what the last one has returned or raised
function moonmilter.any(list) end

--- Calls fn(...) and gives it up after so many seconds.
---@param seconds number
---@param fn function
---@return any ...  what fn returns; nil, text, "timeout"
function moonmilter.timeout(seconds, fn, ...) end

--- Calls fn() when the message, the client or the scripts are over, whatever the outcome was. It cannot wait.
---@param fn function
function moonmilter.defer(fn) end

--- Seconds since 1970, with fractions.
---@return number
function moonmilter.now() end

--- The cancellation when err comes from a cancelled wait, else nil.
---@param err any
---@return moonmilter.Cancelled?
function moonmilter.cancelled(err) end

return moonmilter
