-- moonmilter.testing: the clock and the fakes.
local testing = require "moonmilter.testing"

local function start(options)
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

describe("the virtual clock", function()
  it("makes a wait of a minute take no time, with the progress that an MTA would get", function()
    local began = os.clock()
    local mta = start { now = 1700000000, script = [[ local milter = require "moonmilter"
      function on_eom(ctx) local a = milter.now() milter.sleep(60) ctx:add_header("X", ("%d %.1f"):format(a, milter.now() - a)) end ]] }
    local result = mta:message()
    assert.equal("1700000000 60.0", result.message:get "X")
    assert.is_true(result.progress >= 11 and result.progress <= 12)
    assert.is_true(os.clock() - began < 1)
  end)

  it("lets a deadline pass", function()
    local mta = start [[ local milter = require "moonmilter" function on_mail() milter.sleep(9) end ]]
    local result = mta:message()
    assert.equal("tempfail", result.verdict)
    assert.equal("mail", result.stage)
    assert.equal("451 4.3.0", result.smtp:sub(1, 9))
    assert.matches("deadline", mta:complaints()[1])
  end)

  it("lets time pass between messages", function()
    local mta = start { script = [[ local milter = require "moonmilter" local last
      function on_mail(ctx) if last and milter.now() - last < 300 then return ctx:tempfail("too soon") end last = milter.now() end ]] }
    assert.equal("accept", mta:message().verdict)
    assert.equal("too soon", mta:message().text)
    mta:pass(301)
    assert.equal("accept", mta:message().verdict)
  end)

  it("serves two hosts in one process, and ends with the last", function()
    local a, b = start "function on_mail() end", start "function on_mail() end"
    a:pass(1000)
    assert.equal("accept", b:message().verdict)
    local real = start { clock = "real", script = "local m = require 'moonmilter' function on_mail() "
      .. "m.sleep(0.01) end" }
    a:close()
    b:close()
    assert.equal("accept", real:message().verdict)
  end)
end)

describe("fake DNS", function()
  local SCRIPT = [[
    local dns = require "moonmilter.dns"
    function on_mail(ctx, sender)
      local records, text, code = dns.mx(sender:match "@(.*)")
      if not records then
        if code == "nxdomain" then return ctx:reject(550, "5.1.8", "no such domain") end
        return ctx:tempfail(451, "4.1.8", code)
      end
    end
  ]]

  it("answers from the test's table and records the questions", function()
    local mta = start { script = SCRIPT,
      dns = { ["example.org"] = { MX = { { 10, "mx.example.org" } } }, ["bad.example"] = "servfail" } }
    assert.equal("accept", mta:message { from = "a@example.org" }.verdict)
    assert.equal("no such domain", mta:message { from = "a@nowhere.example" }.text)
    assert.equal("servfail", mta:message { from = "a@bad.example" }.text)
    assert.same({ { "example.org", "MX" }, { "nowhere.example", "MX" }, { "bad.example", "MX" } }, mta:asked "dns")
  end)

  it("knows internationalized names in either spelling", function()
    for _, key in ipairs { "b\195\188cher.example", "xn--bcher-kva.example" } do
      local mta = start { script = SCRIPT, dns = { [key] = { MX = { { 10, "mx.example.org" } } } } }
      assert.equal("accept", mta:message { from = "a@b\195\188cher.example" }.verdict)
      mta:close()
    end
  end)

  it("may be a function of the test, and may delay its answer", function()
    local mta = start {
      script = [[ local dns = require "moonmilter.dns" local milter = require "moonmilter"
        function on_connect(ctx, host, ip) local t = milter.now()
          ctx.session.listed = dns.dnsbl(ip, { "bl.example" })["bl.example"] ctx.session.took = milter.now() - t end
        function on_eom(ctx)
          ctx:add_header("X", ("%s %.0f"):format(ctx.session.listed and ctx.session.listed[1] or "no", ctx.session.took)) end ]],
      dns = function(name) return name == "1.2.0.192.bl.example" and { "127.0.0.2" } or nil, nil, nil, 3 end,
    }
    assert.equal("127.0.0.2 3", mta:message().message:get "X")
  end)

  it("reports to the test when its function fails", function()
    local mta = start { script = SCRIPT, dns = function() error("the test is wrong", 0) end }
    assert.error_matches(function() mta:message() end, "the test is wrong")
  end)
end)

describe("fake HTTP, Redis and processes", function()
  it("answer, wait and time out", function()
    local mta = start {
      script = [[ local http = require "moonmilter.http"
        function on_eom(ctx) local r, text, code = http.post("https://check.example/", ctx.sender, { timeout = 5 })
          ctx:add_header("X", r and r.status .. " " .. r.body or code) end ]],
      http = { ["POST https://check.example/"] = { status = 201, body = "fine", delay = 4 } },
    }
    assert.equal("201 fine", mta:message().message:get "X")
    assert.equal("ann@example.org", mta:asked "http"[1].body)
    local slow = start { script = [[ local http = require "moonmilter.http"
      function on_eom(ctx) ctx:add_header("X", select(3, http.get("http://slow.example/", { timeout = 2 }))) end ]],
      http = { ["http://slow.example/"] = { delay = 3 } } }
    assert.equal("timeout", slow:message().message:get "X")
  end)

  describe("with allow_private = false", function()
    local ASK = [[ local http = require "moonmilter.http"
      function on_eom(ctx)
        local list = {}
        for url in ctx.headers:get "Subject":gmatch "%S+" do
          local r, _, code = http.get(url, { allow_private = false, redirects = 3 })
          list[#list + 1] = r and r.status .. " " .. r.body or code
        end
        ctx:add_header("X", table.concat(list, ",")) end ]]

    local function answers(urls, options)
      options.script = ASK
      local mta = start(options)
      return mta:message({ headers = { Subject = table.concat(urls, " ") } }).message:get "X", mta:asked "http"
    end

    it("refuse the addresses that the real module refuses, and ask nothing", function()
      local urls = {}
      for _, host in ipairs { "127.0.0.1", "10.0.0.1:8080", "[::1]", "[::ffff:192.168.1.1]", "[fe80::1]", "localhost",
        "LOCALHOST", "a.localhost", "localhost.", "2130706433", "0x7f.1", "0177.0.0.1", "169.254.169.254",
        "0.0.0.0" } do
        urls[#urls + 1] = ("http://%s/"):format(host)
      end
      local real = answers(urls, { http = "real", clock = "real" })
      assert.equal(("private,"):rep(#urls):sub(1, -2), real)
      local faked, asked = answers(urls, { http = function() return { status = 200, body = "inner" } end })
      assert.equal(real, faked)
      assert.same({}, asked)
    end)

    it("know a name's addresses from the test's dns, and follow no redirect to a private one", function()
      local urls = { "http://inner.example/", "http://six.example/", "http://outer.example/", "http://both.example/",
        "http://unknown.example/", "http://[2606:4700::1111]/", "http://redirect.example/", "http://away.example/" }
      local zone = { ["inner.example"] = { A = { "10.1.2.3" } }, ["six.example"] = { AAAA = { "fd00::1" } },
        ["outer.example"] = { A = { "1.1.1.1" } }, ["both.example"] = { A = { "10.1.2.3", "1.1.1.1" } } }
      local http = { ["http://redirect.example/"] = { status = 302, headers = { Location = "http://inner.example/" } },
        ["http://away.example/"] = { status = 302, headers = { Location = "http://outer.example/" } } }
      for _, url in ipairs(urls) do http[url] = http[url] or { body = "seen" } end
      local wanted = "private,private,200 seen,200 seen,200 seen,200 seen,private,200 seen"
      assert.equal(wanted, (answers(urls, { http = http, dns = zone })))
      assert.equal(wanted, (answers(urls, { http = http, dns = function(name, kind)
        return assert((zone[name] or {})[kind], "not looked up by the script") end })))
    end)

    it("let everything through without it", function()
      local mta = start { script = ASK:gsub("allow_private = false", "allow_private = true"),
        http = { ["http://127.0.0.1/"] = { body = "inner" } } }
      assert.equal("200 inner", mta:message({ headers = { Subject = "http://127.0.0.1/" } }).message:get "X")
    end)
  end)

  it("keep keys, which expire by the virtual clock", function()
    local mta = start { script = [[ local redis = require "moonmilter.redis"
      local db = redis.new { host = "localhost" }
      function on_mail(ctx, sender)
        local n = db:incr("count:" .. sender)
        if n == 1 then db:expire("count:" .. sender, 60) end
        if n > tonumber(db:get "limit") then return ctx:tempfail("slow down") end
      end ]], redis = { limit = "2" } }
    assert.equal("accept", mta:message().verdict)
    assert.equal("accept", mta:message().verdict)
    assert.equal("slow down", mta:message().text)
    mta:pass(61)
    assert.equal("accept", mta:message().verdict)
    assert.same({ "INCR", "count:ann@example.org" }, mta:asked "redis"[1])
    local down = start { script = [[ local redis = require "moonmilter.redis"
      function on_mail(ctx) ctx:tempfail(451, "4.3.0", select(3, redis.new():get "x")) end ]], redis = "refused" }
    assert.equal("refused", down:message().text)
  end)

  it("replace programs and the script's own modules", function()
    local mta = start { script = [[ local process, lists = require "moonmilter.process", require "my.lists"
      function on_eom(ctx) local r = process.run { argv = { "/usr/bin/check", "-x" }, stdin = "mail" }
        ctx:add_header("X", r.status .. " " .. r.stdout .. " " .. lists.good[1]) end ]],
      process = { ["/usr/bin/check -x"] = { status = 3, stdout = "spam" } },
      modules = { ["my.lists"] = { good = { "a" } } } }
    assert.equal("3 spam a", mta:message().message:get "X")
    assert.same({ argv = { "/usr/bin/check", "-x" }, stdin = "mail" }, mta:asked "process"[1])
  end)
end)

describe("what else docs/TESTING.md lists", function()
  it("an address gives its PTR, and a missing type is nodata", function()
    local mta = start {
      script = [[ local dns = require "moonmilter.dns"
        function on_eom(ctx)
          ctx:add_header("X", dns.ptr(ctx.client.ip)[1] .. " " .. select(3, dns.mx "only-a.example") .. " " .. select(3, dns.a "slow.example"))
        end ]],
      dns = { ["192.0.2.1"] = { PTR = { "client.example.org" } }, ["only-a.example"] = { A = { "192.0.2.7" } },
        ["slow.example"] = "timeout" },
    }
    assert.equal("client.example.org nodata timeout", mta:message().message:get "X")
  end)

  it("HTTP answers with headers, or from a function; programs may be slow", function()
    local mta = start {
      script = [[ local http, process = require "moonmilter.http", require "moonmilter.process"
        function on_eom(ctx)
          local r = http.get "http://a.example/?x=1"
          local _, _, code = process.run { argv = { "/bin/slow" }, timeout = 2 }
          ctx:add_header("X", r.status .. " " .. r.headers["x-kind"] .. " " .. code)
        end ]],
      http = function(request) return { status = request.url:match "x=1" and 202 or 500,
        headers = { ["X-Kind"] = request.method } } end,
      process = { ["/bin/slow"] = { delay = 3 } },
    }
    assert.equal("202 GET timeout", mta:message().message:get "X")
  end)

  it("a configuration and which milter of it, keys set over it, settings, the MTA's name and what it does "
    .. "not know", function()
    local path = os.tmpname()
    finally(function() os.remove(path) os.remove(path .. ".lua") end)
    local file = io.open(path .. ".lua", "w")
    file:write [[ function on_load(host) word = host.settings.word end
      function on_mail(ctx, s) if s == "bad@x" then error "oh" end end
      function on_eom(ctx) ctx:add_header("X", word .. " " .. ctx:macro "j" .. " " .. tostring(ctx:macro "mail_host")) end ]]
    file:close()
    file = io.open(path, "w")
    file:write(([[milter.first = { listen = "inet:1@127.0.0.1", scripts = "%s.lua", settings = { word = "one" } }
      milter.second = { listen = "inet:2@127.0.0.1", scripts = "%s.lua", settings = { word = "two" } } ]]):format(path, path))
    file:close()
    local mta = start { config = path, milter = "second", name = "mx7.example", macros = { mail_host = false },
      set = { on_error = "reject" } }
    assert.equal("two mx7.example nil", mta:message().message:get "X")
    assert.equal("reject", mta:message { from = "bad@x" }.verdict)
  end)

  it("bytes are cut as the test says", function()
    local script = "function on_body(ctx, chunk) end function on_eom(ctx) ctx:add_header('X', #ctx.headers) end"
    for _, split in ipairs { "whole", "random", 1, 7 } do
      assert.equal("2", start { script = script, split = split, seed = 42 }:message().message:get "X")
    end
  end)
end)
