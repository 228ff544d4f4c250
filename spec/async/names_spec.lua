-- A host name in a URL or for a socket is resolved by the name server that the configuration names, not by the system.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"
local support = require "spec.async.support"
local world = require "spec.async.world"

describe("a name that only our name server knows", function()
  local servers, names, port

  setup(function()
    servers, port = world.servers(), process.free_port()
    names = support.name_server(port)
  end)
  teardown(function()
    names:stop()
    servers.stop()
  end)

  local function text_of(body)
    local mta = fake_mta.start { script = ([[
      local http, socket = require "moonmilter.http", require "moonmilter.socket"
      local PORT = %d
      function on_mail(ctx) ctx:reject(550, "5.7.1", (function() %s end)()) end
    ]]):format(servers.http, body), set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=2" } }
    finally(function() mta:close() end)
    mta:begin()
    return mta:mail().text
  end

  it("is found by moonmilter.http", function()
    assert.equal("550 5.7.1 hello",
      text_of [[return assert(http.get("http://here.example:" .. PORT .. "/hello")).body]])
  end)

  it("is found by moonmilter.socket", function()
    assert.equal("550 5.7.1 127.0.0.1", text_of [[
      return (assert(socket.connect { host = "here.example", port = PORT }):getpeername())]])
  end)

  it("and a name that it denies is an error with a code, not a wait", function()
    assert.equal("550 5.7.1 nxdomain nxdomain", text_of [[
      local _, _, a = http.get("http://nx.example:" .. PORT .. "/hello")
      local _, _, b = socket.connect { host = "nx.example", port = PORT }
      return a .. " " .. b]])
  end)
end)
