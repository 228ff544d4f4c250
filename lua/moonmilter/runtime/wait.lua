--- Waiting: turns a raw primitive of the host into a function that scripts can call.
-- A raw primitive yields to the host and returns what the host resumes it with. When the wait was cancelled, that is
-- the cancel token and a reason; the error is raised here, inside the script, so that its own pcall cleanup runs. Every
-- later wait of the same task raises the same error. Argument errors are reported at the script's line.
local core = require "moonmilter.core"

local wait = {}

local CANCEL = core.cancel_token
local pcall, error = pcall, error

---@class moonmilter.Cancelled
---@field reason "abort"|"disconnect"|"deadline"|"shutdown"|"ended"|"cancelled"|"timeout"
---@field limit integer?  which milter.timeout, counted from the outermost
local cancelled = {}
cancelled.__index = cancelled
cancelled.__tostring = function(self)
  return "cancelled: " .. self.reason
end

local function finish(ok, first, reason, ...)
  if not ok then
    error(core.blame(first), 0)
  end
  if first == CANCEL then
    if type(reason) == "number" then
      error(setmetatable({ reason = "timeout", limit = reason }, cancelled), 0)
    end
    error(setmetatable({ reason = reason }, cancelled), 0)
  end
  return first, reason, ...
end

--- The error value when err comes from a cancelled wait, else nil.
---@param err any
---@return moonmilter.Cancelled?
function wait.cancelled(err)
  return getmetatable(err) == cancelled and err or nil
end

---@param raw function  a primitive of moonmilter.core
---@return function
function wait.wrap(raw)
  return function(...)
    return finish(pcall(raw, ...))
  end
end

return wait
