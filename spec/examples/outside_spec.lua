-- Examples that query a server, each against a server that behaves and one that does not.
local fake_mta = require "spec.support.fake_mta"
local world = require "spec.async.world"

local function with(name, settings)
  local mta = fake_mta.start { paths = { "examples/" .. name }, set = { "settings=" .. settings } }
  finally(function() mta:close() end)
  mta:connect("client.example", "192.0.2.1")
  mta:helo()
  return mta
end

describe("http-policy.lua and clamd.lua", function()
  local servers
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("follow the policy service", function()
    local mta = with("http-policy.lua", ('{ policy_url = "http://127.0.0.1:%d/policy" }'):format(servers.http))
    mta:mail()
    assert.equal("550 5.7.1 no bobs here", mta:rcpt("<bob@example.com>").text)
    assert.equal("451 4.7.1 Please try again later", mta:rcpt("<busy@example.com>").text)
    assert.equal("continue", mta:rcpt("<eve@example.com>").kind)
  end)

  it("let mail through while the policy service is away", function()
    local mta = with("http-policy.lua", ('{ policy_url = "http://127.0.0.1:%d/policy" }'):format(servers.refused))
    mta:mail()
    assert.equal("continue", mta:rcpt("<bob@example.com>").kind)
  end)

  local virus = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" .. "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*\r\n"

  it("refuse a message in which clamd finds a virus, and pass others", function()
    local mta = with("clamd.lua", ('{ clamd = "%s/clamd.sock" }'):format(servers.directory))
    assert.equal("continue", mta:message().kind)
    assert.equal("554 5.7.1 Virus found: Eicar-Test-Signature", mta:message({ body = virus }).text)
    assert.equal("continue", mta:message({ body = ("clean\r\n"):rep(100000) }).kind)
  end)

  it("refuse a message that is too big for clamd, and reply with a temporary failure when clamd is away", function()
    local mta = with("clamd.lua", ('{ clamd = "%s/clamd.sock" }'):format(servers.directory))
    assert.equal("552 5.3.4 Message too big for the virus scanner",
      mta:message({ body = ("large\r\n"):rep(200000) }).text)
    local away = with("clamd.lua", '{ clamd = "/nonexistent.sock" }')
    assert.equal("451 4.7.1 Virus scanner unavailable, please try again later", away:message().text)
  end)
end)
