-- Limits of several hosts on a real redis-server that is stopped, killed, restarted, full, or a replica.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
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
      local quick = milter.now() - begun < 0.1
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
