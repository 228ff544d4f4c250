local fake_mta = require "spec.support.fake_mta"
local world = require "spec.waiting.world"

local servers

--- Runs the body of an on_eom handler; what it returns comes back as text. Facts of the servers are the upvalues P and DIR.
local function run(body, options)
  options = options or {}
  local ports = {}
  for name, port in pairs(servers) do
    if type(port) == "number" then
      ports[#ports + 1] = ("%s = %d"):format(name, port)
    end
  end
  options.script = ([[
    local socket = require "moonmilter.socket"
    local milter = require "moonmilter"
    local P, DIR = { %s }, %q
    local function talk(verb, sock)
      sock = sock or assert(socket.connect{ host = "127.0.0.1", port = P.talk })
      assert(sock:send(verb .. "\n"))
      return sock
    end
    local function show(...)
      local words = {}
      for i = 1, select("#", ...) do
        words[i] = tostring((select(i, ...)))
      end
      return table.concat(words, "|")
    end
    local function test(ctx)
      %s
    end
    function on_eom(ctx)
      local results = { pcall(test, ctx) }
      ctx:reject(550, "5.7.1", (tostring(results[2]):gsub("\r", "<CR>"):gsub("\n", "<LF>"):sub(1, 900)))
    end
  ]]):format(table.concat(ports, ", "), servers.directory, body)
  local mta = fake_mta.start(options)
  mta:begin()
  local reply = mta:message()
  mta:close()
  return reply.text and reply.text:gsub("^550 5.7.1 ", "") or reply.kind
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

  it("receives exact numbers of bytes, all, and with a prefix", function()
    assert.equal("on|prefixe<CR><LF>|two<LF>thr<CR>ee<CR><LF>four", run [[
      local s = talk "pieces"
      return show(s:receive(2), s:receive(#"prefix" + 3, "prefix"), (s:receive "*a"))
    ]])
  end)

  it("gives what came when the peer closes early", function()
    assert.equal("nil|closed|partial|closed", run [[return show(talk("cut"):receive(100))]])
  end)

  it("tells a reset as closed", function()
    assert.equal("nil|closed||closed", run [[return show(talk("reset"):receive())]])
  end)

  it("ends a receive when nothing comes for so long", function()
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

  it("tells a refused connection from one that hangs", function()
    assert.equal("nil|connection refused|refused / nil|timeout|timeout", run [[
      local a = show(socket.connect{ host = "127.0.0.1", port = P.refused })
      local b = show(socket.connect{ host = "127.0.0.1", port = P.full, connect_timeout = 0.2 })
      return a .. " / " .. b
    ]])
  end)

  it("sends more than the peer's buffers take", function()
    assert.equal("8000000|done", run [[
      local s = talk "sink 8000000"
      local sent = s:send(("q"):rep(8000000))
      return show(sent, s:receive())
    ]])
  end)

  it("says how much was sent when time is over", function()
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

  it("knows its names", function()
    assert.equal("127.0.0.1|true|inet|127.0.0.1", run [[
      local s = talk "echo"
      local ip, port, family = s:getpeername()
      return show(ip, port == P.talk, family, (s:getsockname()))
    ]])
  end)

  it("raises when it is used where nothing can wait", function()
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

  it("asks and is answered", function()
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
