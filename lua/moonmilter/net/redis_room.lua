--- How many clients the Redis of the configuration has room for. `moonmilter doctor` has it asked when it checks the
--- scripts, and compares it with what all hosts can open.
local core = require "moonmilter.core"
local redis = require "moonmilter.redis"

local redis_room = {}

-- "clients=57 maxclients=10000", or nil and why not.
local function room_of(client)
  local info, text = client:info "clients"
  if not info then
    return nil, text
  end
  local most = info:match "maxclients:(%d+)"
  if not most then -- before Redis 7
    local reply = client:config("GET", "maxclients")
    most = type(reply) == "table" and reply[2]
  end
  if not most then
    return nil, "it does not say how many clients it takes"
  end
  return ("clients=%s maxclients=%s"):format(info:match "connected_clients:(%d+)" or "0", most)
end

--- Writes a line for each server: "moonmilter: redis: NAME clients=57 maxclients=10000 pool_size=2 hosts=1", or
--- "moonmilter: redis fails: NAME: WHY". Waits for them.
---@param write fun(line: string)
function redis_room.report(write)
  if not core.redis then
    return
  end
  local client = redis.new()
  local masters, text = client:masters()
  for _, one in ipairs(masters or {}) do
    local room, why = room_of(one)
    if room then
      write(("moonmilter: redis: %s %s pool_size=%d hosts=%d\n"):format(one.name, room, client.options.pool_size,
        client.options.hosts))
    else
      write(("moonmilter: redis fails: %s: %s\n"):format(one.name, why))
    end
  end
  if not masters then
    write(("moonmilter: redis fails: %s: %s\n"):format(client.name, text))
  end
end

return redis_room
