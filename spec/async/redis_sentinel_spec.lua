-- moonmilter.redis and a real Sentinel set: a master, a replica, three sentinels.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local redis_sets = require "spec.async.redis_sets"
local world = require "spec.async.world"

local set

local function client(options)
  return ([[
    local redis = require "moonmilter.redis"
    local r = redis.new{ timeout = 0.5, connect_timeout = 0.5, sentinels = %s, master = "mymaster", %s }
  ]]):format(set.addresses, options or "")
end

local function run(body, options)
  return inside.body({}, client(options) .. body)
end

-- Feeds an end of message, calls each() every 50 ms while the handler waits, and returns its reply.
local function run_beside(body, each)
  local mta = fake_mta.start { script = inside.script({}, client() .. body) }
  mta:begin()
  mta:mail()
  mta:rcpt()
  mta:feed(fake_mta.packet("E", ""))
  for turn = 1, 1200 do -- 60 s
    mta.owner:turn(0.05)
    if not mta:is_waiting() then
      break
    end
    each(turn)
  end
  local text = mta:reply().text
  mta:close()
  return (text:gsub("^550 5.7.1 ", ""))
end

describe("a Sentinel set", function()
  setup(function() set = redis_sets.sentinels() end)
  teardown(function() set.close() end)

  it("is used by its name, with one connection", function()
    assert.equal("OK|v|1", run [[
      local done, value = r:set("k", "v"), r:get "k"
      local _, count = r:client("LIST"):gsub("cmd=client", "")
      return show(done, value, count)
    ]])
    assert.equal("v", set.servers[1].cli "get k")
  end)

  it("is used while one sentinel hangs and one is dead", function()
    set.signal(1, "SIGSTOP")
    set.signal(2, "SIGKILL")
    assert.equal("OK", run [[return show(r:set("k", "v"))]])
  end)

  it("says so when no sentinel knows the name, or none answers, and does not wait long", function()
    assert.matches('^nil|.*knows no master "other".*|down$',
      run('return show(redis.new{ sentinels = ' .. set.addresses .. ', master = "other" }:ping())'))
    for i = 1, 3 do set.signal(i, "SIGSTOP") end
    assert.equal("down|true|down|true", run [[
      local begun = milter.now()
      local _, _, first = r:ping()
      local between = milter.now()
      local _, _, second = r:ping()
      return show(first, between - begun < 5, second, milter.now() - between < (between - begun) / 2)
    ]])
  end)

end)

describe("a Sentinel set whose master changes", function()
  before_each(function() set = redis_sets.sentinels() end)
  after_each(function() set.close() end)

  it("goes on after a failover: the master is killed, and the replica takes over", function()
    local text = run_beside([[
      r:set("before", 1)
      local codes, begun, failed_at = {}, milter.now(), nil
      repeat
        milter.sleep(0.02)
        local done, _, code = r:set("k", "v")
        codes[code or "OK"] = (codes[code or "OK"] or 0) + 1
        failed_at = failed_at or not done and milter.now() or nil
      until failed_at and done or milter.now() - begun > 50
      local names = {}
      for name in pairs(codes) do names[#names + 1] = name end
      table.sort(names)
      return show(r:get "before", (r:call "ROLE")[1], table.concat(names, " "))
    ]], function(turn)
      if turn == 10 then set.servers[1].kill() end
    end)
    local value, role, codes = text:match "^(.-)|(.-)|(.*)$"
    assert.equal("1", value, text)
    assert.equal("master", role)
    for code in codes:gmatch "%S+" do -- nothing else comes on the way
      assert.truthy(("OK closed down refused"):find(code, 1, true), codes)
    end
    assert.equal(set.servers[2], set.master())
  end)

  it("goes on after a failover that was ordered: commands fail, or are refused by what is a replica now", function()
    redis_sets.ask(set.ports[1], "sentinel failover mymaster")
    local text = run_beside(([[
      local begun, codes = milter.now(), {}
      repeat
        milter.sleep(0.02)
        local done, text, code = r:set("k", "v")
        if not done then codes[code == "reply" and text:match "^%u+" or code] = true end
        local port = r.route.node and r.route.node.port
      until (port and port ~= FIRST and done) or milter.now() - begun > 50
      local names = {}
      for name in pairs(codes) do names[#names + 1] = name end
      table.sort(names)
      return show((r:call "ROLE")[1], table.concat(names, " "))
    ]]):gsub("FIRST", tostring(set.servers[1].port)), function() end)
    local role, codes = text:match "^(.-)|(.*)$"
    assert.equal("master", role, text)
    for code in codes:gmatch "%S+" do
      assert.truthy(("closed down READONLY UNBLOCKED LOADING MASTERDOWN"):find(code, 1, true), codes)
    end
  end)
end)

describe("a replica that a sentinel names", function()
  it("is not written to", function()
    -- a sentinel that has not noticed: a fake of it, which names the replica
    local first = world.redis()
    local second = world.redis("--replicaof 127.0.0.1 " .. first.port)
    local liar = require("socket").bind("127.0.0.1", 0)
    local _, port = liar:getsockname()
    finally(function() liar:close() first.close() second.close() end)
    local mta = fake_mta.start { script = inside.script({}, ([[
      local r = require "moonmilter.redis".new { sentinels = { "127.0.0.1:%d" }, master = "m" }
      return show(r:set("k", "v"))
    ]]):format(port)) }
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(fake_mta.packet("E", ""))
    mta.owner:turn(0.05)
    liar:settimeout(2)
    local asker = assert(liar:accept())
    local host, number = "127.0.0.1", tostring(second.port)
    asker:send(("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"):format(#host, host, #number, number))
    for _ = 1, 40 do
      if not mta:is_waiting() then break end
      mta.owner:turn(0.05)
    end
    assert.matches("^550 5.7.1 nil|.* is a replica and not the master.*|down$", mta:reply().text)
    asker:close()
    mta:close()
  end)
end)
