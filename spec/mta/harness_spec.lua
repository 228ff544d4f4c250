-- Proves the harness: the effect of the stand-in on libmilter on Postfix and Sendmail, as the harness sees it.
-- Sentences that name an MTA state facts about that MTA (Postfix 3.7.11, Sendmail 8.17.1.9).
local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local compose = cases.compose

cases.define("libmilter", filter.stand_in)

local function unavailable()
  return postfix.unavailable() or sendmail.unavailable()
end

-- The same orders have different effects on the two: moonmilter must hide this.
describe("raw header edits, as libmilter sends them:", function()
  if unavailable() then return pending(unavailable()) end
  local stand_in, worlds

  setup(function()
    stand_in = filter.stand_in { unix = false }
    worlds = { postfix = cases.world(postfix, stand_in), sendmail = cases.world(sendmail, stand_in) }
  end)

  teardown(function()
    for _, world in pairs(worlds or {}) do world.mta:stop() end
    if stand_in then stand_in:stop() end
  end)

  local THREE = { "X-A: 1", "X-A: 2", "X-A: 3" }

  local function values(kind, orders, fields)
    return worlds[kind]:arrives { fields = fields or THREE, orders = orders }:all "X-A"
  end

  it("delete 1 then change 2: Postfix counts the remaining fields, Sendmail the original ones", function()
    local orders = { "eom delete 1 X-A", "eom change 2 X-A new" }
    assert.same({ "2", "new" }, values("postfix", orders))
    assert.same({ "new", "3" }, values("sendmail", orders))
  end)

  it("change 2 then delete 1: the same on both", function()
    local orders = { "eom change 2 X-A new", "eom delete 1 X-A" }
    assert.same({ "new", "3" }, values("postfix", orders))
    assert.same({ "new", "3" }, values("sendmail", orders))
  end)

  it("add a name that exists: Postfix at the end, Sendmail before the first of that name", function()
    assert.same({ "1", "2", "3", "new" }, values("postfix", { "eom add X-A new" }))
    assert.same({ "new", "1", "2", "3" }, values("sendmail", { "eom add X-A new" }))
  end)

  it("insert at 1: below its own Received; Postfix counts it, Sendmail counts all its own fields", function()
    for kind, world in pairs(worlds) do
      local message = world:arrives { fields = THREE, orders = { "eom insert 1 X-New v" } }
      assert.equal(message:position "Received" + 1, message:position "X-New", kind)
    end
  end)

  it("insert at 8: Postfix after the seventh field of the client, Sendmail before the first", function()
    local orders = { "eom insert 8 X-New v" }
    local message = worlds.postfix:arrives { fields = THREE, orders = orders }
    assert.equal(8, message:position "X-New" - message:position "Received")
    message = worlds.sendmail:arrives { fields = THREE, orders = orders }
    assert.equal(message:position "From" - 1, message:position "X-New")
  end)

  it("insert at 10: Sendmail after the second field of the client", function()
    local message = worlds.sendmail:arrives { fields = THREE, orders = { "eom insert 10 X-New v" } }
    assert.equal(message:position "To" + 1, message:position "X-New")
  end)

  it("delete a remote recipient spelled in another case: neither does", function()
    for kind, world in pairs(worlds) do
      for _, address in ipairs { "BOB@two.example", "bob@TWO.example" } do
        local message = world:arrives { orders = { ("eom delrcpt <%s>"):format(address) } }
        assert.same({ "bob@two.example" }, message.recipients, kind)
      end
    end
  end)

  it("a lone % in a reply: Postfix drops the sign, Sendmail the whole text", function()
    local orders = { "eom reply 550 5.7.1 quota 100% used" }
    assert.same({ "550 5.7.1 quota 100 used" }, worlds.postfix:send({ orders = orders }).final.lines)
    assert.not_matches("quota", worlds.sendmail:send({ orders = orders }).final.text)
  end)

  it("a doubled % in a reply: one % on both", function()
    for kind, world in pairs(worlds) do
      local result = world:send { orders = { "eom reply 550 5.7.1 quota 100%% used" } }
      assert.same({ "550 5.7.1 quota 100% used" }, result.final.lines, kind)
    end
  end)

  it("REJECT for an unknown command: 550 for that command (Postfix 3.10: 500), the session goes on", function()
    for kind, world in pairs(worlds) do
      local client = world:connect()
      local code = (kind == "sendmail" or postfix.heeds_unknown()) and 550 or 500
      assert.equal(code, client:cmd("XREJECT now").code, kind)
      assert.equal(250, client:send_message(compose {}).final.code, kind)
      client:quit()
    end
  end)
end)

describe("a filter that does not run:", function()
  if unavailable() then return pending(unavailable()) end

  local function outcome(mta)
    local client = smtp.connect(mta.port)
    local sent = compose {}
    local result = client:send_message(sent)
    client:quit()
    return result.last.code, sent
  end

  it("Postfix defers mail, or passes it unfiltered with milter_default_action = accept", function()
    local mta = postfix.start { milters = { ("inet:127.0.0.1:%d"):format(process.free_port()) } }
    finally(function() mta:stop() end)
    assert.equal(451, (outcome(mta)))
    process.wait_until(20, function() return mta:log():find "milter" end, "a line about it in the mail log")
    mta:configure { milter_default_action = "accept" }
    local code, sent = outcome(mta)
    assert.equal(250, code)
    assert(mta:wait_message(sent.token, 10))
  end)

  it("Sendmail defers mail with F=T, hangs up with F=4, and passes it unfiltered without F=", function()
    local spec = ("inet:127.0.0.1:%d"):format(process.free_port())
    local mta = sendmail.start { milters = { { spec, F = "T" } } }
    finally(function() mta:stop() end)
    assert.equal(451, (outcome(mta)))
    mta:set_milters { { spec, F = "4" } }
    assert.equal(421, smtp.connect(mta.port).greeting.code)
    mta:set_milters { { spec, F = "" } }
    local code, sent = outcome(mta)
    assert.equal(250, code)
    assert(mta:wait_message(sent.token, 10))
  end)
end)

describe("a filter that dies in a message:", function()
  for _, mta_module in ipairs(cases.mtas) do
    it(("%s defers this message and the next of the session; the next session is filtered again"):format(
      mta_module.kind), function()
      if mta_module.unavailable() then return pending(mta_module.unavailable()) end
      local stand_in = filter.stand_in()
      local world = cases.world(mta_module, stand_in)
      finally(function()
        world.mta:stop()
        stand_in:stop()
      end)
      local client = world:connect()
      assert.equal(250, client:cmd("MAIL FROM:<ann@one.example>").code)
      stand_in.child:signal "SIGKILL"
      assert.equal(451, client:cmd("RCPT TO:<bob@two.example>").code)
      client:reset()
      assert.equal(451, client:send_message(compose {}).last.code)
      client:quit()

      stand_in:stop()
      local again = filter.stand_in { port = stand_in.port }
      finally(function()
        world.mta:stop()
        again:stop()
      end)
      assert.equal("v", world:arrives { orders = { "eom add X-New v" } }:get "X-New")
    end)
  end
end)

describe("the harness", function()
  if unavailable() then return pending(unavailable()) end

  it("passes locally submitted mail through Postfix's non_smtpd_milters", function()
    local stand_in = filter.stand_in()
    local mta = postfix.start { non_smtpd_milters = { stand_in.milter } }
    finally(function()
      mta:stop()
      stand_in:stop()
    end)
    local sent = compose { orders = { "eom facts" } }
    mta:submit(sent)
    local message = assert(mta:wait_message(sent.token, 10))
    assert.equal("localhost 127.0.0.1", message:get "X-Facts-Client")
    assert.equal("ann@one.example", message:get "X-Facts-Sender") -- no angle brackets on this path
  end)

  it("returns messages in the requested order, and none twice", function()
    local mta = postfix.start()
    finally(function() mta:stop() end)
    local client = smtp.connect(mta.port)
    local sent = {}
    for i = 1, 3 do
      sent[i] = compose {}
      assert.equal(250, client:send_message(sent[i]).final.code)
    end
    client:quit()
    assert(mta:wait_message(sent[2].token, 10))
    assert.equal(2, #assert(mta:wait_delivered(2, 10)))
    assert.same({}, mta:delivered())
    assert.error_matches(function() mta:wait_delivered(1, 0.1) end,
      "not within 0.1 s: 1 messages at the sink, there are 0")
  end)

  it("leaves no process and no file behind when a spec is killed", function()
    local script = process.write_file(os.tmpname(), [[
      local filter, postfix, sendmail =
        require "spec.mta.filter", require "spec.mta.postfix", require "spec.mta.sendmail"
      local stand_in = filter.stand_in()
      local mtas = { postfix.start { milters = { stand_in.milter } }, sendmail.start { milters = { stand_in.milter } } }
      for _, mta in ipairs(mtas) do
        print(mta.child.guard, mta.directory)
        print(mta.sink.child.guard, mta.directory)
      end
      print(stand_in.child.guard, stand_in.directory)
      io.stdout:flush()
      local unistd, signal = require "posix.unistd", require "posix.signal"
      signal.kill(unistd.getpid(), signal.SIGKILL)
    ]])
    local output = os.tmpname()
    os.execute(("luajit %s >%s 2>&1"):format(script, output))
    local text = process.read_file(output)
    os.remove(script)
    os.remove(output)
    local count = 0
    for guard, directory in text:gmatch "(%d+)%s+(%S+)\n" do
      count = count + 1
      assert(process.wait_until(10, function()
        local status = process.read_file(("/proc/%s/status"):format(guard))
        return not status or status:find("State:%s+Z")
      end, "the end of guard " .. guard))
      assert(process.wait_until(10, function() return #process.files(directory) == 0 end, "the end of " .. directory))
    end
    assert.equal(5, count, text)
  end)
end)
