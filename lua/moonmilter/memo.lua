--- Results of slow functions, kept for all workers of the host: a function is called once for each set of arguments,
-- however many sessions want its result at the same time.
--
--   local memo = require "moonmilter.memo"
--   local owner = memo(function(domain)
--     return http.get("https://directory.example/" .. domain).body
--   end, { ttl = 3600, stale = 86400, negative = 60 })
--   …
--   local text, why, code = owner(domain)
--
-- The function may wait. Its first result is kept: a string, a number, a boolean, or a table of those; nil alone
-- ("there is none") is kept for `negative` seconds. A failure (nil, text, code) is given to all that wait for it and is
-- not kept. With `stale`, an old result is given while a new one is found out, or cannot be.
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local options_of = require "moonmilter.runtime.options"
local remote_results = require "moonmilter.state.remote_results"
local server = require "moonmilter.state.server"
local store = require "moonmilter.store"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local now, sleep, unpack, select = core.now, wait.wrap(core.sleep), unpack, select

local POLL = 0.05 -- seconds between looks at what another worker is finding out
local LEASE = 30 -- seconds after which a caller in another worker is taken for dead; renewed every third of it

local OWN_MEMORY = 60 -- seconds at most that a host keeps a result of all hosts, so that forget() elsewhere is seen

local LONGEST_NAME = 200 -- bytes: the beginning of each key, which the store keeps even of a long one

local OPTIONS = {
  ttl = { "number", 300 }, -- seconds that a result is fresh
  stale = { "number", 0 }, -- seconds after that in which it is still given while one caller finds a new one
  negative = { "number", 60 }, -- seconds that "there is none" is kept
  name = { "string" }, -- of the results in the store; default: file and line of the function
  max = { "number", 64 * 2 ^ 20 }, -- bytes of all results; the ones that end first make room
  shared = { "string", "host" }, -- by all workers of the "host", or by all "hosts"
  redis = { "table" }, -- a client, or the options of redis.new; for "hosts"
  on_down = { "string", "local" }, -- when the server fails: "local" calls the function on each host, "fail" does not
}

local kept -- the store of all memos
local running = {} -- key -> task of this worker that finds it out

---@class moonmilter.Memo
local Memo = {}
Memo.__index = Memo

local function check(fn, options)
  if type(fn) ~= "function" then
    error(("memo: expected a function, got a %s"):format(type(fn)), 3)
  end
  options = options_of.check("memo", options or {}, OPTIONS, 3)
  if options.name and (#options.name > LONGEST_NAME or not options.name:find "^[^%c]+$") then
    error(("memo: name is %q; give 1 to %d bytes without control characters"):format(options.name, LONGEST_NAME), 3)
  end
  for _, name in ipairs { "ttl", "stale", "negative" } do
    if not (options[name] >= 0 and options[name] <= 1e9) then
      error(("memo: %s is %s; give seconds, 0 or more"):format(name, tostring(options[name])), 3)
    end
  end
  if options.shared ~= "host" and options.shared ~= "hosts" then
    error(("memo: shared is %q; it must be \"host\" or \"hosts\""):format(options.shared), 3)
  elseif options.redis and options.shared == "host" then
    error("memo: redis is for a memo with shared = \"hosts\"", 3)
  elseif options.on_down ~= "local" and options.on_down ~= "fail" then
    error(("memo: on_down is %q; it must be \"local\" or \"fail\""):format(options.on_down), 3)
  end
  return options
end

-- File and line of a function: the same in every worker.
local function name_of(fn)
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.source:gsub("%c.*", ""):sub(-LONGEST_NAME + 20), info.linedefined)
end

-- Arguments as one text; equal arguments give equal texts.
local function key_of(self, ...)
  local parts = { self.name }
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" and value ~= nil then
      error(("memo: argument %d is a %s; results are kept by strings, numbers and booleans"):format(i, kind), 4)
    end
    local text = kind == "number" and ("%.17g"):format(value) or tostring(value)
    parts[#parts + 1] = ("%s%d:%s"):format(kind:sub(1, 1), #text, text)
  end
  return table.concat(parts, "\n")
end

-- ---- one caller ----

-- fresh: seconds that the result is still fresh; nil: it is new.
local function keep(self, key, value, fresh)
  fresh = fresh or (value == nil and self.negative or self.ttl)
  local life = fresh + (value ~= nil and self.stale or 0)
  if life <= 0 or fresh <= 0 and self.stale <= 0 then
    return
  end
  local ok, text = kept:set(key, { value = value, fresh_until = now() + (self.hosts and math.min(fresh, OWN_MEMORY)
    or fresh) }, life)
  if not ok then
    log.warn("memo %s: the result is not kept: %s", self.name, text)
  end
end

-- While we find a result out, callers in other workers wait as long as our claim lives.
local function claim(key)
  return kept:add(key .. "\nclaim", true, LEASE)
end

local function keep_claim(key)
  while true do
    sleep(LEASE / 3)
    kept:set(key .. "\nclaim", true, LEASE)
  end
end

local function give_claim_back(key)
  kept:delete(key .. "\nclaim")
end

local function look(key)
  local found = kept:get(key)
  if found then
    return true, found.value, found.fresh_until > now()
  end
  return false
end

local function is_result(value, text)
  return value ~= nil or text == nil
end

local function call_and_keep(self, key, ...)
  local value, text, code = self.fn(...)
  local ok, why = true, nil
  if is_result(value, text) then
    ok, why = pcall(keep, self, key, value)
  end
  if not ok then
    error(("memo %s: the result cannot be kept: %s"):format(self.name, tostring(why)), 0)
  end
  return value, text, code
end

-- The result that another host has found out, or else this one does. Without a copy of its own, a host takes an old
-- result while another host finds the new one.
local function ask_hosts(self, key, ...)
  local found, right, text, code = self.hosts:obtain(key, self.stale > 0 and not look(key))
  if found then
    keep(self, key, found.value, found.fresh)
    return found.value
  elseif not right and self.on_down == "fail" then
    return nil, text, code
  end
  local results = { pcall(call_and_keep, self, key, ...) }
  if right then
    self.hosts:finish(right, results[1] and is_result(results[2], results[3]), results[2])
  end
  if not results[1] then
    error(results[2], 0)
  end
  return unpack(results, 2, 4)
end

-- Gives the claim back before it raises, whatever raised: others would wait for it.
local function find_out(self, key, ...)
  local is_renewed, renewal = pcall(tasks.spawn, keep_claim, key) -- not with too many tasks: then others may begin, too
  local results = { pcall(self.hosts and ask_hosts or call_and_keep, self, key, ...) }
  if is_renewed then
    renewal:cancel()
  end
  give_claim_back(key)
  if not results[1] then
    error(results[2], 0)
  end
  return unpack(results, 2, 4)
end

-- The task that finds a key out. One that was ended for its CPU time could not say that it is over.
local function current(key)
  local task = running[key]
  if task and task:is_over() then
    running[key] = nil
    return nil
  end
  return task
end

-- In a task of the scripts, not of the session that happens to be first: if that one goes away, the others still get
-- the result.
local function start(self, key, ...)
  local task
  task = tasks.detach("generation", function(...)
    local results = { pcall(find_out, self, key, ...) }
    running[key] = nil
    if not results[1] then
      error(results[2], 0)
    end
    return unpack(results, 2, 4)
  end, ...)
  running[key] = task
  return task
end

-- ---- the others ----

-- Another worker finds it out: waits until the result is there or its claim is gone.
local function wait_for_other(key)
  repeat
    sleep(POLL)
    local is_there, value, is_fresh = look(key)
    if is_there and is_fresh then
      return true, value
    end
  until not kept:get(key .. "\nclaim")
  return false
end

local function obtain(self, key, ...)
  while true do
    local task = current(key)
    if not task and claim(key) ~= false then -- nil: the store fails, so each worker finds out by itself
      local ok
      ok, task = pcall(start, self, key, ...)
      if not ok then -- too many tasks: then without sharing it with others
        return find_out(self, key, ...)
      end
    end
    if task then
      return task:wait()
    end
    local is_there, value = wait_for_other(key)
    if is_there then
      return value
    end
  end
end

local function call(self, ...)
  local key = key_of(self, ...)
  local is_there, value, is_fresh = look(key)
  if is_there and is_fresh then
    return value
  end
  if is_there and self.stale > 0 then
    if not current(key) and claim(key) and not pcall(start, self, key, ...) then -- too many tasks: another time
      give_claim_back(key)
    end
    return value
  end
  return obtain(self, key, ...)
end

Memo.__call = call

-- What failed of two, or true.
local function both(done, text, code, ...)
  if not done and text then
    return nil, text, code
  end
  return ...
end

--- Forgets the result for these arguments; without arguments, all results of this function. With shared = "hosts" it
--- waits for the server, and other hosts forget within a minute.
function Memo:forget(...)
  if select("#", ...) == 0 then
    local done, text, code = kept:clear(self.name .. "\n")
    if self.hosts then
      return both(done, text, code, self.hosts:clear())
    end
    return done, text, code
  end
  local key = key_of(self, ...)
  local was_there, text, code = kept:delete(key)
  if self.hosts then
    return both(was_there, text, code, self.hosts:forget(key))
  end
  return was_there, text, code
end

--- A function that remembers: called like fn, it returns fn's first result, or nil, text, code.
---@param fn function  may wait; gets strings, numbers and booleans
---@param options moonmilter.memo.Options?
---@return moonmilter.Memo
local function new(_, fn, options)
  options = check(fn, options)
  kept = kept or store.open("memo", { max = options.max, when_full = "evict" })
  local self = { fn = fn, name = options.name or name_of(fn), ttl = options.ttl, stale = options.stale,
    negative = options.negative, on_down = options.on_down }
  if options.shared == "hosts" and not core.shadow then -- a shadow's results are its own
    local used, text = server.of(options.redis)
    if not used then
      error("memo: " .. text, 2)
    end
    self.hosts = remote_results.new { name = self.name, server = used, ttl = options.ttl, stale = options.stale,
      negative = options.negative }
  end
  return setmetatable(self, Memo)
end

return setmetatable({}, { __call = new })
