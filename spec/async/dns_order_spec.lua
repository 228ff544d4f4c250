--- Which of several name servers is asked, and when: our order, the same with each version of c-ares, which prefer
--- servers by rules of their own.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"

local name_server = require("spec.async.support").name_server

local TIMEOUT = 1.4     -- a server is silent after a seventh

describe("several name servers", function()
  local host, servers, letters, log

  -- A server for each of the behaviours, "ok" and "dead" included: A, B and so on.
  local function start(behaviours, timeout)
    local list = {}
    servers, letters, log = {}, {}, os.tmpname()
    for i, behaviour in ipairs(behaviours) do
      local port = process.free_port()
      list[i] = "dns_servers=127.0.0.1:" .. port
      letters[tostring(port)] = string.char(64 + i)
      if behaviour ~= "dead" then
        servers[#servers + 1] = name_server(port, behaviour ~= "ok" and behaviour or nil, log)
      end
    end
    list[#list + 1] = "dns_timeout=" .. (timeout or TIMEOUT)
    list[#list + 1] = "dns_cache=0"
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" }, set = list })
  end

  after_each(function()
    host:close()
    for _, server in ipairs(servers) do server:stop() end
    os.remove(log)
  end)

  local function servers_as_lua()
    local list = {}
    for port, letter in pairs(letters) do list[letter:byte() - 64] = ("%q"):format("127.0.0.1:" .. port) end
    return "{ " .. table.concat(list, ", ") .. " }"
  end

  -- What a script returns that asks.
  local function ask(body)
    host:write("10-ask.lua", ([[
      local dns = require "moonmilter.dns"
      local function code(name)
        local list, _, code = dns.a(name)
        return list and "ok" or code
      end
      function on_mail(ctx)
        local out = {}
        %s
        return ctx:reject(table.concat(out, " "))
      end
    ]]):format(body))
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:begin()
    local reply = mta:mail()
    mta:close()
    return reply.text and reply.text:match "^550 5.7.1 (.*)" or error(host:log())
  end

  -- The servers that were asked for this name, in the order of the first time.
  local function order_of(name)
    local order = ""
    for port, owner in process.read_file(log):gmatch "(%d+) (%S+)\n" do
      local letter = letters[port]
      if owner == name and not order:find(letter) then order = order .. letter end
    end
    return order
  end

  -- Asks for n names, one after the other; returns the codes and the orders.
  local function sequence(n)
    local codes = ask(('for i = 1, %d do out[i] = code("q" .. i .. ".bulk.example") end'):format(n))
    local orders = {}
    for i = 1, n do orders[i] = order_of("q" .. i .. ".bulk.example") end
    return codes, table.concat(orders, " ")
  end

  for _, case in ipairs {
    { { "ok", "ok", "ok" }, "ok ok ok", "A A A" },
    -- A failure does not change the order, however often it comes.
    { { "servfail", "ok", "ok" }, "ok ok ok ok ok ok", "AB AB AB AB AB AB" },
    { { "refused", "ok" }, "ok ok ok ok ok ok", "AB AB AB AB AB AB" },
    { { "servfail", "refused", "ok" }, "ok ok ok ok ok", "ABC ABC ABC ABC ABC" },
    { { "dead", "ok", "ok" }, "ok ok ok ok ok", "B B B B B" },
    { { "dead", "servfail", "ok" }, "ok ok ok ok ok", "BC BC BC BC BC" },
    { { "ok", "servfail" }, "ok ok ok ok", "A A A A" },
    -- A server that knows that there is nothing has answered.
    { { "nx", "ok" }, "nxdomain nxdomain", "A A" },
    { { "nodata", "ok" }, "nodata nodata", "A A" },
    -- All fail: what they all say, or servfail.
    { { "refused", "refused" }, "refused refused", "AB AB" },
    { { "refused", "servfail", "refused" }, "servfail servfail", "ABC ABC" },
    { { "dead", "dead" }, "unreachable unreachable", " " },
    { { "dead", "servfail" }, "servfail servfail", "B B" },
    -- Silence: three questions wait for the first server, then it is no longer the first.
    { { "silent", "ok", "ok" }, "ok ok ok ok ok ok", "AB AB AB B B B" },
    { { "silent", "servfail", "ok" }, "ok ok ok ok ok", "ABC ABC ABC BC BC" },
    { { "silent", "silent", "ok" }, "ok ok ok ok ok ok ok ok", "ABC ABC ABC BC BC BC C C" },
    { { "silent", "silent" }, "timeout timeout", "AB AB" },
  } do
    local behaviours, codes, orders = case[1], case[2], case[3]
    it("that are " .. table.concat(behaviours, ", ") .. " are asked in this order: " .. orders, function()
      start(behaviours)
      local got, asked = sequence(select(2, codes:gsub("%S+", "")))
      assert.equal(codes, got)
      assert.equal(orders, asked)
    end)
  end

  it("are asked in the order of the configuration by many questions at once, too", function()
    start({ "refused", "ok" }, 20)
    local zones = {}      -- as many as the socket of a server holds: none is lost
    for i = 1, 150 do zones[i] = ("%q"):format("z" .. i .. ".example") end
    local text = ask(([[
      local listed, failures = dns.dnsbl("127.0.0.9", { %s })
      out[1] = tostring(next(listed))
      out[2] = tostring(next(failures))
      out[3] = code "after.bulk.example"
    ]]):format(table.concat(zones, ",")))
    assert.equal("nil nil ok", text)
    for i = 1, 150 do assert.equal("AB", order_of("9.0.0.127.z" .. i .. ".example"), i) end
    assert.equal("AB", order_of "after.bulk.example")
  end)

  it("may be replaced, and the host closed, while several of them have a question", function()
    start { "silent", "silent", "tardy" }
    local text = ask(([[
      local zones = {}
      for i = 1, 40 do zones[i] = "z" .. i .. ".example" end
      for round = 1, 3 do
        local _, failures = dns.dnsbl("127.0.0.9", zones, { timeout = 0.25 }) -- before C answers
        out[round] = failures["z40.example"] and failures["z40.example"].code
        dns.configure { servers = %s, timeout = %s }
      end
    ]]):format(servers_as_lua(), TIMEOUT))
    assert.equal("timeout timeout timeout", text)
    assert.equal("ABC", order_of "9.0.0.127.z40.example")
  end)

  it("are waited for after the next was asked, too: a late answer counts", function()
    start { "tardy", "silent" }
    local codes, orders = sequence(4)
    assert.equal("ok ok ok ok", codes)
    assert.equal("AB AB AB AB", orders)
  end)
end)
