-- moonmilter.map: specs, chains, caches, keys of mailboxes and of addresses; and what a test gives instead.
local inside = require "spec.async.run"
local testing = require "moonmilter.testing"

local function run(body)
  return inside.body({}, 'local map = require "moonmilter.map"\n' .. body)
end

local function raised(call)
  return (run(("local ok, why = pcall(function() %s end) return show(ok, why)"):format(call)):gsub("^false|[^|]-: map",
    "map"))
end

describe("a spec", function()
  it("names a kind; a wrong one is suggested", function()
    assert.matches([[there is no kind "texthahs"; did you mean "texthash"]], raised [[map.open "texthahs:/x"]])
    assert.matches([["/etc/postfix/access" has no kind; write KIND:ARGUMENT]], raised [[map.open "/etc/postfix/access"]])
    assert.matches("nothing follows the kind", raised [[map.open "tcp:"]])
  end)

  it("is refused at the line of the script", function()
    local why = testing.load_error 'local map = require "moonmilter.map"\nlocal m = map.open "nothing:x"\n'
    assert.matches("script.lua:2: map.open: .*there is no kind", why)
  end)

  it("may be a list, but of texts", function()
    assert.matches("give a spec, .* not a number", raised "map.open(7)")
    assert.matches("not a list of 0", raised "map.open {}")
    assert.matches("spec 2 is a table", raised [[map.open { "inline:{a=b}", {} }]])
  end)

  it("hides passwords where it is shown", function()
    assert.matches("redis://ann:%*%*%*@h/x", raised [[map.open "redis:redis://ann:secret@h/x"]])
    assert.matches("password=%*%*%* user", raised [[map.open "tcp:password=secret user=u"]])
  end)

  it("takes options with checked names, types and ranges", function()
    assert.matches([[unknown option "tll"; did you mean "ttl"]], raised [[map.open("inline:{a=b}", { tll = 1 })]])
    assert.matches("ttl is a string; it must be a number", raised [[map.open("inline:{a=b}", { ttl = "1" })]])
    assert.matches("shrink is 2; give 0 to 1", raised [[map.open("inline:{a=b}", { shrink = 2 })]])
  end)
end)

describe("inline:", function()
  it("has keys and values as Postfix writes them", function()
    assert.equal("1|2 3|x=y|nil|", run [[
      local m = map.open "inline:{ A=1, {b = 2 3} c=x=y,d= }"
      return show(m:get "a", m:get "B", m:get "c", m:get "e", m:get "d")
    ]])
  end)

  it("keeps braces within values together, and takes quoted keys", function()
    assert.equal("{p q}|v", run [[
      local m = map.open 'inline:{ {a = {p q}} {"k = 1" = v} }'
      return show(m:get "a", m:get "k = 1")
    ]])
  end)

  it("refuses what is not written so", function()
    for spec, why in pairs { ["inline:a=b"] = "a \"}\" is missing", ["inline:{}"] = "the map is empty",
      ["inline:{a}"] = "\"a\" is no entry", ["inline:{a=1 A=2}"] = "the key \"a\" is there twice",
      ["inline:{{a=1}"] = "a \"}\" is missing", ["inline:{a=1} b"] = "follows the last" } do
      assert.matches(why, raised(("map.open %q"):format(spec)), 1, true)
    end
  end)

  it("looks keys up as they are with fold = false", function()
    assert.equal("1|nil|2", run [[
      local m = map.open("inline:{ A=1 b=2 }", { fold = false })
      return show(m:get "A", m:get "a", m:get "b")
    ]])
  end)

  it("lists its entries", function()
    assert.equal("a=1 b=2|2", run [[
      local m, out = map.open "inline:{ a=1 b=2 }", {}
      for key, value in m:all() do out[#out + 1] = key .. "=" .. value end
      table.sort(out)
      return show(table.concat(out, " "), m:info().entries)
    ]])
  end)
end)

describe("a file", function()
  it("is named relative to the script", function()
    local process = require "spec.support.process"
    local directory = process.directory()
    finally(function() process.run("rm -rf " .. directory) end)
    process.write_file(directory .. "/access", "Ann@example.org  OK of ann\nexample.net REJECT\n")
    process.write_file(directory .. "/a.lua", [[ local map = require "moonmilter.map"
      local m = map.open "texthash:access"
      function on_mail(ctx, sender)
        local value, key = m:address(sender)
        return ctx:reject(550, "5.7.1", ("%s|%s|%d|%s"):format(value, key, m:info().entries, m:info().path))
      end ]])
    local mta = testing.start { scripts = directory .. "/a.lua", clock = "real" }
    finally(function() mta:close() process.run("rm -rf " .. directory) end)
    local path = directory .. "/access"
    assert.equal("OK of ann|ANN@example.org|2|" .. path, mta:message { from = "ANN@example.org" }.text)
    assert.equal("REJECT|example.net|2|" .. path, mta:message { from = "bob@example.net" }.text)
  end)

  it("that is not there is refused, with its spec", function()
    assert.matches("map.open: texthash:/nowhere/x: ", raised [[map.open "texthash:/nowhere/x"]])
  end)
end)

describe("a chain", function()
  it("answers with the first map that has the key", function()
    assert.equal("1|2|last", run [[
      local m = map.open { "inline:{ a=1 }", "inline:{ a=9 b=2 }", "static:last" }
      return show(m:get "a", m:get "b", m:get "c")
    ]])
  end)

  it("ends at a failure, which is never taken for an answer", function()
    assert.equal("1|nil|tcp:127.0.0.1:1: connection refused|down", run [[
      local m = map.open { "inline:{ a=1 }", "tcp:127.0.0.1:1", "static:last" }
      return show(m:get "a", m:get "b")
    ]])
  end)

  it("describes each of its maps", function()
    assert.equal("inline:{ a=1 }, static:x|2|inline|1|2|static|1", run [[
      local m = map.open { "inline:{ a=1 }", "static:x" }
      m:get "a" m:get "b"
      local info = m:info()
      return show(info.spec, #info.parts, info.parts[1].kind, info.parts[1].found, info.parts[1].lookups,
        info.parts[2].kind, info.parts[2].lookups)
    ]])
  end)

  it("lists all maps, if each of them can", function()
    assert.equal("a=1 a=2 b=3", run [[
      local out = {}
      for key, value in map.open { "inline:{ a=1 }", "inline:{ a=2 b=3 }" }:all() do
        out[#out + 1] = key .. "=" .. value
      end
      table.sort(out)
      return table.concat(out, " ")
    ]])
    assert.matches("all: a map of kind static cannot list its keys", raised [[map.open { "inline:{ a=1 }", "static:x" }:all()]])
  end)
end)

describe("keys of a mailbox", function()
  local function keys(mailbox, options)
    return run(([[
      local asked = {}
      package.loaded["moonmilter.maps.static"] = { open = function()
        return { get = function(_, key) asked[#asked + 1] = key end, info = function() return {} end }
      end }
      map.open("static:x", %s):address(%q)
      return table.concat(asked, " ")
    ]]):format(options or "{}", mailbox))
  end

  it("are those of Postfix, in its order", function()
    assert.equal("u+e@sub.d.org u@sub.d.org u+e u @sub.d.org sub.d.org .d.org .org", keys "u+e@sub.d.org")
    assert.equal("u@d.org u @d.org d.org .org", keys "u@d.org")
    assert.equal("root", keys "root")
  end)

  it("are <> for the null sender", function()
    assert.equal("<>", keys "")
    assert.equal("<>", keys "<>")
  end)

  it("follow recipient_delimiter", function()
    assert.equal("u+e@d u+e @d d", keys("u+e@d", '{ delimiter = "" }'))
    assert.equal("u-e+f@d u@d u-e+f u @d d", keys("u-e+f@d", '{ delimiter = "+-" }'))
    assert.equal("+e@d +e @d d", keys "+e@d") -- no name would be left
    assert.equal("owner-l@d owner-l @d d", keys("owner-l@d", '{ delimiter = "-" }'))
    assert.equal("MAILER-DAEMON@d MAILER-DAEMON @d d", keys("MAILER-DAEMON@d", '{ delimiter = "-" }'))
  end)

  it("have local parts without quotes, and domains without a last dot", function()
    assert.equal("a b@d.org a b @d.org d.org .org", keys '"a b"@d.org.')
    assert.equal("a.b@d a.b @d d", keys '"a.b"@d')
  end)

  it("have no local part that reads like a mailbox, a domain with its subdomains, or the null sender", function()
    assert.equal("a@b@d @d d", keys '"a@b"@d')
    assert.equal("a@b+x@d a@b@d @d d", keys '"a@b+x"@d')
    assert.equal("a+x@b@d a@d a @d d", keys '"a+x@b"@d')
    assert.equal("@b@d @d d", keys '"@b"@d')
    assert.equal(".b.org@d @d d", keys '".b.org"@d')
    assert.equal("<>@d @d d", keys '"<>"@d')
  end)

  it("have no parents for an address in brackets", function()
    assert.equal("u@[192.0.2.1] u @[192.0.2.1] [192.0.2.1]", keys "u@[192.0.2.1]")
  end)

  it("name the key that was found", function()
    assert.equal("REJECT|.example.org|OK|a@x.example.org|nil|nil", run [[
      local m = map.open "inline:{ .example.org=REJECT a@x.example.org=OK }"
      local value, key = m:address "B@Y.Example.Org"
      local other, full = m:address "A@x.example.org"
      return show(value, key:lower(), other, full:lower(), m:address "b@elsewhere.example", nil)
    ]])
  end)

  it("are given whole to kinds whose keys have no parts", function()
    assert.equal("1|tcp|nil", run [[
      local asked = 0
      package.loaded["moonmilter.maps.tcp"] = { open = function()
        return { get = function() asked = asked + 1 end, info = function() return {} end }
      end }
      local m = map.open { "tcp:h:1" }
      return show((m:address "u+e@d.org") or asked, m:info().kind, m:get "x")
    ]])
  end)
end)

describe("keys of a network address", function()
  it("become shorter by a number, as texts", function()
    assert.equal("v4|192.0|v4|192.0|v6|2001:db8|nil", run [[
      local m = map.open "inline:{ 192.0=v4, 2001:db8=v6 }"
      local a, k = m:network "192.0.2.7"
      local b, l = m:network "::ffff:192.0.2.7"
      local c, n = m:network "2001:DB8:0:0::1"
      return show(a, k, b, l, c, n, m:network "198.51.100.1")
    ]])
  end)

  it("are no names", function()
    assert.equal([[nil|"example.org" is not an IP address|bad_key]],
      run [[return show(map.open "static:x":network "example.org")]])
  end)
end)

describe("a cache", function()
  local SCRIPT = [[
    local map, milter = require "moonmilter.map", require "moonmilter"
    local m = map.open("tcp:h:1", { ttl = 60, negative_ttl = 10, cache = 4 })
    function on_mail(ctx, sender)
      local value, text, code = m:get(sender)
      return ctx:reject(550, "5.7.1", ("%s %s %d"):format(tostring(value), tostring(code), m:info().hits))
    end ]]

  local function start(world)
    local mta = testing.start { script = SCRIPT, map = world }
    finally(function() mta:close() end)
    return mta
  end

  it("keeps answers for ttl, and that there is none for negative_ttl", function()
    local mta = start { ["tcp:h:1"] = { a = "1" } }
    local function ask(key) return mta:message { from = key }.text end
    assert.equal("1 nil 0", ask "a")
    assert.equal("1 nil 1", ask "a")
    assert.equal("nil nil 1", ask "b")
    assert.equal("nil nil 2", ask "b")
    mta:pass(11)
    assert.equal("nil nil 2", ask "b")
    assert.equal("1 nil 3", ask "a")
    mta:pass(50)
    assert.equal("1 nil 3", ask "a")
    assert.equal(4, #mta:asked "map")
  end)

  it("does not keep failures", function()
    local mta = start { ["tcp:h:1"] = "timeout" }
    assert.equal("nil timeout 0", mta:message { from = "a" }.text)
    assert.equal("nil timeout 0", mta:message { from = "a" }.text)
    assert.equal(2, #mta:asked "map")
  end)

  it("holds no more answers than it may", function()
    local mta = start { ["tcp:h:1"] = function(key) return key end }
    for i = 1, 9 do mta:message { from = "k" .. i } end
    mta:message { from = "k9" }
    mta:message { from = "k1" }
    assert.equal(10, #mta:asked "map")
  end)
end)

describe("a map in a test", function()
  it("gets its answers in one line, and says what was asked", function()
    local mta = testing.start { map = { ["texthash:/etc/postfix/access"] = { ["example.org"] = "REJECT" } }, script = [[
      local access = require "moonmilter.map".open "texthash:/etc/postfix/access"
      function on_mail(ctx, sender) if access:address(sender) == "REJECT" then return ctx:reject() end end ]] }
    finally(function() mta:close() end)
    assert.equal("reject", mta:message { from = "ann@example.org" }.verdict)
    assert.equal("accept", mta:message { from = "ann@example.net" }.verdict)
    assert.same({ "texthash:/etc/postfix/access", "ann@example.org" }, mta:asked("map")[1])
  end)

  it("fails as the test says", function()
    local mta = testing.start { map = { ["tcp:h:1"] = function(key) return nil, key .. " is late", "timeout" end },
      script = [[ local m = require "moonmilter.map".open "tcp:h:1"
      function on_mail(ctx, sender) local v, text, code = m:get(sender) return ctx:tempfail(451, "4.3.0", text .. code) end ]] }
    finally(function() mta:close() end)
    assert.equal("tcp:h:1: a is latetimeout", mta:message { from = "a" }.text)
  end)

  it("answers late, or not in time", function()
    local mta = testing.start { map = { ["tcp:h:1"] = function(key) return "v", nil, nil, tonumber(key) end },
      script = [[ local m = require "moonmilter.map".open("tcp:h:1", { timeout = 2 })
      function on_mail(ctx, sender) local v, _, code = m:get(sender) return ctx:reject(550, "5.7.1", v or code) end ]] }
    finally(function() mta:close() end)
    assert.equal("v", mta:message { from = "1" }.text)
    assert.equal("timeout", mta:message { from = "3" }.text)
  end)

  it("asks no service that the test does not name", function()
    local why = select(2, pcall(testing.load_error, 'require "moonmilter.map".open "tcp:127.0.0.1:1"'))
    assert.matches("this test has no answers for tcp:127.0.0.1:1; give map = ", why)
  end)

  it("lists what the test gives", function()
    local mta = testing.start { map = { ["list:/x"] = { a = "1", b = "2" } }, script = [[
      local m = require "moonmilter.map".open "list:/x"
      function on_mail(ctx) local n = 0 for _, v in m:all() do n = n + v end return ctx:reject(550, "5.7.1", "sum " .. n) end ]] }
    finally(function() mta:close() end)
    assert.equal("sum 3", mta:message().text)
  end)

  it("is real where it needs nobody", function()
    local mta = testing.start [[ local m = require "moonmilter.map".open "inline:{ a=1 }"
      function on_mail(ctx) return ctx:reject(550, "5.7.1", m:get "a") end ]]
    finally(function() mta:close() end)
    assert.equal("1", mta:message().text)
  end)
end)

describe("a map", function()
  it("checks its keys", function()
    assert.matches("get: the key is a nil; it must be a string", raised [[map.open "inline:{a=b}":get()]])
    assert.equal("nil|a key of 70000 bytes; maps have keys of up to 65536|bad_key",
      run [[return show(map.open "inline:{a=b}":get(("x"):rep(70000)))]])
  end)

  it("is closed for good", function()
    assert.matches("get: the map inline:{a=b} is closed", raised [[local m = map.open "inline:{a=b}" m:close() m:close() m:get "a"]])
  end)
end)
