-- Four workers whose Sentinel set loses its master while mail comes: no mail is refused for it, all go back to the new
-- master, and they do not come in a herd. SLOW=1 for five failovers.
local socket = require "socket"

local host = require "spec.support.host"
local redis_sets = require "spec.async.redis_sets"

local FAILOVERS = os.getenv "SLOW" and 5 or 1
local WORKERS, CONNECTIONS = 4, 8
local POOL = 2
local OTHERS = 30 -- connections of redis-cli, the replica, and three sentinels, twice each and again after a failover

local TAKER = [[
  local limit = require "moonmilter.limit"
  local out = limit.new { name = "out", rate = "1000000/d", shared = "hosts" }
  function on_mail(ctx, sender)
    local ok, state = out:take(sender)
    return ctx:tempfail(451, "4.7.1", ("%s %s"):format(ok and "passed" or "refused", state.state))
  end ]]

describe("a failover under mail", function()
  local set, h
  after_each(function()
    if h then h:stop() end
    if set then set.close() end
  end)

  -- One MAIL on each connection; counts the answers by their text.
  local function round(connections, number, seen)
    for i = 1, CONNECTIONS do
      connections[i]:send("M", ("<ann-%d@example.org>\0"):format((number * CONNECTIONS + i) % 50))
    end
    for i = 1, CONNECTIONS do
      local reply = connections[i]:reply()
      assert.equal("reply", reply.kind)
      local text = reply.text:match "%l+ %l+$"
      seen[text] = (seen[text] or 0) + 1
    end
  end

  -- Until all answers of a round in a row say that the server is used; the seconds that took.
  local function until_shared(connections, seen, seconds)
    local begun, in_a_row, number = socket.gettime(), 0, 0
    while in_a_row < 20 do
      local this = {}
      number = number + 1
      round(connections, number, this)
      in_a_row = (this["passed shared"] or 0) == CONNECTIONS and in_a_row + 1 or 0
      for text, count in pairs(this) do
        seen[text] = (seen[text] or 0) + count
      end
      assert.is_true(socket.gettime() - begun < seconds, "not back after " .. seconds .. " s")
      socket.sleep(0.02)
    end
    return socket.gettime() - begun
  end

  local function stat(server, section, name)
    return tonumber(server.cli("info " .. section):match(name .. ":(%d+)"))
  end

  -- Connections that are neither a sentinel's nor redis-cli's.
  local function ours(server)
    local count = 0
    for line in server.cli("client list"):gmatch "[^\n]+" do
      local is_other = line:find(" name=sentinel", 1, true) or line:find(" cmd=client", 1, true)
        or line:find(" flags=S", 1, true)
      count = count + (is_other and 0 or 1)
    end
    return count
  end

  it("refuses nothing, comes back, and opens no more connections than the pools allow", function()
    set = redis_sets.sentinels()
    local options = ('{ sentinels = %s, master = "mymaster", timeout = 0.5, connect_timeout = 0.5, pool_size = %d }')
      :format(set.addresses, POOL)
    h = host.start { workers = WORKERS, scripts = { ["10-taker.lua"] = TAKER }, life = 300,
      arguments = { "--redis=" .. options } }
    local connections, seen = {}, {}
    for i = 1, CONNECTIONS do
      connections[i] = assert(h:connect(10))
      assert.equal("continue", connections[i]:envelope("helo").kind)
    end
    until_shared(connections, seen, 10)
    for _ = 1, FAILOVERS do
      local old = set.master()
      local new = old == set.servers[1] and set.servers[2] or set.servers[1]
      local received = stat(new, "stats", "total_connections_received")
      old.kill()
      local seconds = until_shared(connections, seen, 20)
      assert.equal(new, set.master())
      local opened = stat(new, "stats", "total_connections_received") - received
      -- each redis-cli is one, too, and the sentinels connect anew
      assert.is_true(opened <= WORKERS * POOL + OTHERS, ("%d connections in %.1f s"):format(opened, seconds))
      assert.is_true(ours(new) <= WORKERS * POOL)
      old.start("--replicaof 127.0.0.1 " .. new.port)
      set.wait_for_replica()
    end
    assert.is_nil(seen["refused shared"] or seen["refused local"] or seen["passed down"] or seen["refused down"])
    assert.is_true(seen["passed local"] > 0)
    for _, mta in ipairs(connections) do mta:close() end
  end)
end)
