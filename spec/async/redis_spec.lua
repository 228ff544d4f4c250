local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local world = require "spec.async.world"

local redis

local function run(body, options)
  return inside.body({ redis = redis.port, directory = redis.unix:match "^(.*)/" }, [[
    local redis = require "moonmilter.redis"
    local r = redis.new{ port = P.redis, timeout = 0.3, ]] .. (options or "") .. [[ }
  ]] .. body)
end

describe("moonmilter.redis", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("gives replies of every kind", function()
    assert.equal("OK|v|nil|6|number|a,false,3", run [[
      return show(r:set("k", "v"), r:get "k", r:get "none", r:incrby("n", 6), type(r:get "n" and r:incr "n"),
        table.concat({ "a", tostring(r:call("MGET", "none", "none")[1]), tostring(#r:mget("k", "none", "k")) }, ","))
    ]])
  end)

  it("keeps any byte in keys and values", function()
    assert.equal("true", run [[
      local bytes = "\0\r\n$5\r\n" .. string.char(255)
      r:set(bytes, bytes)
      return tostring(r:get(bytes) == bytes)
    ]])
  end)

  it("returns the server's errors", function()
    assert.matches("^nil|WRONGTYPE .*|reply$", run [[
      r:lpush("list", 1)
      return show(r:incr "list")
    ]])
  end)

  it("sends many commands at once", function()
    assert.equal("3|1|true|2", run [[
      r:del("p")
      local replies = r:pipeline{ { "INCR", "p" }, { "LPUSH", "p", 1 }, { "INCR", "p" } }
      return show(#replies, replies[1], redis.is_error(replies[2]), replies[3])
    ]])
  end)

  it("moves large values", function()
    assert.equal("5000000", run [[
      r:set("large", ("x"):rep(5000000))
      return tostring(#r:get "large")
    ]])
  end)

  it("executes a transaction completely or not at all", function()
    assert.equal("2|2 / nil|a watched key was changed|aborted / 7", run [[
      r:del("t")
      local replies = r:transaction{ { "INCR", "t" }, { "INCR", "t" } }
      local a = show(#replies, replies[2])
      local b = show(r:watch({ "t" }, function()
        r:set("t", 7)
        return { { "SET", "t", 8 } }
      end))
      return a .. " / " .. b .. " / " .. r:get "t"
    ]])
  end)

  it("sends a script once, and again when the server has forgotten it", function()
    assert.equal("1|2|3", run [[
      local source = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
      r:del("s")
      local a, b = r:script(source, { "s" }, { 1 }), r:script(source, { "s" }, { 1 })
      r:call("SCRIPT", "FLUSH")
      return show(a, b, r:script(source, { "s" }, { 1 }))
    ]])
  end)

  it("uses unix sockets and databases", function()
    assert.equal("one|nil", run [[
      local one = redis.new{ unix = DIR .. "/redis.sock", db = 1 }
      assert(one:set("only", "one"))
      return show(one:get "only", r:get "only")
    ]])
  end)

  it("reuses its connections", function()
    assert.equal("1", run [[
      local before = r:info("stats"):match "total_connections_received:(%d+)"
      for _ = 1, 20 do r:ping() end
      local after = r:info("stats"):match "total_connections_received:(%d+)"
      return tostring(after - before + 1)
    ]])
  end)

  it("never gives a late reply to another command", function()
    assert.equal("nil|timeout|second|nil|true", run [[
      r:set("second", "second")
      local a, _, code = r:debug("SLEEP", "0.7") -- not a script: from Redis 7.2 on, time stands still inside one
      milter.sleep(1)
      return show(a, code, r:get "second", r:get "none", r:ping() == "PONG")
    ]])
  end)

  it("waits in blocking commands outside the pool", function()
    assert.equal("nil|queue:value", run [[
      local small = redis.new{ port = P.redis, pool_size = 1 }
      local none = small:blpop("queue", 0.5)
      local popper = milter.spawn(function() return table.concat(small:blpop("queue", 5), ":") end)
      milter.sleep(0.05)
      small:rpush("queue", "value")
      return show(none, (popper:wait()))
    ]])
  end)

  it("reports when all connections are in use", function()
    assert.equal("busy|PONG", run [[
      local small = redis.new{ port = P.redis, pool_size = 1, queue_timeout = 0.1 }
      local code
      local value = small:with(function(conn)
        code = select(3, small:ping())
        return conn:call "PING"
      end)
      return show(code, value)
    ]])
  end)

  it("refuses commands that would change another caller's connection", function()
    assert.matches("WATCH applies to one connection", run [[return (select(2, pcall(r.call, r, "WATCH", "k")))]])
    assert.matches("an argument is a nil", run [[return (select(2, pcall(r.call, r, "SET", "k", nil, 1)))]])
    assert.matches("an argument is a table", run [[return (select(2, pcall(r.set, r, "k", {})))]])
  end)

  it("reports a password that the server refuses", function()
    assert.matches("|reply$", run([[return show(r:ping())]], [[password = "wrong"]]))
  end)
end)

describe("a Redis that fails", function()
  before_each(function() redis = world.redis() end)
  after_each(function() redis.close() end)

  it("is not tried for a while after it refused, and is used again when it is back", function()
    redis.kill()
    assert.equal("refused|down|true", run [[
      local _, _, first = r:ping()
      local begun = milter.now()
      local _, text, second = r:ping()
      return show(first, second, milter.now() - begun < 0.5 and text:match "next try" ~= nil)
    ]])
    redis.start()
    assert.equal("PONG", run [[
      local reply
      for _ = 1, 50 do
        reply = r:ping()
        if reply then break end
        milter.sleep(0.1)
      end
      return reply
    ]])
  end)

  it("costs one time-out per call, then nothing, while it hangs", function()
    redis.stop()
    local text = run [[
      local codes, begun = {}, milter.now()
      for i = 1, 8 do
        codes[i] = select(3, r:ping())
      end
      return show(table.concat(codes, " "), milter.now() - begun < 2)
    ]]
    assert.equal("timeout timeout timeout down down down down down|true", text)
    redis.go_on()
  end)

  it("that is killed while a command waits gives code closed", function()
    local mta = fake_mta.start { script = inside.script({ redis = redis.port }, [[
      local r = require "moonmilter.redis".new{ port = P.redis }
      local reply, text, code = r:blpop("nothing", 5)
      return show(reply, code)
    ]]) }
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(fake_mta.packet("E", ""))
    for _ = 1, 5 do
      mta.owner:turn(0.05)
    end
    assert.is_true(mta:is_waiting())
    redis.kill()
    assert.equal("550 5.7.1 nil|closed", mta:reply().text)
    mta:close()
  end)
end)

describe("a Redis with a TLS port", function()
  local servers, port
  setup(function()
    servers = world.servers()
    port = world.free_port()
    redis = world.redis(("--tls-port %d --tls-cert-file %s/good.pem --tls-key-file %s/good.key "
      .. "--tls-ca-cert-file %s/ca.pem --tls-auth-clients no"):format(port, servers.directory, servers.directory,
      servers.directory))
  end)
  teardown(function()
    redis.close()
    servers.stop()
  end)

  it("is used over TLS, with the certificate verified", function()
    assert.equal("PONG / nil|true|tls", inside.body({ port = port, directory = servers.directory }, [[
      local redis = require "moonmilter.redis"
      local r = redis.new{ port = P.port, tls = { ca = DIR .. "/ca.pem" } }
      local other = redis.new{ port = P.port, tls = true }
      local none, text, code = other:ping()
      return show(r:ping()) .. " / " .. show(none, text:match "certificate refused" ~= nil, code)
    ]]))
  end)
end)

describe("the loop while Redis hangs", function()
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  it("goes on for all other sessions", function()
    redis.stop()
    local longest = math.huge
    for _ = 1, 3 do     -- a busy machine adds to it, so the best round counts
      longest = math.min(longest, tonumber(run [[
        local longest, before = 0, milter.now()
        local probe = milter.spawn(function()
          while true do
            milter.sleep(0.001)
            local now = milter.now()
            longest, before = math.max(longest, now - before - 0.001), now
          end
        end)
        r:ping() r:ping()
        probe:cancel()
        return ("%.4f"):format(longest)
      ]]))
    end
    redis.go_on()
    -- below 5 ms on an idle machine
    assert.is_true(longest < 0.05, "the loop stood for " .. longest .. " s")
  end)
end)

describe("a Redis with a password", function()
  setup(function() redis = world.redis "--requirepass secret" end)
  teardown(function() redis.close() end)

  it("receives it at connect", function()
    assert.equal("PONG", run([[return show(r:ping())]], [[password = "secret"]]))
    assert.matches("WRONGPASS.*|reply$", run([[return show(r:ping())]], [[password = "wrong"]]))
    assert.matches("NOAUTH.*|reply$", run [[return show(r:ping())]])
  end)
end)
