--- The effect of a filter that follows orders (stand_in.c, stand_in.lua) on real MTAs: every verdict at every stage and
--- every edit, as the SMTP client sees it and as it is delivered. harness_spec.lua runs the cases with libmilter,
--- matrix_spec.lua with moonmilter.
local busted = require "busted"

local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local assert, describe, it, pending = busted.assert, busted.describe, busted.it, busted.pending
local setup, teardown = busted.setup, busted.teardown

local cases = { mtas = { postfix, sendmail } }

local tokens = 0

-- Makes a message out of orders and header fields. `token` marks it at the sink.
local function compose(message)
  tokens = tokens + 1
  local token = ("token-%d-%d."):format(os.time(), tokens)
  local lines = {
    "From: Ann <ann@one.example>", "To: Bob <bob@two.example>", "Date: Thu, 1 Jan 2026 00:00:00 +0000",
    ("Message-Id: <%s@one.example>"):format(token), "Subject: plain",
  }
  if message.without then
    for i = #lines, 1, -1 do
      if lines[i]:find("^" .. message.without .. ":") then table.remove(lines, i) end
    end
  end
  for _, field in ipairs(message.fields or {}) do lines[#lines + 1] = field end
  for _, order in ipairs(message.orders or {}) do lines[#lines + 1] = "X-Do: " .. order end
  return {
    from = message.from or "ann@one.example", to = message.to or { "bob@two.example" },
    mail_params = message.mail_params,
    data = table.concat(lines, "\n") .. "\n\n" .. (message.body or "first line\n.second line\n"),
    token = token,
  }
end

local world = {}
world.__index = world

--- A session with the MTA; `client` is the client's address.
function world:connect(options)
  return smtp.connect(self.mta.port, options)
end

--- Sends one message in a separate session: the result of smtp's send_message, and the message sent.
function world:send(message, options)
  local client = self:connect(options)
  local sent = compose(message)
  local result = client:send_message(sent)
  client:quit()
  return result, sent
end

--- Sends a message that must be accepted, and returns it as delivered.
function world:arrives(message, options)
  local result, sent = self:send(message, options)
  assert.equal(250, result.last and result.last.code, result.last and result.last.text or result.closed)
  return assert(self.mta:wait_message(sent.token, 15))
end

--- True when the message was not delivered and the MTA's queue is empty.
function world:lost(sent)
  assert(self.mta:wait_idle(15))
  return not self.mta:message(sent.token)
end

cases.compose = compose

--- Starts a filter and an MTA that uses it; used by the specs' setup.
function cases.world(mta_module, filter, options)
  options = options or {}
  options.milters = { filter.milter }
  return setmetatable({ mta = mta_module.start(options), filter = filter, kind = mta_module.kind }, world)
end

local function sorted(list)
  local copy = { unpack(list) }
  table.sort(copy)
  return copy
end
cases.sorted = sorted

-- The texts a client sees for the bare verdicts; see "Effect of final replies" in the protocol notes.
local REJECTED = { postfix = "5.7.1 Command rejected", sendmail = "5.7.1 .*Command rejected" }
local DEFERRED = { postfix = "4.7.1 Service unavailable", sendmail = "4.3.2 .*Please try again later" }

local function connection_cases(w)
  it("reject at connect: greets with 554", function()
    local client = w():connect { address = "127.0.0.2" }
    assert.equal(554, client.greeting.code)
    client:quit()
  end)

  it("tempfail at connect: greets with 220 and defers MAIL", function()
    local result = w():send({}, { address = "127.0.0.3" })
    assert.equal(451, result.mail.code)
  end)

  it("accept at connect: passes the session's mail without asking the filter again", function()
    local message = w():arrives({ orders = { "eom add X-Late v" } }, { address = "127.0.0.4" })
    assert.is_nil(message:get "X-Late")
  end)

  it("reply 550 at connect: greets with 554", function()
    local client = w():connect { address = "127.0.0.5" }
    assert.equal(554, client.greeting.code)
    client:quit()
  end)

  it("reply 451 at connect: greets with 220 and defers MAIL", function()
    local result = w():send({}, { address = "127.0.0.6" })
    assert.equal(451, result.mail.code)
  end)

  it("reply 421 at connect: greets with 421 and hangs up", function()
    local client = w():connect { address = "127.0.0.7" }
    assert.equal(421, client.greeting.code)
    assert.is_true(client:closed())
  end)

  it("reject at HELO: answers HELO with 250 and refuses MAIL", function()
    local result = w():send({}, { helo = "helo.reject.example" })
    assert.equal(550, result.mail.code)
  end)

  it("tempfail at HELO: defers MAIL", function()
    local result = w():send({}, { helo = "helo.tempfail.example" })
    assert.equal(451, result.mail.code)
  end)

  it("accept at HELO: passes the session's mail without asking the filter again", function()
    local message = w():arrives({ orders = { "eom add X-Late v" } }, { helo = "helo.accept.example" })
    assert.is_nil(message:get "X-Late")
  end)

  it("reply 550 at HELO: its text answers MAIL", function()
    local result = w():send({}, { helo = "helo.reply550.example" })
    assert.equal(550, result.mail.code)
    assert.matches("5.7.1 .*not wanted here", result.mail.text)
  end)

  it("reply 451 at HELO: its text answers MAIL", function()
    local result = w():send({}, { helo = "helo.reply451.example" })
    assert.equal(451, result.mail.code)
    assert.matches("4.7.1 .*come back later", result.mail.text)
  end)

  it("reply 421 at HELO: ends the session with its text", function()
    local client = w():connect { helo = "helo.reply421.example" }
    assert.equal(421, client.ehlo.code)
    assert.matches("4.7.1 going away", client.ehlo.text)
    assert.is_true(client:closed())
  end)
end

-- One message each through MAIL, RCPT and DATA: how to give the order, and which reply shows the outcome.
local ENVELOPE = {
  mail = { "MAIL", function(verdict) return { from = ("mail.%s@one.example"):format(verdict) } end,
    function(result) return result.mail end },
  rcpt = { "RCPT", function(verdict)
    return { to = { "bob@two.example", ("rcpt.%s@two.example"):format(verdict) } }
  end, function(result) return result.rcpt[2] end },
  data = { "DATA", function(verdict) return { to = { ("data.%s@two.example"):format(verdict) } } end,
    function(result) return result.data end },
}

local function envelope_cases(w)
  for _, stage in ipairs { "mail", "rcpt", "data" } do
    local name, order, outcome = unpack(ENVELOPE[stage])
    local function at(verdict, extra)
      local message = order(verdict)
      for key, value in pairs(extra or {}) do message[key] = value end
      return message
    end

    it(("reject at %s: 550"):format(name), function()
      local reply = outcome(w():send(at "reject"))
      assert.equal(550, reply.code)
      assert.matches(REJECTED[w().kind], reply.text)
    end)

    it(("tempfail at %s: 451"):format(name), function()
      local reply = outcome(w():send(at "tempfail"))
      assert.equal(451, reply.code)
      assert.matches(DEFERRED[w().kind], reply.text)
    end)

    it(("discard at %s: every command succeeds and nothing is delivered"):format(name), function()
      local result, sent = w():send(at "discard")
      assert.equal(250, result.final.code)
      assert.is_true(w():lost(sent))
    end)

    it(("accept at %s: delivered without asking the filter again for this message"):format(name), function()
      local message = w():arrives(at("accept", { orders = { "eom add X-Late v" } }))
      assert.is_nil(message:get "X-Late")
    end)

    it(("accept at %s: the next message of the session is filtered"):format(name), function()
      local client = w():connect()
      assert.equal(250, client:send_message(compose(at "accept")).final.code)
      local second = compose { orders = { "eom add X-Late v" } }
      assert.equal(250, client:send_message(second).final.code)
      client:quit()
      assert.equal("v", assert(w().mta:wait_message(second.token, 15)):get "X-Late")
    end)

    it(("reply 550 at %s: its code and text"):format(name), function()
      local reply = outcome(w():send(at "reply550"))
      assert.equal(550, reply.code)
      assert.matches("^5.7.1 .*not wanted here$", reply.text)
    end)

    it(("reply 451 at %s: its code and text"):format(name), function()
      local reply = outcome(w():send(at "reply451"))
      assert.equal(451, reply.code)
      assert.matches("^4.7.1 .*come back later$", reply.text)
    end)

    it(("reply 421 at %s: its text, and the MTA hangs up"):format(name), function()
      local client = w():connect()
      local result = client:send_message(compose(at "reply421"))
      assert.equal(421, outcome(result).code)
      assert.matches("4.7.1 going away$", outcome(result).text)
      assert.is_true(client:closed())
    end)

    it(("reply of three lines at %s: three lines"):format(name), function()
      local reply = outcome(w():send(at "lines"))
      assert.equal(3, #reply.lines)
      assert.matches("^550%-5.7.1 .*first line$", reply.lines[1])
      assert.matches("^550%-5.7.1 .*second line$", reply.lines[2])
      assert.matches("^550 5.7.1 .*third line$", reply.lines[3])
    end)
  end

  it("reject at RCPT: refuses this recipient and delivers to the others", function()
    local result, sent = w():send { to = { "bob@two.example", "rcpt.reject@two.example", "eve@two.example" } }
    assert.same({ 250, 550, 250 }, { result.rcpt[1].code, result.rcpt[2].code, result.rcpt[3].code })
    assert.equal(250, result.final.code)
    local message = assert(w().mta:wait_message(sent.token, 15))
    assert.same({ "bob@two.example", "eve@two.example" }, sorted(message.recipients))
  end)

  it("reject at RCPT for all recipients: the next message of the session goes through", function()
    local client = w():connect()
    local refused = client:send_message(compose { to = { "rcpt.reject@two.example" } })
    assert.equal(550, refused.rcpt[1].code)
    local second = compose { orders = { "eom facts" } }
    assert.equal(250, client:send_message(second).final.code)
    client:quit()
    local message = assert(w().mta:wait_message(second.token, 15))
    assert.equal("<bob@two.example>", message:get "X-Facts-Recipients")
  end)

  it("reject at MAIL: the next message of the session goes through", function()
    local client = w():connect()
    assert.equal(550, client:send_message(compose { from = "mail.reject@one.example" }).mail.code)
    local second = compose {}
    assert.equal(250, client:send_message(second).final.code)
    client:quit()
    assert(w().mta:wait_message(second.token, 15))
  end)
end

local CONTENT_REJECT = { postfix = 550, sendmail = 554 }

local function content_cases(w)
  for _, stage in ipairs { "header", "eoh", "body", "eom" } do
    it(("reject at %s: 550 with Postfix, 554 with Sendmail, nothing delivered"):format(stage), function()
      local result, sent = w():send { orders = { stage .. " reject" } }
      assert.equal(CONTENT_REJECT[w().kind], result.final.code)
      assert.matches(REJECTED[w().kind], result.final.text)
      assert.is_true(w():lost(sent))
    end)

    it(("tempfail at %s: 451, nothing delivered"):format(stage), function()
      local result, sent = w():send { orders = { stage .. " tempfail" } }
      assert.equal(451, result.final.code)
      assert.matches(DEFERRED[w().kind], result.final.text)
      assert.is_true(w():lost(sent))
    end)

    it(("discard at %s: 250, nothing delivered"):format(stage), function()
      local result, sent = w():send { orders = { stage .. " discard" } }
      assert.equal(250, result.final.code)
      assert.is_true(w():lost(sent))
    end)

    it(("accept at %s: delivered, later orders are not carried out"):format(stage), function()
      local message = w():arrives { orders = { stage .. " accept", "eom add X-Late v" } }
      assert.is_nil(message:get "X-Late")
    end)

    it(("reply 550 at %s: its code and text, nothing delivered"):format(stage), function()
      local result, sent = w():send { orders = { stage .. " reply 550 5.7.9 no thanks" } }
      assert.same({ "550 5.7.9 no thanks" }, result.final.lines)
      assert.is_true(w():lost(sent))
    end)

    it(("reply 452 at %s: its code and text"):format(stage), function()
      local result = w():send { orders = { stage .. " reply 452 4.2.2 mailbox is full" } }
      assert.same({ "452 4.2.2 mailbox is full" }, result.final.lines)
    end)

    it(("reply of three lines at %s: three lines"):format(stage), function()
      local result = w():send { orders = { stage .. " reply 550 5.7.1 one|two|three" } }
      assert.same({ "550-5.7.1 one", "550-5.7.1 two", "550 5.7.1 three" }, result.final.lines)
    end)

    it(("reply 421 at %s: its text, and the MTA hangs up"):format(stage), function()
      local client = w():connect()
      local sent = compose { orders = { stage .. " reply 421 4.7.1 going away" } }
      local result = client:send_message(sent)
      assert.same({ "421 4.7.1 going away" }, result.final.lines)
      assert.is_true(client:closed())
      assert.is_true(w():lost(sent))
    end)

    it(("reject at %s: the next message of the session goes through"):format(stage), function()
      local client = w():connect()
      local refused = client:send_message(compose { orders = { stage .. " reject" } })
      assert.equal(CONTENT_REJECT[w().kind], refused.final.code)
      local second = compose { orders = { "eom facts" } }
      assert.equal(250, client:send_message(second).final.code)
      client:quit()
      assert.equal("6", assert(w().mta:wait_message(second.token, 15)):get "X-Facts-Headers")
    end)
  end

  it("skip at body: the filter sees no more body and the whole body is delivered", function()
    local body = ("0123456789abcdef\n"):rep(10000)
    local message = w():arrives { body = body, orders = { "body skip", "eom facts" } }
    assert.equal(body, message.body)
    assert.equal("65535", message:get "X-Facts-Body")
  end)
end

local function fact_cases(w)
  it("unmodified mail arrives unchanged", function()
    local _, sent = w():send { fields = { "X-Folded: one\n two\n\tthree", "X-Empty:", "X-Nosp:v" } }
    local message = assert(w().mta:wait_message(sent.token, 15))
    assert.equal("ann@one.example", message.sender)
    assert.same({ "bob@two.example" }, message.recipients)
    assert.equal("first line\n.second line\n", message.body)
    assert.equal("one\n two\n\tthree", message:get "X-Folded")
    assert.equal("plain", message:get "Subject")
  end)

  it("shows the filter the client, the HELO name, the envelope, the headers and the body's size", function()
    local message = w():arrives {
      from = "ann@one.example", to = { "bob@two.example", "eve@two.example" }, mail_params = "BODY=8BITMIME",
      body = "0123456789\n", orders = { "eom facts" },
    }
    assert.matches("127.0.0.1$", message:get "X-Facts-Client")
    assert.equal("client.example", message:get "X-Facts-Helo")
    assert.equal("<ann@one.example> BODY=8BITMIME", message:get "X-Facts-Sender")
    assert.equal("<bob@two.example> <eve@two.example>", message:get "X-Facts-Recipients")
    assert.equal("6", message:get "X-Facts-Headers")
    assert.equal("12", message:get "X-Facts-Body")
    assert.matches("^%w+$", message:get "X-Facts-Queue-Id")
  end)

  it("passes body lines with CRLF and without SMTP's extra dots", function()
    local message = w():arrives { body = ".\n..\n", orders = { "eom facts" } }
    assert.equal("7", message:get "X-Facts-Body")
    assert.equal(".\n..\n", message.body)
  end)

  it("accepts a message with an empty body", function()
    local message = w():arrives { body = "", orders = { "eom facts" } }
    assert.equal("0", message:get "X-Facts-Body")
  end)

  it("clears a message's state between two messages of a session", function()
    local client = w():connect()
    for i = 1, 3 do
      local sent = compose { to = { ("r%d@two.example"):format(i) }, orders = { "eom facts" } }
      assert.equal(250, client:send_message(sent).final.code)
      local message = assert(w().mta:wait_message(sent.token, 15))
      assert.equal(("<r%d@two.example>"):format(i), message:get "X-Facts-Recipients")
      assert.equal("6", message:get "X-Facts-Headers")
    end
    client:quit()
  end)
end

local function header_cases(w)
  it("add a header: at the end", function()
    local message = w():arrives { orders = { "eom add X-New some value" } }
    assert.equal("some value", message:get "X-New")
    assert.equal(#message.headers, message:position "X-New")
  end)

  it("add two headers: both, in order", function()
    local message = w():arrives { orders = { "eom add X-New-1 a", "eom add X-New-2 b" } }
    assert.same({ "X-New-1", "X-New-2" }, message:names "^X%-New")
  end)

  it("add a header with an empty value: an empty field", function()
    local message = w():arrives { orders = { "eom add X-New " } }
    assert.equal("", message:get "X-New")
  end)

  it("add a folded header: folded", function()
    local message = w():arrives { orders = { "eom add X-New one\\n two\\n\tthree" } }
    assert.equal("one\n two\n\tthree", message:get "X-New")
  end)

  it("add a long header: whole", function()
    local long = ("0123456789"):rep(90)
    local message = w():arrives { orders = { "eom add X-New " .. long } }
    assert.equal(long, message:get "X-New")
  end)

  it("insert a header at 0: above everything, the MTA's own Received too", function()
    local message = w():arrives { orders = { "eom insert 0 X-Top v" } }
    assert.equal(1, message:position "X-Top")
    assert.equal(2, message:position "Received")
  end)

  it("insert a header at a large index: at the end", function()
    local message = w():arrives { orders = { "eom insert 1000 X-Last v" } }
    assert.equal(#message.headers, message:position "X-Last")
  end)

  it("change a header: the value in its place", function()
    local message = w():arrives { fields = { "X-A: old", "X-B: b" }, orders = { "eom change 1 X-A new" } }
    assert.same({ "new" }, message:all "X-A")
    assert.equal(message:position "X-B" - 1, message:position "X-A")
  end)

  it("change the subject", function()
    local message = w():arrives { orders = { "eom change 1 Subject [tagged] plain" } }
    assert.same({ "[tagged] plain" }, message:all "Subject")
  end)

  it("change the second of three fields of a name: only that one", function()
    local message = w():arrives { fields = { "X-A: 1", "X-A: 2", "X-A: 3" }, orders = { "eom change 2 x-a new" } }
    assert.same({ "1", "new", "3" }, message:all "X-A")
  end)

  it("change a header that does not exist: adds it", function()
    local message = w():arrives { orders = { "eom change 1 X-None v" } }
    assert.equal("v", message:get "X-None")
  end)

  it("delete a header: gone", function()
    local message = w():arrives { fields = { "X-A: 1", "X-B: b" }, orders = { "eom delete 1 X-A" } }
    assert.same({}, message:all "X-A")
    assert.equal("b", message:get "X-B")
  end)

  it("delete the second of three fields of a name: only that one", function()
    local message = w():arrives { fields = { "X-A: 1", "X-A: 2", "X-A: 3" }, orders = { "eom delete 2 X-A" } }
    assert.same({ "1", "3" }, message:all "X-A")
  end)

  it("delete a header that does not exist: no effect", function()
    w():arrives { orders = { "eom delete 1 X-None" } }
  end)
end

local function envelope_edit_cases(w)
  it("change the sender", function()
    local message = w():arrives { orders = { "eom from <new@one.example>" } }
    assert.equal("new@one.example", message.sender)
  end)

  it("change the sender to the null sender", function()
    local message = w():arrives { orders = { "eom from <>" } }
    assert.equal("", message.sender)
  end)

  it("change the sender with parameters: they reach the next hop", function()
    local message = w():arrives { orders = { "eom from <new@one.example> ENVID=abc RET=HDRS" } }
    assert.equal("new@one.example", message.sender)
    if w().kind == "sendmail" then -- Postfix 3.7 takes them from 3.3 on; both pass them to a next hop with DSN
      assert.matches("ENVID=abc", message.sender_params)
    end
    assert.matches("RET=HDRS", message.sender_params)
  end)

  it("add a recipient", function()
    local message = w():arrives { orders = { "eom addrcpt <eve@two.example>" } }
    assert.same({ "bob@two.example", "eve@two.example" }, sorted(message.recipients))
  end)

  it("add a recipient with parameters: they reach the next hop", function()
    local message = w():arrives { orders = { "eom addrcpt <eve@two.example> NOTIFY=FAILURE,DELAY" } }
    assert.same({ "bob@two.example", "eve@two.example" }, sorted(message.recipients))
    assert.matches("NOTIFY=FAILURE,DELAY", table.concat(message.recipient_params, " "))
  end)

  it("delete a recipient", function()
    local message = w():arrives {
      to = { "bob@two.example", "eve@two.example" }, orders = { "eom delrcpt <bob@two.example>" },
    }
    assert.same({ "eve@two.example" }, message.recipients)
  end)

  it("delete a recipient and add another", function()
    local message = w():arrives { orders = { "eom delrcpt <bob@two.example>", "eom addrcpt <eve@two.example>" } }
    assert.same({ "eve@two.example" }, message.recipients)
  end)
end

local function body_cases(w)
  it("replace the body", function()
    local message = w():arrives { orders = { "eom body new first\\nnew second\\n" } }
    assert.equal("new first\nnew second\n", message.body)
  end)

  it("replace the body by lines that begin with dots", function()
    local message = w():arrives { orders = { "eom body .\\n..\\n.x\\n" } }
    assert.equal(".\n..\n.x\n", message.body)
  end)

  it("replace the body by text without a final line end: the MTA adds one", function()
    local message = w():arrives { orders = { "eom body no line end" } }
    assert.equal("no line end\n", message.body)
  end)

  it("replace the body by nothing: an empty body", function()
    local message = w():arrives { orders = { "eom body " } }
    assert.equal("", message.body)
  end)

  it("replace the body by 5 MB: all of it, in order", function()
    local line = ("0123456789"):rep(7) .. "01234567" .. "8"
    line = line:sub(1, 79)
    local message = w():arrives { orders = { "eom bigbody 5000000" } }
    local count = math.ceil(5000000 / 81)
    if 5000000 % 81 ~= 0 then count = math.floor(5000000 / 81) end
    assert.equal(#((line .. "\n"):rep(count)), #message.body)
    assert.is_true((line .. "\n"):rep(count) == message.body)
  end)

  it("replace the body and change headers, sender and recipients at once: all of it", function()
    local message = w():arrives {
      fields = { "X-A: 1" },
      orders = {
        "eom add X-New v", "eom change 1 X-A 2", "eom from <new@one.example>", "eom addrcpt <eve@two.example>",
        "eom delrcpt <bob@two.example>", "eom body all new\\n",
      },
    }
    assert.equal("v", message:get "X-New")
    assert.equal("2", message:get "X-A")
    assert.equal("new@one.example", message.sender)
    assert.same({ "eve@two.example" }, message.recipients)
    assert.equal("all new\n", message.body)
  end)

  it("edits and then reject: refused, nothing delivered", function()
    local result, sent = w():send { orders = { "eom add X-New v", "eom body new", "eom reject" } }
    assert.equal(CONTENT_REJECT[w().kind], result.final.code)
    assert.is_true(w():lost(sent))
  end)

  it("edits and then discard: accepted, nothing delivered", function()
    local result, sent = w():send { orders = { "eom add X-New v", "eom discard" } }
    assert.equal(250, result.final.code)
    assert.is_true(w():lost(sent))
  end)

  it("edits and then accept: delivered with the edits", function()
    assert.equal("v", w():arrives { orders = { "eom add X-New v", "eom accept" } }:get "X-New")
  end)

  it("quarantine: accepted, held, and delivered with its edits once released", function()
    local result, sent = w():send { orders = { "eom add X-New v", "eom quarantine looks bad" } }
    assert.equal(250, result.final.code)
    assert.is_true(w():lost(sent))
    assert.equal(1, #w().mta:held())
    w().mta:release()
    assert.equal("v", assert(w().mta:wait_message(sent.token, 15)):get "X-New")
    assert.equal(0, #w().mta:held())
  end)

  it("progress while the end of the message takes two seconds: delivered", function()
    local message = w():arrives { orders = { "eom progress", "eom sleep 1", "eom progress", "eom sleep 1",
      "eom add X-New v" } }
    assert.equal("v", message:get "X-New")
  end)
end

-- A session that ends or starts again at each stage; the filter must stay usable.
local function abort_cases(w)
  local STEPS = {
    { "after HELO", {} },
    { "after MAIL", { "MAIL FROM:<ann@one.example>" } },
    { "after RCPT", { "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>" } },
  }
  for _, step in ipairs(STEPS) do
    local when, commands = unpack(step)
    for how, leave in pairs {
      RSET = function(client) assert.equal(250, client:reset().code) end,
      ["a second EHLO"] = function(client) assert.equal(250, client:cmd("EHLO again.example").code) end,
    } do
      it(("%s %s: the next message of the session is filtered, as its own"):format(how, when), function()
        local client = w():connect()
        for _, command in ipairs(commands) do assert.equal(250, client:cmd(command).code) end
        leave(client)
        local sent = compose { to = { "eve@two.example" }, orders = { "eom facts" } }
        assert.equal(250, client:send_message(sent).final.code)
        client:quit()
        local message = assert(w().mta:wait_message(sent.token, 15))
        assert.equal("<eve@two.example>", message:get "X-Facts-Recipients")
      end)
    end

    it(("QUIT %s: the next session is filtered"):format(when), function()
      local client = w():connect()
      for _, command in ipairs(commands) do client:cmd(command) end
      assert.equal(221, client:quit().code)
      assert.equal("v", w():arrives { orders = { "eom add X-New v" } }:get "X-New")
    end)

    it(("connection lost %s: the next session is filtered"):format(when), function()
      local client = w():connect()
      for _, command in ipairs(commands) do client:cmd(command) end
      client:drop(true)
      assert.equal("v", w():arrives { orders = { "eom add X-New v" } }:get "X-New")
    end)
  end

  for when, bytes in pairs {
    ["after DATA"] = "",
    ["in the headers"] = "Subject: cut short\r\nX-A: ",
    ["in the body"] = "Subject: cut short\r\n\r\n" .. ("some text\r\n"):rep(20000),
  } do
    it(("connection lost %s: nothing delivered, the next session is filtered"):format(when), function()
      local client = w():connect()
      client:cmd "MAIL FROM:<ann@one.example>"
      client:cmd "RCPT TO:<bob@two.example>"
      assert.equal(354, client:cmd("DATA").code)
      client:send(bytes)
      client:drop()
      assert.equal("v", w():arrives { orders = { "eom add X-New v" } }:get "X-New")
      assert.is_true(w():lost { token = "cut short" })
    end)
  end

  it("an unknown command in the middle of a message: refused, the message goes on", function()
    local client = w():connect()
    client:cmd "MAIL FROM:<ann@one.example>"
    client:cmd "RCPT TO:<bob@two.example>"
    assert.equal(500, client:cmd("NONSENSE with arguments").code)
    local sent = compose { orders = { "eom facts" } }
    assert.equal(354, client:cmd("DATA").code)
    client:send(smtp.wire_form(sent.data))
    assert.equal(250, client:reply().code)
    client:quit()
    assert.equal("<bob@two.example>", assert(w().mta:wait_message(sent.token, 15)):get "X-Facts-Recipients")
  end)

  it("commands in one packet (pipelining) get the same answers", function()
    local client = w():connect()
    local replies = client:pipeline { "MAIL FROM:<ann@one.example>", "RCPT TO:<bob@two.example>",
      "RCPT TO:<rcpt.reject@two.example>", "RCPT TO:<eve@two.example>", "DATA" }
    local codes = {}
    for i, reply in ipairs(replies) do codes[i] = reply and reply.code end
    assert.same({ 250, 250, 550, 250, 354 }, codes)
    local sent = compose { orders = { "eom add X-New v" } }
    client:send(smtp.wire_form(sent.data))
    assert.equal(250, client:reply().code)
    client:quit()
    local message = assert(w().mta:wait_message(sent.token, 15))
    assert.same({ "bob@two.example", "eve@two.example" }, sorted(message.recipients))
  end)
end

--- Defines all cases for a filter on both MTAs.
---@param name string             the filter's name in the specs' titles
---@param start fun(options: table): table  starts it (see filter.lua)
---@param unavailable? string     why the filter cannot run here
function cases.define(name, start, unavailable)
  for _, mta_module in ipairs(cases.mtas) do
    describe(("%s with %s:"):format(mta_module.kind, name), function()
      local why = unavailable or mta_module.unavailable()
      if why then
        pending(why)
        return
      end

      local current, filter
      local function w() return current end

      setup(function()
        -- Sendmail writes macros and command as two packets; over TCP each such pair waits 40 ms for the filter's
        -- delayed acknowledgement (libmilter), so most of its cases go through a unix socket.
        filter = start { unix = mta_module.kind == "sendmail" }
        current = cases.world(mta_module, filter)
      end)

      teardown(function()
        if current then current.mta:stop() end
        if filter then filter:stop() end
      end)

      fact_cases(w)
      connection_cases(w)
      envelope_cases(w)
      content_cases(w)
      header_cases(w)
      envelope_edit_cases(w)
      body_cases(w)
      abort_cases(w)
    end)
  end
end

return cases
