-- The way from the host into a script's function (host/task/call.c). The host pushes arguments from inside the
-- coroutine, so that resuming it is the only protected call: pushing may raise when memory is exhausted or a finalizer
-- fails.
local ffi = require "ffi"

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

--- Returns the function that calls a handler, and then others, of the same field or of further ones, until one returns
--- something or no other is left; so many fields cost one protected call. The host gives the next call through ffi:
--- LuaJIT then compiles the loop together with the handlers in it. Interpreted, ffi is dear: where some handler cannot
--- be compiled, the second function takes the place of the first.
---@param push function             the arguments of the first handler after ctx, as the host's C pushes them
---@param push_further function     reference of the next handler and its arguments after ctx; nothing: none is left
---@param further userdata          int (*)(struct mm_generation *): the same into `next_call`; 0: none is left
---@param generation userdata       its argument
---@param next_call userdata        struct mm_walked of host/task/generation.h
---@param handlers table            handlers by reference
---@return function walk            (called, ctx)
---@return function walk_plainly    the same by a C function in place of ffi
function entry.walk_by(push, push_further, further, generation, next_call, handlers)
  -- locals that are never assigned again: LuaJIT compiles them as constants
  local ask = ffi.cast("int (*)(void *)", further)
  local asked = ffi.cast("void *", generation)
  local walked = ffi.cast("const struct { const char *first, *second; int32_t first_size, second_size, called; } *",
    next_call)
  local text = ffi.string
  ask(asked) -- from here it is interpreted: call.c notes what that looks like

  local function stop() end
  jit.off(stop) -- so that no recorded walk ends here: LuaJIT would compile the last field of a header, and no loop

  local function loop(called, ctx, first, second)
    local ref = walked.called
    repeat
      local verdict, more = called(ctx, first, second)
      if more ~= nil then return verdict, more end
      if verdict ~= nil then return verdict end
      if ask(asked) == 0 then return stop() end
      if walked.called ~= ref then
        ref = walked.called
        called = handlers[ref]
      end
      first, second = nil, nil
      if walked.first_size >= 0 then first = text(walked.first, walked.first_size) end
      if walked.second_size >= 0 then second = text(walked.second, walked.second_size) end
    until false
  end

  local function walk(called, ctx)
    return loop(called, ctx, push())
  end
  jit.off(walk)

  local function walk_plainly(called, ctx)
    local first, second = push()
    local ref
    repeat
      local verdict, more = called(ctx, first, second)
      if more ~= nil then return verdict, more end
      if verdict ~= nil then return verdict end
      ref, first, second = push_further()
      called = handlers[ref]
    until called == nil
  end
  jit.off(walk_plainly)

  return walk, walk_plainly
end

return entry
