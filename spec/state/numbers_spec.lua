-- What a limit of several hosts promises, number by number (docs/RELIABILITY.md): a hundred hosts on the
-- virtual clock. FIGURES=FILE writes what was seen. The numbers that need real hosts are in three_hosts_spec.lua.
local hosts = require "spec.state.hosts"
local world_of = require "spec.async.world"

local HOSTS = 100

local SCRIPT = [[
  local limit = require "moonmilter.limit"
  local out = limit.new { name = "all", rate = "%s", shared = "hosts", hosts = 100, redis = { host = "r.example" }, %s }
  function on_mail(ctx, sender)
    local ok, state = out:take(sender)
    if not ok then return ctx:tempfail(451, "4.7.1", state.crossed and "first" or state.state) end
    if state.state ~= "shared" then return ctx:reject(550, "5.7.1", state.state) end
  end ]]

local function figure(number, text, ...)
  local path = os.getenv "FIGURES"
  local file = path and assert(io.open(path, "a"))
  if file then
    file:write(("%s %s\n"):format(number, text:format(...)))
    file:close()
  end
end

local function start(rate, options, skew)
  return hosts.start(HOSTS, SCRIPT:format(rate, options), { skew = skew })
end

-- Offers so many messages of an account a second, by twentieths, to all hosts in turn.
-- -> passed, first refusals, by what is left at each host
local function flood(world, a_second, seconds, each)
  local sums, at = { passed = 0, first = 0, waits = 0 }, 0
  for i = 1, seconds * 20 do
    for _ = 1, a_second / 20 do
      at = at + 37
      local begun = world:now()
      local reply = world:mail(at % #world.mtas + 1, "account@example.org")
      sums.waits = sums.waits + (world:now() - begun > 0 and 1 or 0)
      sums.passed = sums.passed + (reply.verdict == "continue" and 1 or 0)
      sums.first = sums.first + (reply.text == "first" and 1 or 0)
    end
    if each then each(i / 20, sums.passed) end
    world:pass(0.05)
  end
  return sums
end

describe("a limit of a hundred hosts", function()
  local world -- one at a time: the tables of a hundred hosts have some 4 GB
  local function begin(...)
    if world then world:close() end
    world = start(...)
    return world
  end
  after_each(function() world:close() world = nil end)

  it("(1, 3) soon: no message waits, none is refused below the limit, and few pass above it", function()
    begin("1000/d", 'mode = "soon"')
    local sums = flood(world, 1000, 3, function(seconds, passed)
      if seconds <= 0.95 then assert.equal(seconds * 1000, passed) end
    end)
    local bound = 1000 + 1000 * 0.35 + HOSTS -- an exchange each 0.2 to 0.3 s, and a step of the simulation
    figure("1", "soon, 1000/s against 1000, 100 hosts: %d passed (at most %d), %d waited, %.1f calls/s of a host",
      sums.passed, bound, sums.waits, world.server.calls / 3 / HOSTS)
    assert.equal(0, sums.waits)
    assert.is_true(sums.passed >= 1000 and sums.passed <= bound, sums.passed .. " passed")
    assert.equal(1, sums.first)
    assert.is_true(world.server.calls <= HOSTS * 3 / 0.2, world.server.calls .. " calls")
  end)

  it("(1) soon: what was too much is paid back", function()
    begin("600/m", 'mode = "soon"') -- 10 a second flow back
    local sums = flood(world, 300, 8)
    figure("1", "soon, 300/s against 600/m for 8 s: %d passed (600 + 80 are there)", sums.passed)
    assert.is_true(sums.passed >= 675 and sums.passed <= 680 + 300 * 0.35 + HOSTS, sums.passed .. " passed")
  end)

  it("(2, 3, 8) exact: as many as the limit says, whatever the clock of the server says", function()
    for _, skew in ipairs { 0, 60, -60 } do
      begin("500/d", "", skew)
      local sums = flood(world, 500, 2, function(seconds, passed)
        if seconds <= 1 then assert.equal(seconds * 500, passed) end
      end)
      figure(skew == 0 and "2" or "8", "exact, 1000 messages against 500, clocks %+d s: %d passed, %d calls", skew,
        sums.passed, world.server.calls)
      assert.equal(500, sums.passed)
      assert.equal(1, sums.first)
    end
  end)

  it("(8) soon: the clock of the server changes nothing", function()
    local passed = {}
    for i, skew in ipairs { 60, -60 } do
      passed[i] = flood(begin("300/d", 'mode = "soon"', skew), 300, 2).passed
      assert.is_true(passed[i] >= 300 and passed[i] <= 300 + 300 * 0.35 + HOSTS, passed[i] .. " passed")
    end
    figure("8", "soon, 600 messages against 300, clocks +60 s and -60 s: %d and %d passed", passed[1], passed[2])
  end)

  -- All hosts send while the server fails for 20 seconds, and afterwards.
  local function outage(mode, failure)
    begin("1000000/d", ('mode = "%s"'):format(mode))
    local calls, busiest = 0, 0
    world.asked = function() calls = calls + 1 end
    local refused, longest_back = 0, 0
    local function send()
      local states = 0
      for i = 1, HOSTS do
        local reply = world:mail(i, "account@example.org")
        refused = refused + (reply.verdict == "tempfail" and 1 or 0)
        states = states + (reply.verdict == "continue" and 1 or 0)
      end
      return states
    end
    assert.equal(HOSTS, send())
    world:pass(0.5)
    world.fail = { nil, failure, "reply" }
    for _ = 1, 20 do
      send()
      world:pass(1)
    end
    assert.equal(0, send())
    world.fail = nil
    repeat
      local seen = calls
      world:pass(0.1)
      busiest = math.max(busiest, calls - seen)
      longest_back = longest_back + 0.1
    until send() == HOSTS or longest_back > 10
    return refused, longest_back, busiest
  end

  for _, mode in ipairs { "exact", "soon" } do
    it(("(5) %s: no message is refused by fault, all are back within 5 seconds, and not in one moment"):format(mode),
      function()
        local failures = { "LOADING Redis is loading the dataset in memory", "OOM command not allowed",
          "READONLY You can't write against a read only replica." }
        for i = 1, os.getenv "SLOW" and #failures or 1 do
          local failure = failures[i]
          local refused, back, busiest = outage(mode, failure)
          figure("5", "%s, 20 s of %s: %d refused, all back after %.1f s, at most %d calls of 100 hosts in 0.1 s", mode,
            failure:match "%u+", refused, back, busiest)
          assert.equal(0, refused)
          assert.is_true(back <= 5, back .. " s")
          assert.is_true(busiest <= 2 * HOSTS / 3, busiest .. " calls in 0.1 s") -- 50 hosts' messages are no herd
        end
      end)
  end

  it("(10) one account at 10,000 a second: a call for each unit, and one for a refusal of each host", function()
    begin("200/h", "")
    local sums = flood(world, 10000, 1)
    figure("10", "exact, 10000/s for 1 s against 200/h: %d passed, %d calls for 10000 messages", sums.passed,
      world.server.calls)
    assert.equal(200, sums.passed)
    assert.is_true(world.server.calls <= 200 + 2 * HOSTS, world.server.calls .. " calls")
  end)
end)

describe("a key of a server", function()
  local redis
  setup(function() redis = world_of.redis() end)
  teardown(function() redis.close() end)

  it("(9) takes 120 bytes at most for a try of a greylist", function()
    local inside = require "spec.async.run"
    local function used() return tonumber(redis.cli("info memory"):match "used_memory:(%d+)") end
    -- Tries of so many strangers, beside each other.
    local function try(first, count)
      inside.body({ redis = redis.port }, ([[
        local grey = require "moonmilter.greylist".new { shared = "hosts", redis = { port = P.redis } }
        local function some(from, to)
          for i = from, to do
            grey:check({ sender = ("sender-%%d@some-domain.example"):format(i), client = { ip = "198.51.100.7" } },
              "a.recipient@example.net")
          end
        end
        local tasks = {}
        for i = 1, 10 do tasks[i] = milter.spawn(some, %d + (i - 1) * %d, %d + i * %d - 1) end
        for i = 1, 10 do tasks[i]:wait() end ]]):format(first, count / 10, first, count / 10))
    end
    local count = 24400 -- a table of the server is as full as with 200,000,000
    try(1, 100) -- connections and the script have been there
    local before = used()
    try(101, count - 100)
    local keys = tonumber(redis.cli "dbsize")
    local bytes = (used() - before) / (keys - 100)
    figure("9", "%d tries of a greylist: %.0f bytes a key", keys, bytes)
    assert.is_true(keys > 1000, keys .. " keys")
    assert.is_true(bytes < 121, bytes .. " bytes")
  end)
end)
