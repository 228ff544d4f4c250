-- A server whose certificate, of a trusted authority, is not for the name that we asked for.
local inside = require "spec.async.run"
local world = require "spec.async.world"

local servers

local function run(body)
  return inside.body(servers, [[
    local http, redis = require "moonmilter.http", require "moonmilter.redis"
    local ca = DIR .. "/ca.pem"
    local function by_socket(port, name, peer)
      local sock, text, code = socket.connect { host = "127.0.0.1", port = port, tls = { ca = ca, name = name, peer = peer } }
      if sock then
        local resumed = sock:tls().resumed
        sock:close()
        return resumed and "resumed" or "accepted"
      end
      return code
    end
    local function by_http(port, host)
      local response, text, code = http.get(("https://%s:%d/hello"):format(host, port), { ca = ca })
      return response and "accepted" or code
    end
    local function by_redis(port, name)
      local client = redis.new { port = port, tls = { ca = ca, name = name }, timeout = 0.2 }
      local _, _, code = client:ping()
      return code
    end
  ]] .. body)
end

describe("the name in a certificate", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("counts among the subjectAltNames", function()
    assert.equal("accepted accepted accepted accepted", run [[
      return table.concat({ by_socket(P.tls, "localhost"), by_socket(P.tls, "127.0.0.1"), by_http(P.https, "localhost"),
        by_http(P.https, "127.0.0.1") }, " ")
    ]])
    assert.not_equal("tls", run [[return tostring(by_redis(P.tls, "localhost"))]])
  end)

  it("does not count as common name of the subject, to a socket", function()
    assert.equal("tls tls tls", run [[return table.concat({ by_socket(P.bare, "localhost"),
      by_socket(P.besides, "localhost"), by_socket(P.bare_ip, "127.0.0.1") }, " ")]])
  end)

  it("does not count as common name of the subject, to HTTP", function()
    assert.equal("tls tls tls", run [[return table.concat({ by_http(P.https_bare, "localhost"),
      by_http(P.https_besides, "localhost"), by_http(P.https_bare_ip, "127.0.0.1") }, " ")]])
  end)

  it("does not count as common name of the subject, to Redis", function()
    assert.equal("tls tls", run [[return by_redis(P.bare, "localhost") .. " " .. by_redis(P.besides, "localhost")]])
  end)

  it("is compared for each name, although sessions are resumed", function()
    assert.equal("accepted resumed tls resumed", run [[
      local function ask(name)
        local sock, text, code = socket.connect { host = "127.0.0.1", port = P.tls,
          tls = { ca = ca, name = name, peer = "one key" } }
        if not sock then return code end
        talk("echo\nx", sock)
        sock:receive() -- the tickets come before it
        local resumed = sock:tls().resumed
        sock:close()
        return resumed and "resumed" or "accepted"
      end
      return table.concat({ ask "localhost", ask "localhost", ask "elsewhere.example", ask "localhost" }, " ")
    ]])
  end)

  it("may end in a dot in a URL", function()
    assert.equal("accepted", run [[return by_http(P.https, "localhost.")]])
  end)
end)
