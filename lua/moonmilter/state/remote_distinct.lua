--- Different values that a key has had in some time, counted over all hosts: a set on a Redis server, which ends with
--- the time of the key. Exact sets, no HyperLogLog: only a set knows whether a value was there before, which must stay
--- free, and a value that is refused is not added, so that a set never has more members than the limit allows. (A
--- HyperLogLog has 12 KiB for each key, and is wrong by 0.8 %.)
local core = require "moonmilter.core"
local distinct = require "moonmilter.state.distinct"

local remote_distinct = {}

local LONGEST_MEMBER = 64 -- bytes; of a longer value its digest

-- The value, how many a key may have, and milliseconds from the first one on. The reply: whether it may pass, how many
-- there are, whether it is new, and the milliseconds that are left.
local SCRIPT = [[
local count = redis.call('SCARD', KEYS[1])
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return { 1, count, 0, redis.call('PTTL', KEYS[1]) }
elseif count >= tonumber(ARGV[2]) then
  return { 0, count, 0, redis.call('PTTL', KEYS[1]) }
end
redis.call('SADD', KEYS[1], ARGV[1])
if count == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return { 1, count + 1, 1, redis.call('PTTL', KEYS[1]) }
]]

local Remote = {}
Remote.__index = Remote

--- of: { name, max, per, part, server }  part: values that this host lets pass while the server is down
function remote_distinct.new(of)
  of.prefix = ("moonmilter:distinct:%s:"):format(of.name)
  of.own = distinct.new { prefix = of.name .. "/own:", max = of.part, per = of.per } -- no limit can have this name
  return setmetatable(of, Remote)
end

--- As distinct.add; waits for the server.
function Remote:add(key, value)
  local member = #value > LONGEST_MEMBER and core.store.digest(value) or value
  local reply, text, code = self.server:use("script", SCRIPT, { self.prefix .. key },
    { member, ("%.0f"):format(self.max), ("%.0f"):format(self.per * 1000) })
  if not reply then
    return nil, text, code
  elseif reply[3] == 1 then
    self.own:note(key, value, math.max(reply[4] / 1000, 0.001))
  end
  return reply[1] == 1, reply[2]
end

--- The same by the host's own count.
function Remote:add_here(key, value)
  return self.own:add(key, value)
end

return remote_distinct
