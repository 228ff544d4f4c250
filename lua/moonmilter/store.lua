--- Tables that outlive a handler, a generation of scripts and a worker: shared by all workers of the host.
--
--   local known = store.open("known", { ttl = 36 * 86400, durable = true })
--   function on_rcpt(ctx, rcpt)
--     if ctx.auth then known:set(rcpt, true) end
--   end
--
-- No function waits for other workers or for a disk; each() and clear() let other sessions go on after every 500 keys.
-- A durable store is copied to state_dir twice a second and survives restarts; another one survives reloads and killed
-- workers, but not a restart of the system. A failure is
-- nil, a text and a code: "busy" (a worker holds the store and does not run), "full", "key" (it is empty), "type",
-- "io"; nil alone means that there is no such key. Keys may be of any length; each() shows 511 bytes of a longer one.
-- With engine = "redis" the table is on a server that all hosts share, and every function waits for it
-- (state/remote.lua).
local arguments = require "moonmilter.state.arguments"
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"
local remote = require "moonmilter.state.remote"
local server = require "moonmilter.state.server"
local wait = require "moonmilter.runtime.wait"

local store = {}

local raw = core.store
local get, set, delete, incr, swap, packed, unpack_value = raw.get, raw.set, raw.delete, raw.incr, raw.swap, raw.packed,
  raw.unpack

local pause = wait.wrap(core.pause)

local SLICE = 500 -- keys that clear() removes, and each() gives, until others have their turn

local OPTIONS = {
  ttl = { "number" }, -- seconds a value lives, unless set() says otherwise; default: for ever
  durable = { "boolean", false },
  max = { "number", 64 * 2 ^ 20 }, -- bytes of the table
  when_full = { "string", "refuse" }, -- or "evict"
  engine = { "string", "memory" }, -- or "redis"
  redis = { "table" }, -- a client, or the options of redis.new; for the engine "redis"
}

---@class moonmilter.store.Store
---@field name string
local Store = {}
Store.__index = Store

local check_key, check_ttl, check_value = arguments.key, arguments.ttl, arguments.value

-- Options that each engine has not.
local FOREIGN = { memory = { "redis" }, redis = { "durable", "max", "when_full" } }

local function check_engine(engine, given)
  if not FOREIGN[engine] then
    error(("store.open: engine is %q; it must be \"memory\" or \"redis\""):format(engine), 4)
  end
  for _, name in ipairs(FOREIGN[engine]) do
    if given[name] ~= nil then
      error(("store.open: the engine %q has no option %s"):format(engine, name), 4)
    end
  end
end

-- Longer keys are kept as a beginning of this size and a hash.
local LONGEST_PREFIX = 479

local function check_prefix(call, prefix)
  if type(prefix) ~= "string" and prefix ~= nil then
    error(("%s: the prefix is a %s; it must be a string"):format(call, type(prefix)), 3)
  elseif prefix and #prefix > LONGEST_PREFIX then
    error(("%s: a prefix of %d bytes; it may have %d"):format(call, #prefix, LONGEST_PREFIX), 3)
  end
  return prefix or ""
end

local function check_options(name, options)
  if type(name) ~= "string" then
    error(("store.open: the name is a %s; it must be a string"):format(type(name)), 3)
  end
  local given = options or {}
  options = options_of.check("store.open", given, OPTIONS, 3)
  check_ttl("store.open", options.ttl, 3)
  check_engine(options.engine, given)
  if options.when_full ~= "refuse" and options.when_full ~= "evict" then
    error(("store.open: when_full is %q; it must be \"refuse\" or \"evict\""):format(options.when_full), 3)
  end
  if not (options.max >= 65536 and options.max <= 2 ^ 40) then
    error(("store.open: max is %s; give 65536 to 2^40 bytes"):format(options.max), 3)
  end
  return options
end

local function open_remote(name, options)
  if not name:find "^[%w_.-]+$" or #name > 64 then
    error(("store.open: store %q: a name has 1 to 64 letters, digits, \"_\", \"-\" and \".\""):format(name), 3)
  end
  local used, text = server.of(options.redis)
  if not used then
    error(("store.open: store %q: %s"):format(name, text), 3)
  end
  return remote.new { name = name, ttl = options.ttl, server = used }
end

--- Opens a store. Workers, scripts and generations of the same milter that name it see the same table.
---@param name string  letters, digits, "_", "-" and "."
---@param options moonmilter.store.Options?
---@return moonmilter.store.Store
function store.open(name, options)
  options = check_options(name, options)
  if options.engine == "redis" and not core.shadow then -- a shadow's stores are its own
    return open_remote(name, options)
  end
  local number, text = raw.open(name, options.max, options.when_full == "evict", options.durable)
  if not number then
    error(("store.open: store %q: %s"):format(name, text), 2)
  end
  return setmetatable({ name = name, number = number, ttl = options.ttl }, Store)
end

--- The value of a key, and the seconds that it still lives (nil: for ever); nil when there is none.
---@param key string
---@return any value
---@return number|string|nil ttl_or_text
---@return string? code
function Store:get(key)
  return get(self.number, check_key("get", key))
end

--- Sets the value of a key: a string, a number, a boolean, or a table of those.
---@param key string
---@param value any
---@param ttl number?  seconds; default: that of the store
---@return true? done
---@return string? text
---@return string? code
function Store:set(key, value, ttl)
  return set(self.number, check_key("set", key), check_value("set", value), check_ttl("set", ttl, 2) or self.ttl)
end

--- Sets the value of a key that has none. Of several workers that try, one gets true.
---@return boolean? added
---@return string? text
---@return string? code
function Store:add(key, value, ttl)
  return set(self.number, check_key("add", key), check_value("add", value), check_ttl("add", ttl, 2) or self.ttl, true)
end

--- Adds to a number; a key without a value counts as 0. Its life begins with the first count and does not grow.
---@param key string
---@param by number?  default 1
---@param ttl number?
---@return number? sum
---@return string? text
---@return string? code
function Store:incr(key, by, ttl)
  return incr(self.number, check_key("incr", key), arguments.by(by), check_ttl("incr", ttl, 2) or self.ttl)
end

--- Removes a key.
---@return boolean? was_there
---@return string? text
---@return string? code
function Store:delete(key)
  return delete(self.number, check_key("delete", key))
end

--- Changes a value in one piece: fn gets the present value (nil: none) and returns the new one (nil: remove it). fn is
--- called again when another worker has changed the value in between.
---@param key string
---@param fn fun(value: any): any
---@param ttl number?  default: an existing value lives as long as before, a new one as long as the store says
---@return any value  what fn returned last
---@return string? text
---@return string? code
function Store:update(key, fn, ttl)
  check_key("update", key)
  arguments.update(fn)
  check_ttl("update", ttl, 2)
  while true do
    local bytes, text, code = packed(self.number, key)
    if bytes == nil and text then
      return nil, text, code
    end
    local value = fn(bytes and unpack_value(bytes))
    local done
    done, text, code = swap(self.number, key, bytes, value, ttl or self.ttl, ttl == nil)
    if done then
      return value
    elseif done == nil then
      return nil, text, code
    end
  end
end

--- Iterates over keys and values, in the order of the keys' bytes: for key, value, ttl in known:each() do … end. Sees
--- each key that is there all the time exactly once. Raises when the store cannot be read.
---@param prefix string?  only keys that begin so
---@return fun(): string?, any, number?
function Store:each(prefix)
  local key, count = "", 0
  prefix = check_prefix("each", prefix)
  return function()
    count = count + 1
    if count % SLICE == 0 then
      pause()
    end
    local found, value, ttl = raw.next(self.number, key, prefix)
    if found == nil and value then
      error(("each: store %q: %s"):format(self.name, value), 2)
    end
    key = found
    return found, value, ttl
  end
end

--- The number of keys, those included whose life has ended and that nothing has removed yet.
---@return integer? count
---@return string? text
---@return string? code
function Store:count()
  local figures, text, code = raw.figures(self.number)
  if not figures then
    return nil, text, code
  end
  return figures.count
end

--- Removes all keys, or those with a prefix.
---@param prefix string?
---@return true? done
---@return string? text
---@return string? code
function Store:clear(prefix)
  prefix = check_prefix("clear", prefix)
  local left, text, code = raw.remove_some(self.number, prefix, SLICE)
  while left do
    pause()
    left, text, code = raw.remove_some(self.number, prefix, SLICE)
  end
  if left == nil then
    return nil, text, code
  end
  return true
end

return store
