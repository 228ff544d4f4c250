local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local world = require "spec.async.world"

local servers

local function run(body, options)
  return inside.body(servers, body, options)
end

describe("a socket in a script", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("sends and receives lines", function()
    assert.equal("hello|two", run [[
      local s = talk "echo"
      s:send "hello\n" s:send "two\n"
      local a = s:receive()
      local b = s:receive "*l"
      s:close()
      return show(a, b)
    ]])
  end)

  it("joins lines that come in pieces and drops carriage returns", function()
    assert.equal("one|two|three|nil|closed|four|closed", run [[
      local s = talk "pieces"
      return show(s:receive(), s:receive(), s:receive(), s:receive())
    ]])
  end)

  it("receives exact numbers of bytes, everything, and with a prefix", function()
    assert.equal("on|prefixe<CR><LF>|two<LF>thr<CR>ee<CR><LF>four", run [[
      local s = talk "pieces"
      return show(s:receive(2), s:receive(#"prefix" + 3, "prefix"), (s:receive "*a"))
    ]])
  end)

  it("returns the partial data when the peer closes early", function()
    assert.equal("nil|closed|partial|closed", run [[return show(talk("cut"):receive(100))]])
  end)

  it("reports a reset as closed", function()
    assert.equal("nil|closed||closed", run [[return show(talk("reset"):receive())]])
  end)

  it("ends a receive when nothing arrives within the time-out", function()
    assert.equal("nil|timeout||timeout", run [[
      local s = talk "silent"
      s:settimeout(0.1)
      return show(s:receive())
    ]])
  end)

  it("counts pauses by default and the whole call in mode t", function()
    assert.equal("xxxxxx|nil|timeout|true", run [[
      local s = talk "drip 6"
      s:settimeout(0.2)
      local line = s:receive()
      local t = talk "drip 100"
      t:settimeout(0.3, "t")
      local none, text, partial = t:receive()
      return show(line, none, text, #partial > 2 and #partial < 9)
    ]])
  end)

  it("distinguishes a refused connection from one that hangs", function()
    assert.equal("nil|connection refused|refused / nil|timeout|timeout", run [[
      local a = show(socket.connect{ host = "127.0.0.1", port = P.refused })
      local b = show(socket.connect{ host = "127.0.0.1", port = P.full, connect_timeout = 0.2 })
      return a .. " / " .. b
    ]])
  end)

  it("sends more than the peer's buffers hold", function()
    assert.equal("8000000|done", run [[
      local s = talk "sink 8000000"
      local sent = s:send(("q"):rep(8000000))
      return show(sent, s:receive())
    ]])
  end)

  it("reports how much was sent at a time-out", function()
    assert.equal("nil|timeout|true|timeout", run [[
      local s = talk "silent"
      s:settimeout(0.1)
      local none, text, last, code = s:send(("q"):rep(20000000))
      return show(none, text, last > 0 and last < 20000000, code)
    ]])
  end)

  it("receives a large answer without holding up the loop", function()
    assert.equal("20000000", run [[return #talk("blast 20000000"):receive "*a"]])
  end)

  it("a reset is no end of receive *a: what came is a part", function()
    assert.equal("nil|closed|part|closed / nil|closed|part|closed / nil|closed|part|closed", run [[
      local a, b = talk "part-reset", talk "part-reset"
      local first = show(a:receive "*a")
      require "socket".select({ b }, nil, 1) -- which finds the reset first
      milter.sleep(0.2)
      require "socket".select({ b }, nil, 1)
      local c = socket.connect { host = "127.0.0.1", port = P.tls, tls = { verify = false } }
      c:send "part-reset\n"
      return first .. " / " .. show(b:receive "*a") .. " / " .. show(c:receive "*a")
    ]])
  end)

  it("speaks to unix sockets", function()
    assert.equal("hi|nil|No such file or directory|refused", run [[
      local s = assert(socket.connect{ unix = DIR .. "/talk.sock" })
      talk("echo", s):send "hi\n"
      return show((s:receive()), socket.connect{ unix = DIR .. "/none.sock" })
    ]])
  end)

  it("is closed once closed", function()
    assert.equal("nil|closed|0|closed / nil|closed||closed", run [[
      local s = talk "echo"
      s:close() s:close()
      return show(s:send "x") .. " / " .. show(s:receive())
    ]])
  end)

  it("returns its addresses", function()
    assert.equal("127.0.0.1|true|inet|127.0.0.1", run [[
      local s = talk "echo"
      local ip, port, family = s:getpeername()
      return show(ip, port == P.talk, family, (s:getsockname()))
    ]])
  end)

  it("raises when it is used where waiting is impossible", function()
    assert.matches("cannot wait inside a function that C code calls back", run [[
      local s = talk "echo"
      local ok, text = pcall(table.sort, { 1, 2, 3 }, function() s:receive() end)
      return text
    ]])
  end)
end)

describe("UDP in a script", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("sends and receives", function()
    assert.equal("HELLO / AGAIN|127.0.0.1|true / nil|timeout|timeout", run [[
      local u = socket.udp()
      u:setpeername("127.0.0.1", P.udp)
      u:send "hello"
      local a = u:receive()
      local v = socket.udp()
      v:sendto("again", "127.0.0.1", P.udp)
      local b, ip, port = v:receivefrom()
      local w = socket.udp()
      w:setpeername("127.0.0.1", P.udp_silent)
      w:settimeout(0.1)
      w:send "x"
      return a .. " / " .. show(b, ip, port == P.udp) .. " / " .. show(w:receive())
    ]])
  end)
end)

describe("TLS in a script", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  local function tls(port, options, code)
    return run(([[
      local s, text, code = socket.connect{ host = "127.0.0.1", port = P.%s, tls = { ca = DIR .. "/ca.pem", %s } }
      if not s then
        return show(s, text, code)
      end
      %s
    ]]):format(port, options, code or [[
      talk("echo", s):send "secret\n"
      return show((s:receive()), s:tls().version, s:tls().resumed)
    ]]))
  end

  it("verifies name and chain, and transfers data", function()
    assert.equal("secret|TLSv1.3|false", tls("tls", [[name = "mail.example"]]))
  end)

  it("checks an address as well as a name", function()
    assert.equal("secret|TLSv1.3|false", tls("tls", ""))
  end)

  it("refuses a certificate for another name", function()
    assert.equal("nil|certificate refused: hostname mismatch|tls", tls("wrong", [[name = "mail.example"]]))
    assert.equal("nil|certificate refused: IP address mismatch|tls", tls("wrong", ""))
  end)

  it("refuses an expired certificate", function()
    assert.equal("nil|certificate refused: certificate has expired|tls", tls("expired", [[name = "mail.example"]]))
  end)

  it("refuses a certificate of an unknown authority", function()
    assert.matches("^nil|certificate refused: .*issuer", run [[
      return show(socket.connect{ host = "127.0.0.1", port = P.tls, tls = true })
    ]])
  end)

  it("accepts any certificate when verify is off", function()
    assert.equal("secret|TLSv1.3|false", tls("expired", [[verify = false]]))
  end)

  it("reports that the peer does not speak TLS", function()
    assert.matches("^nil|.*|tls$", tls("talk", [[name = "mail.example"]]))
  end)

  it("presents a client certificate when asked for one", function()
    assert.equal("secret|TLSv1.3|false",
      tls("mutual", [[certificate = DIR .. "/client.pem", key = DIR .. "/client.key"]]))
    assert.matches("^nil|", tls("mutual", "", [[
      s:send "echo\n"
      return show(s:receive())
    ]]))
  end)

  it("names the file that is wrong", function()
    assert.matches('^nil|certificate "/none.pem": .*|tls$', tls("tls", [[certificate = "/none.pem"]]))
  end)

  it("reuses sessions", function()
    assert.equal("false|true", tls("tls", "", [[
      talk("echo", s):send "x\n"
      s:receive()
      local first = s:tls().resumed
      s:close()
      local t = socket.connect{ host = "127.0.0.1", port = P.tls, tls = { ca = DIR .. "/ca.pem" } }
      return show(first, t:tls().resumed)
    ]]))
  end)

  it("begins on a plain connection", function()
    assert.equal("go|over TLS", run [[
      local s = talk "starttls"
      local go = s:receive()
      assert(s:starttls{ ca = DIR .. "/ca.pem" })
      s:send "over TLS"
      return show(go, (s:receive "*a"))
    ]])
  end)

  it("distinguishes a truncated answer from a complete one", function()
    assert.matches("^nil|the peer cut the connection without a TLS goodbye.*|partial|tls$", tls("tls", "", [[
      talk("cut-tls", s)
      return show(s:receive "*a")
    ]]))
  end)

  it("transfers much data in both directions", function()
    assert.equal("5000000|done|7000000", tls("tls", "", [[
      talk("sink 5000000", s)
      local sent = s:send(("q"):rep(5000000))
      local done = s:receive()
      local t = assert(socket.connect{ host = "127.0.0.1", port = P.tls, tls = { ca = DIR .. "/ca.pem" } })
      talk("blast 7000000", t)
      return show(sent, done, #t:receive "*a")
    ]]))
  end)

  it("gives up a handshake that hangs", function()
    assert.equal("nil|timeout|timeout", run [[
      local s = talk "silent"
      s:settimeout(0.2)
      return show(s:starttls{ verify = false })
    ]])
  end)
end)

describe("keep-alive pools", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("give a connection to the next caller", function()
    assert.equal("0|1|2|true", run [[
      local options = { host = "127.0.0.1", port = P.talk, pool = true }
      local reuses, numbers = {}, {}
      for i = 1, 3 do
        local s = assert(socket.connect(options))
        reuses[i] = s:getreusedtimes()
        s:send(i == 1 and "count\n" or "again\n")
        numbers[i] = s:receive()
        assert(s:setkeepalive())
      end
      return show(reuses[1], reuses[2], reuses[3], numbers[1] == numbers[3])
    ]])
  end)

  it("refuse a connection with unread data", function()
    if os.getenv "ONE_BYTE" then
      return pending "a socket that reports no pending data looks clean"
    end
    assert.equal("nil|unread data: the connection cannot be reused|unread", run [[
      local s = talk "pieces"
      s:receive(1)
      return show(s:setkeepalive())
    ]])
  end)

  it("drop a connection that the peer has closed or on which it sends unrequested data", function()
    assert.equal("0", run [[
      local s = socket.connect{ host = "127.0.0.1", port = P.talk, pool = true }
      talk("speak-later", s)
      s:receive()
      assert(s:setkeepalive())
      milter.sleep(0.3)
      return tostring(socket.connect{ host = "127.0.0.1", port = P.talk, pool = true }:getreusedtimes())
    ]])
  end)

  it("drop a connection that has been idle too long", function()
    assert.equal("0", run [[
      local s = socket.connect{ host = "127.0.0.1", port = P.talk, pool = true }
      assert(s:setkeepalive(nil, 0.1))
      milter.sleep(0.3)
      return tostring(socket.connect{ host = "127.0.0.1", port = P.talk, pool = true }:getreusedtimes())
    ]])
  end)

  it("queue callers while all connections are in use, and give up after a while", function()
    assert.equal("1|nil|all connections of the pool are in use|busy", run [[
      local options = { host = "127.0.0.1", port = P.talk, pool = { size = 1, queue_timeout = 0.2 } }
      local s = assert(socket.connect(options))
      local waiter = milter.spawn(function()
        local t = assert(socket.connect(options))
        local reused = t:getreusedtimes()
        t:setkeepalive()
        return reused
      end)
      milter.sleep(0.05)
      s:setkeepalive()
      local reused = waiter:wait()
      local held = assert(socket.connect(options))
      return show(reused, socket.connect(options))
    ]])
  end)
end)

describe("a socket that the script does not close", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  local function counting(script)
    local mta = fake_mta.start { script = inside.prelude(servers) .. script }
    finally(function() mta:close() end)
    return mta
  end

  it("is closed with the message in which it was made", function()
    local mta = counting [[function on_eom(ctx) ctx.session.kept = talk "echo" end
      function on_mail(ctx)
        if ctx.session.kept then ctx:reject(550, "5.7.1", show(ctx.session.kept:send "x")) end
      end]]
    mta:begin()
    local before = world.descriptors()
    mta:message()
    assert.equal(before, world.descriptors())
    assert.equal("550 5.7.1 nil|closed|0|closed", mta:mail().text)
  end)

  it("is closed with the connection when it was made before a message", function()
    local mta = counting [[function on_connect(ctx) ctx.session.kept = talk "echo" end
      function on_eom(ctx)
        ctx.session.kept:send "hello\n"
        ctx:add_header("X-Heard", (ctx.session.kept:receive()))
      end]]
    local before = world.descriptors()
    mta:begin()
    assert.same({ "add_header", "X-Heard", "hello" }, mta:message().edits[1])
    assert.same({ "add_header", "X-Heard", "hello" }, mta:message().edits[1])
    assert.equal(before + 1, world.descriptors())
    mta:vanish()
    assert.equal(before, world.descriptors())
  end)

  it("is closed by the garbage collector at the latest", function()
    local mta = counting [[function on_eom(ctx) talk "echo" talk "echo" collectgarbage() collectgarbage() milter.sleep(0.1) end]]
    mta:begin()
    mta:mail()
    mta:rcpt()
    local before = world.descriptors()
    mta:feed(fake_mta.packet("E", ""))
    for _ = 1, 3 do mta.owner:turn(0.02) end
    assert.is_true(mta:is_waiting())
    assert.is_true(world.descriptors() <= before + 1)
    mta:settle()
  end)

  it("stays open as long as the scripts when it was made while they load", function()
    local mta = counting [[local kept
      function on_load() kept = talk "echo" end
      function on_eom(ctx)
        kept:send "hello\n"
        ctx:add_header("X-Heard", (kept:receive()))
      end]]
    mta:begin()
    assert.same({ "add_header", "X-Heard", "hello" }, mta:message().edits[1])
    assert.same({ "add_header", "X-Heard", "hello" }, mta:message().edits[1])
  end)
end)

describe("two tasks on one socket", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("may read and write at the same time, but not both read", function()
    assert.equal("nil|busy reading||busy|hello", run [[
      local s = talk "echo"
      local reader = milter.spawn(function() return (s:receive()) end)
      milter.sleep(0.02)
      local a, b, c, d = s:receive()
      s:send "hello\n"
      return show(a, b, c, d, (reader:wait()))
    ]])
  end)

  it("are both notified when one closes", function()
    assert.equal("nil|closed||closed", run [[
      local s = talk "echo"
      local reader = milter.spawn(function() return show(s:receive()) end)
      milter.sleep(0.02)
      s:close()
      return (reader:wait())
    ]])
  end)
end)
