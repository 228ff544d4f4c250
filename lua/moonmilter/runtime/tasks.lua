--- Tasks: work that runs beside the handler that started it, and whose result is collected later.
--
--   function on_connect(ctx, host, ip)
--     ctx.session.lookup = milter.spawn(dns.ptr, ip)
--   end
--   function on_rcpt(ctx)
--     local names, why = ctx.session.lookup:wait(3)
--   end
local core = require "moonmilter.core"
local wait = require "moonmilter.runtime.wait"

local tasks = {}

local raw_spawn, task_wait = wait.wrap(core.spawn), wait.wrap(core.task_wait)
local limit_open, raw_at_end = wait.wrap(core.limit_open), wait.wrap(core.at_end)
local task_result = core.task_result
local unpack, select, type, error, pcall, xpcall = unpack, select, type, error, pcall, xpcall
local traceback = debug.traceback

-- ---- the body of a task ----

-- The result of a task that raised: the value itself for the waiting tasks, and a text for the log.
local function raised(err)
  if wait.cancelled(err) then
    return { value = err }
  end
  return { value = err, text = traceback(tostring(err), 2) }
end

local function results(ok, first, ...)
  if ok then
    return true, first, ...
  end
  if type(first) ~= "table" then -- the handler itself could not run: out of stack or memory
    return false, first, tostring(first)
  end
  return false, first.value, first.text
end

local function no_results(ok, ...)
  if ok and select("#", ...) == 0 then
    return true
  end
  return results(ok, ...)
end

local function body(fn, ...)
  return no_results(xpcall(fn, raised, ...))
end

local function check_function(name, fn)
  if type(fn) ~= "function" then
    error(("%s: expected a function, got %s%s"):format(name, type(fn),
      fn == nil and "; was it called already, as in spawn(f())?" or ""), 3)
  end
end

--- Starts fn(...) as a separate task. The task begins when the caller of spawn waits or returns, not at once. Started
-- at MAIL or later it belongs to the message, before that to the client, while loading to the scripts, in a task to
-- that task's owner; it is cancelled when its owner ends. It gives no verdict (let it return its finding) but may use
-- ctx.
---@param fn function
---@return moonmilter.Task
function tasks.spawn(fn, ...)
  check_function("spawn", fn)
  return raw_spawn("caller", body, fn, ...)
end

--- The same for work that outlives its session; "timer": until the next generation of scripts takes over.
---@param owner "generation"|"timer"
function tasks.detach(owner, fn, ...)
  return raw_spawn(owner, body, fn, ...)
end

-- ---- methods ----

---@class moonmilter.Task
local Task = core.task_methods

local function read(state, ok, ...)
  if state == "cancelled" then
    return nil, "the task was cancelled", "cancelled"
  end
  if state == "failed" then
    error("the task failed: " .. tostring(ok), 0)
  end
  if not ok then
    error((...), 0)
  end
  return ...
end

local function is_over(task)
  local state = task_result(task)
  return state ~= "queued" and state ~= "running"
end

--- Waits until the task is over, then returns what its function returned or raises what it raised. May be called again,
--- and by several tasks.
---@param timeout? number  seconds; after them the task still goes on
---@return any ...  or nil, text, "timeout" | "cancelled"
function Task:wait(timeout)
  if not is_over(self) then
    task_wait(timeout, self)
    if not is_over(self) then
      return nil, ("the task is not ready after %g s"):format(timeout), "timeout"
    end
  end
  return read(task_result(self))
end

--- Ends the task: abandons what it waits for at once, then raises a `cancelled` error inside, so that its cleanup runs.
--- A task that has not begun does not begin.
---@return boolean  false: it was already over
function Task:cancel()
  return core.task_cancel(self)
end

--- True when wait() will not have to wait.
---@return boolean
function Task:is_over()
  return is_over(self)
end

-- ---- several ----

local function is_task(value)
  return type(value) == "userdata" and getmetatable(value) == "task"
end

-- Tasks by key from a list of tasks and functions, and those among them that were started here.
local function start(name, list)
  if type(list) ~= "table" then
    error(("%s: expected a table of functions and tasks, got a %s"):format(name, type(list)), 3)
  end
  for key, entry in pairs(list) do
    if type(entry) ~= "function" and not is_task(entry) then
      error(("%s: [%s] is a %s; give functions and tasks"):format(name, tostring(key), type(entry)), 3)
    end
  end
  local by_key, own = {}, {}
  for key, entry in pairs(list) do
    if type(entry) == "function" then
      entry = tasks.spawn(entry)
      own[#own + 1] = entry
    end
    by_key[key] = entry
  end
  return by_key, own
end

local function cancel_all(own)
  for _, task in ipairs(own) do
    task:cancel()
  end
end

local function next_over(pending)
  for key, task in pairs(pending) do
    if is_over(task) then
      return key, task
    end
  end
end

local function wait_for_one(pending)
  local list = {}
  for _, task in pairs(pending) do
    list[#list + 1] = task
    if #list == 64 then -- as many as core.task_wait takes; the others are checked after it
      break
    end
  end
  task_wait(nil, unpack(list))
end

-- Calls each(key, task) as they end, until it returns true or none is left. When anything raises, the tasks started
-- here are ended.
local function collect(own, pending, each)
  local ok, err = xpcall(function()
    while next(pending) ~= nil do
      local key, task = next_over(pending)
      if key == nil then
        wait_for_one(pending)
      else
        pending[key] = nil
        if each(key, task) then
          return
        end
      end
    end
  end, function(err)
    return { value = err }
  end)
  cancel_all(own)
  if not ok then
    error(err.value, 0)
  end
end

--- Runs functions side by side and waits for all, also for tasks among them.
-- If one raises, the functions that have not ended are cancelled and the error is raised here.
---@param list table  functions and tasks, by any keys
---@return table results   first result of each, by the same key
---@return table failures  { text =, code = } of each that returned nil and a text
function tasks.all(list)
  local pending, own = start("all", list)
  local found, failures = {}, {}
  collect(own, pending, function(key, task)
    local value, text, code = task:wait()
    found[key] = value
    if value == nil and text ~= nil then
      failures[key] = { text = text, code = code }
    end
  end)
  return found, failures
end

--- Runs functions side by side and returns what the first to succeed returns: it has not raised, and its first result,
--- if it has any, is not nil. The functions that have not ended are then cancelled; tasks in the list go on.
---@param list table  functions and tasks, by any keys
---@return any ...  when none succeeds: what the last one returned (nil, text, code); if it raised, the same error is raised
function tasks.any(list)
  local pending, own = start("any", list)
  if next(pending) == nil then
    error("any: the table is empty; give at least one function or task", 2)
  end
  local last
  collect(own, pending, function(_, task)
    last = { n = 0, pcall(task.wait, task) }
    for i in pairs(last) do
      last.n = type(i) == "number" and i > last.n and i or last.n
    end
    return last[1] and (select("#", unpack(last, 2, last.n)) == 0 or last[2] ~= nil)
  end)
  if not last[1] then
    error(last[2], 0)
  end
  return unpack(last, 2, last.n)
end

-- ---- time limits ----

local function timed_out(seconds)
  return nil, ("not ready after %g s"):format(seconds), "timeout"
end

local function limited(depth, seconds, ok, first, ...)
  local is_past = core.limit_close(depth)
  if ok then
    return first, ...
  end
  local cancelled = wait.cancelled(first)
  if is_past and cancelled and cancelled.limit == depth then
    return timed_out(seconds)
  end
  error(first, 0)
end

local function finish_or_cancel(task, seconds, ...)
  if not is_over(task) then
    task:cancel()
    return timed_out(seconds)
  end
  return ...
end

--- Calls fn(...) and ends it after so many seconds: its current wait is undone and raises a `cancelled` error with
--- reason "timeout" inside. Time that passes without waiting does not count. fn runs in the caller itself, so verdicts
--- work; only inside a coroutine of the script's own is it a task.
---@param seconds number
---@param fn function
---@return any ...  what fn returns; nil, text, "timeout"
function tasks.timeout(seconds, fn, ...)
  check_function("timeout", fn)
  local depth = limit_open(seconds)
  if depth then
    return limited(depth, seconds, pcall(fn, ...))
  end
  local task = tasks.spawn(fn, ...)
  return finish_or_cancel(task, seconds, task:wait(seconds))
end

-- ---- the end ----

--- Calls fn() when the message is over (called at mail or later), the client (before), or the scripts are unloaded
--- (while loading): after every handler and task, last one first, whatever the outcome. fn cannot wait.
---@param fn function
function tasks.at_end(fn)
  check_function("at_end", fn)
  raw_at_end(fn)
end

return tasks
