-- Examples that ask maps: real files with what a postmaster has in them, and maps that fail. Each with what it accepts,
-- what it refuses, and what it does while nobody knows.
local process = require "spec.support.process"
local testing = require "moonmilter.testing"

local directory
local running = {} -- hosts of this test

setup(function() directory = process.directory() end)
after_each(function()
  for _, mta in ipairs(running) do
    mta:close()
  end
  running = {}
end)
teardown(function() process.run("rm -rf " .. directory) end)

local function write(name, text)
  local path = directory .. "/" .. name
  process.write_file(path, text)
  return path
end

local function start(name, options)
  options.scripts = { "examples/" .. name }
  running[#running + 1] = testing.start(options)
  return running[#running]
end

local function login(mta, user)
  local other = mta:another()
  other:connect { auth = user }
  return other
end

describe("recipient-verification.lua", function()
  local function settings(...)
    return { domains = { "Example.com" }, recipients = { ... } }
  end

  local function rcpt(mta, recipient)
    mta:mail "ann@example.org"
    local reply = mta:rcpt(recipient)
    mta:abort()
    return reply.smtp or reply.verdict
  end

  it("refuses what no table has, in our domains", function()
    local mta = start("recipient-verification.lua", { settings = settings(
      "texthash:" .. write("recipients", "# people\nbob@example.com OK\npostmaster OK\n"),
      "list:" .. write("lists", "news@example.com\n")) })
    for _, known in ipairs { "bob@example.com", "BOB@EXAMPLE.COM", "bob+cats@example.com", "news@example.com",
      "postmaster@example.com", "bob@example.com." } do
      assert.equal("continue", rcpt(mta, known), known)
    end
    for _, unknown in ipairs { "eve@example.com", "eve@EXAMPLE.com", "eve@example.com.", "bobby@example.com",
      '"bob@example.com"@example.com' } do
      assert.equal("550 5.1.1 There is no such mailbox", rcpt(mta, unknown), unknown)
    end
    for _, elsewhere in ipairs { "eve@example.net", "eve@sub.example.com", "postmaster" } do
      assert.equal("continue", rcpt(mta, elsewhere), elsewhere)
    end
    assert.same({}, mta:complaints())
  end)

  it("never takes a table that cannot be asked for a no", function()
    for _, code in ipairs { "down", "timeout", "bad_answer", "limit", "bad_key" } do
      local mta = start("recipient-verification.lua", { settings = settings(
        "texthash:" .. write("recipients", "bob@example.com OK\n"), "pgsql:/users.cf"),
        map = { ["pgsql:/users.cf"] = code } })
      assert.equal("continue", rcpt(mta, "bob@example.com"))
      assert.matches("^451 4%.3%.0 Mailboxes cannot", rcpt(mta, "eve@example.com"), code)
      assert.equal(1, #mta:complaints())
      assert.equal("continue", rcpt(mta, "eve@example.net"))
    end
  end)

  it("does not load with a table that is not there", function()
    assert.matches("no%-such%-file", testing.load_error { scripts = "examples/recipient-verification.lua",
      settings = settings("texthash:" .. directory .. "/no-such-file") })
  end)
end)

describe("sender-login.lua", function()
  local TABLE = "ann@example.org ann, office\ninfo@example.org\tann  ben\n@shop.example  ben\nnobody@example.org ,\n"

  local function headers(from) return { { "From", from }, { "To", "bob@example.com" } } end

  local function mail(mta, sender, from)
    local result = mta:message { from = sender, headers = headers(from or sender) }
    return result.verdict == "accept" and "accept" or result.smtp
  end

  it("lets a login use what it owns", function()
    local mta = start("sender-login.lua", { settings = { logins = "texthash:" .. write("logins", TABLE) } })
    local ann, ben = login(mta, "ann"), login(mta, "Ben")
    assert.equal("accept", ann:message { from = "ann@example.org", headers = headers "Ann <Ann@Example.org>" }.verdict)
    assert.equal("accept", ann:message { from = "ann+x@example.org", headers = headers "info@example.org" }.verdict)
    assert.equal("accept", ben:message { from = "any@shop.example", headers = headers "info@example.org" }.verdict)
    assert.equal("accept", ben:message { from = "", headers = headers "any@shop.example" }.verdict)
    assert.equal("accept", mta:message { from = "ann@example.org", headers = headers "ann@example.org" }.verdict)
    assert.same({}, mta:complaints())
  end)

  it("refuses what belongs to others or to nobody", function()
    local mta = start("sender-login.lua", { settings = { logins = "texthash:" .. write("logins", TABLE) } })
    local cases = { ben = { "ann@example.org", "eve@example.org", "nobody@example.org", "ben@sub.shop.example" },
      ann = { '"ann@example.org"@elsewhere.example', '"@shop.example"@elsewhere.example' }, nn = { "ann@example.org" },
      ["ann,"] = { "ann@example.org" } }
    for user, senders in pairs(cases) do
      for _, sender in ipairs(senders) do
        assert.equal(("553 5.7.1 %s is not an address of your account"):format(sender),
          mail(login(mta, user), sender), user)
      end
    end
    local ann = login(mta, "ann")
    assert.equal("550 5.7.1 From: ceo@example.org is not an address of your account",
      mail(ann, "ann@example.org", "ann@example.org, ceo@example.org"))
    assert.equal("550 5.7.1 From cannot be read", mail(ann, "ann@example.org", "ann@example.org ceo@example.org"))
    assert.equal("550 5.7.1 From: ceo@example.org is not an address of your account", mail(ann, "", "ceo@example.org"))
  end)

  it("defers while nobody knows, in MAIL and at From", function()
    local logins = function(key)
      if key == "ann@example.org" then
        return "ann"
      end
      return nil, "no answer", "timeout"
    end
    local mta = start("sender-login.lua", { settings = { logins = "ldap:/logins.cf" },
      map = { ["ldap:/logins.cf"] = logins } })
    local ann = login(mta, "ann")
    assert.equal("accept", mail(ann, "ann@example.org"))
    assert.matches("^451 4%.3%.0 Senders cannot", mail(ann, "info@example.org"))
    assert.matches("^451 4%.3%.0 Senders cannot", mail(ann, "ann@example.org", "info@example.org"))
    assert.equal(2, #mta:complaints())
    assert.equal("accept", mta:message { from = "info@example.org", headers = headers "info@example.org" }.verdict)
  end)
end)

describe("block-list-forms.lua", function()
  local WEB = "https://lists.example/drop.txt#cidr"

  local function world(file, zone_answers, drop)
    return { settings = { zone = "bl.example", file = "cidr:" .. write("clients", file), web = WEB },
      dns = zone_answers, map = { [WEB] = drop } }
  end

  local function listed(code) return { ["1.2.0.192.bl.example"] = { A = { code } } } end

  local NOTHING = "203.0.113.0/24 5\n"

  it("adds up what the forms say, and refuses or marks", function()
    local cases = {
      { NOTHING, {}, {}, nil },
      { NOTHING, listed "127.0.0.10", {}, "bl.example +2" },
      { NOTHING, listed "127.0.0.2", {}, "bl.example +4" },
      { NOTHING, {}, { ["192.0.2.1"] = "SBL1" }, "web +3" },
      { NOTHING, {}, { ["192.0.2.1"] = "-99" }, "web +3" }, -- others do not say what their list weighs
      { "192.0.2.0/24 1\n", {}, { ["192.0.2.1"] = "SBL1" }, "file +1, web +3" },
      { NOTHING, listed "127.0.0.10", { ["192.0.2.1"] = "SBL1" }, "refused" },
      { "192.0.2.0/24 5\n", {}, {}, "refused" },
      { "192.0.2.0/24 spammers\n", {}, {}, "refused" },
      { "192.0.2.1 -9\n", listed "127.0.0.2", { ["192.0.2.1"] = "SBL1" }, nil }, -- one that we trust
    }
    for i, case in ipairs(cases) do
      local file, zone, drop, outcome = unpack(case, 1, 4)
      local mta = start("block-list-forms.lua", world(file, zone, drop))
      local result = mta:message { headers = { { "From", "ann@example.org" }, { "X-Block-List", "forged" } } }
      if outcome == "refused" then
        assert.equal("550 5.7.1 192.0.2.1 is on a block list", result.smtp, i)
      else
        assert.equal("accept", result.verdict, i)
        assert.equal(outcome, result.message:get "X-Block-List", i)
      end
      assert.same({}, mta:complaints())
    end
  end)

  it("asks about no user of ours, and about no local program", function()
    local mta = start("block-list-forms.lua", world("192.0.2.0/24 5\n", listed "127.0.0.2", {}))
    assert.equal("accept", login(mta, "ann"):message().verdict)
    local other = mta:another()
    other:connect { ip = "/run/program.sock" }
    assert.equal("accept", other:message().verdict)
    assert.same({}, mta:asked "dns")
  end)

  it("never takes a form that fails for a listing, and counts the others", function()
    for answer, why in pairs { ["timeout"] = "bl%.example: ", ["servfail"] = "bl%.example: " } do
      local mta = start("block-list-forms.lua", world(NOTHING, { ["1.2.0.192.bl.example"] = answer }, "down"))
      assert.equal("accept", mta:message().verdict)
      assert.matches(why, table.concat(mta:complaints(), "\n"))
      assert.matches("web: ", table.concat(mta:complaints(), "\n"))
    end
    for _, code in ipairs { "127.255.255.254", "127.0.0.1", "203.0.113.7" } do
      local mta = start("block-list-forms.lua", world(NOTHING, listed(code), {}))
      assert.equal("accept", mta:message().verdict, code)
      assert.equal(1, #mta:complaints())
    end
    local mta = start("block-list-forms.lua", world("192.0.2.0/24 5\n", listed "127.255.255.254", "timeout"))
    assert.matches("^550 5%.7%.1", mta:message().smtp)
  end)
end)

describe("domain-settings.lua", function()
  local RULES = [[ {
    "example.com": { "max_size": 1000, "mark": "com" },
    "ann@example.com": { "mark": "ann" },
    "example.net": { "max_size": 100, "mark": "net" },
    "tls.example": { "tls": true },
    ".example.org": { "mark": "below" },
    "typo.example": { "maxsize": 1 },
    "type.example": { "max_size": "10 MB" },
    "text.example": "strict",
    "list.example": [ 1 ]
  } ]]

  local mta
  before_each(function()
    mta = start("domain-settings.lua", { settings = { rules = "json:" .. write("rules.json", RULES) } })
  end)

  local function send(size, ...)
    return mta:message { to = { ... }, headers = { { "From", "ann@example.org" }, { "X-Mark", "forged" } },
      body = ("x"):rep(size - 2) .. "\r\n" }
  end

  it("holds a message to the strictest limit of its recipients", function()
    assert.equal("accept", send(1000, "bob@example.com").verdict)
    assert.equal("552 5.3.4 One of the recipients takes messages up to 1000 bytes", send(1001, "bob@example.com").smtp)
    for _, to in ipairs { { "bob@example.com", "bob@example.net" }, { "bob@example.net", "bob@example.com" } } do
      assert.equal("accept", send(100, unpack(to)).verdict)
      assert.equal("552 5.3.4 One of the recipients takes messages up to 100 bytes", send(101, unpack(to)).smtp)
    end
    assert.equal("accept", send(5000, "ann@example.com").verdict) -- the rule of the mailbox counts alone
    assert.equal("accept", send(5000, "eve@elsewhere.example").verdict)
    assert.same({}, mta:complaints())
  end)

  it("marks a message for the first recipient that has a mark", function()
    assert.equal("com", send(9, "eve@elsewhere.example", "bob@example.com", "bob@example.net").message:get "X-Mark")
    assert.equal("net", send(9, "bob@example.net", "bob@example.com").message:get "X-Mark")
    assert.equal("ann", send(9, "Ann+x@EXAMPLE.com").message:get "X-Mark")
    assert.equal("below", send(9, "bob@a.b.example.org").message:get "X-Mark")
    assert.is_nil(send(9, "bob@example.org").message:get "X-Mark")
  end)

  it("refuses a recipient alone where that can be done", function()
    local result = send(9, "bob@tls.example", "bob@example.com")
    assert.equal("550 5.7.10 This domain takes mail over TLS only", result.refused["<bob@tls.example>"].smtp)
    assert.same({ "<bob@example.com>" }, result.recipients)
    local other = mta:another()
    other:connect { tls = true }
    assert.same({ "<bob@tls.example>" }, other:message { to = { "bob@tls.example" } }.recipients)
  end)

  it("defers a recipient whose rules have a mistake or cannot be asked, and no other", function()
    for _, domain in ipairs { "typo", "type", "text", "list" } do
      local to = ("bob@%s.example"):format(domain)
      local result = send(9, to, "bob@example.com")
      assert.matches("^451 4%.3%.0 The rules", result.refused["<" .. to .. ">"].smtp)
      assert.same({ "<bob@example.com>" }, result.recipients)
    end
    assert.equal(4, #mta:complaints())
    assert.matches("typo%.example: maxsize is no rule", mta:complaints()[1])
    local away = start("domain-settings.lua", { settings = { rules = "redis:hget:rules" },
      map = { ["redis:hget:rules"] = "down" } })
    away:mail "ann@example.org"
    assert.matches("^451 4%.3%.0 The rules", away:rcpt("bob@example.com").smtp)
  end)
end)
