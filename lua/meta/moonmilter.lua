---@meta moonmilter
-- require "moonmilter", for editors (LuaLS). Never loaded. docs/scripting.md says more about each name.

---@class moonmilter
---@field version string  of the host, "0.1.0"
---@field log moonmilter.log
local moonmilter = {}

--- A cancelled wait, as an error value; tostring gives "cancelled: abort".
---@class moonmilter.Cancelled
---@field reason "abort"|"disconnect"|"deadline"|"shutdown"|"ended"|"cancelled"|"timeout"

--- Waits. Others are served meanwhile. Raises a moonmilter.Cancelled when the message, the MTA or the time is gone.
---@param seconds number  0 or more, fractions allowed
function moonmilter.sleep(seconds) end

--- Work that goes on beside the handler that started it.
---@class moonmilter.Task
local task = {}

--- What the task's function returned; raises what it raised.
---@param seconds number?
---@return any ...  or nil, text, "timeout" | "cancelled"
function task:wait(seconds) end

--- Ends the task.
---@return boolean  false: it was over already
function task:cancel() end

--- True when wait() will not have to wait.
---@return boolean
function task:is_over() end

--- Starts fn(...) as a task. It begins when the caller waits or returns.
---@param fn function
---@param ... any
---@return moonmilter.Task
function moonmilter.spawn(fn, ...) end

--- Runs functions side by side, waits for tasks among them.
---@param list table
---@return table results   first result of each, by the same key
---@return table failures  { text =, code = } of each that failed
function moonmilter.all(list) end

--- What the first that succeeds returns; the other functions are cancelled.
---@param list table
---@return any ...
function moonmilter.any(list) end

--- Calls fn(...) and gives it up after so many seconds.
---@param seconds number
---@param fn function
---@param ... any
---@return any ...  what fn returns; or nil, text, "timeout"
function moonmilter.timeout(seconds, fn, ...) end

--- Calls fn() when the message (from mail on) or the client (before) is over. It cannot wait.
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
