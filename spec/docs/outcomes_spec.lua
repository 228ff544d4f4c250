-- Every handler in the pages decides both ways: for each snippet, worlds in which it does its deed, worlds in which it
-- leaves mail alone, and, when it asks somebody, a world that does not answer. A snippet of these pages that is not in
-- the table fails.
local testing = require "moonmilter.testing"
local read_file = require("spec.support.process").read_file

-- Pages whose snippets are all here; new pages have specs of their own.
local PAGES = { "dns", "http", "redis", "socket", "process", "tasks", "timer", "moonmilter", "log", "event", "map",
  "postfix", "scripting" }

local function headers(...) return { { "From", "ann@example.org" }, { "To", "bob@example.com" }, { "Date", "today" },
  ... } end

local function fields(...)
  local list = headers(...)
  return function(mta) return mta:message { headers = list } end
end

local function from(sender) return function(mta) return mta:message { from = sender } end end

local function to(...)
  local list = { ... }
  return function(mta) return mta:message { to = list } end
end

local function dns_of(name, answer) return { dns = { [name] = answer } } end

-- A socket whose server answers with this line; nil: the connection fails, false: it is closed without an answer.
local function socket_with(line)
  return { modules = { ["moonmilter.socket"] = ([[
    local socket = require "host:moonmilter.socket"
    function socket.connect()
      local line = %s
      if line == nil then return nil, "connection refused", "refused" end
      return { send = function() return 1 end, setkeepalive = function() end, close = function() end,
        receive = function() if line then return line end return nil, "closed", "closed", "" end }
    end
    return socket ]]):format(line == nil and "nil" or line == false and "false" or ("%q"):format(line)) } }
end

local function refused(options, how)
  return { options = options, outcome = how or "on_error", complains = true }
end

local accepts = "accept at eom"

local SENDERS = "socketmap:unix:/run/senders.sock:senders" -- of the map page

-- page; a text that only this snippet has; worlds: options of the test, what the client does, the outcome.
local SNIPPETS = {
  { "map", "senders:address(sender)", {
    { options = { map = { [SENDERS] = { ["ann@example.org"] = "REJECT" } } },
      outcome = "reject at mail: 550 5%.7%.1 This" },
    { options = { map = { [SENDERS] = {} } }, outcome = accepts },
    { options = { map = { [SENDERS] = { ["partner.example"] = "REJECT" } } }, act = from "ann@partner.example",
      outcome = accepts },
    { options = { map = { [SENDERS] = "timeout" } }, outcome = "tempfail at mail: 451 4%.3%.0 The list" },
  } },
  { "dns", "dns.mx(domain", {
    { options = dns_of("example.org", { MX = { { 10, "mx.example.org" } } }), outcome = accepts },
    { options = { dns = {} }, outcome = "reject at mail: 550 5%.1%.8 The domain of your" },
    { options = dns_of("example.org", { A = { "192.0.2.1" } }), outcome = accepts },
    { options = dns_of("example.org", "servfail"), outcome = "tempfail at mail: 451 4%.4%.3" },
    { options = dns_of("example.org", "timeout"), outcome = "tempfail at mail: 451 4%.4%.3" },
    { options = { dns = {} }, act = from "", outcome = accepts },
  } },
  { "dns", '"&8"', {
    { options = dns_of("1.2.0.192.bl.example", { A = { "127.0.0.4" } }),
      outcome = "reject at mail: 550 5%.7%.1 Listed: bl%.example 127%.0%.0%.4 %+5" },
    { options = dns_of("1.2.0.192.bl.example", { A = { "127.0.0.10" } }), outcome = accepts },
    { options = dns_of("1.2.0.192.bl.example", { A = { "127.255.255.254" } }), outcome = accepts },
    { options = { dns = {} }, outcome = accepts },
  } },
  { "http", 'response.body == "no"', {
    { options = { http = function() return { body = "no" } end }, outcome = "reject at mail: 550 5%.7%.1 Not today" },
    { options = { http = function() return { body = "yes" } end }, outcome = accepts },
    { options = { http = function() return { status = 500, body = "no" } end },
      outcome = "status 500; mail goes through",
      complains = true },
    { options = { http = "timeout" }, outcome = "mail goes through", complains = true },
  } },
  { "http", "^action=REJECT", {
    { options = { http = function() return { body = "action=REJECT" } end },
      outcome = "reject at rcpt: 550 5%.7%.1 No such" },
    { options = { http = function() return { body = "action=OK" } end }, outcome = accepts },
    { options = { http = function() return { status = 502, body = "" } end },
      outcome = "tempfail at rcpt: 451 4%.3%.0 .*502" },
    { options = { http = "refused" }, outcome = "tempfail at rcpt: 451 4%.3%.0 Policy service" },
  } },
  { "http", "first:wait()", {
    { options = { http = function() return { body = "hello" } end }, outcome = accepts },
    refused { http = "timeout" },
  } },
  { "redis", '"connections:"', {
    { options = { redis = {} }, outcome = accepts },
    { options = { redis = { ["connections:192.0.2.1"] = "1000" } }, outcome = "421 4%.7%.0 Too many connections" },
    { options = { redis = "refused" }, outcome = "the client is not counted.*" .. accepts, complains = true },
    { options = { redis = function() return nil, "OOM command not allowed", "reply" end },
      outcome = "OOM command not allowed; the client is not counted", complains = true },
  } },
  { "redis", "client:pipeline", {
    { options = { redis = function(command)
      local replies = { GET = "hello", EVALSHA = 7, EVAL = 7 }
      if command == "INCR" then return nil, "ERR value is not an integer", "reply" end
      return replies[command] or "OK"
    end, modules = { ["moonmilter.redis"] = [[
      local redis = require "host:moonmilter.redis"
      local function is_error(v) return type(v) == "table" and v.err ~= nil end
      local function value(v) if is_error(v) then return nil, v.err, "reply" end return v end
      return { is_error = is_error, value = value, new = function()
        local client = {}
        function client:pipeline() return { "OK", "hello", { err = "ERR" } } end
        function client:transaction() return { "OK", "OK" } end
        function client:watch(_, fn) fn(client) return { "OK" } end
        function client:script() return 7 end
        function client:scripts() return { 1, 2 } end
        function client:call() return "1" end
        function client:with(fn) return fn(client) end
        return client end } ]] } }, outcome = accepts },
    refused { redis = "refused" },
  } },
  { "redis", "partners changed", {
    { options = { redis = function(command)
      if command == "SMEMBERS" then return { "a.example", "b.example" } end
      return nil, nil, "not of the test"
    end }, act = function(mta)
      mta:pass(6)
      mta:publish("partners changed", "now")
      mta:pass(1)
      return mta:message()
    end, outcome = "2 partners.*2 partners.*" .. accepts },
    { options = { redis = "refused" }, act = function(mta)
      mta:pass(10)
      return mta:message()
    end, outcome = "partners: redis: refused.*" .. accepts, complains = true },
  } },
  { "socket", "dict.example", {
    { options = socket_with "ok", outcome = accepts },
    { options = socket_with "spammer", outcome = "reject at helo: 550 5%.7%.1 Go away" },
    { options = socket_with(nil), outcome = "dictionary: connection refused.*" .. accepts, complains = true },
    { options = socket_with(false), outcome = "dictionary: closed.*" .. accepts, complains = true },
  } },
  { "socket", "tls.example", {
    { options = socket_with "hello", outcome = accepts },
    refused(socket_with(nil)),
  } },
  { "socket", 'require "socket.http"', {
    { options = { modules = { ["socket.http"] = "return { request = function() return 'hello', 200 end }" } },
      outcome = accepts },
    refused { modules = { ["socket.http"] = "return { request = function() return nil, 'timeout' end }" } },
  } },
  { "process", "/usr/local/bin/classify", {
    { options = { process = { ["/usr/local/bin/classify --sender ann@example.org"] = { status = 0 } } },
      outcome = accepts },
    { options = { process = { ["/usr/local/bin/classify --sender ann@example.org"] = { status = 1 } } },
      outcome = "reject at eom: 550 5%.7%.1 Refused by content" },
    { options = { process = { ["/usr/local/bin/classify --sender ann@example.org"] = { status = 2 } } },
      outcome = "tempfail at eom: 451 4%.3%.0 The classifier has failed" },
    { options = { process = { ["/usr/local/bin/classify --sender ann@example.org"] = "timeout" } },
      outcome = "tempfail at eom: 451 4%.3%.0 The classifier is not available" },
  } },
  { "tasks", "milter.spawn(dns.ptr", {
    { options = dns_of("192.0.2.1", { PTR = { "mx.example.org" } }), outcome = accepts },
    { options = { dns = {} }, outcome = "tempfail at rcpt: 451 4%.7%.1 No reverse DNS for 192%.0%.2%.1" },
    { options = dns_of("192.0.2.1", "servfail"), outcome = accepts },
    { options = { dns = {} }, act = function(mta)
      mta:connect { ip = "/run/local" }
      return mta:message {}
    end, outcome = accepts },
  } },
  { "tasks", "milter.cancelled(err)", {
    { outcome = accepts },
    { options = { set = { eom_deadline = 1 } }, outcome = "gave up: deadline.*451 4%.3%.0", complains = true },
  } },
  { "timer", "timer.every(300", {
    { options = dns_of("partners.example.com", { TXT = { "a.example" } }), outcome = accepts, asked = true },
    { options = dns_of("partners.example.com", "timeout"), outcome = accepts, asked = true },
  } },
  { "moonmilter", "milter.at_end(function", {
    { outcome = accepts }, { act = from "", outcome = accepts },
  } },
  { "log", '"no Date"', {
    { act = fields(), outcome = "ann@example.org asks for bob@example.com" },
    { act = function(mta) return mta:message { headers = { { "From", "a@x" } } } end, outcome = "no Date",
      complains = true },
  } },
  { "event", 'kind = "report"', {
    { act = function(mta)
      mta:message { headers = { { "X-Report", "yes" } } }
      local asked = mta:asked "event"
      return asked[1].sink .. ": " .. asked[1].event.from
    end, outcome = "mail: ann@example%.org" },
    { act = function(mta)
      mta:message { headers = { { "From", "a@x" } } }
      return "put " .. #mta:asked "event"
    end, outcome = "put 0" },
  } },
  { "log", "is_list = ", {
    { act = fields(), outcome = "country=NL is_list=false score=5%.2" },
    { act = fields { "List-Id", "<l.example>" }, outcome = "country=NL is_list=true score=5%.2" },
  } },
  { "postfix", "^blocked@", {
    { act = to("blocked@example.com"), outcome = "reject at rcpt: 550 5%.7%.1 Not here" },
    { outcome = accepts },
    { act = function(mta)
      mta:connect { ip = "127.0.0.1" }
      return mta:message { to = "blocked@example.com" }
    end, outcome = accepts },
  } },
  { "scripting", '"closed@example.com"', {
    { act = to "closed@example.com", outcome = "reject at rcpt: 550 5%.1%.1 This mailbox is closed" },
    { outcome = "X%-Filtered: yes" },
  } },
  { "scripting", "ctx.message.is_bounce", { { outcome = accepts }, { act = from "", outcome = accepts } } },
  { "scripting", "rejected_recipients = false", { { outcome = accepts } } },
  { "scripting", "offers version %d", { { outcome = "offers version 6" }, { complains = true, options = { version = 2 },
    outcome = "offers version 2" } } },
  { "scripting", "has_no_name", { { outcome = accepts } } },
  { "scripting", '"You are not localhost"', {
    { act = function(mta)
      mta:helo "LocalHost"
      return mta:message {}
    end, outcome = "reject at helo: 550 5%.7%.1 You are not localhost" },
    { outcome = accepts },
  } },
  { "scripting", "At most 20 MB", {
    { act = function(mta) return mta:message { params = { SIZE = 30000000 } } end,
      outcome = "reject at mail: 552 5%.3%.4 At most" },
    { act = function(mta) return mta:message { params = { SIZE = 300 } } end, outcome = accepts },
    { act = function(mta)
      mta:connect { auth = "ann" }
      return mta:message { params = { SIZE = 30000000 } }
    end, outcome = accepts },
  } },
  { "scripting", "#ctx.recipients > 50", {
    { act = function(mta)
      local list = {}
      for i = 1, 51 do list[i] = ("r%d@x"):format(i) end
      return mta:message { to = list }
    end, outcome = accepts .. ".* <r50@x>$", gone = "<r51@x>" },
    { outcome = accepts },
  } },
  { "scripting", "A bounce has one recipient", {
    { act = function(mta) return mta:message { from = "", to = { "a@x", "b@x" } } end,
      outcome = "reject at data: 550 5%.7%.1" },
    { act = function(mta) return mta:message { from = "", to = "a@x" } end, outcome = accepts },
  } },
  { "scripting", '"lottery"', {
    { act = fields { "Subject", "win a lottery" }, outcome = "reject at %l+: 550 5%.7%.1 No lotteries" },
    { act = fields { "Subject", "lunch" }, outcome = accepts },
  } },
  { "scripting", 'ctx.headers:count "From"', {
    { act = fields { "From", "two@example.org" }, outcome = "reject at eoh: 550 5%.6%.0 A message has one From" },
    { act = fields(), outcome = accepts },
  } },
  { "scripting", "ctx.message.lines", { { outcome = accepts } } },
  { "scripting", '"X-Recipients"', { { act = to("a@x", "b@x"), outcome = "X%-Recipients: 2" },
    { outcome = "X%-Recipients: 1" } } },
  { "scripting", "This is an SMTP server", {
    { act = function(mta)
      local reply
      for _ = 1, 4 do reply = mta:unknown "WIZ" end
      return reply
    end, outcome = "reject at unknown: 500 5%.5%.1 This is an SMTP server" },
    { act = function(mta)
      mta:unknown "WIZ"
      return mta:message {}
    end, outcome = accepts },
  } },
  { "scripting", '"gave up: %s at %s, %s"', {
    { act = function(mta)
      mta:mail "ann@example.org"
      mta:abort()
    end, outcome = "gave up: ann@example.org at mail, abort" },
    { outcome = accepts },
  } },
  { "scripting", '"%s: %s = %s"', { { outcome = "connect: j = " }, { outcome = accepts } } },
  { "scripting", '"refused %s: %s"', { { outcome = accepts } } },
  { "scripting", '"%d unknown commands from %s"', {
    { act = function(mta)
      mta:unknown "WIZ"
      mta:quit()
    end, outcome = "1 unknown commands from 192.0.2.1" },
    { outcome = accepts },
  } },
  { "scripting", "host.settings.allowed", {
    { options = { settings = { allowed = { "Bob@example.com" } } }, outcome = accepts },
    { options = { settings = { allowed = { "eve@example.com" } } },
      outcome = "reject at rcpt: 550 5%.1%.1 No such mailbox" },
    { outcome = accepts },
  } },
  { "scripting", '"generation "', { { outcome = accepts } } },
  { "scripting", '"X-Spam-Flag"', {
    { act = fields({ "X-Spam-Flag", "1" }, { "Subject", "hello" }),
      outcome = "X%-List: yes\r?\nSubject: %[list%] hello",
      gone = "\nX%-Spam%-Flag:" },
    { act = fields(), outcome = accepts, gone = "X%-List" },
  } },
  { "scripting", '@spam%.example$', {
    { act = from "x@spam.example", outcome = "reject at mail: 550%-5%.7%.1 Refused%.\n550 5%.7%.1 See https" },
    { outcome = accepts },
  } },
  { "scripting", '"no name (%s): %s"', {
    { options = dns_of("192.0.2.1", { PTR = { "mx.example.org" } }), outcome = accepts, gone = "no name" },
    { options = { dns = {} }, outcome = "no name %(nxdomain%)" },
    { options = dns_of("192.0.2.1", "timeout"), outcome = "no name %(timeout%)" },
    { options = { dns = {} }, act = function(mta)
      mta:connect { ip = "/run/local" }
      return mta:message {}
    end, outcome = "no name %(nodata%): no address" },
  } },
  { "scripting", "this message was given up: ", {
    { outcome = accepts },
    { options = { set = { eom_deadline = 1 } }, outcome = "given up: deadline", complains = true },
  } },
}

local function rows_for(page, source)
  local found = {}
  for _, row in ipairs(SNIPPETS) do
    if row[1] == page and source:find(row[2], 1, true) then found[#found + 1] = row end
  end
  return found
end

local function outcome_of(source, world)
  local options = { script = source }
  for key, value in pairs(world.options or {}) do options[key] = value end
  local mta = testing.start(options)
  local act = world.act or function(it) return it:message {} end
  local result = act(mta)
  local log, complaints = table.concat(mta:log(), "\n"), mta:complaints()
  local asked = mta:asked "dns"
  mta:close()
  local message = type(result) == "table" and result.message
  return table.concat({ tostring(result), message and message.text or "",
    table.concat(type(result) == "table" and result.recipients or {}, " ") }, "\n"), log, complaints, asked
end

for _, page in ipairs(PAGES) do
  describe(("docs/%s.md"):format(page), function()
    local number = 0
    for source in read_file(("docs/%s.md"):format(page)):gmatch "\n```lua\n(.-\n)```" do
      number = number + 1
      if source:find "function [%w_.]*on_%l+%(" or source:find "on_header = {" then
        it(("decides both ways: snippet %d"):format(number), function()
          local rows = rows_for(page, source)
          assert.equal(1, #rows, "rows of this spec for:\n" .. source)
          local seen = {}
          for _, world in ipairs(rows[1][3]) do
            local text, log, complaints, asked = outcome_of(source, world)
            local all = log .. "\n" .. text
            local wanted = world.outcome == "on_error" and "451 4%.3%.0 Mail filter failed" or world.outcome
            assert.truthy(all:find(wanted), ("%s\nis not in:\n%s"):format(wanted, all))
            assert.is_nil(world.gone and text:find(world.gone), text)
            assert.equal(world.complains or false, #complaints > 0, table.concat(complaints, "\n"))
            assert.is_true(not world.asked or #asked > 0)
            seen[(all:gsub("%d%d%d%d%-%S+", ""):gsub("session=%S+", ""))] = true
          end
          -- A snippet that says 550 or 451 somewhere must have been seen to say it, and to let mail pass.
          if source:find "ctx:reject%(" or source:find "ctx:tempfail%(" then
            local passes, refuses = false, false
            for text in pairs(seen) do
              passes = passes or text:find "accept at eom" ~= nil
              refuses = refuses or text:find "reject at %l+" ~= nil or text:find "tempfail at %l+" ~= nil
                or text:find "refused:" ~= nil or text:find "verdict=%a+fail" ~= nil or text:find "421 4" ~= nil
            end
            assert.is_true(passes and (refuses or rows[1][2]:find "recipients > 50" ~= nil), "both outcomes of:\n"
              .. source)
          end
        end)
      end
    end

    it("has no row here without its snippet", function()
      for _, row in ipairs(SNIPPETS) do
        if row[1] == page then assert.truthy(read_file(("docs/%s.md"):format(page)):find(row[2], 1, true), row[2]) end
      end
    end)
  end)
end
