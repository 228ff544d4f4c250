-- moonmilter.redis as a test sees it: one database in memory with the commands that filters use. Keys expire by the
-- host's clock. Every command is reported to the test; when the test gave a function, the function answers.
local ask_test, wait = ...
local milter = require "moonmilter"

local redis = {}

local keys, expires = nil, {}

local function get(key)
  if expires[key] and expires[key] <= milter.now() then
    keys[key], expires[key] = nil, nil
  end
  return keys[key]
end

local function table_at(key)
  local v = get(key)
  if v == nil then
    v = {}
    keys[key] = v
  end
  return v
end

local function expire(key, seconds)
  if get(key) == nil then
    return 0
  end
  expires[key] = milter.now() + tonumber(seconds)
  return 1
end

local function increment(key, by)
  local v = tonumber(get(key) or 0) + tonumber(by)
  keys[key] = ("%d"):format(v)
  return v
end

local commands = {}

function commands.PING() return "PONG" end
function commands.GET(key) return get(key) end
function commands.EXISTS(key) return get(key) ~= nil and 1 or 0 end
function commands.INCR(key) return increment(key, 1) end
function commands.DECR(key) return increment(key, -1) end
function commands.INCRBY(key, by) return increment(key, by) end
function commands.DECRBY(key, by) return increment(key, -by) end
function commands.EXPIRE(key, seconds) return expire(key, seconds) end
function commands.PEXPIRE(key, ms) return expire(key, ms / 1000) end

function commands.SET(key, v, ...)
  local only_new, only_old, seconds
  local words = { ... }
  for i, word in ipairs(words) do
    word = tostring(word):upper()
    only_new, only_old = only_new or word == "NX", only_old or word == "XX"
    seconds = word == "EX" and tonumber(words[i + 1]) or word == "PX" and words[i + 1] / 1000 or seconds
  end
  if (only_new and get(key) ~= nil) or (only_old and get(key) == nil) then
    return nil
  end
  keys[key], expires[key] = tostring(v), nil
  if seconds then
    expire(key, seconds)
  end
  return "OK"
end

function commands.SETEX(key, seconds, v) return commands.SET(key, v, "EX", seconds) end
function commands.SETNX(key, v) return commands.SET(key, v, "NX") and 1 or 0 end

function commands.DEL(...)
  local n = 0
  for _, key in ipairs { ... } do
    n = n + (get(key) ~= nil and 1 or 0)
    keys[key], expires[key] = nil, nil
  end
  return n
end

function commands.TTL(key)
  if get(key) == nil then
    return -2
  end
  return expires[key] and math.ceil(expires[key] - milter.now()) or -1
end

function commands.MGET(...)
  local list = {}
  for i, key in ipairs { ... } do
    list[i] = get(key) or false
  end
  return list
end

function commands.HSET(key, ...)
  local words, n = { ... }, 0
  for i = 1, #words, 2 do
    n = n + (table_at(key)[tostring(words[i])] == nil and 1 or 0)
    table_at(key)[tostring(words[i])] = tostring(words[i + 1])
  end
  return n
end

function commands.HGET(key, field) return (get(key) or {})[tostring(field)] end
function commands.HDEL(key, field)
  local had = (get(key) or {})[tostring(field)] ~= nil
  table_at(key)[tostring(field)] = nil
  return had and 1 or 0
end
function commands.HGETALL(key)
  local list = {}
  for field, v in pairs(get(key) or {}) do
    list[#list + 1] = field
    list[#list + 1] = v
  end
  return list
end
function commands.HINCRBY(key, field, by)
  local v = tonumber(table_at(key)[tostring(field)] or 0) + tonumber(by)
  table_at(key)[tostring(field)] = ("%d"):format(v)
  return v
end

function commands.SADD(key, member)
  local had = table_at(key)[tostring(member)]
  table_at(key)[tostring(member)] = true
  return had and 0 or 1
end
function commands.SREM(key, member)
  local had = (get(key) or {})[tostring(member)]
  table_at(key)[tostring(member)] = nil
  return had and 1 or 0
end
function commands.SISMEMBER(key, member) return (get(key) or {})[tostring(member)] and 1 or 0 end
function commands.SCARD(key)
  local n = 0
  for _ in pairs(get(key) or {}) do
    n = n + 1
  end
  return n
end

local ERROR = {}

local function command(name, ...)
  name = tostring(name):upper()
  if keys == nil then
    local first, text, code = ask_test("redis", "keys of the test")
    if first == nil then
      return nil, text, code
    end
    keys = first
  end
  local words = { ... }
  for i = 1, select("#", ...) do
    words[i] = tostring(words[i])
  end
  local result, text, code = wait("redis", 1, ask_test("redis", name, unpack(words)))
  if code ~= ERROR.UNKNOWN then
    return result, text, code
  end
  if not commands[name] then
    return nil, "ERR the fake does not know the command " .. name, "reply"
  end
  return commands[name](unpack(words))
end
ERROR.UNKNOWN = "not of the test"

local Client = {}

function Client.call(_, ...)
  return command(...)
end

function Client.pipeline(_, list)
  local replies = {}
  for i, words in ipairs(list) do
    local reply, text, code = command(unpack(words))
    if code and code ~= "reply" then
      return nil, text, code
    end
    replies[i] = code and { err = text } or reply == nil and false or reply
  end
  return replies
end
Client.transaction = Client.pipeline

function Client:with(fn)
  return fn(self)
end

function Client:watch(_, fn)
  local list = fn(self)
  if list then
    return self:pipeline(list)
  end
end

function Client.script()
  return nil, "ERR the fake runs no scripts; give redis = function(command, ...) in the test", "reply"
end

local class = {
  __index = function(_, name)
    return Client[name] or function(_, ...)
      return command(name, ...)
    end
  end,
}

--- A client; its options are ignored.
function redis.new()
  return setmetatable({}, class)
end

function redis.is_error(reply)
  return type(reply) == "table" and reply.err ~= nil
end

return redis
