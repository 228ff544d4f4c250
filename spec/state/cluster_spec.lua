-- All that several hosts share, on a real Redis Cluster: a call never has keys of several slots.
local inside = require "spec.async.run"
local redis_sets = require "spec.async.redis_sets"

describe("on a cluster", function()
  local cluster
  setup(function() cluster = redis_sets.cluster() end)
  teardown(function() cluster.close() end)

  local function run(body)
    return inside.body({}, ([[
      local limit = require "moonmilter.limit"
      local r = require "moonmilter.redis".new { cluster = %s, pool_size = 4 }
      local function many(count, fn)
        local words = {}
        for i = 1, count do
          local word = fn("key" .. i)
          words[word] = (words[word] or 0) + 1
        end
        local list = {}
        for word, n in pairs(words) do list[#list + 1] = word .. " " .. n end
        table.sort(list)
        return table.concat(list, ", ")
      end
    ]]):format(cluster.addresses) .. body)
  end

  it("places and different values are counted for keys on all servers", function()
    assert.equal("true shared 60 / true shared 60 / false shared 60", run [[
      local busy = limit.concurrency { name = "c", max = 5, shared = "hosts", redis = r }
      local spread = limit.distinct { name = "d", count = 1, per = "1h", shared = "hosts", redis = r }
      local function of(fn) return function(key)
        local ok, state = fn(key)
        return tostring(ok) .. " " .. (state.text or state.state)
      end end
      return many(60, of(function(key) return busy:enter(key) end)) .. " / "
        .. many(60, of(function(key) return spread:add(key, "a") end)) .. " / "
        .. many(60, of(function(key) return spread:add(key, "b") end))
    ]])
  end)

  it("memos share their results", function()
    assert.equal("value 60 / 60", run [[
      local calls = 0
      local ask = require "moonmilter.memo"(function(key)
        calls = calls + 1
        return "value"
      end, { name = "m", ttl = 60, shared = "hosts", redis = r })
      many(60, ask)
      return many(60, ask) .. " / " .. calls
    ]])
  end)

  it("greylists let come back who was deferred", function()
    assert.matches("^new 60 / early 60$", run [[
      local grey = require "moonmilter.greylist".new { name = "g", shared = "hosts", redis = r }
      local function ask(key)
        local ok, state = grey:check(ctx, key .. "@example.com")
        return state.text or state.reason
      end
      return many(60, ask) .. " / " .. many(60, ask)
    ]])
  end)
end)
