--- Places that sessions of all hosts take and give back. A key is a hash on a Redis server with a field for each host:
--- its places, the number of their last change (by which the server leaves aside what comes late), and when they end by
--- the server's clock. The hosts that hold places renew their fields, so those of a host that died become free by
--- themselves. The places of this host are counted in its own table, too, before the server is asked.
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local places = require "moonmilter.state.places"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local remote_places = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local PAUSE = 0.1 -- seconds until the server is told of places that were given back
local HEARTBEAT = 10 -- seconds between renewals
local LEASE = 3 * HEARTBEAT -- seconds that a field lasts without one
local BATCH = 100 -- keys of one call

-- For each key: the host, its lease in milliseconds, its places, the number of the change, and how many places all
-- hosts may have, or '' to only tell. A number of -1 only looks. The reply has for each key: whether so many may be
-- taken, and how many are taken then.
local SCRIPT = [[
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local replies = {}
for i, key in ipairs(KEYS) do
  local host, lease, count = ARGV[5 * i - 4], tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2])
  local change, most = tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
  local fields, others, last = redis.call('HGETALL', key), 0, 0
  for j = 1, #fields, 2 do
    local places, number, ends = string.match(fields[j + 1], '^(%d+) (%d+) (%d+)$')
    if not ends or tonumber(ends) <= now then
      redis.call('HDEL', key, fields[j])
    elseif fields[j] == host then
      last = tonumber(number)
    else
      others = others + places
    end
  end
  local ok = not most or others + count <= most
  if ok and change >= last then
    if count > 0 then
      redis.call('HSET', key, host, string.format('%.0f %.0f %.0f', count, change, now + lease))
      redis.call('PEXPIRE', key, lease)
    else
      redis.call('HDEL', key, host)
    end
  end
  replies[i] = { ok and 1 or 0, others + count - (ok and 0 or 1) }
end
return replies
]]

local Remote = {}
Remote.__index = Remote

local host -- the name of this host's fields

-- All workers use the same one.
local function name_of_host(store)
  store:add("/host", core.store.unique()) -- no limit can have this name
  return store:get "/host" or core.store.unique()
end

--- of: { name, max, part, server, on_down }  part: places of this host while the server is down
function remote_places.new(of)
  host = host or name_of_host(places.open())
  of.prefix = ("moonmilter:places:%s:"):format(of.name)
  of.own = of.name .. "/own:" -- no limit can have this name
  of.held = {} -- key -> places of this generation
  of.untold = {} -- key -> true: the server is to be told
  of.renews_at = 0
  return setmetatable(of, Remote)
end

-- ---- telling the server ----

-- What the script is given for a key.
local function words_of(count, change, most)
  return { host, LEASE * 1000, ("%.0f"):format(count), ("%.0f"):format(change), most or "" }
end

-- What the server does not take, the next renewal tells it again, or the field ends.
local function tell(self, keys)
  local names, arguments = {}, {}
  for _, key in ipairs(keys) do
    local count, change = places.count(self.own .. key)
    if count then
      names[#names + 1] = self.prefix .. key
      for _, word in ipairs(words_of(count, change)) do
        arguments[#arguments + 1] = word
      end
    end
  end
  if names[1] then
    local _, failures = self.server:each_key(SCRIPT, names, arguments)
    local _, failure = next(failures)
    if failure then
      log.debug("limit %s: places could not be told: %s", self.name, failure.text)
    end
  end
end

local function tell_all(self)
  local untold, keys = self.untold, {}
  self.untold = {}
  for key in pairs(untold) do
    keys[#keys + 1] = key
    if #keys == BATCH then
      tell(self, keys)
      keys = {}
    end
  end
  if keys[1] then
    tell(self, keys)
  end
end

local function renew_when_due(self)
  if now() < self.renews_at then
    return
  end
  self.renews_at = now() + HEARTBEAT
  for key in pairs(self.held) do
    self.untold[key] = true
  end
end

local function tell_while_held(self)
  repeat
    sleep(PAUSE)
    renew_when_due(self)
    tell_all(self)
  until next(self.held) == nil and next(self.untold) == nil
  self.is_telling = false
end

-- A function of at_end cannot start a task, so this one runs as long as places are held.
local function start_telling(self)
  if self.is_telling then
    return
  end
  self.renews_at = now() + HEARTBEAT
  self.is_telling = pcall(tasks.detach, "generation", tell_while_held, self) -- no room for a task: the next one tries
end

local function give(self, key)
  places.give(self.own .. key)
  self.untold[key] = true
end

local function hold(self, key)
  self.held[key] = (self.held[key] or 0) + 1
  start_telling(self)
  tasks.at_end(function()
    self.held[key] = self.held[key] > 1 and self.held[key] - 1 or nil
    give(self, key)
  end)
end

-- ---- the limit ----

-- The server's answer. Gives the place back if the session ends meanwhile.
local function ask(self, key, count, change)
  local ok, replies, text, code = pcall(self.server.use, self.server, "script", SCRIPT, { self.prefix .. key },
    words_of(count, change, ("%.0f"):format(self.max)))
  if not ok then
    give(self, key)
    error(replies, 0)
  elseif not replies then
    return nil, text, code
  end
  return replies[1][1] == 1, replies[1][2]
end

local function without_server(self, count)
  core.metric.fallback(self.name, self.on_down == "local" and "local" or "down")
  if self.on_down == "local" then
    return count <= self.part, "local"
  end
  return self.on_down == "open", "down"
end

--- Takes a place; waits for the server.
---@return boolean? ok  nil: the host's own table failed
---@return table|string state_or_text
---@return string? code
function Remote:enter(key)
  local ok, count, change = places.take(self.own .. key, self.max)
  if ok == nil then
    return nil, count, change
  elseif not ok then -- this host alone has them all
    return false, { count = count, state = "shared" }
  end
  local state = { state = "shared" }
  ok, state.count, state.code = ask(self, key, count, change)
  if ok == nil then
    state.text = state.count
    ok, state.state = without_server(self, count)
    state.count = ok and count or count - 1
  end
  if ok then
    hold(self, key)
  else
    give(self, key)
    start_telling(self)
  end
  return ok, state
end

--- How many places all hosts have taken.
---@return integer? count
---@return string? text
---@return string? code
function Remote:count(key)
  local count, text, code = places.count(self.own .. key)
  if not count then
    return nil, text, code
  end
  local replies
  replies, text, code = self.server:use("script", SCRIPT, { self.prefix .. key }, words_of(count, -1))
  if not replies then
    return nil, text, code
  end
  return replies[1][2]
end

return remote_places
