-- The way from the host into a script's function (host/task/call.c). The host pushes arguments from inside the
-- coroutine, so that resuming it is the one protected call: pushing may raise when memory is gone or a finalizer fails.
local entry = {}

--- Gives the function that a coroutine of the host begins with.
---@param push function  (what): the arguments, as the host's C pushes them
---@return function enter  (called, what): calls `called` with them, in its own place: no frame of ours is in tracebacks
function entry.by(push)
  local function enter(called, what)
    return called(push(what))
  end
  jit.off(enter) -- a C function is no part of a trace: the attempts would be for nothing
  return enter
end

return entry
