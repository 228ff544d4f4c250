-- HTTP servers that want more than to answer: our other connections, our inner network, our patience.
local inside = require "spec.async.run"
local world = require "spec.async.world"

local servers

local function run(body)
  return inside.body(servers, [[
    local http, milter = require "moonmilter.http", require "moonmilter"
    local base = "http://127.0.0.1:" .. P.http
    local function code_of(response, text, code) return response and tostring(response.status) or code end
  ]] .. body)
end

describe("a hostile HTTP server", function()
  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  it("that is dead does not delay the others, however many wait for it", function()
    assert.equal("300 waiting|200|300 waiting", run [[
      local tasks = {}
      for i = 1, 300 do
        tasks[i] = milter.spawn(http.get, "http://127.0.0.1:" .. P.full .. "/", { timeout = 6, connect_timeout = 6 })
      end
      local function waiting()
        local n = 0
        for _, task in ipairs(tasks) do n = n + (task:is_over() and 0 or 1) end
        return n .. " waiting"
      end
      milter.sleep(0.1)
      local before = waiting()
      local status = http.get(base .. "/hello", { timeout = 5 })
      local after = waiting()
      for _, task in ipairs(tasks) do task:cancel() end
      return show(before, status and status.status, after)
    ]])
  end)

  it("gets no more than its share of connections; the rest waits within its own time, and has its turn", function()
    assert.equal("timeout 100 of 100", run [[
      local hang = {}
      for i = 1, 32 do hang[i] = milter.spawn(http.get, base .. "/slow?9", { timeout = 9 }) end
      milter.sleep(0.1)
      local _, text, code = http.get(base .. "/hello", { timeout = 0.3 })
      local list = {}
      for i = 1, 100 do list[i] = milter.spawn(http.get, base .. "/hello", { timeout = 7 }) end
      for _, task in ipairs(hang) do task:cancel() end
      local served = 0
      for _, task in ipairs(list) do
        local response = task:wait()
        served = served + (response and 1 or 0)
      end
      return code .. " " .. served .. " of 100"
    ]])
  end)

  it("cannot send us to another scheme, to nowhere, or round and round", function()
    assert.equal("redirect redirect redirect redirect redirect redirect", run [[
      local function to(target, redirects)
        return code_of(http.get(base .. "/redirect?302," .. target, { redirects = redirects or 5 }))
      end
      return table.concat({ to "file:///etc/passwd", to "gopher://127.0.0.1:70/1", to "ftp://127.0.0.1/",
        to("https://localhost:" .. P.https .. "/hello"), to "http://", to("/redirect?302,/hello", 1) }, " ")
    ]])
    assert.matches("give 0 to 20", run [[return select(2, pcall(http.get, base, { redirects = 1000000 }))]])
  end)

  it("is not asked at a private address when that is forbidden, not even over a connection that is open", function()
    assert.equal("private 200 private private private private private", run [[
      local public = { allow_private = false }
      local before = code_of(http.get(base .. "/connection", public))
      return table.concat({ before, code_of(http.get(base .. "/connection")),
        code_of(http.get(base .. "/connection", public)),
        code_of(http.get("http://localhost:" .. P.http .. "/hello", public)),
        code_of(http.get("http://[::ffff:127.0.0.1]:" .. P.http .. "/hello", public)),
        code_of(http.get("http://2130706433:" .. P.http .. "/hello", public)),
        code_of(http.get("http://0x7f.1:" .. P.http .. "/hello", public)) }, " ")
    ]])
    assert.equal("private private", run [[
      local function try(host)
        return (select(3, socket.connect { host = host, port = P.talk, allow_private = false }))
      end
      return try "127.0.0.1" .. " " .. try "localhost"
    ]])
    assert.matches("not on the public internet", run [[
      return select(2, pcall(http.get, base, { unix_socket = DIR .. "/http.sock", allow_private = false }))]])
  end)

  it("is at a private address in every spelling", function()
    local private = { "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
      "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
      "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
      "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2002:7f00:1::1", "fc00::1", "fdff::1",
      "fe80::1", "febf::1", "fec0::1", "ff02::1" }
    local public = { "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1",
      "192.167.255.255", "198.17.255.255", "198.20.0.1", "203.0.113.5", "223.255.255.255", "::ffff:8.8.8.8",
      "64:ff9b::8.8.8.8", "2001:4860:4860::8888", "2606:4700::1111" }
    local function ask(list)
      return run(([[
        local core, wrong = require "moonmilter.core", {}
        for _, ip in ipairs { "%s" } do wrong[#wrong + 1] = core.socket.is_private(ip) and ip or nil end
        return table.concat(wrong, " ")
      ]]):format(table.concat(list, '", "')))
    end
    assert.equal(table.concat(private, " "), ask(private))
    assert.equal("(empty)", ask(public))
  end)

  it("on the public internet cannot redirect us into the inner network", function()
    if os.execute "unshare -n true 2>/dev/null" ~= 0 then
      pending "a network of one's own needs root (unshare -n)"
    end
    local pipe = assert(io.popen "unshare -n python3 spec/attack/public_network.py 2>&1")
    local text = pipe:read "*a"
    pipe:close()
    assert.equal("allowed: 200 inner, forbidden: nil private, public: 200 outer\n", text)
  end)
end)
