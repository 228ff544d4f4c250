-- The way from the host into a script's function (host/task/call.c). The host pushes arguments from inside the
-- coroutine, so that resuming it is the only protected call: pushing may raise when memory is exhausted or a finalizer
-- fails.
local entry = {}

--- Returns the function with which a coroutine of the host begins.
---@param push function  the arguments, as the host's C pushes them
---@return function enter  (called): tail-calls `called` with them, so that tracebacks show no frame of ours
function entry.by(push)
  local function enter(called)
    return called(push())
  end
  jit.off(enter) -- a C function cannot be part of a trace: compiling would be attempted in vain
  return enter
end

return entry
