--- What a shadow may not do: its scripts see the mail of all (`shadow` in moonmilter.conf), and have no effect. What
--- only reads is allowed; what would reach anybody or change anything is refused as a failure, `nil, text, "shadow"`,
--- unless the script says with `reads = true` that it only reads. Stores, limits and the like are the shadow's own:
--- the host sees to that.
local core = require "moonmilter.core"

local shadow = {}

--- These scripts are a shadow.
shadow.is = core.shadow

--- What a function answers that a shadow may not call.
---@param what string  "process.run"
---@param how string?  what would be allowed
---@return nil, string text, "shadow" code
function shadow.refuse(what, how)
  return nil, ("%s: a shadow has no effect, so this is not done%s"):format(what, how and "; " .. how or ""), "shadow"
end

local REFUSED = { os = { "execute", "remove", "rename", "tmpname" }, io = { "popen", "tmpfile", "output" } }

-- Files may be read.
local function reading(open)
  return function(path, mode)
    if mode ~= nil and tostring(mode):find "[wa+]" then
      return shadow.refuse "io.open"
    end
    return open(path, mode)
  end
end

--- Takes from Lua's own libraries what writes.
function shadow.install()
  if not shadow.is then
    return
  end
  for name, functions in pairs(REFUSED) do
    for _, fn in ipairs(functions) do
      _G[name][fn] = function()
        return shadow.refuse(name .. "." .. fn)
      end
    end
  end
  io.open = reading(io.open) -- luacheck: ignore 122
end

-- Commands that change nothing, and those around them. A command that is not here is refused.
local READS = {}
for word in ([[
  GET MGET GETRANGE SUBSTR STRLEN EXISTS TYPE TTL PTTL EXPIRETIME PEXPIRETIME KEYS SCAN RANDOMKEY DBSIZE OBJECT DUMP
  TOUCH GETBIT BITCOUNT BITPOS BITFIELD_RO LCS
  HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN HSCAN HRANDFIELD HTTL HPTTL
  LRANGE LINDEX LLEN LPOS SMEMBERS SISMEMBER SMISMEMBER SCARD SRANDMEMBER SSCAN SINTER SUNION SDIFF SINTERCARD
  ZRANGE ZRANGEBYSCORE ZRANGEBYLEX ZREVRANGE ZREVRANGEBYSCORE ZREVRANGEBYLEX ZSCORE ZMSCORE ZCARD ZCOUNT ZLEXCOUNT
  ZRANK ZREVRANK ZSCAN ZRANDMEMBER ZINTER ZUNION ZDIFF ZINTERCARD
  XRANGE XREVRANGE XLEN XREAD XINFO XPENDING PFCOUNT GEOPOS GEODIST GEOHASH GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO
  EVAL_RO EVALSHA_RO FCALL_RO SORT_RO
  PING ECHO TIME INFO COMMAND ROLE LASTSAVE MEMORY PUBSUB MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE PSUBSCRIBE
  ]]):gmatch "%S+" do
  READS[word] = true
end

--- The first command of a list that writes, when a shadow asks; nil: all may be sent.
---@param commands table[]  each a list of words
---@return string? verb
function shadow.writing(commands)
  for _, words in ipairs(shadow.is and commands or {}) do
    local verb = tostring(words[1]):upper()
    if not READS[verb] then
      return verb
    end
  end
end

return shadow
