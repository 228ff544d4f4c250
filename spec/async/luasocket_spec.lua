--- Modules of other projects, on the host's sockets.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local world = require "spec.async.world"

local servers, redis

local function run(body)
  return inside.body(servers, body)
end

describe("LuaSocket's own modules", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("socket.lua loads on top of the host's core", function()
    assert.equal("true|true|moonmilter|function", run [[
      local luasocket = require "socket"
      return show(luasocket.sink ~= nil, luasocket.try ~= nil, luasocket._VERSION:match "moonmilter", type(luasocket.tcp))
    ]])
  end)

  it("socket.http gets a page", function()
    assert.equal("hello|200|text/plain", run [[
      local http = require "socket.http"
      local body, status, fields = http.request("http://127.0.0.1:" .. P.http .. "/hello")
      return show(body, status, fields["content-type"])
    ]])
  end)

  it("socket.http streams through ltn12", function()
    assert.equal("1|200|300000", run [[
      local http, ltn12 = require "socket.http", require "ltn12"
      local parts = {}
      local ok, status = http.request{ url = "http://127.0.0.1:" .. P.http .. "/big?300000", sink = ltn12.sink.table(parts) }
      return show(ok, status, #table.concat(parts))
    ]])
  end)

  it("socket.http reports what failed", function()
    assert.equal("nil|connection refused", run [[
      return show(require "socket.http".request("http://127.0.0.1:" .. P.refused .. "/"))
    ]])
  end)

  it("socket.smtp sends a message with mime and ltn12", function()
    assert.equal("1", run [[
      local smtp, mime, ltn12 = require "socket.smtp", require "mime", require "ltn12"
      local source = smtp.message{
        headers = { subject = "hello" },
        body = ltn12.source.chain(ltn12.source.string "text", mime.encode "base64"),
      }
      return show(smtp.send{ from = "<a@example.org>", rcpt = "<b@example.com>", source = source, server = "127.0.0.1",
        port = P.smtp })
    ]])
  end)

  it("LuaSec's ssl.https gets a page and verifies when asked", function()
    assert.equal("hello|200 / nil|certificate refused: IP address mismatch", run [[
      local https = require "ssl.https"
      local body, status = https.request{ url = "https://127.0.0.1:" .. P.https .. "/hello", verify = "peer",
        cafile = DIR .. "/ca.pem", sink = require "ltn12".sink.null() }
      local text = https.request("https://127.0.0.1:" .. P.https .. "/hello")
      local none, why = https.request{ url = "https://127.0.0.1:" .. P.https_wrong .. "/hello", verify = "peer",
        cafile = DIR .. "/ca.pem" }
      return show(text, status) .. " / " .. show(none, why)
    ]])
  end)

  it("select waits for one socket and polls several", function()
    assert.equal("0|timeout|1|1", run [[
      local luasocket = require "socket"
      local s, t = talk "silent", talk "pieces"
      local none, _, text = luasocket.select({ s }, nil, 0.05)
      local ready = luasocket.select({ s, t }, nil, 1)
      local _, writable = luasocket.select(nil, { s }, 1)
      return show(#none, text, #ready, #writable)
    ]])
  end)

  it("newtry and protect turn failures into results, and close open sockets", function()
    assert.equal("nil|refused|1", run [[
      local luasocket = require "socket"
      local closed = 0
      local try = luasocket.newtry(function() closed = closed + 1 end)
      local fn = luasocket.protect(function() try(nil, "refused") end)
      local a, b = fn()
      return show(a, b, closed)
    ]])
  end)

  it("the host serves other sessions while one waits in socket.http", function()
    local host = fake_mta.host {
      script = inside.prelude(servers) .. [[
        local http = require "socket.http"
        function on_eom(ctx)
          if ctx.sender == "slow@example.org" then
            http.request("http://127.0.0.1:" .. P.http .. "/slow?1")
          end
          ctx:add_header("X-Done", "yes")
        end
      ]],
    }
    local slow, quick = fake_mta.start { host = host }, fake_mta.start { host = host }
    slow:begin()
    slow:mail "<slow@example.org>"
    slow:rcpt()
    slow:feed(fake_mta.packet("E", ""))
    assert.is_true(slow:is_waiting())
    quick:begin()
    assert.equal("continue", quick:message().kind)
    assert.is_true(slow:is_waiting())
    assert.equal("continue", slow:reply().kind)
    slow:close()
    quick:close()
    host:close()
  end)
end)

describe("Debian's lua-redis on a real Redis", function()
  setup(function()
    servers = world.servers()
    redis = world.redis()
    servers.redis = redis.port
  end)
  teardown(function()
    redis.close()
    servers.stop()
  end)

  it("reads, writes and pipelines", function()
    assert.equal("true|value|3|2", run [[
      local client = require "redis".connect("127.0.0.1", P.redis)
      local set = client:set("key", "value")
      local replies = client:pipeline(function(p)
        p:incrby("n", 3)
        p:decr "n"
      end)
      return show(set, client:get "key", replies[1], replies[2])
    ]])
  end)

  it("waits without holding up the loop", function()
    assert.equal("true", run [[
      local ticks = 0
      local ticker = milter.spawn(function() while true do milter.sleep(0.01) ticks = ticks + 1 end end)
      local client = require "redis".connect("127.0.0.1", P.redis)
      client:raw_cmd "BLPOP nothing 1\r\n"
      ticker:cancel()
      return tostring(ticks > 50)
    ]])
  end)
end)
