-- Greylisting that all hosts share through Redis: an unknown sender gets a temporary failure, and is known for a month
-- once it retries. While Redis cannot say, mail goes through: greylisting is not worth a delay for everybody.
-- moonmilter.conf: settings = { redis = { host = "10.0.0.5" }, delay = 60 }
local log = require "moonmilter.log"
local milter = require "moonmilter"
local redis = require "moonmilter.redis"

local RETRY_WITHIN, KNOWN_FOR = 2 * 24 * 3600, 36 * 24 * 3600 -- seconds

local client, delay

function on_load(host)
  local settings = host:require_settings { redis = "table?", delay = "number?" }
  client = redis.new(settings.redis)
  delay = settings.delay or 60
end

-- When the key was seen first. A server that wants a password or is out of memory answers, but each reply is an error.
local function first_seen(key, now)
  local replies, text = client:pipeline { { "SET", key, now, "NX", "EX", RETRY_WITHIN }, { "GET", key } }
  for i = 1, replies and 2 or 0 do
    if redis.is_error(replies[i]) then
      return nil, replies[i].err
    end
  end
  return replies and tonumber(replies[2]), text or "no time at " .. key
end

function on_rcpt(ctx, recipient)
  local ip = ctx.client.ip
  if ctx.auth or not ip then
    return
  end
  local network = ip:match "^%d+%.%d+%.%d+" or ip -- large senders retry from a neighbour
  local key = ("grey:%s:%s:%s"):format(network, ctx.sender:lower(), recipient:lower())
  local now = math.floor(milter.now())
  local seen, text = first_seen(key, now)
  if not seen then
    log.warn("greylist: %s; mail goes through", text)
  elseif now - seen < delay then
    return ctx:tempfail(451, "4.7.1", "Greylisted, please try again in a minute")
  else
    client:expire(key, KNOWN_FOR) -- if that fails, the sender has to wait again in two days
  end
end
