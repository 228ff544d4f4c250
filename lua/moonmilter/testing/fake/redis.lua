-- moonmilter.redis as a test sees it: one database in memory with the commands that filters use, scripts that use them,
-- and channels. Keys expire by the host's clock. Every command is reported to the test; when the test gave a function,
-- the function answers. Options are checked as by the real one, and with `cluster` the keys of a command must be in one
-- slot.
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

function commands.SMEMBERS(key)
  local list = {}
  for member in pairs(get(key) or {}) do
    list[#list + 1] = member
  end
  return list
end

-- ---- streams and channels ----

local POLL = 0.1 -- seconds of the host's clock between two looks

-- "12-3" -> 12 and 3, "12" -> 12 and 0
local function parts_of(id)
  local dash = id:find("-", 1, true) or #id + 1
  return tonumber(id:sub(1, dash - 1)) or 0, tonumber(id:sub(dash + 1)) or 0
end

local function is_after(entry, id)
  local ms, number = parts_of(id)
  local own_ms, own_number = parts_of(entry[1])
  return own_ms > ms or own_ms == ms and own_number > number
end

function commands.XADD(key, id, ...)
  local stream = table_at(key)
  if id ~= "*" then
    return nil, "ERR the fake makes the ids of entries; give *", "reply"
  end
  id = ("%d-%d"):format(milter.now() * 1000, #stream)
  stream[#stream + 1] = { id, { ... } }
  return id
end

function commands.XLEN(key) return #(get(key) or {}) end

-- Of each stream the entries after its id; nil: there are none.
local function new_entries(names, ids, count)
  local reply = {}
  for i, name in ipairs(names) do
    local found = {}
    for _, entry in ipairs(get(name) or {}) do
      if is_after(entry, ids[i]) and #found < count then
        found[#found + 1] = entry
      end
    end
    if found[1] then
      reply[#reply + 1] = { name, found }
    end
  end
  return reply[1] and reply
end

function commands.XREAD(...)
  local words, count, ends, at = { ... }, math.huge, nil, 1
  while words[at] and words[at]:upper() ~= "STREAMS" do
    local option, value = words[at]:upper(), tonumber(words[at + 1])
    count = option == "COUNT" and value or count
    ends = option == "BLOCK" and (value == 0 and math.huge or milter.now() + value / 1000) or ends
    at = at + 2
  end
  local names, ids, half = {}, {}, (#words - at) / 2
  for i = 1, half do
    local stream = get(words[at + i]) or {}
    names[i], ids[i] = words[at + i], words[at + half + i]
    ids[i] = ids[i] == "$" and (stream[1] and stream[#stream][1] or "0-0") or ids[i]
  end
  local reply = new_entries(names, ids, count)
  while not reply and ends and milter.now() < ends do
    milter.sleep(math.min(POLL, ends - milter.now()))
    reply = new_entries(names, ids, count)
  end
  return reply
end

local subscriptions = {} -- those that are open
local from_test = 0 -- messages of mta:publish that have come

local function deliver(channel, message)
  local count = 0
  for one in pairs(subscriptions) do
    for _, name in ipairs(one.names) do
      if one.is_pattern and matches(channel, name) or name == channel then
        one.messages[#one.messages + 1] = { channel, message, one.is_pattern and name or nil }
        count = count + 1
      end
    end
  end
  return count
end

commands.PUBLISH = deliver

local function deliver_of_test()
  for _, message in ipairs((ask_test("redis", "messages of the test", from_test))) do
    from_test = from_test + 1
    deliver(message[1], message[2])
  end
end

local Subscription = {}
Subscription.__index = Subscription

function Subscription:receive(seconds)
  local ends = seconds and milter.now() + seconds or math.huge
  while subscriptions[self] do
    deliver_of_test()
    local message = self.messages[self.at]
    if message then
      self.at = self.at + 1
      return message[1], message[2], message[3]
    elseif milter.now() >= ends then
      return nil, ("redis: no message within %g s"):format(seconds), "timeout"
    end
    milter.sleep(math.min(POLL, ends - milter.now()))
  end
  return nil, "closed", "closed"
end

function Subscription:close()
  subscriptions[self] = nil
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

-- A test whose Redis fails as a whole has no keys.
local function begin()
  if keys == nil then
    local first, text, code = ask_test("redis", "keys of the test")
    if first == nil then
      return nil, text, code
    end
    keys = first
  end
  return true
end

local function command(name, ...)
  name = tostring(name):upper()
  local begun, why, why_code = begin()
  if not begun then
    return nil, why, why_code
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

-- In a cluster a server refuses keys of several slots; so do commands whose further words are keys, and scripts.
local SEVERAL = { DEL = 1, UNLINK = 1, EXISTS = 1, MGET = 1, MSET = 2, TOUCH = 1 }

local function crosses(self, words)
  local key_slot = self.is_cluster and require "moonmilter.net.key_slot"
  local verb = tostring(words[1]):upper()
  local first, last, step = 2, #words, SEVERAL[verb]
  if verb == "EVAL" or verb == "EVALSHA" then
    first, last, step = 4, 3 + (tonumber(words[3]) or 0), 1
  end
  for i = first, self.is_cluster and step and last or 0, step or 1 do
    if key_slot.of(tostring(words[i])) ~= key_slot.of(tostring(words[first])) then
      return true
    end
  end
end

local function call_on(self, ...)
  if crosses(self, { ... }) then
    return nil, "CROSSSLOT Keys in request don't hash to the same slot", "reply"
  end
  return command(...)
end

function Client:call(...)
  return call_on(self, ...)
end

function Client:pipeline(list)
  local replies = {}
  for i, words in ipairs(list) do
    local reply, text, code = call_on(self, unpack(words))
    if code and code ~= "reply" then
      return nil, text, code
    end
    if code then
      reply = { err = text, code = code }
    end
    replies[i] = reply
  end
  return replies
end
Client.transaction = Client.pipeline

--- As of a pipeline; the test sees an EVAL for each.
function Client:scripts(source, calls)
  local evals = {}
  for i, call in ipairs(calls) do
    evals[i] = { "EVAL", source, #call[1] }
    for _, list in ipairs { call[1], call[2] or {} } do
      for _, word in ipairs(list) do
        table.insert(evals[i], word)
      end
    end
  end
  return self:pipeline(evals)
end

function Client:masters()
  return { self }
end

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
function Client:script(source, names, arguments)
  names = names or {}
  local words = list_of(names, 1, #names)
  for _, word in ipairs(arguments or {}) do
    words[#words + 1] = word
  end
  return call_on(self, "EVAL", source, #names, unpack(words))
end

local function subscribe(is_pattern, ...)
  local _, text, code = begin()
  if not code then
    _, text, code = wait("redis", 1, ask_test("redis", is_pattern and "PSUBSCRIBE" or "SUBSCRIBE", ...))
  end
  if code and code ~= ERROR.UNKNOWN then
    return nil, text, code
  end
  local one = setmetatable({ names = { ... }, is_pattern = is_pattern, messages = {}, at = 1 }, Subscription)
  deliver_of_test() -- what was published before is not for it
  subscriptions[one] = true
  milter.at_end(function()
    one:close()
  end)
  return one
end

function Client.subscribe(_, ...) return subscribe(false, ...) end
function Client.psubscribe(_, ...) return subscribe(true, ...) end

local class = {
  __index = function(_, name)
    return Client[name] or function(self, ...)
      return call_on(self, name, ...)
    end
  end,
}

--- A client. Its options are checked, and of them only `cluster` matters.
function redis.new(options)
  local checked = options and require("moonmilter.net.redis_options").check("redis.new", options, 2)
  return setmetatable({ is_cluster = checked and checked.cluster ~= nil or false }, class)
end

function redis.is_error(reply)
  return type(reply) == "table" and reply.err ~= nil
end

function redis.value(reply)
  if redis.is_error(reply) then
    return nil, reply.err, "reply"
  end
  return reply
end

return redis
