--- dns.lists: weights by return code, tests of the lists, lists that do not answer.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"
local support = require "spec.async.support"
local testing = require "moonmilter.testing"

local HEAD = [[
  local dns = require "moonmilter.dns"
  local milter = require "moonmilter"
  local function show(result, text, code)
    if not result then return "nil " .. code end
    local parts = { ("%g"):format(result.total), tostring(result) }
    for list, failure in pairs(result.failures) do parts[#parts + 1] = list .. "!" .. failure.code end
    table.sort(parts, function(a, b) return a < b end)
    return table.concat(parts, " | ")
  end
]]

describe("dns.lists", function()
  local server, port, host

  setup(function()
    port = process.free_port()
    server = support.name_server(port)
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" },
      set = { "dns_servers=127.0.0.1:" .. port, "dns_timeout=2" } })
  end)

  teardown(function()
    host:close()
    server:stop()
  end)

  -- What a handler says that asks lists which the script has made while it was loaded.
  local function answer(load, ask)
    host:write("10-ask.lua", HEAD .. "local lists = " .. load
      .. "\nfunction on_mail(ctx) return ctx:reject((function() " .. ask .. " end)()) end")
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:begin()
    local reply = mta:mail()
    mta:close()
    assert.truthy(reply.text and not reply.text:find "^451", host:log())
    return (reply.text:gsub("^550 5.7.1 ", ""))
  end

  local W = '["w-bl.example"] = { ["127.0.0.2-9"] = 5, ["127.0.0.10"] = 3, ["127.255.255.0/24"] = "error" }'

  it("adds the weights of the codes that each list answers with, once each, and says why", function()
    assert.equal("6 | w-bl.example 127.0.0.4 +5, w-bl.example 127.0.0.10 +3, wl.example 127.0.9.3 -2", answer(
      "dns.lists { " .. W .. ', ["wl.example"] = { ["127.0.0-255.1-3"] = -2 }, ["nx-bl.example"] = 9 }',
      'local r = lists:ip "192.0.2.9" r.failures["nx-bl.example"] = nil return show(r)'))
    assert.equal(" | 0", answer("dns.lists { " .. W .. " }", 'return show(lists:ip "192.0.2.1")'))
    assert.equal("5 | w-bl.example 127.0.0.4 +5, w-bl.example 127.0.0.10 +0", answer(
      'dns.lists { ["w-bl.example"] = { ["127.0.0.2-9"] = 5 } }', 'return show(lists:ip "::ffff:192.0.2.9")'))
  end)

  it("asks for IPv6 addresses, but not lists without them", function()
    assert.equal("5 | w-bl.example 127.0.0.3 +5", answer("dns.lists { " .. W .. " }",
      'return show(lists:ip "2001:db8::1")'))
    assert.equal(" | 0", answer('dns.lists { ["w-bl.example"] = { ipv6 = false, ["127.0.0.2-9"] = 5 } }',
      'return show(lists:ip "2001:db8::1")'))
  end)

  it("takes no error of a list and no answer outside 127/8 for a listing", function()
    for ip, expected in pairs { ["192.0.2.8"] = "w-bl.example!refused", ["192.0.2.7"] = "w-bl.example!badanswer",
      ["192.0.2.5"] = "w-bl.example!refused" } do
      assert.equal(" | 0 | " .. expected, answer('dns.lists { ["w-bl.example"] = 5 }',
        ('return show(lists:ip "%s")'):format(ip)))
    end
    assert.equal(" | 0 | w-bl.example!refused", answer(
      'dns.lists { ["w-bl.example"] = { ["127.0.0.0/8"] = 5, ["127.0.0.200"] = "error" } }',
      'return show(lists:ip "192.0.2.6")'))
    assert.equal("5 | w-bl.example 127.0.0.1 +5", answer(
      'dns.lists { ["w-bl.example"] = { ["127.0.0.1"] = 5, ["127.0.0.2"] = 1 } }', 'return show(lists:ip "192.0.2.5")'))
  end)

  it("asks lists of names for domains, and reads bits", function()
    local load = 'dns.lists { ["uri-bl.example"] = { kind = "name", label = "uri", ["&8"] = 2, ["&64"] = 4, ["&2"] = 0.5 } }'
    assert.equal("6 | uri 127.0.0.72 +4, uri 127.0.0.72 +2", answer(load, 'return show(lists:domain "Spam.INVALID.")'))
    assert.equal(" | 0", answer(load, 'return show(lists:domain "good.example")'))
    assert.equal(" | 0", answer(load, 'return show(lists:ip "192.0.2.9")'))
    assert.equal("nil badname nil badname nil badname", answer(load, 'return show(lists:domain "192.0.2.9") .. " " '
      .. '.. show(lists:domain "[192.0.2.9]") .. " " .. show(lists:domain "")'))
    assert.equal(" | 0 | uri!badname", answer(load, 'return show(lists:domain(("a"):rep(64) .. ".example"))'))
  end)

  it("does not ask a list that fails its test, and says so once", function()
    local log = #host:log()
    assert.equal(" | 0 | nx-bl.example!selftest | shy-bl.example!refused | wild-bl.example!selftest", answer(
      'dns.lists { ["wild-bl.example"] = 5, ["nx-bl.example"] = 5, ["shy-bl.example"] = 5 }',
      'lists:ip "192.0.2.9" return show(lists:ip "192.0.2.9")'))
    local new = host:log():sub(log + 1)
    assert.truthy(new:find("wild-bl.example is not asked: the list has 127.0.0.1, as one that lists the whole world", 1,
      true), new)
    assert.truthy(new:find("nx-bl.example is not asked: the list does not know its own test entry", 1, true), new)
    local _, count = new:gsub("wild%-bl.example is not asked", "")
    assert.equal(1, count)
    assert.equal("5 | wild-bl.example 127.0.0.2 +5", answer('dns.lists({ ["wild-bl.example"] = 5 }, { test = false })',
      'return show(lists:ip "192.0.2.9")'))
  end)

  it("asks a list that does not answer its test", function()
    assert.equal(" | 0 | servfail-bl.example!servfail", answer('dns.lists { ["servfail-bl.example"] = 5 }',
      'return show(lists:ip "192.0.2.9")'))
  end)

  it("leaves a list alone that does not answer", function()
    assert.equal("timeout timeout paused paused 2", answer(
      'dns.lists({ ["silent-p.example"] = 5 }, { timeout = 0.05, give_up = 2, test = false })', [[
      local codes = {}
      for i = 1, 4 do codes[i] = lists:ip("192.0.2." .. i).failures["silent-p.example"].code end
      local asked = 0
      for i = 1, 4 do
        asked = asked + (tonumber(dns.txt("count." .. i .. ".2.0.192.silent-p.example")[1]) > 0 and 1 or 0)
      end
      return table.concat(codes, " ") .. " " .. asked]]))
    assert.truthy(host:log():find("silent-p.example is not asked for 60 s: 2 questions in a row without an answer (timeout)",
      1, true))
  end)

  it("raises at the caller's line when the table is wrong", function()
    for code, words in pairs {
      ["dns.lists {}"] = "give a table of lists",
      ['dns.lists { "zen.example" }'] = "1 is no zone",
      ['dns.lists { ["zen example"] = 5 }'] = "zen example is no zone",
      ['dns.lists { ["zen.example"] = {} }'] = "zen.example has no return codes",
      ['dns.lists { ["zen.example"] = true }'] = "zen.example is a boolean",
      ['dns.lists { ["zen.example"] = { ["127.0.0.2-"] = 5 } }'] = "127.0.0.2- is no return code",
      ['dns.lists { ["zen.example"] = { ["10.0.0.2"] = 5 } }'] = "10.0.0.2 is no return code",
      ['dns.lists { ["zen.example"] = { ["127.0.0.11-2"] = 5 } }'] = "127.0.0.11-2 is no return code",
      ['dns.lists { ["zen.example"] = { ["127.0.0.2/24"] = 5 } }'] = "127.0.0.2/24 is no return code",
      ['dns.lists { ["zen.example"] = { ["&3"] = 5 } }'] = "&3 is no return code",
      ['dns.lists { ["zen.example"] = { ["127.0.0.2"] = "eror" } }'] = 'a weight is a number or "error"',
      ['dns.lists { ["zen.example"] = { ["127.0.0.2"] = 1, kinnd = "ip" } }'] = 'unknown option "kinnd"',
      ['dns.lists { ["zen.example"] = { ["127.0.0.2"] = 1, kind = "uri" } }'] = 'kind is "uri"',
      ['dns.lists({ ["zen.example"] = 5 }, { giveup = 1 })'] = 'unknown option "giveup"',
      ['dns.lists({ ["zen.example"] = 5 }, { pause = 0 })'] = "pause is 0",
      ['dns.lists({ ["zen.example"] = 5 }, { test = false }):ip "x"'] = '"x" is not an IP address',
      ['dns.lists({ ["zen.example"] = 5 }, { test = false }):ip("::1", { timeout = 0 })'] = "timeout of 0 seconds",
      ['dns.lists({ ["zen.example"] = 5 }, { test = false }):domain(nil)'] = "a domain is a string",
    } do
      local said = answer("nil", ("return (select(2, pcall(function()\n%s\nend)))"):format(code))
      assert.truthy(said:find(words, 1, true), code .. ": " .. said)
      assert.truthy(said:find("10-ask.lua:12: ", 1, true), code .. ": " .. said)
    end
  end)
end)

describe("dns.lists under the test kit", function()
  local function start(options)
    local mta = testing.start(options)
    finally(function() mta:close() end)
    return mta
  end

  it("needs no test entries, and asks them with test = true", function()
    local script = HEAD .. [[
      local lists = dns.lists({ ["bl.example"] = { ["127.0.0.2"] = 5 } }, { test = TEST })
      function on_connect(ctx) ctx.session.said = show(lists:ip(ctx.client.ip)) end
      function on_eom(ctx) return ctx:reject(ctx.session.said) end ]]
    local listed = { ["1.2.0.192.bl.example"] = { A = { "127.0.0.2" } } }
    local untested = start { script = (script:gsub("TEST", "nil")), dns = listed }
    assert.equal("5 | bl.example 127.0.0.2 +5", untested:message().text)
    local mta = start { script = (script:gsub("TEST", "true")), dns = listed }
    assert.equal(" | 0 | bl.example!selftest", mta:message().text)
    assert.matches("does not know its own test entry", mta:complaints()[1])
  end)

  it("tries a list again after the pause, with one question, and a failed test after five minutes", function()
    local is_up, is_wild, asked = false, true, 0
    local mta = start { script = HEAD .. [[
      local lists = dns.lists({ ["bl.example"] = 5 }, { timeout = 1, give_up = 3, pause = 60, test = false })
      local tested = dns.lists({ ["wild.example"] = 5 }, { test = true })
      local n = 0
      function on_mail(ctx)
        local list = {}
        for i = 1, 4 do n = n + 1 list[i] = function() return lists:ip("192.0.2." .. n % 250) end end
        local codes = {}
        for i, r in ipairs((milter.all(list))) do codes[i] = r.failures["bl.example"] and r.failures["bl.example"].code or "ok" end
        table.sort(codes)
        return ctx:reject(table.concat(codes, " ") .. ", " .. show(tested:ip "192.0.2.1"))
      end ]],
      dns = function(name)
        if name:find "wild%.example$" then
          if is_wild or name:find "^2%.0%.0%.127%." then return { "127.0.0.2" } end
          return nil, "none", "nxdomain"
        end
        asked = asked + 1
        if is_up then return nil, "none", "nxdomain" end
        return nil, "late", "timeout", 1
      end }
    assert.equal("timeout timeout timeout timeout,  | 0 | wild.example!selftest", mta:message().text)
    assert.equal("paused paused paused paused,  | 0 | wild.example!selftest", mta:message().text)
    assert.equal(4, asked)
    mta:pass(61)
    assert.equal("paused paused paused timeout,  | 0 | wild.example!selftest", mta:message().text)
    assert.equal(5, asked)
    is_up, is_wild = true, false
    mta:pass(61)
    assert.equal("ok ok ok ok,  | 0 | wild.example!selftest", mta:message().text)
    mta:pass(301)
    mta:message()
    assert.equal("ok ok ok ok,  | 0", mta:message().text)
    assert.matches("bl.example is not asked for 60 s", table.concat(mta:complaints(), "\n"))
  end)
end)
