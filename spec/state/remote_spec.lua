-- Stores on a Redis server: the same as a store of the host, on the test kit's fake and on a real server.
local inside = require "spec.async.run"
local testing = require "moonmilter.testing"
local world = require "spec.async.world"

-- Random calls on both stores; the first that differs, or nothing.
local DIFFERENT = [[
  local function write(value)
    if type(value) ~= "table" then return type(value) .. " " .. tostring(value) end
    local list = {}
    for k, v in pairs(value) do list[#list + 1] = write(k) .. "=" .. write(v) end
    table.sort(list)
    return "{" .. table.concat(list, ",") .. "}"
  end
  local VALUES = { "", "text", "12", "true", "{", '"quoted"', "a\0b\r\n\255", 0, 12, -0.1, 2^53, 1e300, 1/0, true, false,
    {}, { 1, 2, "three", { deep = { 4.5 } } }, { [2.5] = "x", [true] = false, ["a:b;c}"] = "}" } }
  local KEYS = { "a", "b", "a/1", "a/2", "[x]*?", "\\", "long" .. ("k"):rep(400), "\0\n" }
  local function pick(list) return list[math.random(#list)] end
  local CALLS = {
    function(s, k, v) return s:set(k, v) end, function(s, k) return s:get(k) end, function(s, k, v) return s:add(k, v) end,
    function(s, k, _, n) return s:incr(k, n) end, function(s, k) return s:delete(k) end,
    function(s, k, v) return s:update(k, function() return v end) end,
    function(s, k) return s:update(k, function() return nil end) end,
    function(s, k) return s:update(k, function(old) return old end) end,
    function(s) return s:count() end,
    function(s, k, v) return s:set(k, v, 500) end,
    function(s) -- in no order
      local all = {}
      for key, value in s:each() do all[key] = value end
      return all
    end,
    function(s) local all = {} for key, value in s:each "a/" do all[key] = value end return all end,
    function(s) return math.random(20) == 1 and s:clear "a/" end,
  }
  local function result(fn, ...)
    local ok, value, life, code = pcall(fn, ...)
    if type(life) == "number" then life = "lives " .. math.floor(life / 10 + 0.5) end
    return write(value) .. " " .. tostring(life) .. " " .. tostring(code)
  end
  local function first_difference(here, there, seed)
    math.randomseed(seed)
    here:clear() there:clear()
    for i = 1, 60 do
      local call, key, value, number = math.random(#CALLS), pick(KEYS), pick(VALUES), pick { 1, -3, 0.5 }
      local chance = math.random(1e6)
      math.randomseed(chance)
      local expected = result(CALLS[call], here, key, value, number)
      math.randomseed(chance)
      local got = result(CALLS[call], there, key, value, number)
      if expected ~= got then
        return ("seed %d, step %d, call %d of %q: %s, not %s"):format(seed, i, call, key, got, expected)
      end
    end
  end
]]

describe("a store of all hosts", function()
  it("answers as a store of the host, on the fake", function()
    local mta = testing.start { redis = {}, script = DIFFERENT .. [[
      local store = require "moonmilter.store"
      local here, there = store.open("s", { ttl = 1000 }), store.open("s", { ttl = 1000, engine = "redis" })
      local seed = 0
      function on_mail(ctx)
        for _ = 1, 4 do
          seed = seed + 1
          local difference = first_difference(here, there, seed)
          if difference then return ctx:reject(550, "5.7.1", difference) end
        end
      end ]] }
    finally(function() mta:close() end)
    for _ = 1, 15 do
      local reply = mta:message()
      assert.equal("accept", reply.verdict, reply.text)
    end
  end)

  it("ends lives by the virtual clock", function()
    local mta = testing.start { redis = {}, script = [[
      local s = require "moonmilter.store".open("s", { ttl = 60, engine = "redis" })
      function on_mail(ctx) if not s:add("k", "v") then return ctx:tempfail(451, "4.7.1", "seen") end end ]] }
    finally(function() mta:close() end)
    assert.equal("accept", mta:message().verdict)
    assert.equal("seen", mta:message().text)
    mta:pass(61)
    assert.equal("accept", mta:message().verdict)
  end)

  it("says what failed, and nil alone is no failure", function()
    local mta = testing.start { redis = "refused", script = [[
      local s = require "moonmilter.store".open("s", { engine = "redis" })
      function on_mail(ctx)
        local words = {}
        for i, result in ipairs { { s:get "k" }, { s:set("k", 1) }, { s:add("k", 1) }, { s:incr "k" }, { s:delete "k" },
          { s:update("k", function() error "not called" end) }, { s:count() }, { s:clear() } } do
          words[i] = tostring(result[1]) .. (result[3] or "")
        end
        words[#words + 1] = select(2, pcall(function() for _ in s:each() do error "not called" end end))
        words[#words + 1] = select(3, s:get "")
        return ctx:reject(550, "5.7.1", table.concat(words, " "))
      end ]] }
    finally(function() mta:close() end)
    local text = mta:message().text
    assert.matches('^nilrefused nildown nildown nildown nildown nildown nildown nildown .*script.lua:%d+: each: store "s": .* key$',
      text)
  end)

  it("refuses what has no value as bytes, and options of other engines, at the script's line", function()
    local mta = testing.start { redis = {}, script = [[
      local store = require "moonmilter.store"
      local s = store.open("s", { engine = "redis", redis = { host = "r" } })
      local circle = {} circle.self = circle
      function on_mail(ctx)
        local words = {}
        local function note(...) words[#words + 1] = (tostring(select(2, pcall(...))):gsub("^.*script.lua:%d+: ", "@")) end
        note(s.set, s, "k", print) note(s.set, s, "k", circle) note(s.set, s, "k", { [{}] = 1 }) note(s.set, s, "k", nil)
        note(s.add, s, "k", { coroutine.create(print) }) note(s.set, s, 5, "v") note(s.set, s, "k", "v", -1)
        note(s.set, s, "k", ("x"):rep(2^20 + 1))
        note(store.open, "s", { engine = "redis", durable = true }) note(store.open, "s", { engine = "lmdb" })
        note(store.open, "s", { redis = {} }) note(store.open, "a b", { engine = "redis" })
        return ctx:reject(550, "5.7.1", table.concat(words, " | "))
      end ]] }
    finally(function() mta:close() end)
    local words = mta:message().text
    for _, expected in ipairs { "a function cannot be kept", "contains itself", "a table as a key", "use delete()",
      "a coroutine cannot", "the key is a number", "ttl is -1", "more than 1 MiB",
      'the engine "redis" has no option durable',
      'must be "memory" or "redis"', 'the engine "memory" has no option redis', "a name has 1 to 64" } do
      assert.truthy(words:find(expected, 1, true), expected .. " in " .. words)
    end
  end)
end)

describe("a store on a real Redis", function()
  local redis
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  local function run(body)
    return inside.body({ redis = redis.port }, DIFFERENT .. [[
      local store = require "moonmilter.store"
      local function open(name, ttl) return store.open(name, { ttl = ttl, engine = "redis", redis = { port = P.redis } }) end
    ]] .. body)
  end

  it("answers as a store of the host", function()
    assert.equal("nil", run [[
      local here, there = store.open("s", { ttl = 1000 }), open("s", 1000)
      for seed = 1, 60 do
        local difference = first_difference(here, there, seed)
        if difference then return difference end
      end
      return "nil" ]])
  end)

  it("has values that other programs read and write", function()
    redis.cli "set moonmilter:store:w:foreign hello"
    redis.cli "set moonmilter:store:w:number 41"
    assert.equal("hello|42|true", run [[
      local s = open "w"
      s:set("string", "it's") s:set("yes", true)
      return show((s:get "foreign"), s:incr "number", (s:get "yes")) ]])
    assert.equal('"it\'s', redis.cli "get moonmilter:store:w:string")
    assert.equal("42", redis.cli "get moonmilter:store:w:number")
    assert.equal("-1", redis.cli "ttl moonmilter:store:w:number")
  end)

  it("loses no count and no update of many at the same time, and adds once", function()
    assert.equal("200|200|1", run [[
      local s = open "m"
      local tasks, added = {}, 0
      for i = 1, 20 do
        tasks[i] = milter.spawn(function()
          for _ = 1, 10 do
            s:incr "count"
            s:update("updated", function(old) return { n = (old and old.n or 0) + 1 } end)
          end
          added = added + (s:add("once", i) and 1 or 0)
        end)
      end
      for _, task in ipairs(tasks) do task:wait() end
      return show((s:get "count"), s:get("updated").n, added) ]])
  end)

  it("walks over, counts and clears thousands, and leaves the keys of others", function()
    redis.cli "set moonmilter:store:other:k 1"
    assert.equal("3000|1000|2000|0|true", run [[
      local s = open "n"
      for i = 1, 1000 do s:set("a" .. i, i) s:set("b" .. i, i) s:set("c" .. i, i) end
      local all, b = {}, 0
      for key in s:each() do all[key] = true end
      local count = 0
      for _ in pairs(all) do count = count + 1 end
      for _ in s:each "b" do b = b + 1 end
      s:clear "b"
      local left = s:count()
      s:clear()
      return show(count, b >= 1000 and 1000, left, s:count(), open("other"):get "k" == 1) ]])
  end)
end)
