--- Loads the scripts of one generation, and reports to the host what to negotiate. Runs as a task, so a script's top
-- level and on_load may wait.
local core = require "moonmilter.core"
local chunk = require "moonmilter.runtime.chunk"
local coroutines = require "moonmilter.runtime.coroutines"
local environment = require "moonmilter.runtime.environment"
local luasec = require "moonmilter.net.luasec"
local luasocket = require "moonmilter.net.luasocket"
local modules = require "moonmilter.runtime.modules"
local plan = require "moonmilter.runtime.plan"
local redis_options = require "moonmilter.net.redis_options"
local redis_room = require "moonmilter.net.redis_room"
local script = require "moonmilter.runtime.script"
local settings = require "moonmilter.runtime.settings"
local shadow = require "moonmilter.runtime.shadow"

local loader = {}

-- Replacements that scripts and their modules get instead of Lua's own.
local function install()
  coroutines.install()
  modules.install()
  luasocket.install()
  luasec.install()
  shadow.install()
  _G.print = environment.print
  os.exit = function() -- luacheck: ignore 122
    error("os.exit: a script cannot end the host; end a handler with a verdict, a load with an error", 2)
  end
end

-- What modules of our own read of a ctx that a script gives them: as if the script mentioned it.
local FACTS_OF = {
  ["moonmilter.greylist"] = { "client", "sender" },
  ["moonmilter.spf"] = { "client", "helo", "sender" },
  ["moonmilter.auth"] = { "recipients", "insert_header" },
  [plan.IDENTITY] = { "client", "helo", "sender", "headers" },
}

-- Sets of the strings and methods that the modules loaded from now on mention and call.
local function note_modules()
  local strings, methods = {}, {}
  local function note(set, of, fn)
    local ok, found = pcall(of, fn)
    for text in pairs(ok and found or {}) do
      set[text] = true
    end
  end
  modules.on_load = function(name, fn)
    for _, fact in ipairs(FACTS_OF[name] or {}) do
      strings[fact] = true
    end
    methods[plan.IDENTITY] = methods[plan.IDENTITY] or name == plan.IDENTITY or nil
    if not name:match("^moonmilter%f[.%z]") then
      note(strings, chunk.strings, fn)
      note(methods, chunk.methods, fn)
    end
  end
  return strings, methods
end

local ASKED = "MOONMILTER_DOCTOR" -- moonmilter doctor runs moonmilter check with this in its environment

-- Before any script asks for it, so that a mistake is found when it is made.
local function check_configuration()
  local ok, text = pcall(redis_options.check, "moonmilter.conf: redis", core.redis or {}, 2)
  if not ok then
    error((tostring(text):gsub("^[^:]+:%d+: ", "")), 0)
  end
  if core.redis and os.getenv(ASKED) then
    redis_room.report(function(line)
      io.stdout:write(line)
      io.stdout:flush()
    end)
  end
end

--- Loads everything; raises an error with file and line when anything is wrong.
---@param paths (string|{ path: string, text: string })[]  files, then scripts in memory
---@param host table  what on_load gets and ctx.host is
function loader.load(paths, host)
  install()
  check_configuration()
  host.require_settings = settings.require_settings
  host.sessions, host.statistics = core.sessions, core.statistics
  local module_strings, module_methods = note_modules()
  local scripts = {}
  for i, path in ipairs(paths) do
    core.loading(i)
    local is_file = type(path) == "string"
    scripts[i] = script.load(is_file and path or path.path, not is_file and path.text or nil)
  end
  for i, one in ipairs(scripts) do
    core.loading(i)
    for _, warning in ipairs(one.warnings) do
      core.log("warn", warning)
    end
    local on_load = one.handlers.load
    if on_load then
      on_load(host)
    end
  end
  local findings, warned = {}, 0
  for _, one in ipairs(scripts) do
    for _, finding in ipairs(one.findings) do
      findings[#findings + 1] = finding
    end
    warned = warned + #one.warnings
    one.findings, one.warnings = nil, nil
  end
  local result = plan.of(scripts, module_strings, module_methods)
  result.findings, result.warned = table.concat(findings, "\n"), warned
  return result
end

return loader
