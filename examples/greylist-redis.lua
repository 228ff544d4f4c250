-- Greylisting that all hosts share through Redis: an unknown sender gets a temporary failure, and is known for a month
-- once it retries.
-- moonmilter.conf: settings = { redis = { host = "10.0.0.5" }, delay = 60 }
local log = require "moonmilter.log"
local milter = require "moonmilter"
local redis = require "moonmilter.redis"

local RETRY_WITHIN, KNOWN_FOR = 2 * 24 * 3600, 36 * 24 * 3600 -- seconds

local client, delay

function on_load(host)
  client = redis.new(host.settings.redis)
  delay = host.settings.delay or 60
end

function on_rcpt(ctx, recipient)
  local ip = ctx.client.ip
  if ctx.auth or not ip then
    return
  end
  local network = ip:match "^%d+%.%d+%.%d+" or ip -- large senders retry from a neighbour
  local key = ("grey:%s:%s:%s"):format(network, ctx.sender:lower(), recipient:lower())
  local now = math.floor(milter.now())
  local replies, text = client:pipeline { { "SET", key, now, "NX", "EX", RETRY_WITHIN }, { "GET", key } }
  if not replies then
    log.warn("greylist: %s; mail goes through", text)
    return
  end
  if now - tonumber(replies[2]) < delay then
    return ctx:tempfail(451, "4.7.1", "Greylisted, please try again in a minute")
  end
  client:expire(key, KNOWN_FOR)
end
