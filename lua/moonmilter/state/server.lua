--- The Redis that hosts share, and whether it can be used now. A call that cannot be answered fails at once while the
--- server is known to be down or does not answer others; a task asks in the background until it is back, so that no
--- message waits for a server twice. In a cluster that holds for each of its servers, and each call has one key.
local core = require "moonmilter.core"
local key_slot = require "moonmilter.net.key_slot"
local log = require "moonmilter.log"
local redis = require "moonmilter.redis"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local server = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local FIRST_DELAY, LONGEST_DELAY = 0.1, 3 -- seconds between two questions to a server that is down
local POLL = 0.2 -- seconds, as long as the client itself leaves the server alone
local PROBE = "moonmilter:probe" -- writing it shows that there is memory and that this is no replica

local OF_THE_CALL = { ERR = true, WRONGTYPE = true, NOSCRIPT = true } -- errors of a key or a script, not of the server

local Server = {}
Server.__index = Server

local known = setmetatable({}, { __mode = "k" }) -- client -> Server

local function shard(name)
  return { name = name, waiting = 0, heard_at = 0 } -- and why, while it is not used
end

--- The server of a client, or of the options for redis.new.
---@param given moonmilter.Redis|moonmilter.redis.Options|nil
---@return table? server
---@return string? text  what is wrong with the options
function server.of(given)
  local ok, client = true, given
  if not given or not getmetatable(given) then
    ok, client = pcall(redis.new, given)
  end
  if not ok then
    return nil, (tostring(client):gsub("^[^:]+:%d+: ", ""))
  end
  if not known[client] then
    local options, route = rawget(client, "options"), rawget(client, "route")
    local name = rawget(client, "name") or "redis"
    known[client] = setmetatable({
      client = client, name = name,
      cluster = route and route.is_cluster and route or nil,
      patience = (options and options.timeout or 1) / 2, -- seconds without any reply before others are held back
      whole = shard(name), shards = {},
    }, Server)
  end
  return known[client]
end

-- The part of the whole that answers for a key: in a cluster the server that has it.
local function shard_of(self, key)
  local node = self.cluster and key and self.cluster.slots[key_slot.of(key)]
  if not node then
    return self.whole
  end
  self.shards[node.name] = self.shards[node.name] or shard(node.name)
  return self.shards[node.name]
end

-- ---- down, and back ----

local function pause(seconds)
  sleep(seconds * (0.75 + core.random() / 2))
end

-- A key that is where the failed one is, also when it moves.
local function probe_of(self, key)
  return self.cluster and key and key_slot.name_in(PROBE .. ":", key_slot.of(key)) or PROBE
end

local function ask_until_back(self, one, key)
  local delay, probe = FIRST_DELAY, probe_of(self, key)
  while true do
    pause(delay)
    local reply, text, code = self.client:call("SET", probe, "1", "PX", "1000")
    if reply then
      break
    end
    one.why = text or one.why
    delay = code == "down" and POLL or math.min(2 * delay, LONGEST_DELAY)
  end
  log.info("redis %s: is used again", one.name)
  one.why = nil
end

local function go_down(self, one, key, text)
  if one.why then
    return
  end
  one.why = text
  local ok, err = pcall(tasks.detach, "generation", ask_until_back, self, one, key)
  if not ok then -- no room for a task: the next call asks the server again
    one.why = nil
    text = ("%s (%s)"):format(text, tostring(err))
  end
  log.warn("redis %s: %s; it is not used until it answers", one.name, text)
end

local function is_of_the_call(text, code)
  return code == "busy" or code == "reply" and OF_THE_CALL[text:match "^%u+"]
end

local function trouble(self, one)
  if one.why then
    return one.why
  end
  if one.waiting > 0 and now() - one.heard_at > self.patience then
    return ("no reply for %g s"):format(self.patience)
  end
end

--- Why the server is not used now; nil: it is.
---@param key string?  the key that is meant: in a cluster only its server counts
---@return string?
function Server:trouble(key)
  return trouble(self, shard_of(self, key))
end

-- ---- calls ----

local function begin(one)
  if one.waiting == 0 then
    one.heard_at = now()
  end
  one.waiting = one.waiting + 1
end

local function note(self, one, key, reply, text, code)
  one.waiting = one.waiting - 1
  if text == nil or code == "reply" then
    one.heard_at = now()
  end
  if reply == nil and text and not is_of_the_call(text, code) then
    go_down(self, one, key, text)
  end
end

local function finish(self, one, key, ok, reply, text, code)
  if not ok then
    one.waiting = one.waiting - 1
    error(reply, 0)
  end
  note(self, one, key, reply, text, code)
  return reply, text, code
end

local KEYS = { -- the key of a method's arguments
  call = function(_, key) return key end,
  script = function(_, keys) return keys[1] end,
}

--- Calls a method of the client, "call" or "script": server:use("call", "GET", key). All keys are in one slot.
---@return any reply, string? text, string? code
function Server:use(method, ...)
  local key = KEYS[method](...)
  local one = shard_of(self, key)
  local why = trouble(self, one)
  if why then
    return nil, ("redis %s: %s"):format(one.name, why), "down"
  end
  begin(one)
  return finish(self, one, key, pcall(self.client[method], self.client, ...))
end

-- ---- calls over many keys ----

local function fill(count, value)
  local list = {}
  for i = 1, count do
    list[i] = value
  end
  return list
end

-- One call for each key. fn(numbers) sends those of the keys whose servers can be used; its replies are in that order.
local function each_alone(self, keys, fn)
  local replies, failures, numbers, shards = {}, {}, {}, {}
  for i, key in ipairs(keys) do
    local one = shard_of(self, key)
    local why = trouble(self, one)
    if why then
      failures[i] = { text = ("redis %s: %s"):format(one.name, why), code = "down" }
    else
      numbers[#numbers + 1], shards[#shards + 1] = i, one
    end
  end
  for _, one in ipairs(shards) do
    begin(one)
  end
  local ok, received, text, code = true, {}, nil, nil
  if numbers[1] then
    ok, received, text, code = pcall(fn, numbers)
  end
  for at, i in ipairs(numbers) do
    local value, why, why_code = nil, text, code
    if ok and received then
      value, why, why_code = redis.value(received[at])
    end
    note(self, shards[at], keys[i], value, ok and why or nil, why_code)
    replies[i], failures[i] = value, why and { text = why, code = why_code } or nil
  end
  if not ok then
    error(received, 0)
  end
  return replies, failures
end

local function slice(list, number, width)
  return { unpack(list, (number - 1) * width + 1, number * width) }
end

local function script_alone(self, source, keys, arguments)
  local width = arguments and #arguments / #keys or 0
  local replies, failures = each_alone(self, keys, function(numbers)
    local calls = {}
    for at, i in ipairs(numbers) do
      calls[at] = { { keys[i] }, slice(arguments or {}, i, width) }
    end
    return self.client:scripts(source, calls)
  end)
  for i in pairs(replies) do
    replies[i] = replies[i][1]
  end
  return replies, failures
end

--- A script that treats its keys one by one and replies with a list that has an entry for each, over many keys: one
--- call for all, or in a cluster one for each.
---@param source string
---@param keys string[]
---@param arguments string[]?  as many for each key
---@return any[] replies        by the number of the key; nil where the call failed
---@return table<integer, { text: string, code: string }> failures  by the number of the key
function Server:each_key(source, keys, arguments)
  if self.cluster then
    return script_alone(self, source, keys, arguments)
  end
  local replies, text, code = self:use("script", source, keys, arguments)
  if replies then
    return replies, {}
  end
  return {}, fill(#keys, { text = text, code = code })
end

--- Removes keys.
---@return true? done, string? text, string? code
function Server:unlink(keys)
  if not self.cluster then
    local count, text, code = self:use("call", "UNLINK", unpack(keys))
    return count and true, text, code
  end
  local _, failures = each_alone(self, keys, function(numbers)
    local commands = {}
    for at, i in ipairs(numbers) do
      commands[at] = { "UNLINK", keys[i] }
    end
    return self.client:pipeline(commands)
  end)
  local _, failure = next(failures)
  if failure then
    return nil, failure.text, failure.code
  end
  return true
end

-- SCAN of all servers, one after the other.
local function scan_next(scan)
  local reply, text, code = scan.clients[scan.at]:call("SCAN", scan.cursor, "MATCH", scan.pattern, "COUNT", scan.count)
  if not reply then
    return nil, text, code
  end
  scan.cursor = tostring(reply[1])
  if scan.cursor == "0" then
    scan.at = scan.at + 1
  end
  return reply[2]
end

--- Names that match: a function whose calls give lists of them, then nil; when that fails nil, text, code. Names may
--- come twice, and in a cluster whose slots are moved some may be missing.
---@return fun(): string[]?, string?, string?
function Server:scan(pattern, count)
  local scan = { pattern = pattern, count = count, cursor = "0", at = 1 }
  return function()
    local why = trouble(self, self.whole)
    if why then
      return nil, ("redis %s: %s"):format(self.name, why), "down"
    end
    if not scan.clients then
      local clients, text, code = self.client:masters()
      if not clients then
        return nil, text, code
      end
      scan.clients = clients
    end
    if not scan.clients[scan.at] then
      return nil
    end
    begin(self.whole)
    return finish(self, self.whole, nil, pcall(scan_next, scan))
  end
end

return server
