--- SPF where RFC 7208's suite does not look: counters, budgets, odd senders, what cannot be known, sessions.
local fake_mta = require "spec.support.fake_mta"
local ip = require "moonmilter.identity.ip"
local process = require "spec.support.process"
local spf = require "moonmilter.spf"
local spf_record = require "moonmilter.identity.spf_record"
local testing = require "moonmilter.testing"
local zone = require "spec.auth.zone"

-- A check in a zone written as in the suite; returns result, reason, explanation, trace, and the questions.
local function check(zonedata, options)
  local asked = {}
  options.ip = options.ip or "192.0.2.1"
  options.sender = options.sender or "ann@example.org"
  options.dns = options.dns or zone.dns(zone.of(zonedata), asked)
  local result, reason, explanation, trace = spf.check(options)
  assert.is_nil(reason:find "[^ -~]")
  return result, reason, explanation, trace, asked
end

local function record(text, more)
  local zonedata = { ["example.org"] = { { SPF = text } } }
  for name, records in pairs(more or {}) do
    zonedata[name] = records
  end
  return zonedata
end

describe("the counters in the limit cases of RFC 7208's suite:", function()
  local scenario
  for _, candidate in ipairs(zone.documents "spec/auth/fixtures/spf/rfc7208-tests.yml") do
    scenario = candidate.description == "Processing limits" and candidate or scenario
  end
  -- look-ups, voids, questions
  local counters = {
    ["redirect-loop"] = { 11, 0, 11 }, ["include-loop"] = { 11, 0, 11 }, ["mx-limit"] = { 1, 0, 2 },
    ["ptr-limit"] = { 1, 0, 12 }, ["false-a-limit"] = { 1, 0, 2 }, ["mech-at-limit"] = { 10, 0, 15 },
    ["mech-over-limit"] = { 6, 3, 7 }, ["include-at-limit"] = { 1, 0, 2 }, ["include-over-limit"] = { 11, 0, 11 },
    ["void-at-limit"] = { 2, 2, 3 }, ["void-over-limit"] = { 3, 3, 4 },
  }
  for name, test in pairs(scenario.tests) do
    it(name, function()
      local _, _, _, trace, asked = check(scenario.zonedata, { ip = test.host, sender = test.mailfrom,
        helo = test.helo })
      assert.same(counters[name], { trace.lookups, trace.voids, #asked })
      assert.equal(#asked, #trace.queries)
    end)
  end
end)

describe("limits", function()
  it("count over the whole tree, not for each include", function()
    local zonedata = record("v=spf1 include:a.example.org include:b.example.org -all", {
      ["a.example.org"] = { { SPF = "v=spf1 a:x.example.org a:x.example.org a:x.example.org a:x.example.org ?all" } },
      ["b.example.org"] = { { SPF = "v=spf1 a:x.example.org a:x.example.org a:x.example.org a:x.example.org ?all" } },
      ["x.example.org"] = { { A = "203.0.113.1" } },
    })
    local result, _, _, trace = check(zonedata, {})
    assert.same({ "fail", 10 }, { result, trace.lookups })
    assert.equal("permerror", (check(zonedata, { limits = { lookups = 9 } })))
  end)

  it("are the caller's to move", function()
    local zonedata = record("v=spf1 a:1.example.org a:2.example.org a:3.example.org +all")
    assert.equal("permerror", (check(zonedata, {})))
    assert.equal("pass", (check(zonedata, { limits = { voids = 3 } })))
    assert.equal("permerror", (check(zonedata, { limits = { voids = 0 } })))
  end)

  it("do not count the addresses of the names of an mx, nor their absence", function()
    local zonedata = record("v=spf1 mx -all")
    for i = 1, 10 do
      table.insert(zonedata["example.org"], { MX = { i, ("m%d.example.org"):format(i) } })
      zonedata[("m%d.example.org"):format(i)] = { { A = "203.0.113.1" } }
    end
    local result, _, _, trace, asked = check(zonedata, { ip = "2001:db8::1" })
    assert.same({ "fail", 1, 0, 12 }, { result, trace.lookups, trace.voids, #asked })
  end)

  it("count %{p} once, and only in mechanisms", function()
    local zonedata = record("v=spf1 exists:%{p}.a.example.org exists:%{p}.b.example.org -all exp=why.example.org", {
      ["1.2.0.192.in-addr.arpa"] = { { PTR = "c.example.net" } }, ["c.example.net"] = { { A = "192.0.2.1" } },
      ["why.example.org"] = { { TXT = "You are %{p}." } },
    })
    local result, _, explanation, trace = check(zonedata, {})
    assert.same({ "fail", "You are c.example.net.", 3, 2 }, { result, explanation, trace.lookups, trace.voids })
  end)

  it("end an evaluation that takes too long as a temperror", function()
    local time = 100
    local function dns(_, kind, options)
      assert.is_true(options.timeout <= 6 - (time - 100) and options.timeout > 0)
      time = time + 2
      return kind == "txt" and { "v=spf1 a a a a a a a a -all" } or { "203.0.113.1" }
    end
    local result, reason, _, trace = check(nil, { dns = dns, now = function() return time end })
    assert.same({ "temperror", "not decided after 6 seconds", 3 }, { result, reason, #trace.queries })
    time = 100
    result = check(nil, { dns = dns, now = function() return time end, limits = { seconds = 3 }, explain = false })
    assert.equal("temperror", result)
  end)

  it("also end one that looks at the client's names", function()
    local time = 0
    local function dns(_, kind)
      time = time + 1
      return kind == "txt" and { "v=spf1 ptr +all" } or kind == "ptr" and { "a.b", "c.d", "e.f", "g.h", "i.j", "k.l" }
        or { "203.0.113.1" }
    end
    assert.equal("temperror", (check(nil, { dns = dns, now = function() return time end })))
  end)
end)

describe("an explanation", function()
  local function explained(text, sender, more)
    local zonedata = record("v=spf1 -all exp=why.example.org", { ["why.example.org"] = { { TXT = text } } })
    for name, records in pairs(more or {}) do
      zonedata[name] = records
    end
    return (select(3, check(zonedata, { sender = sender, receiver = "mx.here.example" })))
  end

  it("has the macros of explanations, too", function()
    assert.equal("192.0.2.1 at mx.here.example", explained "%{c} at %{r}")
    assert.truthy(tonumber(explained "%{t}"))
  end)

  it("is not given when it would not be printable, or too long", function()
    assert.is_nil(explained("%{l}", "b\195\188@example.org"))
    assert.is_nil(explained("%{l}", "a\r\nb@example.org"))
    assert.is_nil(explained(("%{d}"):rep(100)))
    assert.is_nil(explained "")
    assert.is_nil(explained "100%")
  end)

  it("is not asked for when nobody wants it", function()
    local zonedata = record("v=spf1 -all exp=why.example.org", { ["why.example.org"] = { { TXT = "x" } } })
    local result, _, explanation, _, asked = check(zonedata, { explain = false })
    assert.same({ "fail", 1 }, { result, #asked })
    assert.is_nil(explanation)
  end)

  it("comes from the record that a redirect leads to, never from an include", function()
    local zonedata = record("v=spf1 redirect=r.example.org", {
      ["r.example.org"] = { { SPF = "v=spf1 include:i.example.org -all exp=%{d}" .. ".x.example.org" } },
      ["i.example.org"] = { { SPF = "v=spf1 -all exp=i.x.example.org" } },
      ["r.example.org.x.example.org"] = { { TXT = "redirected" } }, ["i.x.example.org"] = { { TXT = "included" } },
    })
    local result, _, explanation = check(zonedata, {})
    assert.same({ "fail", "redirected" }, { result, explanation })
  end)
end)

describe("who is checked:", function()
  it("the domain after the last @, in A-labels", function()
    local zonedata = { ["xn--bcher-kva.example"] = { { SPF = "v=spf1 exists:%{o}.ok.example -all" } },
      ["xn--bcher-kva.example.ok.example"] = { { A = "127.0.0.2" } } }
    local result, _, _, trace = check(zonedata, { sender = '"a@b"@B\195\188cher.example' })
    assert.same({ "pass", "xn--bcher-kva.example", "mailfrom" }, { result, trace.domain, trace.identity })
  end)

  it("postmaster at HELO for the null sender", function()
    local zonedata = { ["mx.example.net"] = { { SPF = "v=spf1 exists:%{l}.%{o}.ok.example -all" } },
      ["postmaster.mx.example.net.ok.example"] = { { A = "127.0.0.2" } } }
    local result, _, _, trace = check(zonedata, { sender = "", helo = "MX.example.net." })
    assert.same({ "pass", "mx.example.net", "helo" }, { result, trace.domain, trace.identity })
  end)

  it("nobody where there is no domain", function()
    for _, sender in ipairs { "ann", "ann@", "ann@localhost", "ann@[192.0.2.1]", "ann@192.0.2.1", "ann@a..example",
      "ann@a.example..", "ann@" .. ("a"):rep(64) .. ".example", "ann@" .. ("a.b"):rep(100), "ann@a\0b.example",
      "ann@" .. ("a"):rep(100000) .. ".example", "ann@\255.example" } do
      local result, _, _, trace = check({}, { sender = sender })
      assert.same({ "none", 0 }, { result, #trace.queries }, sender)
    end
    assert.equal("none", (check({}, { sender = "" })))
  end)

  it("an IPv4 client in an IPv4-mapped address", function()
    assert.equal("pass", (check(record "v=spf1 ip4:192.0.2.0/24 -all", { ip = "::ffff:192.0.2.200" })))
    assert.equal("fail", (check(record "v=spf1 ip6:::ffff:0:0/96 -all", { ip = "::ffff:192.0.2.200" })))
  end)

  it("a local part that is not ASCII matches no macro of it (RFC 8616 4)", function()
    local zonedata = record("v=spf1 exists:%{l}.example.org include:%{s}.example.org ~exists:%{d} -all",
      { ["example.org"] = { { SPF = "v=spf1 exists:%{l}.example.org ~exists:%{o} -all" }, { A = "127.0.0.2" } } })
    assert.equal("softfail", (check(zonedata, { sender = "b\195\188@example.org" })))
    assert.equal("permerror", (check(record "v=spf1 redirect=%{l}.example.org",
      { sender = "b\195\188@example.org" })))
  end)

  it("however long local part and HELO are", function()
    local zonedata = record("v=spf1 exists:%{l}.%{h}.example.org exists:%{h1}.ok.example -all",
      { ["tail.ok.example"] = { { A = "127.0.0.2" } } })
    assert.equal("pass", (check(zonedata, { sender = ("x."):rep(50000) .. "@example.org",
      helo = ("h."):rep(50000) .. "tail" })))
  end)
end)

describe("what DNS cannot say", function()
  local codes = { "servfail", "refused", "timeout", "unreachable", "badanswer", "busy", "memory" }
  local function failing(at_name, at_kind, code)
    local zonedata = record("v=spf1 include:i.example.org a:a.example.org mx:m.example.org exists:e.example.org "
      .. "redirect=r.example.org", {
      ["i.example.org"] = { { SPF = "v=spf1 -all" } }, ["a.example.org"] = { { A = "203.0.113.1" } },
      ["m.example.org"] = { { MX = { 1, "h.example.org" } } }, ["h.example.org"] = { { A = "203.0.113.1" } },
      ["r.example.org"] = { { SPF = "v=spf1 +all" } },
    })
    local inner = zone.dns(zone.of(zonedata))
    return function(name, kind)
      if name == at_name and kind == at_kind then
        return nil, "no answer", code
      end
      return inner(name, kind)
    end
  end

  it("is a temperror at each step, never a fail or a pass", function()
    assert.equal("pass", (check(nil, { dns = failing() })))
    for _, step in ipairs { { "example.org", "txt" }, { "i.example.org", "txt" }, { "a.example.org", "a" },
      { "m.example.org", "mx" }, { "h.example.org", "a" }, { "e.example.org", "a" }, { "r.example.org", "txt" } } do
      for _, code in ipairs(codes) do
        local result, reason = check(nil, { dns = failing(step[1], step[2], code) })
        assert.equal("temperror", result, step[1] .. " " .. code)
        assert.truthy(reason:find(step[1], 1, true), reason)
      end
    end
  end)

  it("is one also where a function gives no code", function()
    assert.equal("temperror", (check(nil, { dns = function() return nil end })))
  end)

  it("is no match where the name cannot exist, and nobody is asked", function()
    local zonedata = record "v=spf1 a:a..example.org a:%{l}.example.org exists:%{h}.example.org -all"
    local result, _, _, trace, asked = check(zonedata, { sender = ("l"):rep(64) .. "@example.org", helo = "a\0b" })
    assert.same({ "fail", 3, 0, 1 }, { result, trace.lookups, trace.voids, #asked })
  end)

  it("does not count as a look-up in vain where DNS says badname", function()
    local zonedata = record "v=spf1 a:1.example.org a:2.example.org a:3.example.org -all"
    local inner = zone.dns(zone.of(zonedata))
    assert.equal("fail", (check(nil, { dns = function(name, kind)
      if kind == "a" then
        return nil, "bad name", "badname"
      end
      return inner(name, kind)
    end })))
  end)
end)

describe("names", function()
  it("are asked for in lower case, with backslashes escaped", function()
    local _, _, _, _, asked = check(record "v=spf1 exists:%{l}.X.Example.ORG -all", { sender = "a\\b@Example.org" })
    assert.same({ { "example.org", "txt" }, { "a\\092b.x.example.org", "a" } }, asked)
  end)

  it("of an answer are unescaped before they are asked for again", function()
    local zonedata = record("v=spf1 mx -all", { ["a\\058b.example.org"] = {},
      ["a:b.example.org"] = { { A = "192.0.2.1" } } })
    table.insert(zonedata["example.org"], { MX = { 1, "a\\058b.example.org" } })
    table.insert(zonedata["example.org"], { MX = { 2, "a\\046b.example.org" } })
    table.insert(zonedata["example.org"], { MX = { 3, "" } })
    local result, _, _, _, asked = check(zonedata, {})
    assert.same({ "pass", 3, "a:b.example.org" }, { result, #asked, asked[3][1] })
  end)
end)

describe("a record", function()
  local function fault(text)
    local read, why = spf_record.parse("v=spf1 " .. text)
    return not read and why
  end

  it("is recognised by its version and what follows", function()
    for text, is in pairs { ["v=spf1"] = true, ["V=SPF1 -all"] = true, ["v=spf1 "] = true, ["v=spf10"] = false,
      ["v=spf1\t-all"] = false, [" v=spf1"] = false, ["v=spf"] = false, [""] = false } do
      assert.equal(is, spf_record.is_spf(text), text)
    end
  end)

  it("says which term is wrong, in printable ASCII", function()
    assert.equal('"ip4:1.2.3.4/33": not a network of IPv4 (RFC 7208 5.6)', fault "ip4:1.2.3.4/33 -all")
    assert.equal('"a\\000b": no domain after the colon (RFC 7208 7.1)', fault "a\0b")
    assert.is_true(#fault(("x"):rep(100000)) < 200)
  end)

  it("is wrong as a whole when any term is", function()
    for _, term in ipairs { "a:", "a:/24", "a/33", "a//129", "a/024", "a:b", "a:b.1", "a:b.-c", "a:b.c-", "mx:%{x}.b",
      "include", "include:", "exists", "ptr:", "ip4", "ip4:1.2.3", "ip4:1.2.3.04", "ip4:1.2.3.4/",
      "ip4:1.2.3.256", "ip4:::1", "ip6:1.2.3.4", "ip6:::1/129", "ip6:1::2::3", "ip6::", "ip6:::12345", "all:x",
      "all.", "+", "-", "?-all", "redirect=", "redirect=a.b redirect=c.d", "exp=a.b exp=c.d", "exp=%{c}.b", "exp=a",
      "x=%", "x=%{", "x=%{d0}", "a:%{d", "a:%{d}x", "a:%{dx}.b", "a:a b", "1x=y", "exists:%{i}.\127.b" } do
      assert.is_string(fault("+all " .. term), term)
    end
  end)

  it("may have unknown modifiers and everything else that the grammar has", function()
    for _, term in ipairs { "a", "A/0", "a//0", "a/24//64", "a:b.c/24", "a:b.c//64", "a:b.c.", "a:%{d}",
      "a:%%", "a:b%-", "mx:%{D1R-+,/_=}.b", "ptr", "ptr:b.c", "ip4:0.0.0.0/0", "ip6:::/0", "ip6:1:2:3:4:5:6:7:8",
      "ip6:::1.2.3.4", "ip6:a:b::1.2.3.4/96", "IP6:2001:DB8::", "exists:%{ir}.%{v}._spf.%{d2}", "x=",
      "x.y-z_1=%{c}%{r}%{t}", "a=b", "include=a", "-All", "", " ", "a:1.x-1" } do
      assert.is_false(fault(term), term)
    end
  end)
end)

describe("addresses", function()
  it("are read and written as RFC 5952 wants", function()
    for text, wanted in pairs { ["192.0.2.1"] = "192.0.2.1", ["255.255.255.255"] = "255.255.255.255",
      ["2001:DB8:0:0:1:0:0:1"] = "2001:db8::1:0:0:1", ["::"] = "::", ["::1"] = "::1", ["1::"] = "1::",
      ["1:0:2:3:4:5:6:7"] = "1:0:2:3:4:5:6:7", ["0:0:1::"] = "0:0:1::", ["::ffff:1.2.3.4"] = "::ffff:102:304",
      ["ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"] = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" } do
      assert.equal(wanted, ip.format(ip.parse(text)), text)
    end
    for _, text in ipairs { "", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4 ", "1:2", ":", ":::", "1::2::3",
      "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8:9", "g::", "::1%eth0", "1.2.3.4::", "::1.2.3", "12345::",
      ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:", ("1"):rep(100) } do
      assert.is_nil(ip.parse(text), text)
    end
  end)

  it("are the same as C's, of any bits", function()
    math.randomseed(1)
    for _ = 1, 500 do
      local groups = {}
      for i = 1, 8 do
        groups[i] = math.random(3) == 1 and 0 or math.random(0, 65535)
      end
      local text = ("%x:%x:%x:%x:%x:%x:%x:%x"):format(unpack(groups))
      local address = ip.parse(text)
      assert.is_true(ip.is_within(address, ip.parse(ip.format(address)), 128), text)
      local dotted = ("%04X%04X%04X%04X%04X%04X%04X%04X"):format(unpack(groups))
      assert.equal(dotted, (ip.dotted(address):gsub("%.", "")))
    end
    assert.equal("1.2.0.192.in-addr.arpa", ip.reverse_name(ip.parse "192.0.2.1"))
    assert.equal("b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
      ip.reverse_name(ip.parse "2001:db8::567:89ab"))
  end)

  it("are in a network by the bits of its prefix", function()
    local base = ip.parse "2001:db8::"
    for prefix = 0, 128 do
      assert.is_true(ip.is_within(base, ip.parse "2001:db8::", prefix))
      assert.equal(prefix <= 96, ip.is_within(base, ip.parse "2001:db8::8000:0", prefix), prefix)
    end
    for prefix = 0, 32 do
      assert.equal(prefix <= 31, ip.is_within(ip.parse "192.0.2.0", ip.parse "192.0.2.1", prefix))
      assert.equal(prefix == 0, ip.is_within(ip.parse "192.0.2.0", ip.parse "64.0.2.0", prefix))
    end
    assert.is_false(ip.is_within(base, ip.parse "0.0.0.0", 0))
  end)
end)

describe("options", function()
  local function fault(options)
    local ok, why = pcall(spf.check, options)
    return not ok and why
  end

  it("that are wrong raise at the caller's line", function()
    for text, options in pairs {
      ['ip is "here"; give'] = { ip = "here" }, ["ip is \"nil\""] = {}, ["unknown option \"from\""] = { from = "x" },
      ["sender is a number"] = { ip = "::1", sender = 1 }, ["limits.look = 1"] = { ip = "::1", limits = { look = 1 } },
      ["limits.voids = -1"] = { ip = "::1", limits = { voids = -1 } },
    } do
      local why = fault(options)
      assert.truthy(why and why:find(text, 1, true), why)
    end
    assert.truthy(fault(1):find "options must be a table")
  end)
end)

describe("docs/spf.md", function()
  it("shows a check without a host that runs", function()
    local ran = 0
    for code in process.read_file("docs/spf.md"):gmatch "```lua\n(.-)```" do
      if code:find "local function dns" then
        assert(loadstring(code))()
        ran = ran + 1
      end
    end
    assert.equal(1, ran)
  end)
end)

describe("in a session", function()
  local SCRIPT = [[
    local spf = require "moonmilter.spf"
    local authres = require "moonmilter.authres"
    function on_mail(ctx)
      local sender, helo = spf.mailfrom(ctx), spf.helo(ctx)
      ctx:reject(550, "5.7.1", authres.format { authserv_id = "mx", results = { sender, helo } }:gsub("%s+", " ")
        .. " " .. tostring(sender.domain))
    end
  ]]
  local function started(dns)
    local mta = testing.start { script = SCRIPT, dns = dns }
    finally(function() mta:close() end)
    return mta
  end

  it("MAIL FROM and HELO give results for Authentication-Results", function()
    local mta = started { ["example.org"] = { TXT = { "v=spf1 ip4:192.0.2.0/24 -all" } },
      ["mx.example.net"] = { TXT = { "v=spf1 a -all" }, A = { "198.51.100.7" } } }
    mta:connect { ip = "192.0.2.7" }
    mta:helo "mx.example.net"
    assert.equal('mx; spf=pass reason="\\"ip4:192.0.2.0/24\\" of example.org matches" smtp.mailfrom=ann@example.org; '
      .. 'spf=fail reason="\\"-all\\" of mx.example.net matches" smtp.helo=mx.example.net example.org',
      mta:mail("ann@example.org").text:gsub("^550 5.7.1 ", ""))
    assert.same({ { "example.org", "TXT" }, { "mx.example.net", "TXT" }, { "mx.example.net", "A" } }, mta:asked "dns")
  end)

  it("a bounce is checked by HELO, and a client without an address not at all", function()
    local mta = started { ["mx.example.net"] = { TXT = { "v=spf1 ~all" } } }
    mta:connect { ip = "192.0.2.7" }
    mta:helo "mx.example.net"
    local text = mta:mail("").text
    assert.truthy(text:find("spf=softfail", 1, true) and not text:find "mailfrom", text)
    mta:connect { ip = "/run/x" }
    text = mta:mail("ann@example.org").text
    assert.truthy(text:find('spf=none reason="the client has no IP address"; spf=none', 1, true), text)
  end)

  it("a sender or HELO with any byte adds nothing to Authentication-Results", function()
    local authres = require "moonmilter.authres"
    for byte = 1, 255 do
      local odd = ("a%sb; dkim=pass header.d=evil.example"):format(string.char(byte))
      local ctx = { client = { ip = "192.0.2.1" }, helo = odd .. ".example", sender = odd .. "@example.org" }
      local options = { dns = function() return nil, "none", "nxdomain" end, now = os.time }
      local results = { spf.mailfrom(ctx, options), spf.helo(ctx, options) }
      local text = authres.format { authserv_id = "mx", results = results }
      local read = authres.parse(text)
      assert.same({ 2, "spf", "spf" }, { #read.results, read.results[1].method, read.results[2].method }, byte)
      assert.is_nil(text:find "[%z\1-\8\11-\31\127]", byte)
      assert.is_nil(text:find "\n[^ \t]", byte)
      for _, result in ipairs(read.results) do
        assert.is_true(#result.properties <= 1, byte)
      end
    end
  end)

  it("is cut off by the deadline of its stage at any of its waits", function()
    local slow = { ["example.org"] = { TXT = { "v=spf1 include:i.example.org mx exists:%{p}.example.org -all "
      .. "exp=why.example.org" }, MX = { { 1, "m.example.org" } }, delay = 1 }, ["i.example.org"] = {
      TXT = { "v=spf1 ?all" }, delay = 1 }, ["m.example.org"] = { A = { "203.0.113.1" }, delay = 1 },
      ["why.example.org"] = { TXT = { "no" }, delay = 1 } }
    for number = 1, 5 do
      local mta = testing.start { script = [[
        local spf = require "moonmilter.spf"
        function on_mail(ctx) spf.mailfrom(ctx, { explain = true, limits = { seconds = 6 } }) end]], dns = slow,
        set = { stage_deadline = number - 0.5 } }
      mta:connect { ip = "192.0.2.7" }
      assert.equal("tempfail", mta:mail("ann@example.org").verdict)
      assert.is_true(#mta:asked "dns" >= number)
      mta:close()
    end
  end)

  it("ends with temperror before a deadline that is shorter than its budget", function()
    local slow = { ["example.org"] = { TXT = { "v=spf1 include:i.example.org -all" }, delay = 1 },
      ["i.example.org"] = { TXT = { "v=spf1 ?all" }, delay = 100 } }
    for _, seconds in ipairs { 0.5, 1, 2, 4, 8 } do
      local mta = testing.start { script = [[
        local spf = require "moonmilter.spf"
        function on_mail(ctx)
          local r = spf.mailfrom(ctx)
          ctx:reject(550, "5.7.1", r.result .. (" %.2f"):format(ctx.deadline - require "moonmilter".now()))
        end]], dns = slow, set = { stage_deadline = seconds } }
      mta:connect { ip = "192.0.2.7" }
      local text = mta:mail("ann@example.org").text
      assert.truthy(text:find "temperror [%d.]+$", text)
      assert.is_true(tonumber(text:match "[%d.]+$") > 0, text)
      assert.same({}, mta:complaints())
      mta:close()
    end
  end)

  it("asks for all hosts of an mx at once, and judges them in order", function()
    local function took(records, options)
      local mta = testing.start { script = ([[
        local milter, spf = require "moonmilter", require "moonmilter.spf"
        function on_mail(ctx)
          local began = milter.now()
          local r = spf.mailfrom(ctx, %s)
          ctx:reject(550, "5.7.1", ("%%s %%d %%d %%d %%.0f"):format(r.result, r.trace.lookups, r.trace.voids,
            #r.trace.queries, milter.now() - began))
        end]]):format(options), dns = records }
      finally(function() mta:close() end)
      mta:connect { ip = "192.0.2.7" }
      return mta:mail("ann@example.org").text
    end
    local function world(of_2)
      return { ["example.org"] = { TXT = { "v=spf1 mx include:m3.example.org -all" }, MX = { { 1, "m1.example.org" },
        { 2, "m2.example.org" }, { 3, "m3.example.org" } } }, ["m1.example.org"] = { A = { "203.0.113.1" }, delay = 1 },
        ["m2.example.org"] = of_2, ["m3.example.org"] = { A = { "192.0.2.7" }, TXT = { "v=spf1 ?all" }, delay = 1 } }
    end
    local ALL = "{ all = require('moonmilter').all }"
    local nothing = { TXT = { "x" }, delay = 1 }
    assert.equal("pass 1 0 5 3", (took(world(nothing), "nil"):gsub("^550 5.7.1 ", "")))
    assert.equal("pass 1 0 5 1", (took(world(nothing), ALL):gsub("^550 5.7.1 ", "")))
    assert.equal("temperror 1 0 4 1", (took(world "servfail", ALL):gsub("^550 5.7.1 ", "")))
    -- the addresses of a host are no answer to another question about its name
    local none = world(nothing)
    none["m3.example.org"].A = { "203.0.113.3" }
    assert.equal("fail 2 0 6 2", (took(none, ALL):gsub("^550 5.7.1 ", "")))
  end)

  it("asks the MTA for what it needs, though no script names it", function()
    local mta = fake_mta.start { script = [[
      local spf = require "moonmilter.spf"
      function on_eom(ctx) ctx:reject(550, "5.7.1", spf.mailfrom(ctx, { dns = function() return nil, "", "nodata" end }).reason) end
    ]] }
    finally(function() mta:close() end)
    mta:begin()
    assert.equal("550 5.7.1 example.org has no SPF record", mta:message { from = "<a@example.org>" }.text)
  end)
end)
