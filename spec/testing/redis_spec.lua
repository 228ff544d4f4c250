-- The test kit's Redis: options, clusters, channels and streams as scripts see them.
local testing = require "moonmilter.testing"

local function start(body, options)
  options = options or {}
  options.redis = options.redis or {}
  options.script = ([[
    local redis, milter = require "moonmilter.redis", require "moonmilter"
    local function show(...)
      local words = {}
      for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
      return table.concat(words, "|")
    end
    local function test()
      %s
    end
    function on_mail(ctx) return ctx:reject(550, "5.7.1", test()) end ]]):format(body)
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

local function result(body, options)
  return start(body, options):message().text
end

describe("the fake Redis", function()
  it("refuses options that the real one refuses", function()
    for options, text in pairs {
      ['{ hots = "a" }'] = 'did you mean "host"', ['{ sentinels = { "a" } }'] = "master is missing",
      ['{ sentinels = { "a", "b:" }, master = "m" }'] = 'sentinels[2] is "b:"; write "host", "host:26379"',
      ['{ sentinels = {}, master = "m" }'] = "sentinels has 0 addresses",
      ['{ cluster = { 7 } }'] = "cluster[1] is a number",
      ['{ cluster = { "a" }, db = 1 }'] = "a cluster has only db 0", ['{ cluster = "a" }'] = "cluster is a string",
      ['{ cluster = { "a" }, host = "b" }'] = "host and cluster are both given",
      ['{ master = "m" }'] = "master is for sentinels", ['{ unix = "/s", port = 1 }'] = "port belongs to host",
      ['{ host = "a:6379" }'] = 'write host = "a", port = 6379', ['{ host = "redis://a" }'] = "host is a URL",
      ['{ username = "u" }'] = "username has no password",
      ['{ port = 0 }'] = "port is 0; give a whole number, 1 to 65535",
      ['{ timeout = 0 }'] = "timeout is 0; give seconds, 0.001 to 3600", ['{ pool_size = 1.5 }'] = "pool_size is 1.5",
      ['"redis.example"'] = "options must be a table",
    } do
      local words = result(("return (select(2, pcall(redis.new, %s)))"):format(options))
      assert.truthy(words:find(text, 1, true), options .. ": " .. words)
    end
  end)

  it("takes addresses of every kind", function()
    assert.equal("true", result [[
      return show(pcall(redis.new, { cluster = { "a", "a.example:7000", "192.0.2.1:1", "2001:db8::1", "[2001:db8::1]:7",
        "[::1]" } }) and true) ]])
  end)

  it("makes errors of a pipeline nil, text, code", function()
    assert.equal("OK|nil|ERR value is not an integer or out of range|reply|nil|nil", result [[
      local r = redis.new()
      local replies = r:pipeline { { "SET", "k", "x" }, { "INCR", "k" }, { "GET", "none" } }
      local value, text, code = redis.value(replies[2])
      return show(redis.value(replies[1]), value, text, code, redis.value(replies[3]), replies[3]) ]])
  end)

  it("refuses keys of several slots when it is a cluster", function()
    assert.equal("nil|CROSSSLOT|OK|nil|nil|CROSSSLOT|2|true", result [[
      local r = redis.new { cluster = { "a.example" } }
      local none, text = r:del("a", "b")
      local _, of_script = r:script("return 1", { "a", "b" })
      return show(none, text:match "%u+", r:set("a", 1), r:del("{t}a", "{t}b") == 0 and nil, nil, of_script:match "%u+",
        #r:scripts("return 1", { { { "a" } }, { { "b" } } }), r:masters()[1] == r) ]])
  end)

  it("has channels: what was published before a subscription is not for it", function()
    local mta = start [[
      local r = redis.new()
      local all, one = r:psubscribe "lists.*", r:subscribe("lists.a", "b")
      r:publish("b", 1)
      r:publish("other", 2)
      local words = {}
      for _, feed in ipairs { one, one, all, all } do words[#words + 1] = show(feed:receive(0.3)) end
      one:close()
      words[#words + 1] = show(one:receive(1))
      return table.concat(words, " / ") ]]
    mta:publish("lists.a", "too early")
    assert.matches("^b|1|nil / nil|.*|timeout / nil|.*|timeout / nil|.*|timeout / nil|closed|closed$", mta:message().text)
  end)

  it("lets a task hear what the test publishes", function()
    local mta = testing.start { redis = {}, script = [[
      local milter, redis = require "moonmilter", require "moonmilter.redis"
      local heard = "nothing"
      milter.spawn(function()
        local feed = redis.new():subscribe "lists"
        while true do
          local channel, message = feed:receive(60)
          heard = channel and channel .. " " .. message or heard
        end
      end)
      function on_mail(ctx) return ctx:reject(550, "5.7.1", heard) end ]] }
    finally(function() mta:close() end)
    mta:pass(1)
    assert.equal("nothing", mta:message().text)
    mta:publish("lists", "new")
    mta:pass(1)
    assert.equal("lists new", mta:message().text)
  end)

  it("has streams, and XREAD BLOCK waits by the virtual clock", function()
    assert.equal("a,1|b,2|1|nil|true|s", result [[
      local r = redis.new()
      r:xadd("s", "*", "a", 1)
      local first = r:xread("STREAMS", "s", "0")[1][2]
      r:xadd("s", "*", "b", 2)
      local second = r:xread("COUNT", 5, "STREAMS", "s", first[1][1])[1][2]
      local begun = milter.now()
      local none = r:xread("BLOCK", 2000, "STREAMS", "s", "$")
      local took = milter.now() - begun
      milter.spawn(function() milter.sleep(1) r:xadd("s", "*", "c", 3) end)
      return show(table.concat(first[1][2], ","), table.concat(second[1][2], ","), #second, none,
        math.abs(took - 2) < 0.2, r:xread("BLOCK", 0, "STREAMS", "s", "$")[1][1]) ]])
  end)

  it("fails a subscription as the test says", function()
    assert.equal("nil|redis: refused|refused", result([[return show(redis.new():subscribe "a")]], { redis = "refused" }))
    assert.equal("nil|NOPERM|reply", result([[return show(redis.new():subscribe "a")]], { redis = function(command)
      if command == "SUBSCRIBE" then return nil, "NOPERM", "reply" end
      return nil, nil, "not of the test"
    end }))
  end)
end)
