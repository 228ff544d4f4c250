--- Buckets of limits on a Redis server: GCRA in one script, which the server runs in one piece and by its own clock, so
--- that the clocks of hosts do not matter. A bucket is a key whose value says when it was written (microseconds), how
--- many microseconds were missing to a full bucket then, and "!" when its limit was crossed. It ends when it is full.
local gcra = {}

local MICRO = 1e6

-- For each key four arguments: microseconds for a unit; microseconds for all units; units; and what to do: "take" takes
-- all of them or none, "count" counts units that a host has let pass already, and "refused" does the same and says that
-- the host has refused others. Counting makes a debt of up to 1,000 units.
-- The reply has for each key: taken (1 or 0), the microseconds that are missing now, and whether this is the first
-- refusal since the bucket was half full.
local SCRIPT = [[
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local replies = {}
for i, key in ipairs(KEYS) do
  local interval, whole = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local count, what = tonumber(ARGV[4 * i - 1]), ARGV[4 * i]
  local is_take = what == 'take'
  local missing, crossed = 0, false
  local kept = redis.call('GET', key)
  if kept then
    local written, left, mark = string.match(kept, '^(%d+) ([^ ]+) ?(!?)$')
    if written then
      missing, crossed = tonumber(left) - (now - tonumber(written)), mark == '!'
    end
  end
  local most = is_take and whole or whole + math.max(whole, 1000 * interval)
  missing = math.min(math.max(missing, 0), most)
  crossed = crossed and missing > whole / 2
  local wanted = missing + count * interval
  local ok = wanted <= whole + math.min(1, interval / 1000)
  local first = not crossed and (is_take and not ok or what == 'refused')
  local left = (ok or not is_take) and math.min(math.max(wanted, 0), most) or missing
  if count ~= 0 or what == 'refused' then
    if left >= 1 then
      redis.call('SET', key, string.format('%.0f %.15g%s', now, left, (crossed or first) and ' !' or ''),
        'PX', string.format('%.0f', math.ceil(left / 1000)))
    elseif kept then
      redis.call('DEL', key)
    end
  end
  replies[i] = { ok and 1 or 0, string.format('%.0f', left), first and 1 or 0 }
end
return replies
]]

gcra.PREFIX = "moonmilter:limit:" -- of keys; then LIMIT:KEY

---@class moonmilter.gcra.Call
---@field key string
---@field interval number   seconds for a unit
---@field capacity number   units
---@field count number      below 0: to give back; 0: only look
---@field what "take"|"count"|"refused"

--- What the script is given for some calls, of different keys.
---@param calls moonmilter.gcra.Call[]
---@return string script
---@return string[] keys
---@return string[] arguments
function gcra.request(calls)
  local keys, arguments = {}, {}
  for i, call in ipairs(calls) do
    keys[i] = call.key
    local interval = call.interval * MICRO
    for _, value in ipairs { interval, interval * call.capacity, call.count } do
      arguments[#arguments + 1] = ("%.17g"):format(value)
    end
    arguments[#arguments + 1] = call.what
  end
  return SCRIPT, keys, arguments
end

--- What the script replied for one call.
---@return boolean ok
---@return number missing  seconds until the bucket is full
---@return boolean is_first  refusal
function gcra.read(reply)
  return reply[1] == 1, tonumber(reply[2]) / MICRO, reply[3] == 1
end

--- What take() answers. of: the limit, { interval, capacity }; missing: seconds until the bucket is full.
---@return boolean ok, moonmilter.limit.State state
function gcra.state(of, ok, missing, count, is_first)
  local retry_after = 0
  if not ok then
    retry_after = count > of.capacity and math.huge or missing + (count - of.capacity) * of.interval
  end
  return ok, {
    remaining = math.max(math.floor(of.capacity - missing / of.interval + 1e-6), 0), retry_after = retry_after,
    crossed = is_first, state = "shared",
  }
end

--- What take(key, count) would answer.
---@param of table  an Exact
---@return boolean ok, moonmilter.limit.State state
function gcra.look(of, key, count)
  local ok, state = of:take(key, 0)
  if state.state ~= "down" then
    ok = state.remaining >= count
    state.retry_after = ok and 0 or count > of.capacity and math.huge or (count - state.remaining) * of.interval
  end
  return ok, state
end

return gcra
