---@meta moonmilter
-- require "moonmilter", for editors (LuaLS). Never loaded. Manual: docs/moonmilter.md, docs/tasks.md.

---@class moonmilter
---@field version string  of the host, "0.1.0"
---@field shadow boolean  these scripts are a shadow: they see the mail that others decide, and have no effect
---@field log moonmilter.log
local moonmilter = {}

--- A cancelled wait, as an error value; tostring gives "cancelled: abort".
---@class moonmilter.Cancelled
---@field reason "abort"|"disconnect"|"deadline"|"shutdown"|"ended"|"cancelled"|"timeout"
---@field limit integer?  with "timeout": which moonmilter.timeout, counted from the outermost

--- Waits. The host serves other sessions meanwhile. Raises a moonmilter.Cancelled when the MTA aborts or goes away, the
--- deadline passes or the host stops; raises at the caller's line when `seconds` is out of range.
---@param seconds number  0 to 1e9, fractions allowed
function moonmilter.sleep(seconds) end

--- Work that runs beside the handler that started it.
---@class moonmilter.Task
local task = {}

--- Waits until the task is over, then returns what its function returned or raises what it raised. Several tasks may
--- wait for one, and one may wait again. Raises a moonmilter.Cancelled as every wait does; raises too when the task
--- waits for itself or belongs to another session.
---@param seconds number?  0 or more; after them the task still goes on. Default: no limit but the deadline
---@return any ...  what the function returned; or nil, text, "timeout"|"cancelled"
function task:wait(seconds) end

--- Ends the task: abandons what it waits for, then raises a moonmilter.Cancelled inside, so that its cleanup runs. A
--- task that has not begun does not begin.
---@return boolean  false: it was already over
function task:cancel() end

--- True when wait() will not have to wait.
---@return boolean
function task:is_over() end

--- Starts fn(...) as a task. The task begins when the caller waits or returns, not at once. It belongs to the message
--- from MAIL on, before that to the client, while scripts load to the scripts, in a task to that task's owner; the host
--- cancels it when its owner ends. A task may use ctx, but gives no verdict. Raises when fn is not a function, when the
--- task would have no owner, and when its owner has 1000 unfinished tasks.
---@param fn function
---@param ... any  arguments of fn
---@return moonmilter.Task
function moonmilter.spawn(fn, ...) end

--- Runs functions side by side and waits for all, also for tasks among them. When one raises, the functions that have
--- not ended are cancelled and all() raises the same error.
---@param list table<any, function|moonmilter.Task>
---@return table<any, any> results  first result of each, by the same key
---@return table<any, { text: string, code: string? }> failures  of each that returned nil and a text
function moonmilter.all(list) end

--- Returns what the first to succeed returns: one that has not raised, and whose first result, if any, is not nil. The
--- functions that have not ended are cancelled; tasks go on. When none succeeds: returns what the last one returned
--- (nil, text, code), or raises what it raised. Raises when the table is empty.
---@param list table<any, function|moonmilter.Task>
---@return any ...
function moonmilter.any(list) end

--- Calls fn(...) and ends it after so many seconds: its current wait is undone and raises a moonmilter.Cancelled with
--- reason "timeout" inside fn. Time that passes without waiting does not count. fn runs in the caller itself, so
--- verdicts work; only inside a coroutine of the script's own is it a task.
---@param seconds number  0 or more
---@param fn function
---@param ... any  arguments of fn
---@return any ...  what fn returns; or nil, text, "timeout"
function moonmilter.timeout(seconds, fn, ...) end

--- Calls fn() when the message (from MAIL on), the client (before) or the generation of scripts (while loading) is
--- over: after every handler and task, last one first, whatever the outcome. fn cannot wait. Raises when fn is not a
--- function, and when its owner has 1000 tasks and functions of at_end.
---@param fn function
function moonmilter.at_end(fn) end

--- Seconds since 1970, with fractions. Tests on a virtual clock move it (docs/TESTING.md).
---@return number
function moonmilter.now() end

--- The cancellation when err comes from a cancelled wait, else nil.
---@param err any  what pcall caught
---@return moonmilter.Cancelled?
function moonmilter.cancelled(err) end

return moonmilter
