-- SUBSCRIBE and XREAD BLOCK: waits on connections of their own, with a deadline, ended when the MTA hangs up.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local world = require "spec.async.world"

local redis

local CLIENT = [[
  local redis = require "moonmilter.redis"
  local r = redis.new{ port = P.redis, timeout = 0.5 }
]]

local function run(body)
  return inside.body({ redis = redis.port }, CLIENT .. body)
end

-- A handler that waits in body; the connection of the MTA.
local function begin(body)
  local mta = fake_mta.start { script = inside.script({ redis = redis.port }, CLIENT .. body) }
  mta:begin()
  mta:mail()
  mta:rcpt()
  mta:feed(fake_mta.packet("E", ""))
  for _ = 1, 10 do
    mta.owner:turn(0.02)
  end
  assert.is_true(mta:is_waiting())
  return mta
end

local function reply_of(mta)
  for _ = 1, 200 do
    if not mta:is_waiting() then
      break
    end
    mta.owner:turn(0.05)
  end
  return (mta:reply().text:gsub("^550 5.7.1 ", ""))
end

local function count(words)
  return select(2, redis.cli "client list":gsub(words, ""))
end

describe("a subscription", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("gets the messages of its channels, in order, with any byte", function()
    assert.equal("a|1|nil / b|bytes|nil / lists.x|3|lists.*", run [[
      local feed = assert(r:subscribe("a", "b"))
      local patterns = assert(r:psubscribe "lists.*")
      r:publish("a", 1) r:publish("other", 2) r:publish("b", "x\0y") r:publish("lists.x", 3)
      local words = {}
      for i, one in ipairs { feed, feed, patterns } do
        local channel, message, pattern = one:receive(5)
        words[i] = show(channel, #message == 3 and message == "x\0y" and "bytes" or message, pattern)
      end
      return table.concat(words, " / ")
    ]])
  end)

  it("ends a receive after its seconds, and goes on afterwards", function()
    assert.equal("nil|timeout|true|a|late|1", run [[
      local feed = assert(r:subscribe "a")
      local begun = milter.now()
      local none, _, code = feed:receive(0.1)
      local took = milter.now() - begun
      r:publish("a", "late")
      local channel, message = feed:receive(5)
      local _, count = r:client("LIST"):gsub("sub=1", "")
      return show(none, code, took >= 0.1 and took < 3, channel, message, count)
    ]])
  end)

  it("does not take a connection of the pool", function()
    assert.equal("PONG|PONG", run [[
      local small = redis.new{ port = P.redis, pool_size = 1, queue_timeout = 0.2 }
      local one, two = assert(small:subscribe "a"), assert(small:subscribe "b")
      return show(small:ping(), (small:ping()))
    ]])
  end)

  it("is closed when the MTA hangs up, and by close()", function()
    local mta = begin [[ return show(r:subscribe("a"):receive()) ]]
    assert.equal(1, count "sub=1")
    mta:close()
    for _ = 1, 50 do
      if count "sub=1" == 0 then break end
      os.execute "sleep 0.02"
    end
    assert.equal(0, count "sub=1")
    assert.equal("nil|closed|0", run [[
      local feed = assert(r:subscribe "a")
      feed:close()
      local none, _, code = feed:receive(1)
      milter.sleep(0.05)
      return show(none, code, select(2, r:client("LIST"):gsub("sub=1", "")))
    ]])
  end)

  it("refuses channels that are none, at the script's line", function()
    assert.matches("no channel; give one or more", run [[return (select(2, pcall(r.subscribe, r)))]])
    assert.matches("channel 2 is a table", run [[return (select(2, pcall(r.psubscribe, r, "a", {})))]])
    assert.matches("use client:subscribe", run [[return (select(2, pcall(r.call, r, "SUBSCRIBE", "a")))]])
    assert.matches("receive: x is no number", run [[return (select(2, pcall(function() r:subscribe("a"):receive "x" end)))]])
  end)

  it("notices a server that hangs or dies while no message comes", function()
    -- 15 s of quiet are too long for a spec: the connection looks older than it is
    local mta = begin [[
      local feed = assert(r:subscribe "a")
      feed.heard_at = feed.heard_at - 14.5
      return show(feed:receive(30)) ]]
    redis.stop()
    local text = reply_of(mta)
    mta:close()
    redis.go_on()
    assert.matches("^nil|redis .*no sign of life within 0.5 s|closed$", text)
    mta = begin [[ return show(r:subscribe("a"):receive(30)) ]]
    redis.kill()
    assert.matches("^nil|redis .*|closed$", reply_of(mta))
    mta:close()
    redis.start()
  end)

  it("that is quiet goes on after a sign of life", function()
    local mta = begin [[
      local feed = assert(r:subscribe "a")
      feed.heard_at = feed.heard_at - 15
      milter.spawn(function() milter.sleep(0.3) r:publish("a", "after") end)
      return show(feed:receive(30)) ]]
    assert.equal("a|after|nil", reply_of(mta))
    mta:close()
  end)
end)

describe("XREAD BLOCK", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("waits for an entry, and ends after its own time", function()
    assert.equal("stream|field,value|nil|nil|true", run [[
      milter.spawn(function() milter.sleep(0.1) r:xadd("stream", "*", "field", "value") end)
      local reply = r:xread("BLOCK", 5000, "STREAMS", "stream", "$")
      local begun = milter.now()
      local none, text = r:xread("BLOCK", 200, "STREAMS", "stream", "$")
      local took = milter.now() - begun
      return show(reply[1][1], table.concat(reply[1][2][1][2], ","), none, text, took > 0.15 and took < 3)
    ]])
  end)

  it("ends with milter.timeout, and when the MTA hangs up", function()
    assert.equal("nil|timeout", run [[
      local none, _, code = milter.timeout(0.1, function() return r:xread("BLOCK", 0, "STREAMS", "stream", "$") end)
      return show(none, code)
    ]])
    local mta = begin [[ return show(r:xread("BLOCK", 0, "STREAMS", "stream", "$")) ]]
    assert.matches("blocked_clients:1", redis.cli "info clients")
    mta:close()
    local text
    for _ = 1, 50 do
      text = redis.cli "info clients"
      if text:find "blocked_clients:0" then break end
      os.execute "sleep 0.02"
    end
    assert.matches("blocked_clients:0", text)
  end)
end)

describe("a user of an ACL, over TLS with a private CA", function()
  local servers, port
  setup(function()
    servers = world.servers()
    port = world.free_port()
    redis = world.redis(("--tls-port %d --tls-cert-file %s/good.pem --tls-key-file %s/good.key "
      .. "--tls-ca-cert-file %s/ca.pem --tls-auth-clients no --tls-cluster yes --cluster-enabled yes "
      .. "--cluster-port %d"):format(port, servers.directory,
      servers.directory, servers.directory, world.free_port()))
    redis.cli "cluster addslotsrange 0 16383"
    redis.cli("acl setuser milter on '>secret' '~moonmilter:*' '&lists' -@all +get +set +del +unlink +pttl +scan +time "
      .. "+eval +evalsha '+script|load' +publish +subscribe +ping '+cluster|slots' +asking")
    for _ = 1, 100 do
      if redis.cli "cluster info":find "cluster_state:ok" then break end
      os.execute "sleep 0.05"
    end
  end)
  teardown(function()
    redis.close()
    servers.stop()
  end)

  local KINDS = { ["one server"] = "port = P.port", ["a cluster"] = 'cluster = { "127.0.0.1:" .. P.port }' }
  for kind, address in pairs(KINDS) do
    it("uses limits, stores and channels of " .. kind .. ", and learns what is forbidden", function()
      assert.equal("shared|1|1|1|lists|x|NOPERM|reply|NOPERM|WRONGPASS", inside.body({ port = port,
        directory = servers.directory }, ([[
        local redis = require "moonmilter.redis"
        local options = { %s, username = "milter", password = "secret", tls = { ca = DIR .. "/ca.pem" } }
        local r = redis.new(options)
        local l = require "moonmilter.limit".new { name = "l", rate = "9/h", shared = "hosts", redis = r }
        local soon = require "moonmilter.limit".new { name = "m", rate = "9/h", shared = "hosts", mode = "soon", redis = r }
        local s = require "moonmilter.store".open("s", { engine = "redis", redis = r })
        local feed = assert(r:subscribe "lists")
        r:publish("lists", "x")
        soon:take "k"
        local _, state = l:take "k"
        s:clear()
        local sum = s:incr "k"
        local walked = 0
        for _ in s:each() do walked = walked + 1 end
        local channel, message = feed:receive(5)
        local _, why, code = r:get "foreign"
        local _, channel_why = r:subscribe "other"
        options.password = "wrong"
        local _, wrong = redis.new(options):get "k"
        return show(state.state, sum, walked, s:count(), channel, message, why:match "NOPERM", code,
          channel_why:match "NOPERM", wrong:match "WRONGPASS")
      ]]):format(address)))
    end)
  end
end)

describe("a Redis that is loading", function()
  it("is not used by limits until it has loaded, and says so to commands", function()
    redis = world.redis "--key-load-delay 3000 --loading-process-events-interval-bytes 1024 "
    finally(function() redis.close() end)
    redis.cli "debug populate 400 key 100"
    redis.cli "save"
    redis.kill()
    redis.start(nil, true)
    assert.equal("LOADING|reply|local|shared|true", inside.body({ redis = redis.port }, [[
      local r = require "moonmilter.redis".new { port = P.redis }
      local l = require "moonmilter.limit".new { name = "a", rate = "1000/h", shared = "hosts", redis = { port = P.redis } }
      local text, code
      for _ = 1, 100 do -- until it listens
        text, code = select(2, r:get "k")
        if code == "reply" then break end
        milter.sleep(0.02)
      end
      local during = select(2, l:take "k").state
      local begun, after = milter.now(), nil
      repeat
        milter.sleep(0.05)
        after = select(2, l:take "k").state
      until after == "shared" or milter.now() - begun > 15
      return show(text:match "^%u+", code, during, after, r:dbsize() >= 400)
    ]]))
  end)
end)
