--- A store on a Redis server, with the methods of a store of the host. They wait for the server, whose clock ends
--- lives.
local arguments = require "moonmilter.state.arguments"
local portable = require "moonmilter.state.portable"

local remote = {}

local SLICE = 200 -- keys of one call that walks over them

-- ---- scripts: each runs on the server in one piece ----

-- For each key its value, false for none, and the milliseconds that it still lives.
local GET = [[
local replies = {}
for i, key in ipairs(KEYS) do
  replies[i] = { redis.call('GET', key), redis.call('PTTL', key) }
end
return replies
]]

-- What to add, milliseconds that a new counter lives or ''. The sum; nothing when the value is no number.
local INCR = [[
local kept, life = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if kept and not string.find(kept, '^%-?%d[%d.eE+-]*$') and not string.find(kept, '^%-?inf$') then return false end
local sum = tonumber(kept or 0) + tonumber(ARGV[1])
local text = string.format('%.14g', sum)
if tonumber(text) ~= sum then text = string.format('%.17g', sum) end
if not kept then life = tonumber(ARGV[2]) or -1 end
if life > 0 then
  redis.call('SET', KEYS[1], text, 'PX', string.format('%.0f', life))
else
  redis.call('SET', KEYS[1], text)
end
return text
]]

-- 'is' and the bytes that were read, or 'none'; 'set' and new bytes, or 'delete'; milliseconds or '' for ever; 'keep':
-- an existing value lives as long as before. 1: done; 0: it has changed.
local SWAP = [[
local kept = redis.call('GET', KEYS[1])
if (ARGV[1] == 'is') ~= (kept ~= false) or kept and kept ~= ARGV[2] then return 0 end
if ARGV[3] == 'delete' then
  redis.call('DEL', KEYS[1])
  return 1
end
local life = tonumber(ARGV[5])
if kept and ARGV[6] == 'keep' then life = redis.call('PTTL', KEYS[1]) end
if life and life > 0 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', string.format('%.0f', life))
else
  redis.call('SET', KEYS[1], ARGV[4])
end
return 1
]]

-- ---- methods ----

local Remote = {}
Remote.__index = Remote

--- of: { name, ttl, server }
function remote.new(of)
  of.prefix = ("moonmilter:store:%s:"):format(of.name)
  return setmetatable(of, Remote)
end

local function milliseconds(ttl)
  return ttl and math.max(1, math.ceil(ttl * 1000))
end

local function life_of(pttl)
  pttl = tonumber(pttl)
  return pttl and pttl >= 0 and pttl / 1000 or nil
end

-- The bytes of a value of the script, whose mistake raises at its line.
local function bytes_of(value)
  local bytes, wrong = portable.write(value)
  if wrong then
    error(("store: %s cannot be kept; give a string, a number, a boolean, or a table of those"):format(wrong), 3)
  end
  return bytes
end

local function empty()
  return nil, "the key is empty", "key"
end

function Remote:get(key)
  if arguments.key("get", key) == "" then
    return empty()
  end
  local reply, text, code = self.server:use("script", GET, { self.prefix .. key })
  if not reply then
    return nil, text, code
  elseif not reply[1][1] then
    return nil
  end
  return portable.read(reply[1][1]), life_of(reply[1][2])
end

-- What set() and add() have in common. They end with a call of it, so that a mistake raises at the script's line.
local function write(self, call, key, value, ttl, condition)
  local bytes = bytes_of(arguments.value(call, value))
  ttl = arguments.ttl(call, ttl, 2) or self.ttl
  if arguments.key(call, key) == "" then
    return empty()
  end
  local words = { "SET", self.prefix .. key, bytes, condition }
  if ttl then
    words[#words + 1] = "PX"
    words[#words + 1] = milliseconds(ttl)
  end
  local reply, text, code = self.server:use("call", unpack(words))
  if reply == nil and text then
    return nil, text, code
  end
  return reply ~= nil
end

function Remote:set(key, value, ttl)
  return write(self, "set", key, value, ttl)
end

function Remote:add(key, value, ttl)
  return write(self, "add", key, value, ttl, "NX")
end

function Remote:incr(key, by, ttl)
  by = arguments.by(by)
  ttl = arguments.ttl("incr", ttl, 2) or self.ttl
  if arguments.key("incr", key) == "" then
    return empty()
  end
  local sum, text, code = self.server:use("script", INCR, { self.prefix .. key }, { ("%.17g"):format(by),
    milliseconds(ttl) or "" })
  if sum then
    return tonumber(sum)
  elseif text then
    return nil, text, code
  end
  return nil, "the value is not a number", "type"
end

function Remote:delete(key)
  if arguments.key("delete", key) == "" then
    return empty()
  end
  local count, text, code = self.server:use("call", "DEL", self.prefix .. key)
  if not count then
    return nil, text, code
  end
  return tonumber(count) > 0
end

function Remote:update(key, fn, ttl)
  arguments.update(fn)
  arguments.ttl("update", ttl, 2)
  if arguments.key("update", key) == "" then
    return empty()
  end
  local name, life = self.prefix .. key, milliseconds(ttl or self.ttl) or ""
  while true do
    local had, text, code = self.server:use("call", "GET", name)
    if had == nil and text then
      return nil, text, code
    end
    local value = fn(had and portable.read(had))
    local done
    done, text, code = self.server:use("script", SWAP, { name }, {
      had and "is" or "none", had or "", value == nil and "delete" or "set", value == nil and "" or bytes_of(value),
      life, ttl == nil and "keep" or "",
    })
    if not done then
      return nil, text, code
    elseif done == 1 then
      return value
    end
  end
end

-- ---- all keys ----

-- Lists of names on the server, one for each call. Names may come twice.
local function scan(server, prefix)
  return server:scan(prefix:gsub("[%*%?%[%]\\^-]", "\\%0") .. "*", SLICE)
end

-- The keys of a slice that have a value, with values and lives.
local function read_slice(self, names)
  local replies, failures = self.server:each_key(GET, names)
  local _, failure = next(failures)
  if failure then
    return nil, failure.text, failure.code
  end
  local rows = {}
  for i, name in ipairs(names) do
    local bytes, pttl = replies[i][1], replies[i][2]
    if bytes then
      rows[#rows + 1] = { name:sub(#self.prefix + 1), portable.read(bytes), life_of(pttl) }
    end
  end
  return rows
end

local function fail_each(self, text)
  error(("each: store %q: %s"):format(self.name, text), 3)
end

function Remote:each(prefix)
  local next_names = scan(self.server, self.prefix .. (prefix ~= nil and arguments.key("each", prefix) or ""))
  local rows, at = {}, 0
  return function()
    at = at + 1
    while not rows[at] do
      local names, text = next_names()
      if not names then
        return text and fail_each(self, text) or nil
      end
      rows, at = {}, 1
      if names[1] then
        rows, text = read_slice(self, names)
      end
      if not rows then
        fail_each(self, text)
      end
    end
    return unpack(rows[at], 1, 3)
  end
end

function Remote:count()
  local count, next_names = 0, scan(self.server, self.prefix)
  local names, text, code = next_names()
  while names do
    count = count + #names
    names, text, code = next_names()
  end
  if text then
    return nil, text, code
  end
  return count
end

--- Removes all keys of a server that begin so.
---@return true? done
---@return string? text
---@return string? code
function remote.clear(server, prefix)
  local next_names = scan(server, prefix)
  local names, text, code = next_names()
  while names do
    local done, why, reason = true, nil, nil
    if names[1] then
      done, why, reason = server:unlink(names)
    end
    if not done then
      return nil, why, reason
    end
    names, text, code = next_names()
  end
  if text then
    return nil, text, code
  end
  return true
end

function Remote:clear(prefix)
  return remote.clear(self.server, self.prefix .. (prefix ~= nil and arguments.key("clear", prefix) or ""))
end

return remote
