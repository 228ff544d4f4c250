local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"

local HEAD = 'local milter = require "moonmilter"\nlocal dns = require "moonmilter.dns"\n'

local start_server = require("spec.async.support").name_server

-- The result of a script's function, as text; `name` etc. are its variables.
local function shows(host, body)
  host:write("10-ask.lua", HEAD .. [[
    local function show(value, text, code)
      if value == nil then return "nil " .. tostring(code) end
      if type(value) ~= "table" then return tostring(value) end
      local out = {}
      for _, item in ipairs(value) do
        if type(item) == "table" then
          local keys = {}
          for key in pairs(item) do keys[#keys + 1] = key end
          table.sort(keys)
          for i, key in ipairs(keys) do keys[i] = key .. "=" .. tostring(item[key]) end
          item = "{" .. table.concat(keys, " ") .. "}"
        end
        out[#out + 1] = item
      end
      return table.concat(out, ",") .. (value.ttl and " ttl=" .. value.ttl or "")
    end
    function on_mail(ctx)
      local said = (function() ]] .. body .. [[ end)()
      return ctx:reject((tostring(said):gsub("[^ -~]", "?")))
    end
  ]])
  host:reload()
  local mta = fake_mta.start { host = host }
  mta:begin()
  local reply = mta:mail()
  mta:close()
  local text = reply.text and reply.text:gsub("^550 5.7.1 ", "") or reply.kind
  if not reply.text or reply.text:find "^451" then
    error(host:log())
  end
  return text
end

describe("moonmilter.dns", function()
  local server, port, host

  setup(function()
    port = process.free_port()
    server = start_server(port)
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" },
      set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=2" } })
  end)

  teardown(function()
    host:close()
    server:stop()
  end)

  local function check(expected, body)
    assert.equal(expected, shows(host, body))
  end

  it("finds addresses, with the time they may be kept", function()
    check("192.0.2.1,192.0.2.2 ttl=200", 'return show(dns.a("OK.example."))')
    check("::1 ttl=300", 'return show(dns.aaaa("ok.example"))')
  end)

  it("finds mail exchangers, best first, and the null one", function()
    check("{host=a.example preference=10},{host=b.example preference=20} ttl=300", 'return show(dns.mx("ok.example"))')
    check("{host= preference=0} ttl=300", 'return show(dns.mx("null-mx.example"))')
  end)

  it("joins the strings of a text, whatever bytes they hold", function()
    check("v=spf1 -all,a?b ttl=300", 'return show(dns.txt("ok.example"))')
  end)

  it("finds services, and the types without a separate function", function()
    check("{host=x.example port=25 priority=1 weight=2},{host=late.example port=389 priority=5 weight=1} ttl=300",
      'return show(dns.srv("ok.example"))')
    check("{flags=0 tag=issue value=ca.example} ttl=300", 'return show(dns.query("ok.example", "CAA"))')
    check("{data=?? matching=1 selector=1 usage=3} ttl=300",
      'local l = dns.query("ok.example", "tlsa") l[1].data = l[1].data:gsub(".", "?") return show(l)')
    check("{contact=hostmaster.example expire=86400 minimum=60 primary=ns.example refresh=3600 retry=600 "
      .. "serial=2026} ttl=300", 'return show(dns.query("ok.example", "soa"))')
    check("ns.example ttl=300", 'return show(dns.query("ok.example", "ns"))')
    check("ns.example ttl=300", 'local l = dns.query("ok.example", "type2") l[1] = "ns.example" return show(l)')
  end)

  it("finds names of addresses", function()
    check("host\\032one.example,mail.example ttl=300", 'return show(dns.ptr("192.0.2.1"))')
    check("six.example ttl=300", 'return show(dns.ptr("2001:db8::1"))')
    check("1.2.0.192.in-addr.arpa 1.2.0.192.bl.example",
      'return dns.reverse("192.0.2.1") .. " " .. dns.reverse("192.0.2.1", "bl.example")')
  end)

  it("follows aliases, and returns the final name", function()
    check("192.0.2.1,192.0.2.2 ttl=40 ok.example", 'local l = dns.a("cname.example") return show(l) .. " " .. l.name')
    check("other.example ttl=50", 'return show(dns.query("cname.example", "cname"))')
    check("nil badanswer", 'return show(dns.a("loop.example"))')
  end)

  -- Whatever the order of the records: 20 orders at random find every fault that depends on it.
  it("follows aliases in any order of the records", function()
    check("ok", [[
      for i = 1, 20 do
        local l, _, code = dns.a(("shuffled-%d.example"):format(i))
        if not l or show({ (l[1] < l[2] and l[1] or l[2]) }) ~= "192.0.2.1" or #l ~= 2 or l.ttl ~= 40
          or l.name ~= "s3.example" then
          return i .. " " .. tostring(code or show(l) .. " " .. l.name)
        end
        local m = dns.mx(("shuffled-%d.example"):format(i))
        if not m or m[1].host ~= "m.example" or #m ~= 2 then return "mx " .. i end
        if show(dns.a(("twice-%d.example"):format(i))) ~= "192.0.2.1 ttl=50" then return "twice " .. i end
        if select(3, dns.a(("torn-%d.example"):format(i))) ~= "badanswer" then return "torn " .. i end
        if select(3, dns.a(("circle-%d.example"):format(i))) ~= "badanswer" then return "circle " .. i end
        if select(3, dns.a(("long-%d.example"):format(i))) ~= "badanswer" then return "long " .. i end
      end
      return "ok"
    ]])
    check("s1.example ttl=50", 'return show(dns.query("shuffled-1.example", "cname"))')
  end)

  it("takes nothing for a no that is none: referrals, lame servers, half a chain, contradictions", function()
    local wanted = {
      referral = "servfail", ["referral-ra"] = "servfail", upward = "servfail", lame = "servfail",
      ["lame-nx"] = "servfail", ["lame-soa"] = "servfail", half = "servfail", ["half-soa"] = "nodata", ["half-ra"] =
      "nodata", bare = "nodata",
      ["bare-aa"] = "nodata", ["bare-nx"] = "nxdomain", both = "badanswer", cut = "badanswer", yxdomain = "badanswer",
      notauth = "badanswer", formerr = "badanswer", notimp = "badanswer", refused = "refused",
    }
    for name, code in pairs(wanted) do
      check(name .. " " .. code, ('return "%s " .. tostring(select(3, dns.a("%s.example")))'):format(name, name))
    end
  end)

  it("asks for the A-labels of internationalized names, in every function", function()
    check("{host=m.example preference=10} ttl=300", 'return show(dns.mx "b\195\188cher.example")')
    check("{host=m.example preference=10} ttl=300", 'return show(dns.query("B\195\156CHER\227\128\130example.", "mx"))')
    check("v=DMARC1 ttl=300", 'return show(dns.txt "_dmarc.b\195\188cher.example")')
    check("127.0.0.2", 'return dns.dnsbl("127.0.0.2", { "b\195\188cher.example" })["b\195\188cher.example"][1]')
    check("nil badname", 'return show(dns.a "\255\254.example")')
    check("nil refused", [[
      return show(require "moonmilter.socket".connect { host = "b\195\188cher.example", port = 1 })
    ]])
    check("nil refused", 'return show(require "moonmilter.http".get "http://b\195\188cher.example:1/")')
  end)

  it("distinguishes failures", function()
    check("nil nxdomain", 'return show(dns.a("nx.example"))')
    check("nil nodata", 'return show(dns.a("nodata.example"))')
    check("nil servfail", 'return show(dns.a("servfail.example"))')
    check("nil refused", 'return show(dns.a("refused.example"))')
    check("nil badanswer", 'return show(dns.a("garbage.example"))')
    check("nil timeout", 'return show(dns.a("silent.example", { timeout = 0.1 }))')
    check("nil badname", 'return show(dns.a(("x"):rep(70) .. ".example"))')
    check("nil badname", 'return show(dns.a("a..example"))')
    check("nil badname", 'return show(dns.a(""))')
    check("nil badname", 'return show(dns.a("a\\0b.example"))')
    check("nil badname", 'return show(dns.a(("abcdefg."):rep(40)))')
  end)

  it("takes an answer that does not fit a datagram over TCP", function()
    check("60 203 060", 'local l = dns.txt("big.example") return #l .. " " .. #l[60] .. " " .. l[60]:sub(1, 3)')
  end)

  it("gives up after dns_timeout by default", function()
    check("timeout true", [[
      local began = milter.now()
      local _, _, code = dns.a("silent-too.example")
      local took = milter.now() - began
      return code .. " " .. tostring(took > 1.9 and took < 3.5)
    ]])
  end)

  it("gives up after dns_timeout in a check of SPF, too", function()
    check("temperror true", [[
      local began = milter.now()
      local result = require "moonmilter.spf".check { ip = "192.0.2.1", sender = "a@silent-spf.example", helo = "x" }
      local took = milter.now() - began
      return result .. " " .. tostring(took > 1.9 and took < 3.5)
    ]])
  end)

  it("sends identical concurrent queries once", function()
    check("8 1", [[
      local function ask() return dns.a("slow-once.example")[1] end
      local found = milter.all { ask, ask, ask, ask, ask, ask, ask, function() return dns.a("SLOW-once.Example.")[1] end }
      return #found .. " " .. dns.txt("count.slow-once.example")[1]
    ]])
  end)

  it("caches answers and negative answers as long as the zone allows", function()
    check("1 1 1", [[
      for _ = 1, 5 do dns.a("ok.example") dns.a("nx-kept.example") dns.a("nodata-kept.example") end
      local function count(name) return dns.txt("count." .. name)[1] end
      return "1 " .. count("nx-kept.example") .. " " .. count("nodata-kept.example")
    ]])
    check("3 2", [[
      for _ = 1, 3 do dns.a("zero.example") end
      dns.a("short.example")
      dns.a("short.example")
      milter.sleep(1.1)
      dns.a("short.example")
      return dns.txt("count.zero.example")[1] .. " " .. dns.txt("count.short.example")[1]
    ]])
  end)

  it("does not cache a large answer: a zone's owner must not decide how much memory we use", function()
    check("100 2 4", [[ -- each query is sent over UDP and again over TCP
      local list
      for _ = 1, 2 do
        dns.txt("big-kept.example")
        list = dns.txt("bigger.example")
      end
      return #list .. " " .. dns.txt("count.big-kept.example")[1] .. " " .. dns.txt("count.bigger.example")[1]
    ]])
  end)

  it("does not cache failures", function()
    check("3", [[
      for _ = 1, 3 do dns.a("servfail-thrice.example") end
      local count = tonumber(dns.txt("count.servfail-thrice.example")[1])
      return count % 3 == 0 and "3" or count
    ]])
  end)

  it("returns how long a cached answer may still be used", function()
    check("true", [[
      local first = dns.a("a.bulk").ttl
      milter.sleep(1.1)
      local second = dns.a("a.bulk").ttl
      return tostring(first == 60 and second == 59)
    ]])
  end)

  it("lets each waiter have its own deadline", function()
    check("timeout 192.0.2.77 true", [[
      local hasty = milter.spawn(dns.a, "slow-two.example", { timeout = 0.05 })
      local patient = milter.spawn(dns.a, "slow-two.example", { timeout = 1 })
      local _, _, code = hasty:wait()
      local was_first = not patient:is_over()
      return code .. " " .. patient:wait()[1] .. " " .. tostring(was_first)
    ]])
  end)

  it("gives up only the waiter that is cancelled", function()
    check("cancelled 192.0.2.77", [[
      local one = milter.spawn(dns.a, "slow-three.example")
      local two = milter.spawn(dns.a, "slow-three.example")
      milter.sleep(0.01)
      one:cancel()
      return select(3, one:wait()) .. " " .. two:wait()[1]
    ]])
  end)

  it("drops the least recently used answer when the cache is full", function()
    check("10 2 1", ([[
      dns.configure { servers = { "127.0.0.1:%d" }, cache = 10 }
      for i = 1, 9 do dns.a("n" .. i .. ".bulk") end
      dns.a("kept.bulk")
      for i = 10, 18 do dns.a("kept.bulk") dns.a("n" .. i .. ".bulk") end
      local cached = dns.count().cached
      dns.a("n1.bulk")
      return cached .. " " .. dns.txt("count.n1.bulk")[1] .. " " .. dns.txt("count.kept.bulk")[1]
    ]]):format(port))
  end)

  it("answers thousands of questions at once", function()
    check("900 true", [[
      local list = {}
      for i = 1, 900 do list[i] = function() return dns.a("q" .. i .. ".bulk", { timeout = 5 }) end end
      local found, failures = milter.all(list)
      return #found .. " " .. tostring(next(failures) == nil)
    ]])
  end)

  it("looks an address up in several block lists at once", function()
    check("127.0.0.2,127.0.0.4 ttl=300 127.0.0.3 nil servfail nil", [[
      local listed, failures = dns.dnsbl("127.0.0.2", { "bl.example", "other-bl.example", "nx-bl.example", "servfail.example" })
      return show(listed["bl.example"]) .. " " .. listed["other-bl.example"][1] .. " " .. tostring(listed["nx-bl.example"])
        .. " " .. failures["servfail.example"].code .. " " .. tostring(failures["nx-bl.example"])
    ]])
  end)

  it("takes no error code of a block list for a listing", function()
    check("nil refused nil refused nil badanswer 127.0.0.9 1", [=[
      local zones = { "refusing-bl.example", "blocked-bl.example", "lying-bl.example", "mixed-bl.example" }
      local listed, failures = dns.dnsbl("127.0.0.2", zones)
      local out = {}
      for i = 1, 3 do
        out[i] = tostring(listed[zones[i]]) .. " " .. failures[zones[i]].code
      end
      return table.concat(out, " ") .. " " .. listed[zones[4]][1] .. " " .. #listed[zones[4]]
    ]=])
    check("127.0.0.2", 'return dns.dnsbl("::ffff:127.0.0.2", { "bl.example" })["bl.example"][1]')
  end)

  it("reports the caller's mistakes at the caller's line", function()
    check("unknown type", 'return select(2, pcall(dns.query, "ok.example", "nonsense")):match "unknown type"')
    check("is not an IP address", 'return select(2, pcall(dns.ptr, "ok.example")):match "is not an IP address"')
    check("unknown option", 'return select(2, pcall(dns.a, "ok.example", { time = 1 })):match "unknown option"')
    check("servers \"nonsense\"", 'return select(2, pcall(dns.configure, { servers = { "nonsense" } })):match '
      .. '"servers %S+\\""')
  end)

  it("works at the top level of a script and in on_load", function()
    host:write("20-load.lua", HEAD .. [[
      local first = dns.a("slow-load.example")[1]
      local second
      function on_load() second = dns.a("slow-again.example")[1] end
      function on_mail(ctx) return ctx:reject(first .. " " .. second) end
    ]])
    host:write("10-ask.lua", "")
    local generation = host:reload()
    assert(process.wait_until(3, function() host:turn(0.05) return host:reload() > generation end))
    local mta = fake_mta.start { host = host }
    mta:begin()
    assert.equal("550 5.7.1 192.0.2.77 192.0.2.77", mta:mail().text)
    mta:close()
    os.remove(host.directory .. "/20-load.lua")
  end)
end)

describe("a name server", function()
  local host, server, port

  before_each(function()
    port = process.free_port()
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" },
      set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=0.7" } })
  end)

  after_each(function()
    host:close()
    if server then
      server:stop()
      server = nil
    end
  end)

  it("that does not run is unreachable, and is used again when it is back", function()
    assert.equal("nil unreachable", shows(host, 'return show(dns.a("ok.example"))'))
    server = start_server(port)
    assert.equal("192.0.2.1,192.0.2.2 ttl=200", shows(host, 'return show(dns.a("ok.example"))'))
    server:stop()
    assert.equal("nil unreachable", shows(host, 'return show(dns.a("nx.example"))'))
    server = start_server(port)
    assert.equal("nil nxdomain", shows(host, 'return show(dns.a("nx.example"))'))
  end)

  it("that does not know the zone is skipped for the next", function()
    server = start_server(port)
    local lame_port = process.free_port()
    local lame = start_server(lame_port, "lame")
    local seen = shows(host, ([[
      dns.configure { servers = { "127.0.0.1:%d", "127.0.0.1:%d" }, timeout = 2 }
      local first = show(dns.a("ok.example"))
      local sent = dns.count().sent
      for i = 1, 5 do dns.a(i .. ".bulk.example") end
      local _, _, code = dns.a("nx.example")
      return first .. " " .. (dns.count().sent - sent) .. " " .. code
    ]]):format(lame_port, port))
    lame:stop()
    assert.equal("192.0.2.1,192.0.2.2 ttl=200 6 nxdomain", seen)
    server:stop()
    server = start_server(port, "lame")
    assert.equal("nil servfail", shows(host, 'return show(dns.a("ok.example"))'))
  end)

  it("that is dead is skipped for the next", function()
    server = start_server(port)
    local dead = process.free_port()
    assert.equal("192.0.2.1,192.0.2.2 ttl=200 nil servfail", shows(host, ([[
      dns.configure { servers = { "127.0.0.1:%d", "127.0.0.1:%d" } }
      return show(dns.a("ok.example")) .. " " .. show(dns.a("servfail.example"))
    ]]):format(dead, port)))
  end)

  it("is taken from resolv.conf, which is reread when it changes", function()
    server = start_server(port)
    local path = os.tmpname()
    process.write_file(path, "# nobody\nnameserver 127.0.0.77\n")
    assert.equal("unreachable 127.0.0.78 unreachable", shows(host, ([[
      dns.configure { resolv_conf = %q, timeout = 0.3 }
      local _, _, first = dns.a("ok.example")
      milter.sleep(1.05)
      local file = io.open(%q, "w")
      file:write("nameserver 127.0.0.78\n")
      file:close()
      local _, _, second = dns.a("ok.example")
      return first .. " 127.0.0.78 " .. second
    ]]):format(path, path)))
    os.remove(path)
  end)

  it("from another project (dnsmasq) is understood", function()
    local dnsmasq = process.which "dnsmasq"
    if not dnsmasq then
      pending "dnsmasq is not installed"
    end
    local output = os.tmpname()
    server = process.start({ dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
      "--listen-address=127.0.0.1", "--bind-interfaces", "--port=" .. port, "--pid-file=", "--local=/test/",
      "--address=/a.test/192.0.2.5", "--address=/a.test/2001:db8::5", "--mx-host=a.test,mx.a.test,10",
      "--txt-record=t.test,v=spf1 -all", "--srv-host=_smtp._tcp.test,mx.a.test,25,1,2",
      "--ptr-record=5.2.0.192.in-addr.arpa,a.test",
      "--caa-record=c.test,0,issue,ca.test", "--local-ttl=77", "--user=root" }, { output = output, life = 60 })
    local function ask() return shows(host, 'return show(dns.a("a.test"))') end
    assert(process.wait_until(5, function() return ask() ~= "nil unreachable" end, "dnsmasq"))
    assert.equal("192.0.2.5 ttl=77", ask())
    assert.equal("2001:db8::5 ttl=77", shows(host, 'return show(dns.aaaa("a.test"))'))
    assert.equal("{host=mx.a.test preference=10} ttl=77", shows(host, 'return show(dns.mx("a.test"))'))
    assert.equal("v=spf1 -all ttl=77", shows(host, 'return show(dns.txt("t.test"))'))
    assert.equal("a.test ttl=77", shows(host, 'return show(dns.ptr("192.0.2.5"))'))
    assert.equal("{flags=0 tag=issue value=ca.test} ttl=77", shows(host, 'return show(dns.query("c.test", "caa"))'))
    assert.equal("nil nxdomain", shows(host, 'return show(dns.a("nothing.test"))'))
    assert.equal("nil refused", shows(host, 'return show(dns.a("elsewhere.example"))'))
    os.remove(output)
  end)
end)

describe("the configuration of name servers", function()
  it("is refused with the rule that it breaks", function()
    for _, wrong in ipairs { "localhost", "192.0.2.1:0", "192.0.2.1:70000", "[::1", "192.0.2.1:x", "::1:53:" } do
      local host, err = fake_mta.host { files = {}, set = { "dns_servers=" .. wrong } }
      assert.is_nil(host, wrong)
      assert.matches("dns_servers", err)
    end
  end)

  it("takes addresses with and without ports", function()
    for _, good in ipairs { "192.0.2.1", "192.0.2.1:5353", "::1", "[::1]", "[2001:db8::1]:5353" } do
      local host = assert(fake_mta.host { files = {}, set = { "dns_servers=" .. good } })
      host:close()
    end
  end)
end)
