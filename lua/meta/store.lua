---@meta moonmilter.store
-- require "moonmilter.store", for editors (LuaLS). Never loaded. Manual: docs/store.md.

--- Tables that all workers of the host share; they outlive handlers, generations and workers. No call waits, but with
--- the engine "redis", by which all hosts share them, every call does, and the codes are those of moonmilter.redis.
---@class moonmilter.store
local store = {}

---@alias moonmilter.store.Code
---| "full"  # max is reached, or the file system in memory is full
---| "busy"  # another worker holds the store and does not run
---| "type"  # incr: the value is not a number
---| "key"   # the key is empty
---| "io"

---@class moonmilter.store.Options
---@field ttl number?        seconds a value lives unless the call says otherwise; default: for ever
---@field durable boolean?   survives a restart of the system; needs state_dir; default false
---@field max integer?       bytes, 65536 to 2^40; default 64 MiB
---@field when_full "refuse"|"evict"|nil  default "refuse"
---@field engine "memory"|"redis"|nil     default "memory"; "redis" has no durable, max and when_full
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "redis"; default: redis of moonmilter.conf

--- A string, a number, a boolean, or a table of those, up to 1 MiB and 16 levels.
---@alias moonmilter.store.Value string|number|boolean|table

---@class moonmilter.store.Store
---@field name string
local Store = {}

--- Opens the store of that name or makes it. Raises at the caller's line when that fails or an option is wrong.
---@param name string  1 to 64 letters, digits, "_", "-" and "."
---@param options moonmilter.store.Options?
---@return moonmilter.store.Store
function store.open(name, options) end

--- nil alone: there is none.
---@param key string
---@return moonmilter.store.Value? value
---@return number|string|nil ttl  seconds that it still lives, nil: for ever; a text after a failure
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:get(key) end

--- Raises when the value cannot be kept.
---@param key string
---@param value moonmilter.store.Value
---@param ttl number?  seconds
---@return true?
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:set(key, value, ttl) end

--- Sets a value if the key has none.
---@param key string
---@param value moonmilter.store.Value
---@param ttl number?  seconds
---@return boolean? added
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:add(key, value, ttl) end

--- A key without a value counts as 0; its life begins with the first count.
---@param key string
---@param by number?  default 1
---@param ttl number?  seconds
---@return number? sum
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:incr(key, by, ttl) end

---@param key string
---@return boolean? was_there
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:delete(key) end

--- Replaces a value by fn(value) with nobody else in between; fn may be called again. nil: none, remove.
---@param key string
---@param fn fun(value: moonmilter.store.Value?): moonmilter.store.Value?
---@param ttl number?  seconds; default: an existing value lives as long as before
---@return moonmilter.store.Value? value
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:update(key, fn, ttl) end

--- For for loops: key, value and the seconds that it still lives, in the order of the keys' bytes (engine "redis": in
--- no order, and a key may come twice).
---@param prefix string?
---@return fun(): string?, moonmilter.store.Value?, number?
function Store:each(prefix) end

---@return integer? count
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:count() end

---@param prefix string?
---@return true?
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Store:clear(prefix) end

return store
