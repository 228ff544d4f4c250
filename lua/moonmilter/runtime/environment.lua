--- The globals of a script: its own, then those of Lua. We replace a few.
local log = require "moonmilter.log"

local environment = {}

--- print, for scripts and modules: writes a log line.
function environment.print(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  log.info("%s", table.concat(words, "\t"))
end

local function text_load(source, name, mode, env)
  if mode and mode ~= "t" then
    error(("load: mode %q is not supported; load text, mode \"t\""):format(tostring(mode)), 2)
  end
  return load(source, name, "t", env or getfenv(2))
end

--- A new environment, and the function to call after the script's main chunk has run: from then on, setting a global is
--- reported.
---@param path string  of the script, for the report
---@return table env
---@return function loaded
function environment.new(path)
  local env, reported = {}, {}
  local is_loading = true
  setmetatable(env, {
    __index = _G,
    __newindex = function(_, name, value)
      if not is_loading and not reported[name] then
        reported[name] = true
        log.warn("%s: global \"%s\" is set while a handler runs; every session shares it. Use a local, ctx.message or "
          .. "ctx.session\n%s", path, tostring(name), debug.traceback("", 2))
      end
      rawset(env, name, value)
    end,
  })
  env._G = env
  env.print = environment.print
  env.load = text_load
  env.loadstring = function(source, name)
    return text_load(source, name, "t", getfenv(2))
  end
  return env, function() is_loading = false end
end

return environment
