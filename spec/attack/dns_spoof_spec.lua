-- An attacker who cannot see our questions, but can send what claims to be the answer.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"

local HEAD = [[
  local milter, dns = require "moonmilter", require "moonmilter.dns"
  local function a(name)
    local list, _, code = dns.a(name)
    return list and table.concat(list, ",") or code
  end
  local function count(name) return dns.txt("count." .. name)[1] end
]]

describe("an attacker who forges DNS answers", function()
  local server, port, host

  setup(function()
    port = process.free_port()
    local output = os.tmpname()
    server = process.start({ "luajit", "spec/attack/dns_spoofer.lua", tostring(port) }, { output = output, life = 120 })
    assert(process.wait_until(5, function() return process.read_file(output):find "ready" end, "the name server"))
    os.remove(output)
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function()
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" },
      set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=4" } })
  end)

  after_each(function()
    host:close()
  end)

  local function shows(body)
    host:write("10-ask.lua",
      HEAD .. ("function on_mail(ctx) return ctx:reject((function() %s end)()) end"):format(body))
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:begin()
    local reply = mta:mail()
    mta:close()
    return reply.text and reply.text:gsub("^550 5.7.1 ", "") or error(host:log())
  end

  for what, first in pairs { ["the wrong id"] = "id", ["the wrong server port"] = "port",
    ["the letters in another case"] = "case", ["the question itself, sent back"] = "noqr",
    ["another opcode"] = "opcode", ["another name"] = "name", ["another type"] = "type",
    ["another class"] = "class" } do
    it("is not believed with " .. what, function()
      assert.equal("192.0.2.1", shows(('return a "%s.example"'):format(first)))
    end)
  end

  it("has to guess port, id and letters of each question again", function()
    local questions, ports, ids = shows([[
      for round = 1, 50 do
        local list = {}
        for i = 1, 20 do list[i] = function() return dns.a(("q%d-%d.many.example"):format(round, i)) end end
        milter.all(list)
      end
      return dns.txt("ports.many.example")[1]
    ]]):match "(%d+) (%d+) (%d+)"
    assert.equal("1000", questions)
    assert.is_true(tonumber(ports) > 900, ports .. " source ports") -- of some 28,000: a few repeat by chance
    assert.is_true(tonumber(ids) > 900, ids .. " ids")
  end)

  it("finds few questions behind one port even when very many are pending", function()
    local questions, ports = shows([[
      local list = {}
      for i = 1, 900 do list[i] = function() return dns.a(("q%d.burst.example"):format(i)) end end
      milter.all(list)
      return dns.txt("ports.burst.example")[1]
    ]]):match "(%d+) (%d+)"
    assert.equal("900", questions)
    assert.is_true(tonumber(ports) >= 900 / 16, ports .. " source ports")
  end)

  it("is counted", function()
    assert.equal("misfits 0 1", shows [[
      local before = dns.count().misfits
      a "case-counted.example"
      return "misfits " .. before .. " " .. dns.count().misfits
    ]])
  end)

  it("cannot put records of other names into the cache", function()
    assert.equal("192.0.2.1 192.0.2.1 1",
      shows 'return a "extra.example" .. " " .. a "victim.example" .. " " .. count "victim.example"')
  end)

  it("cannot let an alias in a circle count as a missing name", function()
    assert.equal("badanswer badanswer", shows 'return a "self.example" .. " " .. a "loop.example"')
  end)

  it("cannot fill the cache for ever, or with a denial from another zone", function()
    assert.equal("0 86400", shows 'return dns.a("old.example").ttl .. " " .. dns.a("long.example").ttl')
    assert.equal("nxdomain nxdomain 2 nxdomain nxdomain 1",
      shows [[return table.concat({ a "nx.example", a "nx.example", count "nx.example",
        a "nx-own.example", a "nx-own.example", count "nx-own.example" }, " ")]])
  end)

  it("does not make us give up mixed letters: only a server that never echoes them does", function()
    assert.equal("192.0.2.1 2", shows 'return a "flat-once.example" .. " " .. count "flat-once.example"')
    -- three times without an echo; from then on, once
    assert.equal("192.0.2.1 3 192.0.2.1 1",
      shows 'return a "flat.example" .. " " .. count "flat.example" .. " " .. a "flat2.example" .. " " .. count "flat2.example"')
  end)
end)

describe("a silent name server", function()
  it("does not delay every question when another one answers", function()
    local port = process.free_port()
    local output = os.tmpname()
    local server = process.start({ "luajit", "spec/attack/dns_spoofer.lua", tostring(port) },
      { output = output, life = 60 })
    assert(process.wait_until(5, function() return process.read_file(output):find "ready" end, "the name server"))
    os.remove(output)
    local silent = require("socket").udp()
    assert(silent:setsockname("127.0.0.1", 0))
    local _, silent_port = silent:getsockname()
    local host = assert(fake_mta.host { script = HEAD .. ([[
      function on_mail(ctx)
        dns.configure { servers = { "127.0.0.1:%d", "127.0.0.1:%d" }, timeout = 2 }
        local late = 0
        for i = 1, 20 do
          local start = milter.now()
          if a("q" .. i .. ".example") ~= "192.0.2.1" then return ctx:reject "wrong" end
          if milter.now() - start > 0.1 then late = late + 1 end
        end
        return ctx:reject(late <= 4 and "few are late" or late .. " are late")
      end
    ]]):format(silent_port, port) })
    local mta = fake_mta.start { host = host }
    mta:begin()
    local text = mta:mail().text
    mta:close()
    host:close()
    silent:close()
    server:stop()
    assert.equal("550 5.7.1 few are late", text)
  end)
end)
