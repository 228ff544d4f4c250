-- A Redis server that is not one, or is in an attacker's hands.
local inside = require "spec.async.run"
local process = require "spec.support.process"
local resp = require "moonmilter.net.resp"

-- A reader over bytes, as redis.lua makes one over a socket.
local function reader(bytes)
  local at = 1
  return {
    line = function()
      local stop = bytes:find("\n", at, true)
      if not stop then
        return nil, "closed", "closed"
      end
      local line = bytes:sub(at, stop - 1):gsub("\r", "")
      at = stop + 1
      return line
    end,
    bytes = function(n)
      if at + n - 1 > #bytes then
        return nil, "closed", "closed"
      end
      at = at + n
      return bytes:sub(at - n, at - 1)
    end,
  }
end

local function read(bytes)
  local ok, value, code = resp.read(reader(bytes))
  if not ok then
    return code
  end
  return value
end

describe("a reply in RESP", function()
  it("has integers of 64 bits, exact", function()
    for text, value in pairs { ["0"] = 0, ["-1"] = -1, ["+5"] = 5, ["007"] = 7,
      ["9007199254740991"] = 2 ^ 53 - 1,
      ["9007199254740992"] = "9007199254740992", ["9007199254740993"] = "9007199254740993",
      ["-9007199254740993"] = "-9007199254740993",
      ["9223372036854775807"] = "9223372036854775807", ["+9223372036854775807"] = "9223372036854775807",
      ["-9223372036854775808"] = "-9223372036854775808" } do
      assert.equal(value, read(":" .. text .. "\r\n"), text)
    end
  end)

  it("is refused when an integer is none", function()
    for _, text in ipairs { "", "+", "-", "+-1", "--1", "1.5", "1e3", "0x10", "nan", "inf", " 1", "1 ", "1x",
      "9223372036854775808", "-9223372036854775809", ("9"):rep(400), "\0001" } do
      assert.equal("protocol", read(":" .. text .. "\r\n"), ("%q"):format(text))
    end
  end)

  it("is refused when a length is none", function()
    for _, kind in ipairs { "$", "*" } do
      for _, text in ipairs { "", "-2", "-0", "+1", "1e1", "0x1", "1.0", " 1", "nan", "-", "18446744073709551617",
        "99999999999", ("1"):rep(1000) } do
        assert.equal("protocol", read(kind .. text .. "\r\nabcdefghij\r\n"), kind .. text)
      end
    end
  end)

  it("is refused when it is of another kind, or its string has another end", function()
    for _, bytes in ipairs { "\r\n", "HTTP/1.1 200 OK\r\n", "_\r\n", ",1.5\r\n", "%1\r\n", "$3\r\nabcdef\r\n",
      "$1\r\nab\r\n" } do
      assert.equal("protocol", read(bytes), ("%q"):format(bytes))
    end
  end)

  it("is bounded in depth, values and bytes before any of it is kept", function()
    assert.equal("protocol", read(("*1\r\n"):rep(17) .. ":1\r\n"))
    assert.equal("table", type(read(("*1\r\n"):rep(16) .. ":1\r\n")))
    assert.equal("protocol", read "*1048577\r\n")
    assert.equal("protocol", read("*2\r\n*1000000\r\n" .. (":1\r\n"):rep(1000000) .. "*1000000\r\n"))
    assert.equal("protocol", read "$67108865\r\n")
    local most = ("x"):rep(60 * 1024 * 1024)
    assert.equal("protocol", read("*2\r\n$" .. #most .. "\r\n" .. most .. "\r\n$" .. #most .. "\r\n"))
  end)

  it("keeps nil and empty values apart", function()
    assert.is_nil(read "$-1\r\n")
    assert.is_nil(read "*-1\r\n")
    assert.equal("", read "$0\r\n\r\n")
    assert.same({}, read "*0\r\n")
    assert.same({ false, 1 }, read "*2\r\n$-1\r\n:1\r\n")
  end)
end)

describe("a hostile Redis server", function()
  local server, port

  setup(function()
    port = process.free_port()
    local output = os.tmpname()
    server = process.start({ "luajit", "spec/attack/redis_server.lua", tostring(port) },
      { output = output, life = 120 })
    assert(process.wait_until(5, function() return process.read_file(output):find "ready" end, "the server"))
    os.remove(output)
  end)

  teardown(function()
    server:stop()
  end)

  local function run(body)
    return inside.body({ hostile = port }, 'local redis = require "moonmilter.redis"\n' .. body)
  end

  it("gets its connection closed, and the next command a new one", function()
    assert.equal("nil|protocol / OK", run [[
      local client = redis.new { port = P.hostile, timeout = 1, pool_size = 1 }
      local value, _, code = client:call("SAY", ":+-1\r\n")
      return show(value, code) .. " / " .. client:ping()
    ]])
  end)

  it("is refused when a line does not end with CRLF, or has a CR inside", function()
    assert.equal("protocol protocol protocol protocol, 12 OK", run [[
      local client = redis.new { port = P.hostile, timeout = 1, pool_size = 1 }
      local seen = {}
      for i, reply in ipairs { ":12\n", ":1\r2\r\n", "+O\rK\r\n", "$2\nab\r\n" } do
        seen[i] = select(3, client:call("SAY", reply)) or "taken"
      end
      return table.concat(seen, " ") .. ", " .. client:call("SAY", ":12\r\n") .. " " .. client:ping()
    ]])
  end)

  it("cannot answer one command with the reply of another", function()
    assert.equal("OK|unread|OK", run [[
      local client = redis.new { port = P.hostile, timeout = 1, pool_size = 1 }
      local first = client:call("SAY", "+OK\r\n+FORGED\r\n")
      return show(first, "unread", (client:ping()))
    ]])
  end)

  -- What a client of a cluster is told by CLUSTER and by GET.
  local function of_cluster(slots, get)
    return run(([[
      local teacher = redis.new { port = P.hostile }
      teacher:call("LEARN", "CLUSTER", %q)
      teacher:call("LEARN", "GET", %q)
      local r = redis.new { cluster = { "127.0.0.1:" .. P.hostile }, connect_timeout = 1 }
      local begun = milter.now()
      local value, text, code = r:get "k"
      return show(value, text, code, milter.now() - begun < 3)
    ]]):format(slots, get or ""))
  end

  local function row(first, last, host, to)
    return ("*3\r\n:%s\r\n:%s\r\n*2\r\n$%d\r\n%s\r\n:%s\r\n"):format(first, last, #host, host, to)
  end

  it("cannot give a cluster a map that makes no sense, or much work", function()
    local good = row(0, 16383, "", port)
    for name, slots in pairs { text = "+OK\r\n", none = "*0\r\n", number = ":5\r\n", twice = "*2\r\n" .. good .. good,
      ["below 0"] = "*1\r\n" .. row(-1, 5, "", port), ["too far"] = "*1\r\n" .. row(0, 16384, "", port),
      backwards = "*1\r\n" .. row(5, 4, "", port), ["no port"] = "*1\r\n" .. row(0, 16383, "", 0),
      ["a host with a blank"] = "*1\r\n" .. row(0, 16383, "a b", port),
      ["a long host"] = "*1\r\n" .. row(0, 16383, ("a"):rep(300), port), ["a hole"] = "*1\r\n*2\r\n:0\r\n:16383\r\n",
      many = "*16384\r\n" .. good:rep(16384) } do
      assert.matches("^nil|redis cluster .*: no slots in the reply|down|true$", of_cluster(slots), name)
    end
    assert.equal("v|nil|nil|true", of_cluster("*1\r\n" .. good, "$1\r\nv\r\n"))
  end)

  it("cannot send a command round and round, or somewhere that is no address", function()
    local good = "*1\r\n" .. row(0, 16383, "127.0.0.1", port)
    assert.matches("^nil|MOVED .*after 5 redirections.*|reply|true$",
      of_cluster(good, ("-MOVED 1 127.0.0.1:%d\r\n"):format(port)))
    assert.matches("^nil|ASK .*after 5 redirections.*|reply|true$",
      of_cluster(good, ("-ASK 1 127.0.0.1:%d\r\n"):format(port)))
    for _, reply in ipairs { "MOVED", "MOVED 1", "MOVED 16384 127.0.0.1:1", "MOVED 1 127.0.0.1:0", "MOVED 1 a b:1",
      "MOVED 1 127.0.0.1:65536", "MOVED x 127.0.0.1:1", "MOVED 1 " .. ("a"):rep(300) .. ":1", "ASK 1 /etc/passwd:1",
      "MOVED 99999999999999999999 127.0.0.1:1" } do
      assert.equal(("nil|%s|reply|true"):format(reply), of_cluster(good, "-" .. reply .. "\r\n"))
    end
  end)

  it("that poses as a sentinel cannot name what is no address", function()
    for _, reply in ipairs { "+OK\r\n", ":1\r\n", "*0\r\n", "*2\r\n$1\r\na\r\n$1\r\n0\r\n", "*2\r\n:1\r\n:1\r\n",
      "*2\r\n$0\r\n\r\n$1\r\n1\r\n", "*2\r\n$1\r\na\r\n$5\r\n65536\r\n", "*1\r\n$1\r\na\r\n" } do
      assert.matches("^nil|redis m: the sentinels do not say where it is: .*no address in the reply|down$", run(([[
        redis.new { port = P.hostile }:call("LEARN", "SENTINEL", %q)
        local r = redis.new { sentinels = { "127.0.0.1:" .. P.hostile }, master = "m" }
        return show(r:get "k")
      ]]):format(reply)))
    end
  end)

  it("that is dead delays no other, however many wait for it", function()
    local full = require("socket").bind("127.0.0.1", 0, 0)
    local _, full_port = full:getsockname()
    local fillers = {}
    for i = 1, 4 do
      fillers[i] = require("socket").tcp()
      fillers[i]:settimeout(0)
      fillers[i]:connect("127.0.0.1", full_port)
    end
    assert.equal("300 waiting|OK|300 waiting", run(([[
      local dead = redis.new { port = %d, timeout = 3, connect_timeout = 3, queue_timeout = 3, pool_size = 16 }
      local healthy = redis.new { port = P.hostile }
      local milter, tasks = require "moonmilter", {}
      for i = 1, 300 do tasks[i] = milter.spawn(function() return dead:ping() end) end
      local function waiting()
        local n = 0
        for _, task in ipairs(tasks) do n = n + (task:is_over() and 0 or 1) end
        return n .. " waiting"
      end
      milter.sleep(0.1)
      local before = waiting()
      local reply = healthy:ping()
      local after = waiting()
      for _, task in ipairs(tasks) do task:cancel() end
      return show(before, reply, after)
    ]]):format(full_port)))
    full:close()
    for _, filler in ipairs(fillers) do
      filler:close()
    end
  end)
end)
