--- Rate limits that all workers of the host share, exact over workers, reloads and killed workers; or all hosts, by
--- a Redis server.
--
--   local out = limit.new { name = "account", rate = "200/h", burst = 50 }
--   function on_rcpt(ctx)
--     local ok, state = out:take(ctx.auth and ctx.auth.authen, { of = "message" })
--     if not ok then
--       return ctx:tempfail(451, "4.7.1", ("Too many recipients; try again in %d s"):format(state.retry_after))
--     end
--   end
--
-- A limit is a bucket for each key (GCRA): it holds `burst` units, and `rate` flows back. So at most
-- burst + rate × time pass in any time.
local core = require "moonmilter.core"
local exact = require "moonmilter.state.exact"
local options_of = require "moonmilter.runtime.options"
local places = require "moonmilter.state.places"
local server = require "moonmilter.state.server"
local share = require "moonmilter.state.share"
local soon = require "moonmilter.state.soon"
local store = require "moonmilter.store"
local tasks = require "moonmilter.runtime.tasks"

local limit = {}

local raw = core.limit
local SECONDS = { s = 1, m = 60, h = 3600, d = 86400 }
local MODES = { exact = exact, soon = soon }
local ON_DOWN = { open = true, tempfail = true }

local OPTIONS = {
  name = { "string" },
  rate = { "string" }, -- "200/h", "10/15m"
  burst = { "number" }, -- default: the count of the rate
  shared = { "string", "host" }, -- by all workers of the "host", or by all "hosts"
  mode = { "string" }, -- of "hosts": "exact" (default), or "soon": no call waits, and some units too many may pass
  redis = { "table" }, -- a client, or the options of redis.new; for "hosts"
  hosts = { "number", 1 }, -- how many there are: a host's part while the server is down
  on_down = { "string" }, -- what take() answers when it cannot know: "local" (default for "hosts"), "open", "tempfail"
}

local CONCURRENCY_OPTIONS = {
  name = { "string" },
  max = { "number" }, -- places of each key
  on_down = { "string", "open" },
}

local DISTINCT_OPTIONS = {
  name = { "string" },
  count = { "number" }, -- different values of each key
  per = { "string" }, -- in such a time: "1h", "10m"
  on_down = { "string", "open" },
}


---@class moonmilter.Limit
---@field name string
local Limit = {} -- of this host
Limit.__index = Limit

-- The same of several hosts: its buckets are those of state/exact.lua or state/soon.lua.
local OfHosts = {}
OfHosts.__index = OfHosts

-- "1h", "10m" -> seconds
local function read_time(text)
  local count, unit = text:match "^(%d+)([smhd])$"
  count = tonumber(count)
  return count and count >= 1 and count <= 1e6 and count * SECONDS[unit] or nil
end

-- "200/h", "10/15m" -> units and seconds
local function read_rate(rate)
  local count, every, unit = rate:match "^(%d+)/(%d*)([smhd])$"
  count, every = tonumber(count), every ~= "" and tonumber(every) or 1
  if not count or count < 1 or every < 1 or count > 1e9 or every > 1e6 then
    return nil
  end
  return count, every * SECONDS[unit]
end

-- What all three kinds have.
local function check_common(call, options, rows)
  if type(options) ~= "table" then
    error(("%s: expected a table of options, got a %s"):format(call, type(options)), 4)
  end
  options = options_of.check(call, options, rows, 4)
  if not options.name or not options.name:find "^[%w_.-]+$" or #options.name > 64 then
    error(call .. ": name must be 1 to 64 letters, digits, \"_\", \"-\" and \".\"", 4)
  end
  local is_local = options.shared == "hosts" and options.on_down == "local"
  if options.on_down and not ON_DOWN[options.on_down] and not is_local then
    error(("%s: on_down is %q; it must be \"open\" or \"tempfail\"%s"):format(call, options.on_down,
      call == "limit.new" and ", or with shared = \"hosts\" also \"local\"" or ""), 4)
  end
  return options
end

local function check_count(call, name, value)
  if type(value) ~= "number" or not (value >= 1 and value <= 1e9) then
    error(("%s: %s is %s; give 1 or more"):format(call, name, tostring(value)), 4)
  end
end

local function check(options)
  options = check_common("limit.new", options, OPTIONS)
  if not options.rate or not read_rate(options.rate) then
    error(("limit.new: rate is %s; write it as \"200/h\" or \"10/15m\" (s, m, h, d)"):format(
      options.rate and ("%q"):format(options.rate) or "missing"), 3)
  end
  if options.burst ~= nil then
    check_count("limit.new", "burst", options.burst)
  end
  check_count("limit.new", "hosts", options.hosts)
  if options.shared ~= "host" and options.shared ~= "hosts" then
    error(("limit.new: shared is %q; it must be \"host\" or \"hosts\""):format(options.shared), 3)
  end
  for _, name in ipairs { "redis", "mode" } do
    if options[name] and options.shared == "host" then
      error(("limit.new: %s is for a limit with shared = \"hosts\""):format(name), 3)
    end
  end
  if options.mode and not MODES[options.mode] then
    error(("limit.new: mode is %q; it must be \"exact\" or \"soon\""):format(options.mode), 3)
  end
  options.on_down = options.on_down or (options.shared == "hosts" and "local" or "open")
  return options
end

-- ---- limit.new ----

local function buckets_of_hosts(options, interval, capacity)
  local used, text = server.of(options.redis)
  if not used then
    error("limit.new: " .. text, 3)
  end
  return MODES[options.mode or "exact"].new {
    name = options.name, interval = interval, capacity = capacity, server = used,
    share = share.new(options.name, interval, capacity, options.hosts, options.on_down),
  }
end

--- A limit. Scripts of the same milter that name it share its buckets, and the last `rate` and `burst` rule. With
--- shared = "hosts" all hosts that name it share them, on a Redis server, and calls wait for it unless mode is "soon".
---@param options moonmilter.limit.Options
---@return moonmilter.Limit
function limit.new(options)
  options = check(options)
  local count, seconds = read_rate(options.rate)
  local interval, capacity = seconds / count, options.burst or count
  local made, text = raw.open()
  if not made then
    error(("limit.new: %s"):format(text), 2)
  end
  if options.shared == "hosts" then
    return setmetatable({ name = options.name, buckets = buckets_of_hosts(options, interval, capacity) }, OfHosts)
  end
  local ask, fill = raw.new(options.name .. ":", interval, capacity)
  return setmetatable({ name = options.name, interval = interval, on_down = options.on_down, ask = ask, fill = fill },
    Limit)
end

-- ---- arguments ----

-- What is nearly always given is found without a loop: LuaJIT does not compile pairs().
local function is_of_message(options)
  return options.of == "message" and next(options, next(options)) == nil
end

-- -> count, whether the units are of the message
local function check_take(key, count, options)
  if type(count) == "table" then
    count, options = nil, count
  end
  count = count or 1
  if type(key) ~= "string" then
    error(("take: the key is a %s; it must be a string, or nil for no limit"):format(type(key)), 3)
  end
  if type(count) ~= "number" or not (count > 0 and count <= 1e9) then
    error(("take: %s units; give a number above 0"):format(tostring(count)), 3)
  end
  if options == nil then
    return count, false
  elseif is_of_message(options) then
    return count, true
  end
  for name, value in pairs(options) do
    if name ~= "of" or value ~= "message" then
      error(("take: unknown option %s = %s; there is of = \"message\""):format(tostring(name), tostring(value)), 3)
    end
  end
  return count, false
end

local function no_limit()
  return true, { remaining = math.huge, retry_after = 0, crossed = false, state = "none" }
end

-- ---- of this host: a take is in front of every message, so it calls no further function of Lua ----

local LOOK, OF_MESSAGE = 1, 2 -- ORDER HOW: host/bind/limit.c

local function down_here(self, text, code)
  return self.on_down == "open", { state = "down", text = text, code = code, remaining = 0,
    retry_after = self.interval, crossed = false }
end

-- Outside of a message the units go back when what runs here ends.
local function give_back_at_end(self, key, units)
  tasks.at_end(function()
    if not core.has_passed() then
      self.ask(key, -units)
    end
  end)
end

--- Takes units from the bucket of a key. A key of nil has no limit.
---@param key string?  an account, an address, a network
---@param count number?  default 1
---@param options { of: "message"? }?  of = "message": given back unless the message passes (continue or accept)
---@return boolean ok
---@return moonmilter.limit.State state
function Limit:take(key, count, options)
  if key == nil then
    return no_limit()
  end
  local units, of_message = check_take(key, count, options)
  local ok, remaining, retry_after, crossed, is_left = self.ask(key, units, of_message and OF_MESSAGE or nil)
  if ok == nil then
    return down_here(self, remaining, retry_after)
  elseif is_left then
    give_back_at_end(self, key, units)
  end
  return ok, { remaining = remaining, retry_after = retry_after, crossed = crossed, state = "shared" }
end

--- What take() would answer, without taking. remaining: units that are there.
---@param key string
---@param count number?  default 1
---@return boolean ok
---@return table state
function Limit:peek(key, count)
  local ok, remaining, retry_after, crossed = self.ask(key, (check_take(key, count)), LOOK)
  if ok == nil then
    return down_here(self, remaining, retry_after)
  end
  return ok, { remaining = remaining, retry_after = retry_after, crossed = crossed, state = "shared" }
end

--- Fills the bucket of a key.
---@param key string
---@return boolean? was_used
---@return string? text
---@return string? code
function Limit:reset(key)
  check_take(key, 1)
  return self.fill(key)
end

-- ---- of several hosts ----

function OfHosts:take(key, count, options)
  if key == nil then
    return no_limit()
  end
  local units, of_message = check_take(key, count, options)
  local ok, state = self.buckets:take(key, units)
  if ok and of_message and state.state ~= "down" then
    self.buckets:hold(key, units, state)
  end
  return ok, state
end

function OfHosts:peek(key, count)
  return self.buckets:look(key, (check_take(key, count)))
end

function OfHosts:reset(key)
  check_take(key, 1)
  return self.buckets:reset(key)
end

-- ---- how many at a time ----

---@class moonmilter.Concurrency
---@field name string
local Concurrency = {}
Concurrency.__index = Concurrency

local place_store

--- A limit of how many messages or clients are under way at a time, for each key.
---@param options { name: string, max: number, on_down: string? }
---@return moonmilter.Concurrency
function limit.concurrency(options)
  options = check_common("limit.concurrency", options, CONCURRENCY_OPTIONS)
  check_count("limit.concurrency", "max", options.max)
  place_store = place_store or store.open("places", { when_full = "evict" })
  return setmetatable({ name = options.name, prefix = options.name .. ":", max = options.max,
    on_down = options.on_down }, Concurrency)
end

local function check_key(call, key)
  if type(key) ~= "string" then
    error(("%s: the key is a %s; it must be a string, or nil for no limit"):format(call, type(key)), 3)
  end
end

local function down(self, text, code)
  return self.on_down == "open", { state = "down", text = text, code = code, count = 0 }
end

--- Takes a place until the message (from MAIL on) or the client (before) ends.
---@param key string?  nil: no limit
---@return boolean ok
---@return { count: integer, state: "shared"|"down"|"none" } state  count: places that are taken now
function Concurrency:enter(key)
  if key == nil then
    return true, { count = 0, state = "none" }
  end
  check_key("enter", key)
  local ok, count, code = places.take(place_store, self.prefix .. key, self.max)
  if ok == nil then
    return down(self, count, code)
  end
  if ok then
    tasks.at_end(function()
      places.give(self.prefix .. key)
    end)
  end
  return ok, { count = count, state = "shared" }
end

--- How many places of a key are taken.
---@param key string
---@return integer? count
---@return string? text
---@return string? code
function Concurrency:count(key)
  check_key("count", key)
  return places.count(place_store, self.prefix .. key)
end

-- ---- how many different ones ----

---@class moonmilter.Distinct
---@field name string
local Distinct = {}
Distinct.__index = Distinct

local distinct_store

--- A limit of how many different values a key may have in some time: recipients of an account, accounts of a client.
---@param options { name: string, count: number, per: string, on_down: string? }  per: "1h", "10m", "1d"
---@return moonmilter.Distinct
function limit.distinct(options)
  options = check_common("limit.distinct", options, DISTINCT_OPTIONS)
  check_count("limit.distinct", "count", options.count)
  local per = options.per and read_time(options.per)
  if not per then
    error(("limit.distinct: per is %s; write it as \"1h\" or \"10m\" (s, m, h, d)"):format(
      options.per and ("%q"):format(options.per) or "missing"), 2)
  end
  distinct_store = distinct_store or store.open("distinct", { when_full = "evict" })
  return setmetatable({ name = options.name, prefix = options.name .. ":", max = options.count, per = per,
    on_down = options.on_down }, Distinct)
end

-- One value less; a count whose time is over stays away.
local function one_less(count)
  return count and count > 1 and count - 1 or nil
end

-- Counts first and notes the value then: of several workers none lets more values pass, and a value that is noted has
-- passed.
local function note_value(self, base, value)
  local count, text, code = distinct_store:incr(base, 1, self.per)
  if count == nil then
    return down(self, text, code)
  elseif count > self.max then -- another worker took the last one
    distinct_store:update(base, one_less)
    return distinct_store:get(base .. value) ~= nil, { count = self.max, state = "shared" }
  end
  local _, left = distinct_store:get(base)
  local added
  added, text, code = distinct_store:add(base .. value, true, type(left) == "number" and left > 0 and left or self.per)
  if added then
    return true, { count = count, state = "shared" }
  end
  distinct_store:update(base, one_less)
  if added == nil then
    return down(self, text, code)
  end
  return true, { count = count - 1, state = "shared" } -- another worker has noted it
end

--- Notes a value of a key. A value that was noted before is free; a new one beyond the limit is refused and not noted.
--- The time begins with the first value.
---@param key string?  nil: no limit
---@param value string
---@return boolean ok
---@return { count: integer, state: "shared"|"down"|"none" } state  count: different values so far
function Distinct:add(key, value)
  if key == nil then
    return true, { count = 0, state = "none" }
  end
  check_key("add", key)
  if type(value) ~= "string" then
    error(("add: the value is a %s; it must be a string"):format(type(value)), 2)
  end
  -- the length keeps keys apart that contain the separator
  local base = ("%s%d:%s:"):format(self.prefix, #key, key)
  local seen, text, code = distinct_store:get(base .. value)
  local count, left = distinct_store:get(base)
  if (seen == nil and text) or (count == nil and left) then
    return down(self, text or left, code)
  elseif seen then
    return true, { count = count or 0, state = "shared" }
  elseif (count or 0) >= self.max then
    return false, { count = count, state = "shared" }
  end
  return note_value(self, base, value)
end

return limit
