-- moonmilter.redis as a test sees it: one database in memory with the commands that filters use, and scripts that use
-- them. Keys expire by the host's clock. Every command is reported to the test; when the test gave a function, the
-- function answers.
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
  local had = tonumber(get(key) or 0)
  if not had or had ~= math.floor(had) then
    return nil, "ERR value is not an integer or out of range", "reply"
  end
  keys[key] = ("%d"):format(had + tonumber(by))
  return had + tonumber(by)
end

local commands = {}

-- An error is nil, text, "reply".
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

commands.UNLINK = commands.DEL

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

function commands.PTTL(key)
  if get(key) == nil then
    return -2
  end
  return expires[key] and math.ceil((expires[key] - milter.now()) * 1000) or -1
end

function commands.PERSIST(key)
  local had = get(key) ~= nil and expires[key] ~= nil
  expires[key] = nil
  return had and 1 or 0
end

function commands.TIME()
  local now = milter.now()
  return { ("%d"):format(now), ("%d"):format((now - math.floor(now)) * 1e6) }
end

local cursors = {} -- cursor -> the last key that was seen, so that keys which go meanwhile hide no others

-- Does a name match? Any bytes, the special ones after "\\", and "*" at the end.
local function matches(name, match)
  local literal, is_prefix = match:gsub("%*$", "")
  literal = literal:gsub("\\(.)", "%1")
  return (is_prefix == 1 and name:sub(1, #literal) or name) == literal
end

-- In the order of the keys, so that a test repeats.
function commands.SCAN(cursor, ...)
  local words, options = { ... }, { MATCH = "*", COUNT = 10 }
  for i = 1, #words, 2 do
    options[words[i]:upper()] = words[i + 1]
  end
  local names, found, after = {}, {}, cursors[tonumber(cursor)] or ""
  for name in pairs(keys) do
    if name > after then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  local count = tonumber(options.COUNT)
  for i = 1, math.min(count, #names) do
    if get(names[i]) ~= nil and matches(names[i], options.MATCH) then
      found[#found + 1] = names[i]
    end
  end
  if #names <= count then
    return { "0", found }
  end
  cursors[#cursors + 1] = names[count]
  return { ("%d"):format(#cursors), found }
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

-- ---- scripts ----

local ERROR = {}

-- A reply as a script sees it, and what a script returns as a reply.
local function to_script(value)
  if value == nil then
    return false
  end
  return value
end

local function from_script(value)
  if type(value) == "number" then
    return value < 0 and math.ceil(value) or math.floor(value)
  elseif type(value) == "boolean" then
    return value and 1 or nil
  elseif type(value) ~= "table" then
    return value
  elseif value.err then
    return nil, value.err, "reply"
  elseif value.ok then
    return value.ok
  end
  local list = {}
  for i, item in ipairs(value) do -- ends at the first nil, as Redis does
    local reply, text = from_script(item)
    list[i] = text and { err = text } or to_script(reply)
  end
  return list
end

local function call_of_script(name, ...)
  name = tostring(name):upper()
  if not commands[name] then
    return { err = "ERR the fake does not know the command " .. name }
  end
  local words = { ... }
  for i = 1, select("#", ...) do
    words[i] = tostring(words[i])
  end
  local reply, text = commands[name](unpack(words))
  return text and { err = text } or to_script(reply)
end

local library = {
  call = function(...)
    local reply = call_of_script(...)
    if type(reply) == "table" and reply.err then
      error(reply, 0)
    end
    return reply
  end,
  pcall = call_of_script,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
  log = function() end, replicate_commands = function() return true end,
}

local function list_of(words, from, to)
  local list = {}
  for i = from, to do
    list[#list + 1] = words[i]
  end
  return list
end

local hashes = {} -- made-up hash -> source
local hash_of = {}
local hash_count = 0

local function hash(source)
  if not hash_of[source] then
    hash_count = hash_count + 1
    hash_of[source] = ("%040x"):format(hash_count)
    hashes[hash_of[source]] = source
  end
  return hash_of[source]
end

function commands.EVAL(source, count, ...)
  local words = { ... }
  local script, why = loadstring(source, "=user_script")
  if not script then
    return nil, "ERR Error compiling script: " .. why, "reply"
  end
  count = tonumber(count)
  setfenv(script, {
    redis = library, KEYS = list_of(words, 1, count), ARGV = list_of(words, count + 1, #words),
    math = math, string = string, table = table, tonumber = tonumber, tostring = tostring, type = type, pairs = pairs,
    ipairs = ipairs, next = next, select = select, unpack = unpack, error = error, pcall = pcall, assert = assert,
  })
  hash(source)
  local ok, value = pcall(script)
  if not ok then
    return nil, type(value) == "table" and value.err or "ERR " .. tostring(value), "reply"
  end
  return from_script(value)
end

function commands.EVALSHA(sha, ...)
  if not hashes[sha] then
    return nil, "NOSCRIPT No matching script. Please use EVAL.", "reply"
  end
  return commands.EVAL(hashes[sha], ...)
end

function commands.SCRIPT(what, source)
  what = tostring(what):upper()
  if what == "LOAD" then
    return hash(source)
  end
  return nil, "ERR the fake does not know SCRIPT " .. what, "reply"
end

-- ---- commands of filters ----

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

--- The test sees EVAL, the source, the number of keys, keys and arguments.
function Client.script(_, source, names, arguments)
  names = names or {}
  local words = list_of(names, 1, #names)
  for _, word in ipairs(arguments or {}) do
    words[#words + 1] = word
  end
  return command("EVAL", source, #names, unpack(words))
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
