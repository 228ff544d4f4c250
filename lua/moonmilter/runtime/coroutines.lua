--- Coroutines that a script makes itself, inside which waiting still reaches the host.
-- A wait yields the host's token. A plain coroutine.resume would take the token for a value of the generator that it
-- drives; these replacements pass it outward to the host instead, and pass the host's answer back in. All other values
-- that a coroutine yields are unchanged.
local core = require "moonmilter.core"

local coroutines = {}

local HOST = core.host_token
local resume, yield = coroutine.resume, coroutine.yield
local create, isyieldable = coroutine.create, coroutine.isyieldable

local pass

-- A token has come out of co: pass it on, give co the answer, and look at what it yields next.
local function answer(co, ...)
  return pass(co, resume(co, ...))
end

function pass(co, ok, first, ...)
  if ok and first == HOST then
    if not isyieldable() then
      error("cannot wait inside a function that C code calls back (table.sort comparator, string.gsub "
        .. "replacement, __gc); collect the inputs there and wait afterwards", 0)
    end
    return answer(co, yield(HOST))
  end
  return ok, first, ...
end

function coroutines.resume(co, ...)
  return pass(co, resume(co, ...))
end

local function unwrap(ok, first, ...)
  if ok then
    return first, ...
  end
  error(first, 0) -- unchanged: a text already has its file and line
end

function coroutines.wrap(fn)
  local co = create(fn)
  return function(...)
    return unwrap(pass(co, resume(co, ...)))
  end
end

--- Installs the replacements in the coroutine library, so that rocks get them too.
function coroutines.install()
  local library = _G.coroutine
  library.resume = coroutines.resume
  library.wrap = coroutines.wrap
end

return coroutines
