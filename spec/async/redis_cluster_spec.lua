-- moonmilter.redis and a real Redis Cluster of three servers, whose slots move.
local inside = require "spec.async.run"
local key_slot = require "moonmilter.net.key_slot"
local redis_sets = require "spec.async.redis_sets"

local cluster

local function run(body, options)
  return inside.body({}, [[
    local redis = require "moonmilter.redis"
    local r = redis.new{ timeout = 1, cluster = ]] .. (options or cluster.addresses) .. [[ }
  ]] .. body)
end

describe("the slot of a key", function()
  it("is CRC16 of the key or of what is in its first braces", function()
    for key, slot in pairs { ["123456789"] = 12739, foo = 12182, ["{user1000}.following"] = 3443, user1000 = 3443,
      ["foo{}{bar}"] = 8363, ["foo{{bar}}zap"] = 4015, [""] = 0 } do
      assert.equal(slot, key_slot.of(key), key)
    end
  end)

  it("comes from the first key of a command, whatever its position", function()
    local foo = key_slot.of "foo"
    for _, words in ipairs { { "GET", "foo" }, { "eval", "return 1", 1, "foo", "bar" }, { "BITOP", "AND", "foo", "b" },
      { "XREAD", "COUNT", 2, "BLOCK", 0, "streams", "foo", "bar", "$", "$" }, { "XGROUP", "CREATE", "foo", "g", "$" },
      { "BLMPOP", 1, 2, "foo", "bar", "LEFT" }, { "LMPOP", 1, "foo", "LEFT" }, { "XREADGROUP", "GROUP", "g", "c",
      "STREAMS", "foo", ">" }, { "OBJECT", "ENCODING", "foo" }, { "NEWCOMMAND", "foo" } } do
      assert.equal(foo, key_slot.of_command(words), words[1])
    end
    for _, words in ipairs { { "PING" }, { "SCRIPT", "LOAD", "x" }, { "EVAL", "return 1", 0, "foo" }, { "CONFIG", "GET",
      "x" }, { "TIME" }, { "PUBLISH", "channel", "foo" }, { "XREAD", "COUNT", 2 } } do
      assert.is_nil(key_slot.of_command(words), words[1])
    end
  end)

  it("can be aimed at", function()
    for _, slot in ipairs { 0, 1, 9999, 16383 } do
      assert.equal(slot, key_slot.of(key_slot.name_in("moonmilter:probe:", slot)))
    end
  end)
end)

describe("a Redis Cluster", function()
  setup(function() cluster = redis_sets.cluster() end)
  teardown(function() cluster.close() end)

  it("gets each key from its server, from one address", function()
    assert.equal("300|300|true", run([[
      local count = 0
      for i = 1, 300 do assert(r:set("k" .. i, i)) end
      for i = 1, 300 do count = count + (tonumber(r:get("k" .. i)) == i and 1 or 0) end
      local size = 0
      for _, master in ipairs(r:masters()) do size = size + master:dbsize() end
      return show(count, size, #r:masters() == 3)
    ]], ('{ "127.0.0.1:%d" }'):format(cluster.servers[2].port)))
  end)

  it("answers pipelines in order, with keys on all servers, errors in their places", function()
    assert.equal("200|true|nil|WRONGTYPE|reply|OK", run [[
      local commands = { { "LPUSH", "list", 1 } }
      for i = 1, 100 do
        commands[#commands + 1] = { "SET", "p" .. i, i }
        commands[#commands + 1] = { "GET", "p" .. i }
      end
      commands[#commands + 1] = { "INCR", "list" }
      local replies, right = r:pipeline(commands), 0
      for i = 1, 100 do
        right = right + (replies[2 * i] == "OK" and 1 or 0) + (tonumber(replies[2 * i + 1]) == i and 1 or 0)
      end
      local value, text, code = redis.value(replies[202])
      return show(right, redis.is_error(replies[202]), value, text:match "^%u+", code, redis.value(replies[2]))
    ]])
  end)

  it("says clearly when keys are in several slots", function()
    assert.equal("CROSSSLOT|true|reply|CROSSSLOT|reply|OK|2", run [[
      local _, text, code = r:mset("a", 1, "b", 2)
      local _, why, why_code = r:transaction{ { "SET", "a", 1 }, { "SET", "b", 1 } }
      local fine = r:mset("{t}a", 1, "{t}b", 2)
      return show(text:match "^%u+", text:find("{user}:a", 1, true) ~= nil, code, why:match "^%u+", why_code, fine,
        #r:transaction{ { "INCR", "{t}a" }, { "INCR", "{t}b" } })
    ]])
  end)

  it("refuses at the script's line what one server cannot know", function()
    assert.matches("SCAN sees the keys of one server.*masters", run [[return (select(2, pcall(r.scan, r, 0)))]])
    assert.matches("give a key: client:with", run [[return (select(2, pcall(r.with, r, print)))]])
    assert.matches("db is 2; a cluster has only db 0",
      run [[return (select(2, pcall(redis.new, { cluster = { "a" }, db = 2 })))]])
  end)

  it("runs scripts, also on servers that do not have them", function()
    assert.equal("3|1|2|nil|CROSSSLOT", run [[
      local source = "return redis.call('INCR', KEYS[1])"
      local sum = 0
      for _, reply in ipairs(r:scripts(source, { { { "s1" } }, { { "s2" } }, { { "s3" } } })) do sum = sum + reply end
      local first = r:script(source, { "s4" })
      for _, master in ipairs(r:masters()) do master:call("SCRIPT", "FLUSH") end
      local none, text = r:script("return 1", { "s1", "s2" })
      return show(sum, first, r:script(source, { "s4" }), none, text:match "^%u+")
    ]])
  end)

  it("watches keys, and subscribes", function()
    assert.equal("7|a|hello|nil|timeout", run [[
      local watched = r:watch({ "w" }, function(conn) return { { "SET", "w", (tonumber(conn:call("GET", "w")) or 6) + 1 } } end)
      local feed = assert(r:subscribe "a")
      r:publish("a", "hello")
      local channel, message = feed:receive(5)
      local none, _, code = feed:receive(0.05)
      feed:close()
      return show(watched and r:get "w", channel, message, none, code)
    ]])
  end)

  it("follows a slot that has moved, and learns the new map", function()
    local slot = key_slot.of "moved"
    local from = cluster.of(slot)
    local to = from % 3 + 1
    assert.equal("OK", cluster.servers[from].cli "set moved 1")
    cluster.wait(cluster.move({ slot }, from, to))
    assert.equal("3|4", run(([[
      local before = r:incr "moved"       -- from the map that is asked for first
      r.route.slots[%d] = r.route.seeds[%d] -- an old map
      return show(r:incr "moved", r:incr "moved")
    ]]):format(slot, from)))
    assert.equal("4", cluster.servers[to].cli "get moved")
  end)

  it("follows ASK while a slot is between two servers, and waits for keys that are split", function()
    local slot = key_slot.of "{ask}1"
    local from = cluster.of(slot)
    local a, b = cluster.servers[from], cluster.servers[from % 3 + 1]
    a.cli "set {ask}1 one"
    b.cli(("cluster setslot %d importing %s"):format(slot, a.id))
    a.cli(("cluster setslot %d migrating %s"):format(slot, b.id))
    assert.equal("one|nil|OK|1|TRYAGAIN|reply|aborted", run [[
      local one, two = r:get "{ask}1", r:get "{ask}2"
      local set = r:set("{ask}2", "two")
      local replies = r:pipeline{ { "DEL", "{ask}2" }, { "SET", "{ask}2", "two" } }
      local _, text, code = r:mget("{ask}1", "{ask}2")
      local _, _, of_transaction = r:transaction{ { "GET", "{ask}2" } }
      return show(one, two, set, replies[1], text:match "^%u+", code, of_transaction)
    ]])
    b.cli(("cluster setslot %d stable"):format(slot))
    a.cli(("cluster setslot %d stable"):format(slot))
  end)

  it("is not followed without end when servers point at each other", function()
    assert.equal("nil|MOVED|true|reply", run [[
      local follow = r.route.follow
      local wrong
      r:get "k"
      r.route.follow = function(self, text, asked) return asked, false end
      local slot = require("moonmilter.net.key_slot").of "k"
      local right = r.route.slots[slot]
      for _, node in pairs(r.route.nodes) do
        if node ~= right then r.route.slots[slot] = node end
      end
      local value, text, code = r:get "k"
      return show(value, text:match "^%u+", text:find "after 5 redirections" ~= nil, code)
    ]])
  end)

  it("says when the servers are no cluster, or are not there", function()
    local alone = require("spec.async.world").redis()
    assert.matches("^nil|.*cluster support disabled|down$", run([[return show(r:get "k")]],
      ('{ "127.0.0.1:%d" }'):format(alone.port)))
    alone.close()
    assert.matches("^nil|.*refused.*|down$", run([[return show(r:get "k")]], ('{ "127.0.0.1:%d" }'):format(alone.port)))
  end)
end)
