---@meta moonmilter.process
-- require "moonmilter.process", for editors (LuaLS). Never loaded. Manual: docs/process.md.

--- Other programs, run beside the loop, never through a shell.
---@class moonmilter.process
local process = {}

---@alias moonmilter.process.Code
---| "timeout"   # not finished in time, and killed
---| "limit"     # wrote more than max_output, and was killed
---| "notfound"  # there is no such program or directory
---| "denied"    # no permission to run it
---| "busy"      # 64 programs already run in this worker
---| "lost"      # the program that embeds moonmilter has itself waited for our child
---| "system"    # the kernel refused; the text says why
---| "memory"

---@class moonmilter.process.Order
---@field argv string[]         the program and its arguments, none with a NUL; without a slash it is looked for in PATH
---@field stdin string?         what it reads; default: nothing
---@field timeout number?       seconds until it is killed, above 0, at most 86400; default 30
---@field max_output integer?   bytes of standard output, and of standard error, 0..1073741824; default 1048576
---@field env table<string, string>?  its whole environment; default: the host's
---@field reads boolean?        it changes nothing, so that a shadow runs it, too; default false
---@field cwd string?           its directory; default: the host's

---@class moonmilter.process.Result
---@field status integer?  how it exited, 0..255; a status other than 0 is a result, not a failure
---@field signal integer?  the signal that ended it, instead of a status
---@field stdout string
---@field stderr string

--- Runs a program to its end. Waits, and raises a moonmilter.Cancelled as every wait does. A cancelled wait, a time-out
--- or too much output ends the program and its process group: SIGTERM, SIGKILL two seconds later. Raises at the
--- caller's line when a key is unknown, of another type or out of range.
---@param order moonmilter.process.Order
---@return moonmilter.process.Result? result
---@return string? text
---@return moonmilter.process.Code? code
function process.run(order) end

return process
