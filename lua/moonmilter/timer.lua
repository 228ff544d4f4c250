--- Work outside any session: later, or repeatedly. Timers belong to the scripts that started them and stop when the
-- next generation takes over or the host stops; a function that is then running may finish until its generation's last
-- session has ended.
--
--   function on_load()
--     timer.every(60, refresh_list, { jitter = 10 })
--   end
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local timer = {}

local timer_sleep = wait.wrap(core.timer_sleep)

local function check_seconds(name, seconds, least)
  if type(seconds) ~= "number" or not (seconds >= least and seconds <= 1e9) then
    error(("%s: seconds are %s; give a number of at least %g"):format(name, tostring(seconds), least), 3)
  end
end

local function check_function(name, fn)
  if type(fn) ~= "function" then
    error(("%s: expected a function, got %s"):format(name, type(fn)), 3)
  end
end

---@class moonmilter.Timer
local Timer = {}
Timer.__index = Timer

--- Stops the timer; a function that is running is cancelled.
---@return boolean  false: it was already over
function Timer:cancel()
  return self.task ~= nil and self.task:cancel()
end

local function new(task)
  return setmetatable({ task = task }, Timer)
end

--- Calls fn(...) once, after so many seconds, even if the session has ended by then. fn may wait.
---@param seconds number
---@param fn function
---@return moonmilter.Timer
function timer.at(seconds, fn, ...)
  check_seconds("timer.at", seconds, 0)
  check_function("timer.at", fn)
  return new(tasks.detach("timer", function(...)
    timer_sleep(seconds)
    fn(...)
  end, ...))
end

---@class moonmilter.timer.Options
---@field jitter number?    adds up to so many seconds to each wait, at random, so that hosts do not all act at once
---@field per_host boolean? run in one worker of the host only; default: in every worker
---@field first number?     seconds until the first call; default: the same interval

local function check_options(options)
  for key, value in pairs(options) do
    local kind = key == "per_host" and "boolean" or "number"
    if (key ~= "jitter" and key ~= "per_host" and key ~= "first") or type(value) ~= kind then
      error(("timer.every: %s = a %s; there are jitter, first (seconds) and per_host (boolean)"):format(tostring(key),
        type(value)), 3)
    end
  end
end

--- Calls fn() repeatedly, each time so many seconds after it has returned, so calls never overlap. An error is logged
--- and the timer goes on.
---@param seconds number  0.001 or more
---@param fn function
---@param options moonmilter.timer.Options?
---@return moonmilter.Timer
function timer.every(seconds, fn, options)
  check_seconds("timer.every", seconds, 0.001)
  check_function("timer.every", fn)
  options = options or {}
  check_options(options)
  if options.per_host and core.worker_index ~= 0 then
    return new(nil)
  end
  return new(tasks.detach("timer", function()
    local pause = options.first or seconds
    while true do
      timer_sleep(pause + core.random() * (options.jitter or 0))
      pause = seconds
      local ok, err = xpcall(fn, function(err)
        return wait.cancelled(err) or debug.traceback(tostring(err), 2)
      end)
      if not ok and wait.cancelled(err) then
        error(err, 0)
      elseif not ok then
        log.error("timer.every: %s", err)
      end
    end
  end))
end

return timer
