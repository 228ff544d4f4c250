---@meta moonmilter.memo
-- require "moonmilter.memo", for editors (LuaLS). Never loaded. Manual: docs/memo.md.

---@class moonmilter.memo.Options
---@field ttl number?       seconds that a result is fresh; default 300
---@field stale number?     seconds after that in which it may still be given; default 0
---@field negative number?  seconds that "there is none" is kept; default 60
---@field name string?      of the results; default: file and line of the function
---@field max integer?      bytes of all results of the milter; default 64 MiB
---@field shared "host"|"hosts"|nil  default "host"
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "hosts"
---@field on_down "local"|"fail"|nil  when the server fails; default "local": each host calls the function

--- Called like its function, it returns the first result, or nil, text, code. Waits while the function does.
---@class moonmilter.Memo
---@overload fun(...: string|number|boolean|nil): any, string?, string?
local Memo = {}

--- Drops the result for these arguments; without arguments all results of the function.
---@param ... string|number|boolean|nil
function Memo:forget(...) end

--- memo(fn[, options]): a function whose results all workers share. Raises when an option is wrong.
---@class moonmilter.memo
---@overload fun(fn: function, options: moonmilter.memo.Options?): moonmilter.Memo
local memo = {}

return memo
