---@meta moonmilter.limit
-- require "moonmilter.limit", for editors (LuaLS). Never loaded. Manual: docs/limit.md.

--- Limits that all workers of the host share; their calls do not wait. With shared = "hosts" all hosts share them, and
--- take, peek and reset wait for a Redis server (with mode = "soon" only reset).
---@class moonmilter.limit
local limit = {}

---@class moonmilter.limit.Options
---@field name string       1 to 64 letters, digits, "_", "-" and "."
---@field rate string       "200/h", "10/15m": s, m, h or d
---@field burst number?     units that may pass at once; default: the number in rate
---@field shared "host"|"hosts"|nil  default "host"
---@field mode "exact"|"soon"|nil  for "hosts"; default "exact". "soon": no message waits, and some too many may pass
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "hosts"; default: redis of moonmilter.conf
---@field hosts integer?    how many there are, default 1: a host's part while the server is down
---@field on_down "local"|"open"|"tempfail"|nil  what take() answers when it cannot know; default "open", for "hosts"
---"local": by the host's own count

---@class moonmilter.limit.State
---@field remaining number    units left
---@field retry_after number  seconds until so many units are there; 0: now; math.huge: never
---@field crossed boolean     the first refusal since the bucket was half full
---@field state "shared"|"local"|"down"|"none"  local: the host's own count; none: without a key
---@field text string?        of a failure
---@field code string?

---@class moonmilter.Limit
---@field name string
local Limit = {}

--- Raises at the caller's line when an option is wrong.
---@param options moonmilter.limit.Options
---@return moonmilter.Limit
function limit.new(options) end

--- Takes units, or none.
---@param key string?  nil: no limit
---@param count number?  default 1; may be left out before the options
---@param options { of: "message"? }?  of = "message": given back unless the message passes
---@return boolean ok
---@return moonmilter.limit.State
function Limit:take(key, count, options) end

--- What take() would answer.
---@param key string
---@param count number?
---@return boolean ok
---@return moonmilter.limit.State
function Limit:peek(key, count) end

--- Fills the bucket of a key.
---@param key string
---@return boolean? was_used
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Limit:reset(key) end

---@class moonmilter.limit.CountState
---@field count integer  places that are taken, or different values
---@field state "shared"|"local"|"down"|"none"  local: the host's own count; none: without a key
---@field text string?   of a failure
---@field code string?

---@class moonmilter.limit.ConcurrencyOptions
---@field name string
---@field max integer     places of each key
---@field shared "host"|"hosts"|nil  default "host"
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "hosts"
---@field hosts integer?  how many there are, default 1: a host's part while the server is down
---@field on_down "local"|"open"|"tempfail"|nil  default "open", for "hosts" "local"

---@class moonmilter.limit.DistinctOptions
---@field name string
---@field count integer   different values of each key; for "hosts" 100,000 at most
---@field per string      "1h", "10m", "1d"
---@field shared "host"|"hosts"|nil  default "host"
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "hosts"
---@field hosts integer?  how many there are, default 1: a host's part while the server is down
---@field on_down "local"|"open"|"tempfail"|nil  default "open", for "hosts" "local"

---@class moonmilter.Concurrency
---@field name string
local Concurrency = {}

--- How many messages or clients of a key are under way at a time.
---@param options moonmilter.limit.ConcurrencyOptions
---@return moonmilter.Concurrency
function limit.concurrency(options) end

--- Takes a place until the message (from MAIL on) or the client (before) ends.
---@param key string?  nil: no limit
---@return boolean ok
---@return moonmilter.limit.CountState
function Concurrency:enter(key) end

--- Places that are taken.
---@param key string
---@return integer? count
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Concurrency:count(key) end

---@class moonmilter.Distinct
---@field name string
local Distinct = {}

--- How many different values a key has in some time.
---@param options moonmilter.limit.DistinctOptions
---@return moonmilter.Distinct
function limit.distinct(options) end

--- Notes a value; a new one beyond the limit is refused and not noted.
---@param key string?  nil: no limit
---@param value string
---@return boolean ok
---@return moonmilter.limit.CountState
function Distinct:add(key, value) end

return limit
