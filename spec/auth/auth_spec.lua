-- moonmilter.auth in whole sessions: what a script sees, what the message gets, and that nothing an attacker writes
-- reaches Authentication-Results as it came.
local authres = require "moonmilter.authres"
local stamp = require "moonmilter.identity.stamp"
local sealed = require "spec.support.sealed"
local testing = require "moonmilter.testing"

local SHOW = [[
local auth = require "moonmilter.auth"
function on_eom(ctx)
  local r = auth.check(ctx, %s)
  auth.stamp(ctx, r)
  local found = {}
  for _, s in ipairs(r.dkim or {}) do found[#found + 1] = s.result .. " " .. (s.domain or "?") end
  ctx:add_header("X-Dkim", table.concat(found, ", "))
  ctx:add_header("X-Spf", (r.spf or {}).result or "not asked")
  ctx:add_header("X-Helo", (r.helo or {}).result or "not asked")
  ctx:add_header("X-Dmarc", r.dmarc and r.dmarc.result .. " " .. r.dmarc.disposition or "not asked")
  ctx:add_header("X-List", tostring(r.is_list))
end
]]

local function start(options)
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

local function check(domain, message, options)
  options = options or {}
  local mta = start { script = options.script or SHOW:format(options.check or "nil"), dns = options.dns or domain.dns,
    mta = options.mta, set = options.set }
  if options.client then
    mta:connect(options.client)
  end
  if options.helo then
    mta:helo(options.helo)
  end
  local reply = mta:message(message)
  assert.same({}, mta:complaints())
  assert.equal("accept", reply.verdict, tostring(reply))
  local found = {}
  for _, name in ipairs { "Dkim", "Spf", "Helo", "Dmarc", "List" } do
    found[name:lower()] = reply.message:get("X-" .. name)
  end
  found.field = reply.message:get "Authentication-Results"
  return found, reply, mta
end

local function methods_of(value)
  local list = {}
  for _, result in ipairs(assert(authres.parse(value)).results) do
    list[#list + 1] = result.method .. "=" .. result.result
  end
  return table.concat(list, " ")
end

describe("auth.check", function()
  for _, key in ipairs { "ed25519", "rsa" } do
    for _, mta in ipairs { "postfix", "sendmail" } do
      it(("finds a message signed by example.org, %s, from %s"):format(key, mta), function()
        local domain = testing.domain("example.org", { key = key })
        local found = check(domain, domain:sign { headers = { Subject = "hello", To = "bob@example.com" } },
          { mta = mta })
        assert.same({ "pass example.org", "pass", "none", "pass none", "false" },
          { found.dkim, found.spf, found.helo, found.dmarc, found.list })
        assert.equal("spf=pass spf=none dkim=pass dmarc=pass", methods_of(found.field))
      end)
    end
  end

  it("finds a body that was changed, and what the owner asks for", function()
    local domain = testing.domain("example.org", { spf = false })
    local message = domain:sign()
    message.body = "other\r\n"
    local found = check(domain, message)
    assert.same({ "fail example.org", "none", "fail reject" }, { found.dkim, found.spf, found.dmarc })
  end)

  it("looks at the message as it came, whatever scripts did to it before", function()
    local domain = testing.domain("example.org", { spf = false })
    local script = [[
      function on_eoh(ctx)
        ctx.headers:field("Subject"):set "changed"
        ctx.headers:field("From"):set "Eve <eve@evil.example>"
        ctx:insert_header(0, "From", "eve@evil.example")
        ctx:replace_body "another\r\n"
      end
    ]] .. SHOW:format "nil"
    local found = check(domain, domain:sign { headers = { Subject = "hello" } }, { script = script })
    assert.same({ "pass example.org", "pass none" }, { found.dkim, found.dmarc })
  end)

  it("holds at every split of the bytes", function()
    local domain = testing.domain "example.org"
    local message = domain:sign { headers = { Subject = " odd  spacing\n\there " },
      body = "a \t b\r\n\r\n x\r\n\r\n\r\n" }
    testing.explore({ script = SHOW:format "nil", dns = domain.dns }, function(mta)
      local reply = mta:message(message)
      assert.equal("pass example.org", reply.message:get "X-Dkim")
    end, 60)
  end)

  it("finds nothing where nothing is published or signed", function()
    local found = check(nil, { from = "ann@plain.example" }, { dns = {} })
    assert.same({ "", "none", "none", "none none" }, { found.dkim, found.spf, found.helo, found.dmarc })
    assert.equal("spf=none spf=none dkim=none dmarc=none", methods_of(found.field))
  end)

  it("does not turn a DNS error into a fail", function()
    for _, code in ipairs { "servfail", "timeout", "refused", "unreachable", "badanswer", "busy", "memory" } do
      local domain = testing.domain "example.org"
      local found = check(domain, domain:sign(), { dns = function() return nil, "no luck", code end })
      assert.same({ "temperror example.org", "temperror", "temperror", "temperror none" },
        { found.dkim, found.spf, found.helo, found.dmarc }, code)
    end
  end)

  it("does not turn a DNS error about the key into a fail of DMARC", function()
    local domain = testing.domain("example.org", { spf = "-all" })
    domain.dns["test._domainkey.example.org"] = "servfail"
    local found = check(domain, domain:sign())
    assert.same({ "temperror example.org", "fail", "temperror none" }, { found.dkim, found.spf, found.dmarc })
  end)

  it("passes with one aligned identifier, whatever DNS does to the other", function()
    local domain = testing.domain "example.org"
    domain.dns["test._domainkey.example.org"] = "timeout"
    local found = check(domain, domain:sign())
    assert.same({ "temperror example.org", "pass", "pass none" }, { found.dkim, found.spf, found.dmarc })
  end)

  it("gives up at its time-out, and before the deadline of the stage", function()
    local domain = testing.domain "example.org"
    local slow = function(name, kind)
      local entry = domain.dns[name]
      return entry and entry[kind], "none", "nodata", 100
    end
    for _, seconds in ipairs { 2, 1000 } do
      local mta = start { script = [[
        local auth = require "moonmilter.auth"
        local milter = require "moonmilter"
        function on_eom(ctx)
          local began = milter.now()
          local r = auth.check(ctx, { timeout = ]] .. seconds .. [[ })
          ctx:add_header("X-Seconds", tostring(milter.now() - began))
          ctx:add_header("X-Dmarc", r.dmarc.result)
        end
      ]], dns = slow }
      local reply = mta:message(domain:sign())
      assert.equal("accept", reply.verdict, tostring(reply))
      assert.equal("temperror", reply.message:get "X-Dmarc")
      assert.is_true(tonumber(reply.message:get "X-Seconds") <= math.min(seconds, 20) + 1)
    end
  end)

  it("gives up at its time-out while it asks for the keys of ARC, too", function()
    local list = sealed.domain "lists.example.net"
    local world = testing.dns(list, { ["_dmarc.example.org"] = { TXT = { "v=DMARC1; p=reject" } } })
    world["test._domainkey.lists.example.net"].delay = 100
    for _, call in ipairs { "auth.check(ctx, { arc = true, timeout = 2 }).arc", "auth.arc(ctx)" } do
      local mta = start { script = [[
        local auth = require "moonmilter.auth"
        local milter = require "moonmilter"
        function on_eom(ctx)
          local began = milter.now()
          local r = ]] .. call .. [[

          ctx:add_header("X-Arc", r.result .. " " .. tostring(milter.now() - began <= 21))
          ctx:add_header("X-Seconds", tostring(milter.now() - began))
        end
      ]], dns = world, set = { dns_timeout = 60 } }
      local reply = mta:message(sealed.message("lists.example.net", "dmarc=pass header.from=example.org"))
      assert.equal("accept", reply.verdict, tostring(reply))
      assert.equal("temperror true", reply.message:get "X-Arc")
      assert.is_true(call:find "arc%(" ~= nil or tonumber(reply.message:get "X-Seconds") <= 2.1)
      assert.same({}, mta:complaints())
    end
  end)

  it("has no fail for a header that is larger than what the host keeps, but permerror", function()
    local domain = testing.domain "example.org"
    local message = domain:sign()
    for _, field in ipairs(sealed.message("lists.example.net", "none").headers) do
      message.headers[#message.headers + 1] = field[1]:find "^ARC" and field or nil
    end
    for _ = 1, 16384 do
      message.headers[#message.headers + 1] = { "X", "y" }
    end
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      local log = require "moonmilter.log"
      function on_eom(ctx)
        local r = auth.check(ctx, { arc = true })
        log.info("found: spf=%s dkim=%s dmarc=%s %s arc=%s", r.spf.result, r.dkim[1].result, r.dmarc.result,
          r.dmarc.disposition, r.arc.result)
      end
    ]], dns = testing.dns(domain, sealed.domain "lists.example.net") }
    assert.equal("accept", mta:message(message).verdict)
    assert.same(1, #mta:log "found: spf=pass dkim=permerror dmarc=permerror none arc=permerror", mta:log("found")[1])
  end)

  it("checks the HELO of the null sender as its SPF identity", function()
    local domain = testing.domain "example.org"
    local found = check(domain, { from = "", headers = { From = "postmaster@example.org" } }, { helo = "example.org" })
    assert.same({ "pass", "not asked", "pass none" }, { found.spf, found.helo, found.dmarc })
    assert.truthy(found.field:find("smtp.helo=example.org", 1, true))
  end)

  it("does not let HELO authenticate From when there is a sender", function()
    local domain = testing.domain "example.org"
    local found = check(domain, { from = "eve@evil.example", headers = { From = "ann@example.org" } },
      { helo = "example.org" })
    assert.same({ "none", "pass", "fail reject" }, { found.spf, found.helo, found.dmarc })
  end)

  it("judges no message with two From, one of them perhaps spelled oddly", function()
    local domain = testing.domain "example.org"
    for _, name in ipairs { "From", "FROM", "from" } do
      local message = domain:sign()
      table.insert(message.headers, 1, { name, "Eve <eve@evil.example>" })
      local found = check(domain, message)
      assert.equal("permerror none", found.dmarc, name)
      assert.equal("fail example.org", found.dkim) -- From is signed twice, so that none can be added
    end
  end)

  it("says that a mailing list has sent it", function()
    local found = check(nil, { headers = { From = "a@b.example", ["List-Id"] = "<l.b.example>" } }, { dns = {} })
    assert.equal("true", found.list)
  end)

  it("leaves out what is not wanted", function()
    local domain = testing.domain "example.org"
    local found = check(domain, domain:sign(), { check = "{ spf = false, dkim = false }" })
    assert.same({ "", "not asked", "not asked", "pass none" }, { found.dkim, found.spf, found.helo, found.dmarc })
    assert.equal("dmarc=pass", methods_of(found.field))
    found = check(domain, domain:sign(), { check = "{ dmarc = false }" })
    assert.same({ "pass example.org", "not asked" }, { found.dkim, found.dmarc })
  end)

  it("judges the chain of ARC sets if it is asked to", function()
    local domain = testing.domain "example.org"
    local found = check(domain, domain:sign(), { check = "{ arc = true }" })
    assert.equal("spf=pass spf=none dkim=pass dmarc=pass arc=none", methods_of(found.field))
    local message = domain:sign()
    table.insert(message.headers, 1, { "ARC-Seal", "i=1; a=rsa-sha256; cv=none; d=example.org; s=test; b=YQ==" })
    found = check(domain, message, { check = "{ arc = true }" })
    assert.equal("spf=pass spf=none dkim=pass dmarc=pass arc=fail", methods_of(found.field))
  end)

  it("asks for SPF at MAIL, and for keys and policy at the end of the header", function()
    local domain = testing.domain "example.org"
    local mta = start { script = SHOW:format "nil", dns = domain.dns }
    local function asked(name)
      for _, question in ipairs(mta:asked "dns") do
        if question[1] == name then
          return true
        end
      end
      return false
    end
    local message = domain:sign()
    mta:mail(message.from)
    mta:pass(0.01) -- the MTA expects no answer here, so only the loop runs the task
    assert.is_true(asked "example.org")
    mta:rcpt()
    assert.is_false(asked "test._domainkey.example.org")
    for _, field in ipairs(message.headers) do
      mta:header(field[1], field[2])
    end
    mta:eoh()
    mta:pass(0.01)
    assert.is_true(asked "test._domainkey.example.org")
    assert.is_true(asked "_dmarc.example.org")
    local count = #mta:asked "dns"
    mta:body(message.body)
    assert.equal("pass none", mta:eom().message:get "X-Dmarc")
    assert.equal(count, #mta:asked "dns") -- and nothing twice
  end)

  it("asks nothing for a script that checks nothing, nor before a user of ours asks", function()
    local domain = testing.domain "example.org"
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      function on_eom(ctx) ctx:add_header("X", type(auth)) end
    ]], dns = domain.dns }
    mta:message(domain:sign())
    assert.same({}, mta:asked "dns")
    mta = start { script = SHOW:format "nil", dns = domain.dns }
    mta:connect { auth = "ann" }
    mta:mail "ann@example.org"
    mta:pass(0.01)
    assert.same({}, mta:asked "dns")
  end)

  it("needs the end of the message, and says so", function()
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      function on_eoh(ctx) auth.check(ctx) end
    ]] }
    assert.equal("tempfail", mta:message({}).verdict)
    assert.truthy(mta:complaints()[1]:find("call it in on_eom", 1, true))
    assert.truthy(mta:complaints()[1]:find("script:2", 1, true) or mta:complaints()[1]:find(":2:", 1, true))
  end)

  it("names an option that it does not know", function()
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      function on_eom(ctx) auth.check(ctx, { dmark = true }) end
    ]] }
    mta:message {}
    assert.truthy(mta:complaints()[1]:find("unknown option \\\"dmark\\\"", 1, true)
      or mta:complaints()[1]:find('unknown option "dmark"', 1, true), mta:complaints()[1])
  end)
end)

-- In the middle of each wait of auth.check the MTA gives up the message, or goes away.
describe("auth.check whose MTA hangs up", function()
  local MESSAGES = 300
  local SCRIPT = [[
    local auth = require "moonmilter.auth"
    local log = require "moonmilter.log"
    local ended, begun, alive = {}, 0, setmetatable({}, { __mode = "k" })
    function on_eom(ctx)
      begun = begun + 1
      alive[coroutine.running()] = true
      local ok, r = xpcall(function() return auth.check(ctx, { arc = true }) end, function(e)
        return { error = e, where = debug.traceback() }
      end)
      if not ok then
        local place = r.where:match "check_%l+"
        ended[place or "?"] = (ended[place or "?"] or 0) + 1
        error(r.error, 0)
      end
      ctx:add_header("X-Found", r.spf.result .. " " .. r.dkim[1].result .. " " .. r.dmarc.result)
    end
    function on_unknown()
      collectgarbage() collectgarbage()
      local count = 0
      for _ in pairs(alive) do count = count + 1 end
      for place, times in pairs(ended) do log.info("ended in %s: %d", place, times) end
      log.info("report: %d begun, %d alive, %d KiB", begun, count, collectgarbage "count")
    end
  ]]

  -- What is silent until the test lets it speak.
  local SILENT = { SPF = "^example%.org$", ["a key look-up"] = "_domainkey", ["the walk of DMARC"] = "^_dmarc" }
  local PLACES = { SPF = "check_spf", ["a key look-up"] = "check_dkim", ["the walk of DMARC"] = "check_dmarc" }

  local function begin(mta, message)
    mta:mail(message.from)
    mta:rcpt "bob@example.com"
    mta:data()
    for _, field in ipairs(message.headers) do
      mta:header(field[1], field[2])
    end
    mta:eoh()
    mta:body(message.body)
    mta.player:play "eom"
    mta:feed(mta.player:take())
  end

  local function report(mta)
    mta:unknown "REPORT"
    local lines = mta:log "report: "
    local begun, alive, kib = lines[#lines]:match "report: (%d+) begun, (%d+) alive, (%d+) KiB"
    return tonumber(begun), tonumber(alive), tonumber(kib)
  end

  for what, pattern in pairs(SILENT) do
    for _, how in ipairs { "abort", "vanish" } do
      it(("%s: %s"):format(what, how), function()
        local domain, is_silent = testing.domain "example.org", true
        local mta = start { script = SCRIPT, dns = function(name, kind)
          local entry = domain.dns[name]
          local delay = is_silent and name:find(pattern) and 4 or 0
          if entry and entry[kind] then
            return entry[kind], nil, nil, delay
          end
          return nil, "none", "nodata", delay
        end }
        local message, first = domain:sign(), nil
        for i = 1, MESSAGES do
          begin(mta, message)
          for _ = 1, 5 do
            mta.owner:turn(0)
          end
          mta[how](mta)
          if how == "vanish" then
            mta:connect()
          end
          first = first or i == MESSAGES / 3 and { report(mta) }
        end
        is_silent = false
        local reply = mta:message(message)
        assert.equal("pass pass pass", reply.message:get "X-Found")
        assert.same({}, mta:complaints())
        local begun, alive, kib = report(mta)
        assert.equal(MESSAGES + 1, begun)
        assert.is_true(#mta:log(("ended in %s: %d"):format(PLACES[what], MESSAGES)) > 0, mta:log("ended")[1])
        assert.is_true(alive <= 2, alive .. " coroutines are left")
        assert.is_true(kib < first[3] + 200, ("%d KiB, %d KiB before"):format(kib, first[3]))
      end)
    end
  end
end)

describe("auth.spf, auth.dkim and auth.dmarc", function()
  it("give the same one by one, SPF already at MAIL", function()
    local domain = testing.domain "example.org"
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      local log = require "moonmilter.log"
      function on_mail(ctx) ctx.message.spf = auth.spf(ctx).result .. " " .. auth.helo(ctx).result end
      function on_eom(ctx)
        ctx:add_header("X", ctx.message.spf .. " " .. auth.dkim(ctx)[1].result .. " " .. auth.dmarc(ctx).result)
      end
    ]], dns = domain.dns }
    assert.equal("pass none pass pass", mta:message(domain:sign()).message:get "X")
    assert.equal("pass none pass pass", mta:message(domain:sign()).message:get "X") -- nothing left of the first
  end)
end)

describe("auth.stamp", function()
  it("puts one field above all, in place of those that claim to be ours", function()
    local domain = testing.domain "example.org"
    local message = domain:sign()
    for _, field in ipairs {
      { "Authentication-Results", "mx.example.net; dmarc=pass header.from=bank.example" },
      { "Authentication-Results", "other.example; spf=pass smtp.mailfrom=x" },
      { "authentication-results", '"mx.example.net" 1; dkim=pass header.d=bank.example' },
    } do
      message.headers[#message.headers + 1] = field
    end
    local _, reply = check(domain, message)
    assert.equal("Authentication-Results", reply.message.headers[1][1])
    local all = reply.message:all "Authentication-Results"
    assert.equal(2, #all)
    assert.is_nil(all[1]:find("bank", 1, true))
    assert.equal("other.example; spf=pass smtp.mailfrom=x", all[2])
  end)

  it("takes an id, or several of a cluster", function()
    local script = [[
      local auth = require "moonmilter.auth"
      function on_eom(ctx) auth.stamp(ctx, auth.check(ctx), { id = { "a.example", "b.example" } }) end
    ]]
    local _, reply = check(nil, { headers = { { "Authentication-Results", "b.example; spf=pass" },
      { "From", "a@b.example" } } }, { script = script, dns = {} })
    local all = reply.message:all "Authentication-Results"
    assert.equal(1, #all)
    assert.equal("a.example", authres.parse(all[1]).authserv_id)
  end)

  it("says why in comments, if it is asked to", function()
    local script = [[
      local auth = require "moonmilter.auth"
      function on_eom(ctx) auth.stamp(ctx, auth.check(ctx), { comments = true }) end
    ]]
    local domain = testing.domain("example.org", { spf = "-all" })
    local found = check(domain, { headers = { From = "a@example.org" }, from = "a@example.org" }, { script = script })
    local results = authres.parse(found.field).results
    assert.truthy(results[1].comment:find("-all", 1, true))
    assert.truthy(results[#results].comment:find "^nothing%s+authenticates")
  end)
end)

-- Everything that comes from the network, with every byte at the beginning, inside and at the end.
describe("nothing from the network is in the field as it came:", function()
  local FORGED = { "; dmarc=pass header.from=bank.example", "\r\nX-Spam: no", "\n\tdkim=pass",
    '" dkim=pass header.d="bank' }

  local function list(type, values)
    local properties = {}
    for name, value in pairs(values) do
      properties[#properties + 1] = { type = type, property = name, value = value }
    end
    return properties
  end

  local function value_of(place, text)
    local r = {
      spf = { result = "fail", properties = list("smtp", { mailfrom = "ann@x.example" }) },
      helo = { result = "none", properties = list("smtp", { helo = "x.example" }) },
      dkim = { { result = "fail", properties = list("header", { d = "x.example", i = "@x.example", s = "s",
        a = "rsa-sha256", b = "abc" }) } },
      dmarc = { result = "fail", properties = list("header", { from = "x.example" }) },
    }
    for _, found in ipairs { r.spf, r.helo, r.dkim[1], r.dmarc } do
      for _, property in ipairs(found.properties) do
        property.value = property.property == place and text or property.value
      end
      found.reason = place == "reason" and text or found.reason
    end
    return stamp.value(r, "mx.example", place == "reason")
  end

  local function is_harmless(value, shown)
    assert.is_nil(value:gsub("\n[ \t]", " "):find "[^ -~]", shown)
    assert.equal("spf=fail spf=none dkim=fail dmarc=fail", methods_of(value), shown)
    assert.is_nil(authres.parse(value).defects, shown)
    -- and for a reader that knows neither quotes nor comments
    local _, count = value:gsub(";", "")
    assert.equal(4, count, shown)
    assert.is_nil(value:find("dmarc=pass", 1, true), shown)
    assert.is_nil(value:find("dkim=pass", 1, true), shown)
  end

  for _, place in ipairs { "mailfrom", "helo", "d", "i", "s", "a", "b", "from", "reason" } do
    it(place, function()
      for byte = 0, 255 do
        local c = string.char(byte)
        for _, text in ipairs { c .. "x.example", "ann@x" .. c .. ".example", "x.example" .. c,
          "a" .. c .. "n@x.example", c .. FORGED[byte % #FORGED + 1] } do
          is_harmless(value_of(place, text), ("%s %q"):format(place, text))
        end
      end
      for _, text in ipairs(FORGED) do
        is_harmless(value_of(place, ("x"):rep(2000) .. text), place)
        is_harmless(value_of(place, "bank.example" .. text), place)
      end
      is_harmless(value_of(place, ""), place)
    end)
  end

  it("of a whole session, HELO, sender, i= and s=", function()
    local domain = testing.domain "example.org"
    for _, text in ipairs { "x;dmarc=pass", "x(dmarc=pass", 'x"dkim=pass', "x\\", "x'y", "x)y", "x\1y", "x\255y",
      "x\226\128\174y" } do
      local message = domain:sign()
      message.from = text .. "@x.example"
      local tag = text:gsub(";", "")
      table.insert(message.headers, { "DKIM-Signature", ("v=1; a=rsa-sha256; d=x.example; s=%s; i=%s@x.example; "
        .. "h=from; bh=YQ==; b=YQ=="):format(tag, tag) })
      local found = check(domain, message, { helo = text .. ".example" })
      assert.truthy(methods_of(found.field):find "^spf=%w+ spf=%w+ dkim=pass dkim=%w+ dmarc=pass$", found.field)
      assert.is_nil(found.field:gsub("\n[ \t]", " "):find "[^ -~]")
      assert.is_nil(found.field:find "[;(]dmarc=pass")
    end
  end)
end)

describe("auth.row", function()
  it("has all that an aggregate report says of a message (RFC 9990)", function()
    local domain = testing.domain("example.org", { dmarc = "p=reject; sp=none; fo=1:d; t=y; "
      .. "rua=mailto:a@x.example,mailto:b@x.example" })
    local message = domain:sign { to = { "bob@example.com", "eve@example.net", "al@example.com" } }
    table.insert(message.headers, { "DKIM-Signature", "v=1; a=rsa-sha256; d=x,y.example; s=s,t; h=from; bh=YQ==; "
      .. "b=YQ==" })
    local mta = start { script = [[
      local auth = require "moonmilter.auth"
      function on_eom(ctx)
        for name, value in pairs(auth.row(ctx, auth.check(ctx))) do
          ctx:add_header("X-" .. name, tostring(value))
        end
      end
    ]], dns = domain.dns }
    local got = mta:message(message).message
    local wanted = {
      source_ip = "192.0.2.1", helo = "client.example.org", envelope_from = "example.org",
      envelope_to = "example.com,example.net", header_from = "example.org", policy_domain = "example.org",
      policy_discovery = "treewalk", p = "reject", sp = "none", np = "none", adkim = "r", aspf = "r", fo = "1:d",
      testing = "y", rua = "mailto:a@x.example,mailto:b@x.example", dmarc = "pass", disposition = "none",
      organization = "example.org", dmarc_dkim = "pass", dmarc_spf = "pass", dkim_domain = "example.org,",
      spf = "pass", spf_domain = "example.org", spf_scope = "mfrom", helo_spf = "none", is_list = "false",
    }
    for name, value in pairs(wanted) do
      assert.equal(value, got:get("X-" .. name), name)
    end
    assert.equal("pass,permerror", got:get "X-dkim")
    assert.truthy(got:get("X-dkim_selector"):find "^test,[^,]*$")
    assert.truthy(got:get "X-queue_id")
    assert.truthy(got:get "X-dmarc_reason")
  end)
end)
