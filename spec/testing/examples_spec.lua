-- Every example works with moonmilter.testing alone: as Postfix and as Sendmail, at every split, after every message
-- given up, and message after message.
local sealed = require "spec.support.sealed"
local testing = require "moonmilter.testing"

local TEXT = { { "From", "Ann <ann@example.org>" }, { "To", "bob@example.com" }, { "Subject", "hello" },
  { "Content-Type", "text/plain; charset=utf-8" } }

local function headers(...)
  local list = {}
  for i, field in ipairs(TEXT) do
    list[i] = field
  end
  for _, field in ipairs { ... } do
    list[#list + 1] = field
  end
  return list
end

-- A clamd in place of the socket to a real one.
local CLAMD = [[
  local socket = require "host:moonmilter.socket"
  function socket.connect()
    local stream = ""
    return {
      send = function(_, bytes) stream = stream .. bytes return #bytes end,
      receive = function() return stream:find("virus", 1, true) and "stream: Eicar FOUND\0" or "stream: OK\0" end,
    }
  end
  return socket ]]

local NO_CLAMD = [[
  local socket = require "host:moonmilter.socket"
  function socket.connect() return nil, "connection refused", "refused" end
  return socket ]]

local MUTE_CLAMD = [[
  local socket = require "host:moonmilter.socket"
  function socket.connect()
    return { send = function(_, bytes) return #bytes end, receive = function() return nil, "timeout", "timeout", "" end }
  end
  return socket ]]

-- A table of keys with one for example.org. They are made once, for all splits.
local function key_table()
  local pem, path = require("moonmilter.seal").new_key "ed25519", os.tmpname()
  for name, text in pairs { [path .. ".key"] = pem, [path] = "example.org s2026 " .. path .. ".key\n" } do
    local file = assert(io.open(name, "w"))
    file:write(text)
    file:close()
  end
  require("posix.sys.stat").chmod(path .. ".key", tonumber("600", 8))
  return path
end

local KEYS, REPORTS = key_table(), os.tmpname()

-- Maps of these specs are asked as services, so that every lookup waits.
local RECIPIENTS, LOGINS, RULES = "pgsql:/users.cf", "ldap:/logins.cf", "redis:hget:rules"
local DROP = "https://lists.example/drop.txt#cidr"

-- A map that answers from a table, late.
local function slowly(entries)
  return function(key) return entries[key], nil, nil, 0.5 end
end

local BLOCK_LISTS = { zone = "bl.example", file = "inline:{ { 192.0.2.1 = 2 } }", web = DROP }
local ORG = testing.domain("example.org").dns

-- An example's input (message; the rest is plain), its world (options), its client (connect), and the expected outcome.
local COUNTRIES = assert(io.popen "pwd"):read "*l" .. "/spec/fixtures/country.mmdb"

local DEEDS = {
  ["block-executables"] = { { message = { body = "\127ELF\2\1\1" .. ("\0"):rep(60) .. "\r\n",
    headers = { { "Content-Type", "application/octet-stream" } } }, outcome = "reject at eom: 554 5%.7%.1 programs are "
      .. "not accepted" } },
  ["block-list-forms"] = {
    { options = { settings = BLOCK_LISTS, map = { [DROP] = {} } },
      message = { headers = headers { "X-Block-List", "none" } }, outcome = "\nX%-Block%-List: file %+2" },
    { options = { settings = BLOCK_LISTS, map = { [DROP] = { ["192.0.2.1"] = "SBL1" } } }, message = {},
      outcome = "reject at mail: 550 5%.7%.1 192%.0%.2%.1 is on a block list" },
    { options = { settings = BLOCK_LISTS, map = { [DROP] = "timeout" },
      dns = { ["1.2.0.192.bl.example"] = "servfail" } }, message = {},
      outcome = "\nX%-Block%-List: file %+2", complains = "bl%.example: .*web: " },
  },
  ["check-identity"] = {
    { options = { dns = ORG }, message = {}, outcome = "Authentication%-Results: mx%.example%.net; .*dmarc=pass" },
    { options = { dns = ORG }, message = { from = "eve@evil.example" }, outcome = "dmarc=fail" },
  },
  clamd = {
    { options = { modules = { ["moonmilter.socket"] = CLAMD } }, message = {}, outcome = "accept at eom" },
    { options = { modules = { ["moonmilter.socket"] = CLAMD } }, message = { body = "a virus\r\n" },
      outcome = "reject at eom: 554 5%.7%.1 Virus found: Eicar" },
    { options = { modules = { ["moonmilter.socket"] = NO_CLAMD } }, message = {},
      complains = "clamd: connection refused",
      outcome = "tempfail at eoh: 451 4%.7%.1 Virus scanner unavailable" },
    { options = { modules = { ["moonmilter.socket"] = MUTE_CLAMD } }, message = {}, complains = "clamd: timeout",
      outcome = "tempfail at eom: 451 4%.7%.1 Virus scanner unavailable" },
  },
  dnsbl = {
    { message = {}, outcome = "accept at eom" },
    { options = { dns = { ["1.2.0.192.other-bl.example"] = { A = { "127.0.0.2" }, delay = 1 } } }, message = {},
      outcome = "reject at rcpt: 550 5%.7%.1 192%.0%.2%.1 is listed by other%-bl%.example" },
    { options = { dns = { ["1.2.0.192.other-bl.example"] = "timeout" } }, message = {}, outcome = "accept at eom",
      complains = "other%-bl.example: " },
  },
  ["enforce-dmarc"] = {
    { options = { dns = ORG }, message = {}, outcome = "accept at eom" },
    { options = { dns = ORG }, message = { from = "eve@evil.example" },
      outcome = "reject at eom: 550 5%.7%.26 DMARC: this server may not send mail of example%.org" },
  },
  footer = { { message = {}, outcome = "line two\r\n\r\n%-%- \r\nExample Ltd" } },
  ["footer-text-html"] = { { message = {}, outcome = "line two.*Beispiel GmbH" } },
  ["from-spoofing"] = { { message = { headers = { { "From", '"ceo@bank.example" <x@elsewhere.example>' } } },
    outcome = "reject at eom: 550 5%.7%.1 From shows bank%.example but is x@elsewhere%.example" } },
  ["event-verdicts"] = {
    { message = { headers = { { "Message-ID", "<1@x>" } } }, outcome = "accept at eom" },
    { message = { headers = { { "From", "ann@example.org" } } },
      outcome = "reject at eom: 550 5%.7%.1 Message%-ID is missing" },
    { options = { event = "full" }, message = { headers = { { "Message-ID", "<1@x>" } } }, outcome = "accept at eom" },
  },
  ["attachment-metrics"] = { { message = {}, outcome = "accept at eom" } },
  callout = {
    { options = { settings = { directory = "http://directory.example/" },
      http = function() return { status = 200, delay = 1 } end }, message = {}, outcome = "accept at eom" },
    { options = { settings = { directory = "http://directory.example/" },
      http = function() return { status = 404 } end }, message = {},
      outcome = "reject at rcpt: 550 5%.1%.1 There is no such user" },
    { options = { settings = { directory = "http://directory.example/" },
      http = function() return nil, "timeout" end }, message = {}, outcome = "tempfail at rcpt: 451 4%.3%.0" },
  },
  ["country-policy"] = {
    { options = { settings = { geo = COUNTRIES, refuse = { "xx" } } }, connect = { ip = "198.51.100.7" },
      message = {}, outcome = "reject at mail: 550 5%.7%.1 No mail from XX" },
    { options = { settings = { geo = COUNTRIES, refuse = { "xx" } } }, connect = { ip = "198.51.100.7", auth = "ann" },
      message = {}, outcome = "X%-Client%-Country: XX" },
    { options = { settings = { geo = COUNTRIES } }, connect = { ip = "203.0.113.1" },
      message = { headers = headers { "X-Client-Country", "ZZ" } }, outcome = "accept at eom",
      gone = "\nX%-Client%-Country:" },
  },
  ["domain-settings"] = {
    { options = { settings = { rules = RULES }, map = { [RULES] = slowly { ["example.com"] = '{"mark":"com"}',
      ["eve@example.com"] = '{"mark":"eve"}' } } }, message = {}, outcome = "\nX%-Mark: com" },
    { options = { settings = { rules = RULES }, map = { [RULES] = slowly { ["example.com"] = '{"max_size":9}' } } },
      message = {}, outcome = "reject at eom: 552 5%.3%.4 One of the recipients takes messages up to 9 bytes" },
    { options = { settings = { rules = RULES }, map = { [RULES] = "down" } }, message = {}, complains = "rules: ",
      outcome = "tempfail at rcpt: 451 4%.3%.0 The rules of this mailbox" },
  },
  ["domain-limit"] = { { message = {}, outcome = "accept at eom" } },
  duplicates = {
    { message = {}, outcome = "accept at eom" }, -- without a Message-ID nothing is a copy
    { message = { headers = headers { "Message-ID", "<1@example.org>" } }, wait = 1, outcome = "discard at eom" },
  },
  greylist = {
    { options = { settings = { durable = false, delay = 60 } }, message = {}, wait = 61, outcome = "accept at eom" },
  },
  ["http-policy"] = {
    { options = { settings = { policy_url = "http://policy.example/" },
      http = function() return { body = "action=DUNNO\n\n" } end }, message = {}, outcome = "accept at eom" },
    { options = { settings = { policy_url = "http://policy.example/" },
      http = { ["POST http://policy.example/"] = { body = "action=REJECT no bobs\n\n", delay = 2 } } },
      message = {}, outcome = "reject at rcpt: 550 5%.7%.1 no bobs" },
    { options = { settings = { policy_url = "http://policy.example/" }, http = "refused" }, message = {},
      outcome = "accept at eom", complains = "mail goes through" },
    { options = { settings = { policy_url = "http://policy.example/" }, http = function() return { status = 503, body =
      "action=REJECT" } end }, message = {}, outcome = "accept at eom", complains = "policy: 503; mail goes through" },
  },
  ["log-everything"] = { { message = {}, outcome = "accept at eom", logs = "end of message, 4 headers" } },
  ["multi-line-reply"] = { { message = { from = "x@Spammer.example" },
    outcome = "550%-5%.7%.1 100%% of what we got .*\n550 5%.7%.1 Questions" } },
  ["outgoing-limit"] = { { message = {}, outcome = "accept at eom" } },
  quarantine = { { message = { body = 'Content-Disposition: attachment; filename="a.exe"\r\n' },
    outcome = "X%-Quarantine executable name", quarantined = true } },
  ["rcpt-count"] = { { message = {}, outcome = "X%-Rcpt%-Count: 2" } },
  ["recipient-verification"] = {
    { options = { settings = { domains = { "example.com" }, recipients = { RECIPIENTS } },
      map = { [RECIPIENTS] = slowly { ["bob@example.com"] = "OK" } } }, message = { to = { "bob@example.com",
        "nobody@example.com" } }, outcome = "accept at eom.*\n<bob@example%.com>$" },
    { options = { settings = { domains = { "example.com" }, recipients = { RECIPIENTS } },
      map = { [RECIPIENTS] = slowly {} } }, message = {},
      outcome = "reject at rcpt: 550 5%.1%.1 There is no such mailbox" },
    { options = { settings = { domains = { "example.com" }, recipients = { RECIPIENTS } },
      map = { [RECIPIENTS] = "down" } }, message = {}, complains = "recipients: ",
      outcome = "tempfail at rcpt: 451 4%.3%.0 Mailboxes cannot" },
  },
  ["recipient-policy"] = { { message = { to = { "ceo@example.com", "eve@example.com" } },
    outcome = "\n<eve@example%.com>$" } },
  ["reject-header"] = { { message = { headers = headers { "X-Mailer", "MassBlaster 7" } },
    outcome = "reject at %l+: 554 5%.7%.1 Mail sent with MassBlaster" } },
  ["replace-opendkim"] = {
    { options = { dns = ORG, settings = { dkim_keys = KEYS } }, message = { from = "eve@evil.example" },
      outcome = "reject at eom: 550 5%.7%.26 DMARC: this server may not send mail of example%.org" },
    { options = { dns = ORG, settings = { dkim_keys = KEYS, internal = { "192.0.2.0/24" } } }, message = {},
      outcome = "\nDKIM%-Signature: v=1; a=ed25519%-sha256" },
  },
  ["report-rows"] = { { options = { dns = ORG, settings = { report_file = REPORTS } }, message = {},
    outcome = "accept at eom" } },
  ["sender-login"] = {
    { options = { settings = { logins = LOGINS }, map = { [LOGINS] = slowly { ["ann@example.org"] = "ben, ann" } } },
      connect = { auth = "ann" }, message = {}, outcome = "accept at eom" },
    { options = { settings = { logins = LOGINS }, map = { [LOGINS] = slowly { ["ann@example.org"] = "ben" } } },
      connect = { auth = "ann" }, message = {},
      outcome = "reject at mail: 553 5%.7%.1 ann@example%.org is not an address of your account" },
    { options = { settings = { logins = LOGINS }, map = { [LOGINS] = "timeout" } }, connect = { auth = "ann" },
      message = {}, complains = "logins: ", outcome = "tempfail at mail: 451 4%.3%.0 Senders cannot" },
  },
  ["sign-outgoing"] = {
    { options = { settings = { dkim_keys = KEYS, users = { ann = { "example.org" } } } }, connect = { auth = "ann" },
      message = {}, outcome = "\nDKIM%-Signature: v=1; a=ed25519%-sha256" },
    { options = { settings = { dkim_keys = KEYS, users = { ann = { "other.example" } } } }, connect = { auth = "ann" },
      message = {}, outcome = "reject at eoh: 550 5%.7%.1 You may not write for the domain in From" },
  },
  ["strip-authres"] = { { message = { headers = headers { "Authentication-Results", "mx.example.net; spf=pass" } },
    outcome = "X%-Forged%-Results: 1", gone = "\nAuthentication%-Results:" } },
  ["tag-subject"] = { { message = {}, outcome = "Subject: %[external%] hello" } },
  ["tag-subject-utf8"] = { { message = {}, outcome = "Subject: =%?[uU][tT][fF]%-8%?" } },
  ["write-back"] = { { options = { settings = { durable = false } },
    message = { headers = headers { "X-Known-Sender", "yes" } }, outcome = "accept at eom",
    gone = "\nX%-Known%-Sender:" } },
  ["trust-arc"] = {
    { options = { dns = testing.dns(ORG, sealed.domain "lists.example.net") },
      message = sealed.message("lists.example.net", "dmarc=pass header.from=example.org"),
      outcome = "accept at eom.*arc=pass", logs = "vouches" },
    { options = { dns = ORG }, message = { from = "eve@evil.example" },
      outcome = "reject at eom: 550 5%.7%.26 DMARC: this server may not send mail of example%.org" },
  },
  tarpit = { { message = { to = { "a@x", "b@x", "c@x", "d@x", "e@x" } }, outcome = "accept at eom" } },
}

-- Without what a signature has of the time.
local function portrait(result)
  local text = table.concat({ tostring(result), result.message and result.message.text or "",
    table.concat(result.recipients, " ") }, "\n")
  return (text:gsub("\tb=.-==", "\tb="):gsub("t=%d+;", "t=;"))
end

local function whole_message(changes)
  local message = { from = "ann@example.org", to = { "bob@example.com", "eve@example.com" }, headers = TEXT,
    body = "line one\r\nline two\r\n" }
  for key, v in pairs(changes) do
    message[key] = v
  end
  return message
end

local function options_for(path, kind, deed)
  local options = { scripts = path, mta = kind }
  for key, v in pairs(deed.options or {}) do
    options[key] = v
  end
  return options
end

local function explore(path, kind, deed)
  local message, first = whole_message(deed.message), nil
  testing.explore(options_for(path, kind, deed), function(mta)
    if deed.connect then
      mta:connect(deed.connect)
    end
    if deed.wait then
      mta:message(message)
      mta:pass(deed.wait)
    end
    local result = mta:message(message)
    local text = portrait(result)
    first = first or text
    assert.equal(first, text)
    assert.equal(first, portrait(mta:message(message)))
    if deed.complains then
      assert.matches(deed.complains, table.concat(mta:complaints(), "\n"))
    else
      assert.same({}, mta:complaints())
    end
    assert.equal(deed.quarantined or false, result.quarantined ~= nil)
    assert.is_true(not deed.logs or #mta:log(deed.logs) > 0)
  end, 40)
  assert.matches(deed.outcome, first)
  assert.is_nil(deed.gone and first:match(deed.gone))
end

describe("with moonmilter.testing alone", function()
  local list = assert(io.popen "ls examples/*.lua")
  for path in list:lines() do
    local name = path:match "([^/]+)%.lua$"
    it(path .. " does its deed, whatever happened before", function()
      assert.is_table(DEEDS[name], "has no deed in this spec")
      for _, kind in ipairs { "postfix", "sendmail" } do
        for _, deed in ipairs(DEEDS[name]) do
          explore(path, kind, deed)
        end
      end
    end)
  end
  list:close()

  it("examples refuse to load without the settings that they need, or with others", function()
    assert.matches("http%-policy.lua:%d+: settings: policy_url is missing %(a string%)",
      testing.load_error { scripts = "examples/http-policy.lua" })
    for name, settings in pairs { greylist = { delay = "60" }, clamd = { clamd = 3 },
      tarpit = { tarpit_step = "1" },
      ["http-policy"] = { policy_url = { "a" } } } do
      assert.matches("settings: [%a_]+ is a %l+, not a %l+; set it in settings",
        testing.load_error { scripts = ("examples/%s.lua"):format(name), settings = settings })
    end
  end)

  it("tarpit.lua makes many recipients wait, without delaying the test", function()
    local mta = testing.start { script = [[ local milter = require "moonmilter"
      function on_mail(ctx) ctx.message.since = milter.now() end
      function on_eom(ctx) ctx:add_header("X-Took", ("%.0f"):format(milter.now() - ctx.message.since)) end ]],
      scripts = "examples/tarpit.lua" }
    finally(function() mta:close() end)
    assert.equal("3", mta:message { to = { "a@x", "b@x", "c@x", "d@x", "e@x" } }.message:get "X-Took")
  end)

  it("the first script in scripts/ does the same to every message", function()
    local pipe = assert(io.popen "ls scripts/*.lua")
    for path in pipe:lines() do
      explore(path, "postfix", { message = {}, outcome = "accept" })
    end
    pipe:close()
  end)
end)
