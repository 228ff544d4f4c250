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

--- The same for a handler of several header fields in a row, which cost one protected call together.
---@param push function  name and value of the first field, as the host's C pushes them
---@param further function  those of the next one, or nothing; true for a handler that declares neither
---@return function walk  (called, ctx): calls `called` until it returns something, or there is no further field
function entry.walk_by(push, further)
  local function walk(called, ctx)
    local name, value = push()
    repeat
      local verdict, more = called(ctx, name, value)
      if more ~= nil then return verdict, more end
      if verdict ~= nil then return verdict end
      name, value = further()
    until name == nil
  end
  jit.off(walk)
  return walk
end

return entry
