-- What limits of several hosts promise, on three real hosts with clocks a minute apart and a real
-- redis-server that hangs, is killed, restarted and replaced. FIGURES=FILE writes what was seen; SLOW=1 sends more.
local host = require "spec.support.host"
local socket = require "socket"
local three_hosts = require "spec.state.three_hosts"

local SLOW = os.getenv "SLOW"
local LINES = 4 -- connections to each host

local function figure(number, text, ...)
  local path = os.getenv "FIGURES"
  local file = path and assert(io.open(path, "a"))
  if file then
    file:write(("%s %s\n"):format(number, text:format(...)))
    file:close()
  end
end

describe("three hosts", function()
  local world
  after_each(function() if world then world:close() end end)

  local function start(rate)
    world = three_hosts.start(rate)
    world:connect(LINES)
    return world
  end

  -- Units that the server counts of a bucket.
  local function counted(name, key, interval)
    local left = world:redis_cli(("get moonmilter:limit:%s:%s"):format(name, key)):match "^%d+ ([%d.e+]+)"
    return left and tonumber(left) / 1e6 / interval or 0
  end

  it("are in network namespaces of their own", function()
    local ok, why = three_hosts.namespaces()
    if not ok then
      pending("no network namespaces, so all hosts are on loopback: " .. why .. " (asks the outside world)")
    end
    start "10/d"
    assert.is_not_nil(world.spaces[3])
    world:mails("exact.k", 1)
    local from = 0
    for address in pairs(world:clients()) do from = from + (address:find "^10%.77%.0%.1[123]$" and 1 or 0) end
    assert.equal(3, from)
  end)

  it("(1, 2, 3, 7, 8) pass what the limit says: exactly, or soon without a wait", function()
    local rounds = SLOW and 400 or 60
    local limit = rounds * LINES -- a third of what is offered
    start(limit .. "/d")
    local sums = world:mails("exact.one", rounds)
    figure("2", "exact, three hosts, %d messages against %d: %d passed; a take p50 %.2f ms, p99 %.2f ms", rounds * LINES * 3,
      limit, sums.passed, three_hosts.quantile(sums, 0.5) * 1e3, three_hosts.quantile(sums, 0.99) * 1e3)
    assert.equal(limit, sums.passed)
    assert.equal(rounds * LINES * 3, sums.states.shared)

    sums = world:mails("soon.below", math.floor(rounds / 3)) -- as many as the limit
    assert.equal(0, sums.refused)

    local begun = socket.gettime()
    sums = world:mails("soon.flood", rounds, function() socket.sleep(0.02) end)
    local seconds = socket.gettime() - begun
    local a_second = rounds * LINES * 3 / seconds
    local bound = limit + a_second * 0.5 + 3
    figure("1", "soon, three hosts, %.0f/s against %d: %d passed (at most %.0f); a take p50 %.1f us, p99 %.1f us", a_second,
      limit, sums.passed, bound, three_hosts.quantile(sums, 0.5) * 1e6, three_hosts.quantile(sums, 0.99) * 1e6)
    assert.is_true(sums.passed >= limit and sums.passed <= bound, sums.passed .. " passed")
  end)

  it("(7) have one connection of the flusher each", function()
    start "1000000/d"
    for i = 1, 12 do
      world:mails("soon.k" .. i, 2)
      socket.sleep(0.1)
    end
    local sum, most = -1, 0 -- without redis-cli's own
    for _, count in pairs(world:clients()) do sum, most = sum + count, math.max(most, count) end
    figure("7", "soon, three hosts of two workers: %d connections to the server, %s", sum, world.spaces
      and most .. " of a host at most" or "all from one address")
    assert.is_true(sum >= 1 and sum <= 6, sum .. " connections")
    assert.is_true(not world.spaces or most <= 2, most .. " connections")
  end)

  it("(4, 5) refuse nothing when the server hangs, and wait once in each worker at most", function()
    start "1000000/d"
    for _, name in ipairs { "exact", "soon" } do
      assert.equal(12, world:mails(name .. ".k", 1).states.shared)
      socket.sleep(0.5)
      world.redis:signal "SIGSTOP"
      local first = world:mails(name .. ".k", 1) -- all connections in the same moment
      socket.sleep(1.2)
      local later = world:mails(name .. ".k", 2)
      local sums = world:mails(name .. ".k", SLOW and 200 or 30)
      world.redis:signal "SIGCONT"
      local back = world:wait_shared(name .. ".k", 10)
      local waited = 0
      for _, count in pairs(first.slow) do waited = waited + count end
      figure("4", "%s, server stopped: %d of 12 takes in the same moment waited %.2f s at most, then p50 %.1f us, p99 "
        .. "%.1f us, the longest %.1f ms; all back %.1f s after it went on", name, waited,
        three_hosts.quantile(first, 1), three_hosts.quantile(sums, 0.5) * 1e6, three_hosts.quantile(sums, 0.99) * 1e6,
        three_hosts.quantile(sums, 1) * 1e3, back)
      assert.equal(0, sums.refused + first.refused + later.refused)
      assert.is_true(name == "exact" or waited == 0)
      assert.is_nil(next(later.slow))
      assert.is_nil(sums.states.shared)
      assert.is_nil(next(sums.slow))
      assert.is_true(back <= 5.5, back .. " s")
    end
  end)

  it("(5) are back within 5 seconds after the server was killed, and after another one took its place", function()
    start "1000000/d"
    world.replica = world:start_redis(world.port + 1, ("--replicaof %s %d"):format(world.address, world.port))
    for _, name in ipairs { "exact", "soon" } do
      assert.equal(12, world:mails(name .. ".k", 1).states.shared)
      world.redis:signal "SIGKILL"
      local sums = world:mails(name .. ".k", 20)
      assert.equal(0, sums.refused)
      socket.sleep(1)
      assert.equal(0, world:mails(name .. ".k", 1).refused)
      world.redis:stop()
      world.redis = world:start_redis(world.port)
      local back = world:wait_shared(name .. ".k", 10)
      figure("5", "%s, server killed and restarted: %d refused, all back after %.1f s", name, sums.refused, back)
      assert.is_true(back <= 5.5, back .. " s")
    end
    host.wait_until(10, function() return world:redis_cli("info replication", world.port + 1):find "link_status:up" end,
      "the replica follows")
    world.redis:signal "SIGKILL"
    local refused = world:mails("exact.k", 5).refused + world:mails("soon.k", 5).refused
    world.redis:stop()
    world:redis_cli("replicaof no one", world.port + 1)
    world:redis_cli("config set port " .. world.port, world.port + 1)
    local back = math.max(world:wait_shared("exact.k", 10), world:wait_shared("soon.k", 10))
    figure("5", "failed over to a replica: %d refused, all back after %.1f s", refused, back)
    assert.equal(0, refused)
    assert.is_true(back <= 5.5, back .. " s")
  end)

  it("(6) lose one round of one flusher at most when workers are killed", function()
    local rounds = SLOW and 100 or 30
    start "100000/10000d" -- nothing flows back meanwhile
    local interval = 10000 * 86400 / 1e5
    world:mails("soon.kill", 1)
    local kills = 0
    local sums = world:mails("soon.kill", rounds, function(round)
      socket.sleep(0.02)
      if round % 10 == 5 then
        for _, h in ipairs(world.hosts) do
          local pids = h:workers()
          if #pids > 1 then
            host.kill(pids[round % #pids + 1], "SIGKILL")
            kills = kills + 1
          end
        end
      end
    end)
    socket.sleep(1.5)
    local all = sums.passed + #world.lines
    local told = counted("soon", "kill", interval)
    local most = kills * LINES * 15 -- of a host in 0.3 s, a round each 0.02 s or more
    figure("6", "soon, %d workers killed during %d takes: the server counts %.0f, %d answers were lost", kills, all, told,
      sums.lost)
    assert.is_true(kills > 0)
    assert.is_true(told >= all - most and told <= all + sums.lost, told .. " of " .. all)
  end)
end)
