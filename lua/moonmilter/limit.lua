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
local distinct = require "moonmilter.state.distinct"
local exact = require "moonmilter.state.exact"
local options_of = require "moonmilter.runtime.options"
local places = require "moonmilter.state.places"
local remote_distinct = require "moonmilter.state.remote_distinct"
local remote_places = require "moonmilter.state.remote_places"
local server = require "moonmilter.state.server"
local share = require "moonmilter.state.share"
local soon = require "moonmilter.state.soon"
local tasks = require "moonmilter.runtime.tasks"

local limit = {}

local raw = core.limit
local SECONDS = { s = 1, m = 60, h = 3600, d = 86400 }
local MODES = { exact = exact, soon = soon }
local ON_DOWN = { open = true, tempfail = true }
local MOST_MEMBERS = 100000 -- different values of a key on a server: some 7 MB

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
  shared = { "string", "host" },
  redis = { "table" },
  hosts = { "number", 1 },
  on_down = { "string" },
}

local DISTINCT_OPTIONS = {
  name = { "string" },
  count = { "number" }, -- different values of each key
  per = { "string" }, -- in such a time: "1h", "10m"
  shared = { "string", "host" },
  redis = { "table" },
  hosts = { "number", 1 },
  on_down = { "string" },
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
  return options
end

local function check_count(call, name, value)
  if type(value) ~= "number" or not (value >= 1 and value <= 1e9) then
    error(("%s: %s is %s; give 1 or more"):format(call, name, tostring(value)), 4)
  end
end

-- Who shares it, and what is answered when that fails.
local function check_shared(call, options)
  local is_remote = options.shared == "hosts"
  if options.shared ~= "host" and not is_remote then
    error(("%s: shared is %q; it must be \"host\" or \"hosts\""):format(call, options.shared), 4)
  end
  for _, name in ipairs { "redis", "mode" } do
    if options[name] and not is_remote then
      error(("%s: %s is for a limit with shared = \"hosts\""):format(call, name), 4)
    end
  end
  local on_down = options.on_down
  if on_down and not ON_DOWN[on_down] and not (is_remote and on_down == "local") then
    error(("%s: on_down is %q; it must be \"open\" or \"tempfail\", or with shared = \"hosts\" also \"local\""):format(
      call, on_down), 4)
  end
  options.on_down = on_down or (is_remote and "local" or "open")
  return options
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
  check_shared("limit.new", options)
  check_count("limit.new", "hosts", options.hosts)
  if options.mode and not MODES[options.mode] then
    error(("limit.new: mode is %q; it must be \"exact\" or \"soon\""):format(options.mode), 3)
  end
  return options
end

-- ---- limit.new ----

-- Nil for what only this host shares.
local function server_of(call, options)
  if options.shared == "host" or core.shadow then -- a shadow's limits are its own
    return nil
  end
  local used, text = server.of(options.redis)
  if not used then
    error(("%s: %s"):format(call, text), 3)
  end
  return used
end

local function buckets_of_hosts(options, interval, capacity, used)
  local buckets, text = MODES[options.mode or "exact"].new {
    name = options.name, interval = interval, capacity = capacity, server = used,
    share = share.new(options.name, interval, capacity, options.hosts, options.on_down),
  }
  return buckets or error("limit.new: " .. text, 3)
end

--- A limit. Scripts of the same milter that name it share its buckets, and the last `rate` and `burst` rule. With
--- shared = "hosts" all hosts that name it share them, on a Redis server, and calls wait for it unless mode is "soon".
---@param options moonmilter.limit.Options
---@return moonmilter.Limit
function limit.new(options)
  options = check(options)
  local used = server_of("limit.new", options)
  local count, seconds = read_rate(options.rate)
  local interval, capacity = seconds / count, options.burst or count
  local made, text = raw.open()
  if not made then
    error(("limit.new: %s"):format(text), 2)
  end
  if used then
    return setmetatable({ name = options.name, buckets = buckets_of_hosts(options, interval, capacity, used) }, OfHosts)
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
  core.metric.fallback(self.name, "down")
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

-- The places of this host.
local Hall = {}
Hall.__index = Hall

function Hall:enter(key)
  local ok, count, code = places.take(self.prefix .. key, self.max)
  if ok == nil then
    return nil, count, code
  elseif ok then
    tasks.at_end(function()
      places.give(self.prefix .. key)
    end)
  end
  return ok, { count = count, state = "shared" }
end

function Hall:count(key)
  local count, text, code = places.count(self.prefix .. key)
  if not count then
    return nil, text, code
  end
  return count
end

-- What this host has of so many while the server is down.
local function part_of(whole, hosts)
  return math.max(1, math.floor(whole / hosts))
end

local function check_concurrency(options)
  options = check_shared("limit.concurrency", check_common("limit.concurrency", options, CONCURRENCY_OPTIONS))
  check_count("limit.concurrency", "max", options.max)
  check_count("limit.concurrency", "hosts", options.hosts)
  return options
end

--- A limit of how many messages or clients are under way at a time, for each key.
---@param options moonmilter.limit.ConcurrencyOptions
---@return moonmilter.Concurrency
function limit.concurrency(options)
  options = check_concurrency(options)
  local used = server_of("limit.concurrency", options)
  local of = { name = options.name, max = options.max, on_down = options.on_down }
  places.open()
  if used then
    of.server, of.part = used, part_of(options.max, options.hosts)
    of = remote_places.new(of)
  else
    of.prefix = options.name .. ":"
    of = setmetatable(of, Hall)
  end
  return setmetatable({ name = options.name, places = of, on_down = options.on_down }, Concurrency)
end

local function check_key(call, key)
  if type(key) ~= "string" then
    error(("%s: the key is a %s; it must be a string, or nil for no limit"):format(call, type(key)), 3)
  end
end

local function down(self, text, code)
  core.metric.fallback(self.name, "down")
  return self.on_down ~= "tempfail", { state = "down", text = text, code = code, count = 0 }
end

--- Takes a place until the message (from MAIL on) or the client (before) ends. With shared = "hosts" it waits for the
--- server.
---@param key string?  nil: no limit
---@return boolean ok
---@return moonmilter.limit.CountState state  count: places that are taken now
function Concurrency:enter(key)
  if key == nil then
    return true, { count = 0, state = "none" }
  end
  check_key("enter", key)
  local ok, state, code = self.places:enter(key)
  if ok == nil then
    return down(self, state, code)
  end
  return ok, state
end

--- How many places of a key are taken.
---@param key string
---@return integer? count
---@return string? text
---@return string? code
function Concurrency:count(key)
  check_key("count", key)
  return self.places:count(key)
end

-- ---- how many different ones ----

---@class moonmilter.Distinct
---@field name string
local Distinct = {}
Distinct.__index = Distinct

local function check_distinct(options)
  options = check_shared("limit.distinct", check_common("limit.distinct", options, DISTINCT_OPTIONS))
  check_count("limit.distinct", "count", options.count)
  check_count("limit.distinct", "hosts", options.hosts)
  if options.shared == "hosts" and options.count > MOST_MEMBERS then
    error(("limit.distinct: count is %g; with shared = \"hosts\" give %d at most"):format(options.count, MOST_MEMBERS),
      3)
  end
  local per = options.per and read_time(options.per)
  if not per then
    error(("limit.distinct: per is %s; write it as \"1h\" or \"10m\" (s, m, h, d)"):format(
      options.per and ("%q"):format(options.per) or "missing"), 3)
  end
  return options, per
end

--- A limit of how many different values a key may have in some time: recipients of an account, accounts of a client.
---@param options moonmilter.limit.DistinctOptions
---@return moonmilter.Distinct
function limit.distinct(options)
  local per
  options, per = check_distinct(options)
  local used = server_of("limit.distinct", options)
  local of = { name = options.name, max = options.count, per = per }
  if used then
    of.server, of.part = used, part_of(options.count, options.hosts)
    of = remote_distinct.new(of)
  else
    of.prefix = options.name .. ":"
    of = distinct.new(of)
  end
  return setmetatable({ name = options.name, values = of, on_down = options.on_down }, Distinct)
end

--- Notes a value of a key. A value that was noted before is free; a new one beyond the limit is refused and not noted.
--- The time begins with the first value. With shared = "hosts" it waits for the server.
---@param key string?  nil: no limit
---@param value string
---@return boolean ok
---@return moonmilter.limit.CountState state  count: different values so far
function Distinct:add(key, value)
  if key == nil then
    return true, { count = 0, state = "none" }
  end
  check_key("add", key)
  if type(value) ~= "string" then
    error(("add: the value is a %s; it must be a string"):format(type(value)), 2)
  end
  local ok, count, code = self.values:add(key, value)
  if ok ~= nil then
    return ok, { count = count, state = "shared" }
  elseif self.on_down ~= "local" then
    return down(self, count, code)
  end
  local text = count
  ok, count = self.values:add_here(key, value)
  if ok == nil then
    return down(self, text, code)
  end
  core.metric.fallback(self.name, "local")
  return ok, { count = count, state = "local", text = text, code = code }
end

return limit
