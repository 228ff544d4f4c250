--- What a greylist of several hosts knows, on a Redis server, whose clock rules: one script call for a recipient. Tries
--- of strangers, of which there are many, have a digest as their name and no value of their own: when they began is
--- seen from the time that they still live. Places and known senders can be read.
local core = require "moonmilter.core"
local remote = require "moonmilter.state.remote"
local store = require "moonmilter.store"

local remote_known = {}

local OWN_MEMORY = 3600 -- seconds that a known sender is not asked for again, at most; and a tenth of known_for

-- Keys: the place, its sender, its count of domains, and the try. Seconds: the delay, retry_within, known_for; then
-- allow_after, or 0 when the place does not count. The reply: 'known', 'passed', or 'new' or 'early' and the seconds
-- until a retry counts.
local SCRIPT = [[
local delay, within, life, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function lasting(seconds) return string.format('%.0f', math.max(1, math.ceil(seconds * 1000))) end
for i = 1, 2 do
  if redis.call('GET', KEYS[i]) then
    redis.call('PEXPIRE', KEYS[i], lasting(life))
    return { 'known', '0' }
  end
end
local left = redis.call('PTTL', KEYS[4]) / 1000
if left <= 0 or left > within then
  redis.call('SET', KEYS[4], '1', 'PX', lasting(within))
  return { 'new', string.format('%.0f', delay) }
elseif within - left < delay then
  return { 'early', string.format('%.0f', math.ceil(delay - (within - left))) }
end
redis.call('SET', KEYS[2], '1', 'PX', lasting(life))
if most > 0 then
  local count = redis.call('INCR', KEYS[3])
  if count == 1 then redis.call('PEXPIRE', KEYS[3], lasting(life)) end
  if count >= most then redis.call('SET', KEYS[1], '1', 'PX', lasting(life)) end
end
return { 'passed', '0' }
]]

local Known = {}
Known.__index = Known

--- of: { name, server, delay, retry_within, known_for, allow_after }
function remote_known.new(of)
  of.prefix = ("moonmilter:greylist:{%s}:"):format(of.name) -- the braces keep keys of a cluster together
  of.short = ("mmg:{%s}:"):format(of.name) -- of tries: each byte counts
  of.own = store.open(of.name .. "-known", { when_full = "evict" })
  of.remembers = math.min(OWN_MEMORY, of.known_for / 10)
  return setmetatable(of, Known)
end

local function text_of(seconds)
  return ("%.17g"):format(seconds)
end

--- place, sender and try: texts. counts: whether the place can become known for all senders. Waits for the server.
---@return "known"|"passed"|"new"|"early"|nil reason  nil: the server failed
---@return number|string wait_or_text
---@return string? code
function Known:ask(place, sender, try, counts)
  local known = place .. "\n" .. sender
  if self.own:get(known) then
    return "known", 0
  end
  local reply, text, code = self.server:use("script", SCRIPT, {
    self.prefix .. "place:" .. place, self.prefix .. "known:" .. known, self.prefix .. "count:" .. place,
    self.short .. core.store.digest(try):sub(1, 12), -- 72 bits
  }, { text_of(self.delay), text_of(self.retry_within), text_of(self.known_for), counts and self.allow_after or 0 })
  if not reply then
    return nil, text, code
  end
  if (reply[1] == "known" or reply[1] == "passed") and self.remembers > 0 then
    self.own:set(known, true, self.remembers)
  end
  return reply[1], tonumber(reply[2])
end

--- Forgets everything: at once on this host and the server, within an hour on others.
function Known:clear()
  local done, text, code = self.own:clear()
  if not done then
    return nil, text, code
  end
  done, text, code = remote.clear(self.server, self.prefix)
  if not done then
    return nil, text, code
  end
  return remote.clear(self.server, self.short)
end

return remote_known
