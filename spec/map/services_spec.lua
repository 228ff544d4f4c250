-- Maps that ask a service: socketmap and tcp against services written for the purpose (map_servers.py), redis against a
-- real redis-server, dns against the fake of the test kit.
local inside = require "spec.async.run"
local process = require "spec.support.process"
local world = require "spec.async.world"

local servers

local function start_servers()
  local directory = process.directory()
  local output = directory .. "/ports"
  local server = process.start({ "python3", "spec/map/map_servers.py", directory }, { output = output, life = 300 })
  local text = assert(process.wait_until(20, function()
    local said = process.read_file(output)
    return said and said:find "\n" and said
  end, "the services of maps"))
  local list = { directory = directory }
  for name, port in text:gmatch "(%w+)=(%d+)" do
    list[name] = tonumber(port)
  end
  function list.stop()
    server:stop()
    process.run("rm -rf " .. directory)
  end
  return list
end

-- What the services of both kinds do alike: open(options) is Lua that opens the map.
local function run(kind, body)
  local spec = kind == "tcp" and "tcp:127.0.0.1:" .. servers.tcp
    or "socketmap:inet:127.0.0.1:" .. servers.socketmap .. ":name"
  return (inside.body(servers, ([[
    local map = require "moonmilter.map"
    local function open(options) return map.open(%q, options) end
    local function outcome(value, text, code)
      return value and "=" .. value or code or "none"
    end
    local function word(value, text, code)
      return value or code and text:gsub("^%%S+ ", "") .. "|" .. code or "none"
    end
    %s ]]):format(spec, body)):gsub("=name ", "="))
end

describe("a service of", function()
  setup(function() servers = start_servers() end)
  teardown(function() servers.stop() end)

  for _, kind in ipairs { "socketmap", "tcp" } do
    describe(kind, function()
      it("has a key, or has it not", function()
        assert.equal("=value of ann@example.org none =value of A b", run(kind, [[
          local m = open()
          return outcome(m:get "ann@example.org") .. " " .. outcome(m:get "none") .. " " .. outcome(m:get "A b")
        ]]))
      end)

      it("may give an empty value", function()
        local said = kind == "tcp" and "!say 200 " or "!say OK "
        assert.equal("=", run(kind, ("return outcome(open():get %q)"):format(said)))
      end)

      it("is asked on one connection, question after question", function()
        assert.equal("0 200", run(kind, [[
          local m, right = open(), 0
          local before = m:get "!connections"
          for i = 1, 200 do
            right = right + (m:get("k" .. i):find("value of k" .. i, 1, true) and 1 or 0)
          end
          return ("%d %d"):format(m:get "!connections" - before, right)
        ]]))
      end)

      it("is asked on as many connections as sessions ask at a time, at most pool_size", function()
        assert.equal("true 40", run(kind, [[
          local milter, m, list = require "moonmilter", open { pool_size = 3 }, {}
          local before = tonumber(m:get "!connections")
          for i = 1, 40 do list[i] = function() return m:get("k" .. i) end end
          local right = 0
          for i, value in pairs((milter.all(list))) do
            right = right + (value:find("k" .. i .. "$") and 1 or 0)
          end
          return show(m:get "!connections" - before <= 3, right):gsub("|", " ")
        ]]))
      end)

      it("never answers another question: a late answer goes with its connection", function()
        assert.equal("timeout =value of k", run(kind, [[
          local milter, m = require "moonmilter", open { timeout = 0.2, pool_size = 1 }
          local first = outcome(m:get "!slow 0.4")
          milter.sleep(0.4)
          return first .. " " .. outcome(m:get "k")
        ]]))
      end)

      it("never answers another question: what nobody has asked for goes with its connection", function()
        assert.equal("=first =value of k", run(kind, [[
          local milter, m = require "moonmilter", open { pool_size = 1 }
          local first = outcome(m:get "!twice")
          milter.sleep(0.05)
          return first .. " " .. outcome(m:get "k")
        ]]))
      end)

      it("never answers another question: a task that is cancelled takes its connection along", function()
        assert.equal("true =value of k", run(kind, [[
          local milter, m = require "moonmilter", open { pool_size = 1 }
          local task = milter.spawn(function() return m:get "!slow 0.3" end)
          milter.sleep(0.05)
          local was_cancelled = task:cancel()
          milter.sleep(0.4)
          return tostring(was_cancelled) .. " " .. outcome(m:get "k")
        ]]))
      end)

      it("may close idle connections: the question goes out again on a new one", function()
        assert.equal("=bye =value of k", run(kind, [[
          local milter, m = require "moonmilter", open { pool_size = 1 }
          local first = outcome(m:get "!then-close")
          return first .. " " .. outcome(m:get "k")
        ]]))
      end)

      it("fails in time when it hangs, drips, or is cut off", function()
        assert.equal("timeout timeout down down down", run(kind, [[
          local m = open { timeout = 0.3 }
          return table.concat({ outcome(m:get "!slow 2"), outcome(m:get "!drip 0.1"), outcome(m:get "!close"),
            outcome(m:get "!cut 1"), outcome(m:get "!cut 5") }, " ")
        ]]))
      end)

      it("fails when nobody listens, and when nobody answers", function()
        local specs = kind == "tcp" and { "tcp:127.0.0.1:1", "tcp:127.0.0.1:" .. servers.silent }
          or { "socketmap:inet:127.0.0.1:1:n", ("socketmap:inet:127.0.0.1:%d:n"):format(servers.silent) }
        assert.equal("down timeout", run(kind, ([[
          local options = { timeout = 0.2 }
          return outcome(map.open(%q, options):get "k") .. " " .. outcome(map.open(%q, options):get "k")
        ]]):format(specs[1], specs[2])))
      end)

      it("works again after a failure", function()
        assert.equal("down =value of k", run(kind, [[
          local m = open()
          return outcome(m:get "!close") .. " " .. outcome(m:get "k")
        ]]))
      end)
    end)
  end

  it("socketmap says why it fails", function()
    assert.equal("the service answers TEMP try later|down / the service answers TIMEOUT |timeout / the service answers "
      .. "PERM no|down", run("socketmap", [[
        local m = open()
        return table.concat({ word(m:get "!say TEMP try later"), word(m:get "!say TIMEOUT "),
          word(m:get "!say PERM no") }, " / ")
      ]]))
  end)

  it("socketmap is read strictly: what is no netstring, too long, or no status is a bad answer", function()
    for _, raw in ipairs { "4f4b", "3a2c", "3031", "313030303031", "333a4f4b203b", "323a4f4b2c2c", "353a4d415942452c",
      "303a2c", "2d313a2c" } do
      local outcome = raw == "323a4f4b2c2c" and "=|=value of k" or "bad_answer|=value of k"
      assert.equal(outcome, run("socketmap", ([[
        local m = open { timeout = 0.3, pool_size = 1 }
        local first = outcome(m:get "!raw %s")
        return first .. "|" .. outcome(m:get "k")
      ]]):format(raw)), raw)
    end
  end)

  it("socketmap takes 100000 bytes", function()
    assert.equal("99000 bad_answer", run("socketmap", [[
      local m = open()
      local value = m:get "size 99000"
      return #value - #"name " .. " " .. outcome(m:get "size 100000")
    ]]))
  end)

  it("socketmap also has unix sockets", function()
    assert.equal("other value of k", inside.body(servers, [[
      return require "moonmilter.map".open("socketmap:unix:" .. DIR .. "/map.sock:other"):get "k"
    ]]))
  end)

  it("tcp says why it fails", function()
    assert.equal("the service answers 400 try later|down", run("tcp", 'return word(open():get "!say 400 try%20later")'))
  end)

  it("tcp is read strictly: no status, a % alone, or a line that is too long is a bad answer", function()
    for _, said in ipairs { "hello", "200", "200 50%", "200 %zz", "2000 x", "" } do
      assert.equal("bad_answer =value of k", run("tcp", ([[
        local m = open { timeout = 0.3, pool_size = 1 }
        local first = outcome(m:get "!say %s")
        return first .. " " .. outcome(m:get "k")
      ]]):format(said)), said)
    end
    assert.equal("true bad_answer", run("tcp", [[
      local m = open()
      return tostring(#m:get "size 4091" == #"value of " * 0 + 4091) .. " " .. outcome(m:get "size 4092")
    ]]))
  end)

  it("tcp encodes every byte of keys and values that is not printable", function()
    assert.equal("true", run("tcp", [[
      local bytes = {}
      for i = 0, 255 do bytes[i + 1] = string.char(i) end
      local key = "k" .. table.concat(bytes)
      return tostring(open():get(key) == "value of " .. key)
    ]]))
  end)

  it("that is written wrongly does not load", function()
    for spec, why in pairs { ["tcp:host"] = "write tcp:HOST:PORT", ["tcp:host:0"] = "write tcp:HOST:PORT",
      ["socketmap:unix:/x"] = "write socketmap:unix:/PATH:NAME", ["socketmap:inet:h:x:n"] = "write",
      ["socketmap:unix:/x:a b"] = 'the name "a b" has blanks', ["redis:x"] = "write redis:get:PREFIX or",
      ["redis:hget:"] = "write redis:get", ["dns:mx:zone"] = "write dns:a:ZONE or dns:txt:ZONE" } do
      local said = inside.body({}, ('return show(pcall(require "moonmilter.map".open, %q))'):format(spec))
      assert.matches(why, said, 1, true)
    end
  end)
end)

describe("the services of maps and Postfix's own client", function()
  setup(function()
    servers = start_servers()
    process.write_file(servers.directory .. "/main.cf", "compatibility_level = 3.6\n")
  end)
  teardown(function() servers.stop() end)

  -- postmap prints the value; it exits with 1 when there is none, and when the map fails it says so.
  local function postmap(key, spec)
    local output = os.tmpname()
    local status = os.execute(("timeout 20 postmap -c %s -q '%s' '%s' >%s 2>%s.errors </dev/null"):format(
      servers.directory, key, spec, output, output))
    local value, errors = process.read_file(output), process.read_file(output .. ".errors")
    os.remove(output)
    os.remove(output .. ".errors")
    status = status == true and 0 or status
    return status == 0 and "=" .. value:gsub("\n$", "") or errors ~= "" and "failure" or "none"
  end

  it("agree on what is there", function()
    local keys = { "ann@example.org", "none", "Upper Case", "50% off", "a=b", "k+x@y", "!say OK ", "!say NOTFOUND ",
      "!say TEMP x", "!say PERM x", "!say nonsense", "!say 400 x", "!say 500 x", "!say 200 a%20b", "!close" }
    for _, spec in ipairs { "tcp:127.0.0.1:" .. servers.tcp,
      "socketmap:inet:127.0.0.1:" .. servers.socketmap .. ":name" } do
      local answers = inside.body(servers, ([[
        local m, out = require "moonmilter.map".open(%q, { timeout = 5 }), {}
        for i, key in ipairs { "%s" } do
          local value, text = m:get(key)
          out[i] = value and "=" .. value or text and "failure" or "none"
        end
        return table.concat(out, "\n")
      ]]):format(spec, table.concat(keys, '", "')))
      local at = 0
      for answer in (answers .. "<LF>"):gmatch "(.-)<LF>" do
        at = at + 1
        assert.equal(postmap(keys[at], spec), answer, spec .. " " .. keys[at])
      end
      assert.equal(#keys, at)
    end
  end)
end)

describe("a redis map", function()
  local redis
  setup(function() redis = world.redis() end)
  teardown(function() redis.close() end)

  local function body(text)
    return inside.body({ redis = redis.port }, [[
      local map, redis = require "moonmilter.map", require "moonmilter.redis"
      local client = redis.new { port = P.redis, timeout = 0.5 }
      ]] .. text)
  end

  it("looks up keys with a prefix, and fields of a hash", function()
    assert.equal("OK|nil|7|nil|", body [[
      client:set("access:ann@example.org", "OK") client:hset("limits", "ann", 7, "empty", "")
      local m, h = map.open("redis:get:access:", { redis = client }), map.open("redis:HGET:limits", { redis = client })
      return show(m:get "Ann@Example.org", m:get "bob", h:get "ann", h:get "bob", h:get "empty")
    ]])
  end)

  it("uses the server of the configuration, too, and that of its own options", function()
    assert.equal("1|down", inside.body({ redis = redis.port }, [[
      local map = require "moonmilter.map"
      require "moonmilter.redis".new():set("p:a", "1")
      return show(map.open "redis:get:p:":get "a", (select(3, map.open("redis:get:p:", { redis = { port = 1 } }):get "a")))
    ]], { set = { ("redis={ port = %d }"):format(redis.port) } }))
  end)

  it("fails when a key is of another type, and when the server hangs or is gone", function()
    assert.equal("bad_answer", body [[
      client:rpush("list:a", 1)
      return select(3, map.open("redis:get:list:", { redis = client }):get "a")
    ]])
    redis.stop()
    assert.equal("timeout", body [[return select(3, map.open("redis:get:x", { redis = client }):get "a")]])
    redis.go_on()
  end)
end)

describe("a dns map", function()
  it("fails when nobody answers", function()
    assert.matches("|down$", inside.body({}, [[
      return show(require "moonmilter.map".open("dns:txt:example.org", { timeout = 0.5 }):get "x")
    ]], { set = { "dns_servers=127.0.0.1:1" } }))
  end)

  local testing = require "moonmilter.testing"

  local function ask(spec, dns, key)
    local mta = testing.start { dns = dns, script = ([[
      local m = require "moonmilter.map".open(%q, { timeout = 2 })
      function on_mail(ctx, sender)
        local value, text, code = m:get(sender)
        return ctx:reject(550, "5.7.1", tostring(value) .. "|" .. tostring(code))
      end ]]):format(spec) }
    local text = mta:message { from = key }.text
    mta:close()
    return text
  end

  it("looks up names and addresses below a zone", function()
    local dns = { ["ann.rules.example"] = { TXT = { "b", "a" } }, ["1.2.0.192.bl.example"] = { A = { "127.0.0.2" } } }
    assert.equal("a b|nil", ask("dns:txt:rules.example.", dns, "Ann"))
    assert.equal("127.0.0.2|nil", ask("dns:a:bl.example", dns, "192.0.2.1"))
    assert.equal("nil|nil", ask("dns:a:bl.example", dns, "192.0.2.2"))
  end)

  it("takes no error of a list for a listing, and no failure for an answer", function()
    local function listed_as(address)
      return ask("dns:a:bl.example", { ["1.2.0.192.bl.example"] = { A = { address } } }, "192.0.2.1")
    end
    assert.equal("nil|down", listed_as "127.255.255.254")
    assert.equal("nil|bad_answer", listed_as "192.0.2.9")
    assert.equal("nil|down", ask("dns:txt:z.example", { ["a.z.example"] = "servfail" }, "a"))
    assert.equal("nil|timeout", ask("dns:txt:z.example", { ["a.z.example"] = "timeout" }, "a"))
  end)

  it("asks for no key that cannot be a name", function()
    for _, key in ipairs { "a@b", "a/b", "a..b" } do
      assert.equal("nil|bad_key", ask("dns:txt:z.example", {}, key), key)
    end
  end)
end)
