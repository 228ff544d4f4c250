--- Other programs, run beside the loop. Never through a shell: an argument stays one argument, whatever bytes a message
-- puts into it.
--
--   local result, text, code = process.run { argv = { "clamdscan", "--no-summary", "-" }, stdin
--   = message, timeout = 20 }
--   if result and result.status == 1 then … end
local core = require "moonmilter.core"
local shadow = require "moonmilter.runtime.shadow"
local wait = require "moonmilter.runtime.wait"

local process = {}

local raw_run = wait.wrap(core.process_run)

---@class moonmilter.process.Order
---@field argv string[]       the program and its arguments; without a slash it is looked for in PATH
---@field stdin string?       what it reads; default: nothing
---@field timeout number?     seconds until it is killed; default 30
---@field max_output integer? bytes of standard output, and of standard error, before it is killed; default 1 MiB
---@field env table<string, string>?  its whole environment; default: the host's
---@field cwd string?         its directory; default: the host's
---@field reads boolean?      it changes nothing, so that a shadow runs it, too

---@class moonmilter.process.Result
---@field status integer?  exit status
---@field signal integer?  the signal that ended it, instead of a status
---@field stdout string
---@field stderr string

local known = { argv = "table", stdin = "string", timeout = "number", max_output = "number", env = "table",
  cwd = "string", reads = "boolean" }

local function check(order)
  if type(order) ~= "table" then
    error(("process.run: expected a table, { argv = { \"program\" } }, got a %s"):format(type(order)), 3)
  end
  for key, value in pairs(order) do
    if not known[key] then
      error(("process.run: unknown key %q; there are argv, stdin, timeout, max_output, "
        .. "env, cwd and reads"):format(tostring(key)), 3)
    end
    if type(value) ~= known[key] then
      error(("process.run: %s is a %s; it must be a %s"):format(key, type(value), known[key]), 3)
    end
  end
  if type(order.argv) ~= "table" or type(order.argv[1]) ~= "string" or order.argv[1] == "" then
    error("process.run: argv must be a list, the program first", 3)
  end
  if order.timeout and not (order.timeout > 0 and order.timeout <= 86400) then
    error(("process.run: timeout of %g seconds; give more than 0"):format(order.timeout), 3)
  end
  if order.max_output and not (order.max_output >= 0 and order.max_output <= 2 ^ 30) then
    error(("process.run: max_output of %g bytes; give 0 to 1 GiB"):format(order.max_output), 3)
  end
end

local function environment(env)
  local list = {}
  for name, value in pairs(env) do
    if type(name) ~= "string" or name == "" or name:find "[=%z]" or type(value) ~= "string" then
      error(("process.run: env: %s = a %s; names and values must be strings, names "
        .. "without \"=\""):format(tostring(name), type(value)), 3)
    end
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

--- Runs a program to its end. A cancelled wait, a time-out or too much output ends it and all that it has started:
--- SIGTERM to its process group, SIGKILL two seconds later.
---@param order moonmilter.process.Order
---@return moonmilter.process.Result? result
---@return string? text
---@return "timeout"|"limit"|"notfound"|"denied"|"busy"|"lost"|"system"|"memory"|"shadow"? code
function process.run(order)
  check(order)
  if shadow.is and not order.reads then
    return shadow.refuse("process.run", "reads = true allows a program that only reads")
  end
  return raw_run(order.argv, order.env and environment(order.env), order.cwd, order.stdin,
    order.timeout or core.process_timeout, order.max_output or core.process_output_max)
end

return process
