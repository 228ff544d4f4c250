-- Limits of several hosts on a real redis-server that is stopped, killed, restarted, full, or a replica.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local key_slot = require "moonmilter.net.key_slot"
local redis_sets = require "spec.async.redis_sets"
local world = require "spec.async.world"

local redis

local function run(body, options)
  return inside.body({ redis = redis.port }, [[
    local limit = require "moonmilter.limit"
    local function new(name, rate, more)
      local options = { name = name, rate = rate, shared = "hosts", hosts = 2,
        redis = { port = P.redis, timeout = 0.4, connect_timeout = 0.4 } }
      for k, v in pairs(more or {}) do options[k] = v end
      return limit.new(options)
    end
    -- How many of so many takes pass, what the states were, and the longest that one took.
    local function takes(l, count, key)
      local passed, states, longest, slow = 0, {}, 0, 0
      for _ = 1, count do
        local begun = milter.now()
        local ok, state = l:take(key or "k")
        passed = passed + (ok and 1 or 0)
        states[state.state] = (states[state.state] or 0) + 1
        longest = math.max(longest, milter.now() - begun)
        slow = slow + (milter.now() - begun > 0.2 and 1 or 0)
      end
      return passed, states, slow
    end
  ]] .. body, options)
end

describe("a limit on a real Redis", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("takes, refuses, gives back and fills as the fake does", function()
    assert.equal("3|shared|true|true|true|true|false", run [[
      local l = new("a", "3/h")
      local passed = takes(l, 3)
      local ok, state = l:take "k"
      local near = math.abs(state.retry_after - 1200) < 5
      return show(passed, state.state, state.crossed, near, l:reset "k", (l:take("k", 3)), (l:take "k"))
    ]])
  end)

  it("is one bucket for two hosts: a short string that ends when it is full", function()
    assert.equal("5", run [[return show((takes(new("b", "8/h"), 5)))]])
    assert.equal("3", run [[return show((takes(new("b", "8/h"), 5)))]])
    local ttl = tonumber(redis.cli "pttl moonmilter:limit:b:k")
    assert.is_true(ttl > 3590000 and ttl <= 3600000, ttl)
    assert.matches("^%d+ [%d.e+]+ !$", redis.cli "get moonmilter:limit:b:k")
    assert.is_true(tonumber(redis.cli "memory usage moonmilter:limit:b:k") <= 160)
  end)

  it("is exact for many takes at the same time", function()
    assert.equal("100|100", run [[
      local l = new("c", "100/h")
      local tasks = {}
      for i = 1, 20 do tasks[i] = milter.spawn(takes, l, 10) end
      local sum, shared = 0, 0
      for _, task in ipairs(tasks) do
        local passed, states = task:wait()
        sum, shared = sum + passed, shared + (states.shared or 0)
      end
      return show(sum, shared >= 100 and 100 or shared) ]])
  end)

  it("in the mode soon counts for several limits of one name, and no take waits", function()
    assert.equal("5|true|0|shared", run [[
      local mine, other = new("f", "5/h", { mode = "soon" }), new("f", "5/h", { mode = "soon" })
      local begun = milter.now()
      local passed = takes(mine, 5)
      local quick = milter.now() - begun < 0.5
      for _ = 1, 2 do -- it learns with what it takes
        takes(other, 1)
        milter.sleep(0.6)
      end
      return show(passed, quick, (takes(other, 3)), select(2, other:take "k").state) ]])
  end)

  it("goes on when the server has forgotten its scripts", function()
    assert.equal("shared|shared", run [[
      local l = new("d", "9/h")
      local _, before = l:take "k"
      require "moonmilter.redis".new { port = P.redis }:call("SCRIPT", "FLUSH")
      return show(before.state, select(2, l:take "k").state) ]])
  end)

  it("survives keys of another type, with the host's own count", function()
    redis.cli "lpush moonmilter:limit:e:k 1"
    assert.equal("true|local|shared", run [[
      local l = new("e", "9/h")
      local ok, state = l:take "k"
      return show(ok, state.state, select(2, l:take "other").state) ]])
  end)
end)

describe("what hosts share on a real Redis", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("are places, of hosts that live", function()
    local CHECK = [[
      local busy = limit.concurrency { name = "busy", max = 3, shared = "hosts", redis = { port = P.redis } }
      local words = {}
      for i = 1, 4 do
        local ok, state = busy:enter "k"
        words[i] = tostring(ok) .. state.count
      end
      return table.concat(words, " ") .. " " .. busy:count "k" ]]
    assert.equal("true1 true2 true3 false3 3", run(CHECK))
    redis.cli "del moonmilter:places:busy:k" -- its host has ended before it could tell
    redis.cli "hset moonmilter:places:busy:k other '2 5 9999999999999'" -- another host
    redis.cli "hset moonmilter:places:busy:k dead '1 5 1000'"
    assert.equal("true3 false3 false3 false3 3", run(CHECK))
    assert.equal("", redis.cli "hget moonmilter:places:busy:k dead")
  end)

  it("are different values, in a set that ends", function()
    local CHECK = [[
      local spread = limit.distinct { name = "d", count = 3, per = "1h", shared = "hosts", redis = { port = P.redis } }
      local words = {}
      for i, value in ipairs { "a", "b", "a", HOST, ("x"):rep(100) } do
        local ok, state = spread:add("k", value)
        words[i] = tostring(ok) .. state.count
      end
      return table.concat(words, " ") ]]
    assert.equal("true1 true2 true2 true3 false3", run((CHECK:gsub("HOST", '"c"'))))
    assert.equal("true3 true3 true3 false3 false3", run((CHECK:gsub("HOST", '"d"'))))
    local ttl = tonumber(redis.cli "pttl moonmilter:distinct:d:k")
    assert.is_true(ttl > 3590000 and ttl <= 3600000, ttl)
  end)

  it("is a greylist, in one call for a recipient", function()
    local CHECK = [[
      local grey = require "moonmilter.greylist".new { shared = "hosts", delay = 1, redis = { port = P.redis } }
      local from = { sender = "ann@example.org", client = { ip = "198.51.100.7" } }
      local words = {}
      for i = 1, 2 do
        local ok, state = grey:check(from, "bob@example.net")
        words[i] = tostring(ok) .. " " .. state.reason
      end
      return table.concat(words, " ") ]]
    assert.equal("false new false early", run(CHECK))
    os.execute "sleep 1.1"
    redis.cli "config resetstat"
    assert.equal("true passed true known", run(CHECK))
    assert.matches("cmdstat_evalsha:calls=1,", redis.cli "info commandstats")
    assert.equal("true known true known", run(CHECK))
  end)

  it("are results of memos, and one caller", function()
    local CHECK = [[
      local calls = 0
      local slow = require "moonmilter.memo"(function(key)
        calls = calls + 1
        milter.sleep(0.1)
        if key == "none" then return nil end
        return { key, 1.5, true }
      end, { name = "slow", shared = "hosts", redis = { port = P.redis } })
      local value = slow "k"
      return show(value[1], value[2], value[3], (slow "none"), calls) ]]
    assert.equal("k|1.5|true|nil|2", run(CHECK))
    assert.equal("k|1.5|true|nil|0", run(CHECK))
    assert.equal("", redis.cli "--scan --pattern 'moonmilter:memo:*:claim'")
  end)
end)

describe("a limit on a real Redis that fails", function()
  before_each(function() redis = world.redis() end)
  after_each(function() redis.close() end)

  it("that hangs costs one slow take, then none, and nothing is refused by fault", function()
    redis.stop()
    assert.equal("20|20|1", run [[
      local passed, states, slow = takes(new("a", "1000/h"), 20)
      return show(passed, states["local"], slow) ]])
    redis.go_on()
  end)

  it("that hangs does not hold up those who come while another one waits", function()
    redis.stop()
    assert.equal("true", run [[
      local l = new("a", "1000/h")
      local slow = 0
      local first = milter.spawn(takes, l, 1)
      milter.sleep(0.25)
      local _, _, later = takes(l, 30)
      first:wait()
      return show(later == 0) ]])
    redis.go_on()
  end)

  it("is used again within 5 seconds after it has hung, been killed, or restarted", function()
    local mta = fake_mta.start { script = inside.script({ redis = redis.port }, [[
      local limit = require "moonmilter.limit"
      local l = limit.new { name = "a", rate = "1000/h", shared = "hosts",
        redis = { port = P.redis, timeout = 0.4, connect_timeout = 0.4 } }
      local _, first = l:take "k"
      local down
      repeat
        milter.sleep(0.01)
        down = select(2, l:take "k").state
      until down == "local"
      local begun = milter.now()
      repeat
        milter.sleep(0.05)
      until select(2, l:take "k").state == "shared" or milter.now() - begun > 8
      return show(first.state, down, milter.now() - begun)
    ]]) }
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(fake_mta.packet("E", ""))
    for _ = 1, 20 do mta.owner:turn(0.02) end
    assert.is_true(mta:is_waiting())
    redis.kill()
    for _ = 1, 50 do mta.owner:turn(0.02) end
    redis.start() -- without its data and its scripts
    local first, down, seconds = mta:reply().text:match "(%a+)|(%a+)|([%d.]+)"
    assert.equal("shared", first)
    assert.equal("local", down)
    assert.is_true(tonumber(seconds) < 1 + 5.3, seconds)
    mta:close()
  end)

  it("that hangs holds up no take in the mode soon", function()
    redis.stop()
    assert.equal("20|0|local", run [[
      local l = new("a", "1000/h", { mode = "soon" })
      local _, _, before = takes(l, 10)
      milter.sleep(1.2)
      local passed, _, slow = takes(l, 10)
      return show(10 + passed, before + slow, select(2, l:take "k").state) ]])
    redis.go_on()
  end)

  it("has an outcome for what a server refuses: no memory, a replica, a password", function()
    local CHECK = [[
      local l = new("a", "1000/h")
      local open, strict = new("b", "1/h", { on_down = "open" }), new("c", "9/h", { on_down = "tempfail" })
      local passed, states = takes(l, 5)
      open:take "k"
      local ok, state = open:take "k"
      return show(passed, states["local"], ok, state.state, (strict:take "k"), select(2, strict:take "k").state) ]]
    redis.cli "config set maxmemory 1"
    assert.equal("5|5|true|down|false|down", run(CHECK))
    redis.cli "config set maxmemory 0"
    redis.cli "replicaof 127.0.0.1 1"
    assert.equal("5|5|true|down|false|down", run(CHECK))
    redis.cli "replicaof no one"
    assert.equal("5|nil", run [[
      local passed, states = takes(new("a", "1000/h"), 5)
      return show(passed, states["local"]) ]])
    redis.cli "config set requirepass secret"
    assert.equal("5|5|true|down|false|down", run(CHECK))
  end)
end)

-- A script that takes from two limits and counts in a store until the test ends, and says what went wrong.
local WORKLOAD = [[
  local limit, store = require "moonmilter.limit", require "moonmilter.store"
  local options = require "moonmilter.redis".new %s
  local followed, follow = 0, options.route.follow
  options.route.follow = function(...)
    followed = followed + 1
    return follow(...)
  end
  local exact = limit.new { name = "e", rate = "1000/d", shared = "hosts", redis = options, on_down = "tempfail" }
  local soon = limit.new { name = "s", rate = "1000/d", shared = "hosts", redis = options, mode = "soon" }
  local s = store.open("w", { engine = "redis", redis = options })
  local counts, failures = {}, {}
  local function note(text) failures[#failures + 1] = tostring(text) end
  local function work(number)
    for i = 1, ROUNDS do
      local key = ("k%%d"):format((i * 7 + number) %% 50)
      local ok, state = exact:take(key)
      if not ok or state.state ~= "shared" then note(state.text) end
      soon:take(key)
      local sum, text = s:incr(key)
      if sum then counts[key] = (counts[key] or 0) + 1 else note(text) end
      milter.sleep(0.001)
    end
  end
  local tasks = {}
  for number = 1, 4 do tasks[number] = milter.spawn(work, number) end
  for _, task in ipairs(tasks) do task:wait() end
  local right, taken = 0, 0
  for key, count in pairs(counts) do
    right = right + (s:get(key) == count and 1 or 0)
    local _, state = exact:peek(key)
    taken = taken + (1000 - state.remaining)
  end
]]

describe("limits and stores on a Redis Cluster", function()
  local cluster
  setup(function() cluster = redis_sets.cluster() end)
  teardown(function() cluster.close() end)

  it("cover many keys, walk over them and clear them", function()
    assert.equal("500|500|100|400|true|false", inside.body({}, ([[
      local s = require "moonmilter.store".open("n", { engine = "redis", redis = { cluster = %s } })
      for i = 1, 500 do s:set((i %% 5 == 0 and "a" or "b") .. i, i) end
      local all, count = {}, 0
      for key, value in s:each() do all[key] = value end
      for _ in pairs(all) do count = count + 1 end
      local whole, a = s:count(), 0
      for _ in s:each "a" do a = a + 1 end
      s:clear "a"
      return show(count, whole, a, s:count(), s:add("once", 1), s:add("once", 1))
    ]]):format(cluster.addresses)))
  end)

  it("count each call exactly once while slots move between servers", function()
    local slots, movers = { {}, {}, {} }, {}
    for i = 0, 49 do
      for _, prefix in ipairs { "limit:e", "limit:s", "store:w" } do
        local slot = key_slot.of(("moonmilter:%s:k%d"):format(prefix, i))
        table.insert(slots[cluster.of(slot)], slot)
      end
    end
    -- to one server only: in a ring, two servers that raise their epochs at the same time can lose a slot
    for i = 1, 2 do movers[i] = cluster.move(slots[i], i, 3) end
    local text = inside.body({}, (WORKLOAD:format(("{ cluster = %s, pool_size = 4 }"):format(cluster.addresses))
      :gsub("ROUNDS", "800")) .. [[ return show(#failures, failures[1], right, taken, followed) ]])
    for _, pid in ipairs(movers) do
      cluster.wait(pid)
    end
    local failed, first, right, taken, followed = text:match "^(%d+)|(.-)|(%d+)|(%d+)|(%d+)"
    assert.equal("0", failed, first)
    assert.equal("50", right, text)
    assert.equal("3200", taken, text)
    assert.is_true(tonumber(followed) > 50, text)
  end)

  it("lose one server's part when that server dies, and go on with the others", function()
    local dead = cluster.servers[3]
    for _, node in ipairs(cluster.servers) do node.cli "config set cluster-require-full-coverage no" end
    assert.equal("true|true|true|true", inside.body({}, ([[
      local limit = require "moonmilter.limit"
      local l = limit.new { name = "d", rate = "1000/h", shared = "hosts", redis = { cluster = %s, timeout = 0.4 } }
      local key_slot = require "moonmilter.net.key_slot"
      local dead, alive -- keys of the server that dies, and of another
      for i = 1, 1000 do
        local slot = key_slot.of("moonmilter:limit:d:k" .. i)
        if slot > 14000 then dead = "k" .. i elseif slot > 6000 and slot < 10000 then alive = "k" .. i end
      end
      local before = select(2, l:take(dead)).state == "shared"
      require "moonmilter.process".run { argv = { "/bin/kill", "-KILL", "%s" } }
      local first = select(2, l:take(dead)).state == "local"
      local states, begun = {}, milter.now()
      for _ = 1, 50 do
        states[select(2, l:take(dead)).state .. select(2, l:take(alive)).state] = true
      end
      return show(before, first, next(states) == "localshared" and next(states, "localshared") == nil,
        milter.now() - begun < 5)
    ]]):format(cluster.addresses, dead.pid)))
  end)
end)

describe("limits and stores on a Sentinel set", function()
  it("go on after a failover, and lose nothing but what failed", function()
    local set = redis_sets.sentinels()
    finally(function() set.close() end)
    local options = ('{ sentinels = %s, master = "mymaster", timeout = 0.5, connect_timeout = 0.5 }'):format(
      set.addresses)
    local text = inside.body({}, ([[
      local l = require "moonmilter.limit".new { name = "f", rate = "100000/h", shared = "hosts", redis = %s }
      local states = {}
      local function takes(count)
        for _ = 1, count do
          local ok, state = l:take "k"
          states[(ok and "passed " or "refused ") .. state.state] = true
          milter.sleep(0.005)
        end
        return select(2, l:take "k").state
      end
      local first = takes(20)
      require "moonmilter.process".run { argv = { "/bin/kill", "-KILL", "%s" } }
      local second = takes(20)
      local begun = milter.now()
      repeat milter.sleep(0.1) until takes(1) == "shared" or milter.now() - begun > 15
      return show(first, second, takes(1), states["refused local"], states["refused shared"])
    ]]):format(options, set.servers[1].pid))
    assert.equal("shared|local|shared|nil|nil", text)
    assert.equal(set.servers[2], set.master())
  end)
end)
