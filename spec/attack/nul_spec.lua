-- Lua's strings have a length, C's end at the first NUL: what a check sees must be what is used.
local inside = require "spec.async.run"
local process = require "spec.support.process"
local world = require "spec.async.world"

describe("a NUL inside a string", function()
  local servers

  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  local function run(body)
    return inside.body(servers, [[
      local http, redis, dns = require "moonmilter.http", require "moonmilter.redis", require "moonmilter.dns"
      local process = require "moonmilter.process"
      local function code_of(value, _, code) return value and "accepted" or code end
      local function raises(fn, ...)
        local ok, text = pcall(fn, ...)
        return ok and "accepted" or tostring(text):match "NUL" or tostring(text)
      end
    ]] .. body)
  end

  it("is no part of a host, an address or a URL, which may come from outside", function()
    assert.equal("badname badname url url badname", run [[
      return table.concat({
        code_of(socket.connect { host = "127.0.0.1\0.example", port = P.talk }),
        code_of(socket.connect { host = "localhost\0.example", port = P.talk }),
        code_of(http.get("http://127.0.0.1:" .. P.http .. "/hello\0.png")),
        code_of(http.get("http://127.0.0.1\0.example/")),
        code_of(dns.a "ok.example\0.bad") }, " ")
    ]])
    assert.equal("is not an IP address", run [[return select(2, pcall(dns.reverse, "192.0.2.1\0x")):match "is not an IP address"]])
  end)

  it("is refused in whatever else C reads", function()
    assert.equal(("NUL "):rep(14):sub(1, -2), run [[
      local tcp, udp = socket.tcp(), socket.udp()
      local url = "https://localhost:" .. P.https .. "/"
      return table.concat({
        raises(tcp.connect, tcp, DIR .. "/talk.sock\0x"),
        raises(tcp.connect, tcp, "\0abstract"),
        raises(tcp.bind, tcp, "127.0.0.1\0", 0),
        raises(udp.sendto, udp, "x", "127.0.0.1\0", P.udp),
        raises(tcp.take, tcp, "pool\0one"),
        raises(socket.connect, { host = "127.0.0.1", port = P.tls, tls = { name = "localhost\0.example", ca = DIR .. "/ca.pem" } }),
        raises(socket.connect, { host = "127.0.0.1", port = P.tls, tls = { name = "localhost", ca = DIR .. "/ca.pem\0" } }),
        raises(http.get, url, { ca = DIR .. "/ca.pem\0x" }),
        raises(http.get, url, { certificate = DIR .. "/client.pem\0x" }),
        raises(http.get, url, { unix_socket = DIR .. "/http.sock\0x" }),
        raises(http.get, url, { headers = { ["X-A"] = "a\0b" } }),
        raises(dns.query, "ok.example", "a\0mx"),
        raises(process.run, { argv = { "true" }, cwd = "/tmp\0/x" }),
        raises(process.run, { argv = { "true\0x" } }) }, " ")
    ]])
  end)

  it("is refused by a mechanism: no binding takes a string for C on its own", function()
    local pipe = assert(io.popen [[grep -nE 'luaL_(check|opt)string\(' host/bind/*.c]])
    assert.equal("", pipe:read "*a")
    pipe:close()
    assert.matches("mm_check_cstring", process.read_file "host/bind/bind.c") -- the folder is where we think
  end)
end)
