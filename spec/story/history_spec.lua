--- The history of a host as an operator reads it: ctl history, tail and explain.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = { ["10-auth.lua"] = [[
local milter = require "moonmilter"
function on_connect(ctx)
  milter.sleep(0.01)
end
function on_mail(ctx, from)
  ctx:note("looked at " .. from)
  if from:find "slow" then milter.sleep(30) end
end
function on_rcpt(ctx, to)
  if to:find "refused" then
    return ctx:reject(550, "5.7.1", "no such box here")
  end
end
function on_header(ctx) end
function on_eom(ctx)
  ctx:add_header("X-Seen", "yes")
  if ctx.sender:find "raises" then error("broken on purpose") end
  if ctx.sender:find "spam" then
    return ctx:tempfail("come back")
  end
end]] }

local function mail(h, sender, recipient, id)
  local mta = assert(h:connect())
  mta:greet()
  mta:helo()
  mta:mail(sender, id)
  local reply = mta:rcpt(recipient)
  if reply.kind == "continue" then
    mta:data()
    mta:header("Subject", "a secret subject")
    mta:header("From", "x@one.example")
    mta:eoh()
    mta:body()
    reply = mta:eom()
  else
    mta:abort()
  end
  mta:quit()
  return reply
end

local function history(h, ...)
  local list = {}
  for line in h:ctl("history", "--json", ...):gmatch "[^\n]+" do list[#list + 1] = cjson.decode(line) end
  return list
end

local function wait_for(h, count, ...)
  local options = { ... }
  host.wait_until(5, function() return #history(h, unpack(options)) >= count end, "messages in the history")
  return history(h, ...)
end

local function senders(list)
  local names = {}
  for i, message in ipairs(list) do names[i] = message.from end
  return names
end

for _, workers in ipairs { 0, 2 } do
  describe(("the history of a host, workers=%d,"):format(workers), function()
    local h

    setup(function()
      h = host.start { workers = workers, scripts = SCRIPTS }
      mail(h, "ann@one.example", "bob@two.example", "4Qgood")
      mail(h, "eve@evil.example", "refused@two.example")
      mail(h, "spam@one.example", "bob@two.example", "4Qspam")
      mail(h, "raises@one.example", "bob@two.example", "4Qraises")
      wait_for(h, 4)
    end)
    teardown(function() h:stop() end)

    it("lists messages, the newest last, with verdict and who decided", function()
      local output, status = h:ctl "history"
      assert.equal(0, status)
      local rows = {}
      for line in output:gmatch "[^\n]+" do rows[#rows + 1] = line end
      assert.matches("^TIME +VERDICT +STAGE +ID +CLIENT", rows[1])
      assert.matches("continue +eom +4Qgood +192%.0%.2%.1 +<ann@one%.example> %-> <bob@two%.example>", rows[2])
      assert.matches("none +rcpt .*<eve@evil%.example> .*reject at rcpt by 10%-auth%.lua:11: 550 5%.7%.1 no such",
        rows[3])
      assert.matches("tempfail +eom +4Qspam .*10%-auth%.lua:19, 451 4%.7%.1 come back", rows[4])
      assert.matches("tempfail +eom +4Qraises .*on_error %(10%-auth%)", rows[5])
      assert.equal(5, #rows)
    end)

    it("explains a message: stages, handlers, waits, notes, edits, each with its line", function()
      local output, status = h:ctl("explain", "4Qspam")
      assert.equal(0, status)
      for _, pattern in ipairs { "^message 4Qspam, session %x+%-%d+, number 1 in it\n", "\n  time +20%d%d%-",
        "\n  client +192%.0%.2%.1 client%.example, helo client%.example, through the MTA at 127%.0%.0%.1:%d+\n",
        "\n  from +<spam@one%.example>\n  to +<bob@two%.example>\n",
        "\n  verdict +tempfail at eom by 10%-auth%.lua:19: 451 4%.7%.1 come back\n",
        "ms  connect\n", "10%-auth%.lua:2 on_connect: [%d.]+ ms in 2 runs\n",
        "10%-auth%.lua:3 waits: sleep 0%.010 s, %d+ ms\n",
        "10%-auth%.lua:6 note: looked at spam@one%.example\n", "ms  rcpt <bob@two%.example>\n",
        "ms  header %(2 times%)\n", "10%-auth%.lua:14 on_header: [%d.]+ ms in 2 runs\n",
        "10%-auth%.lua:16 edit: add_header X%-Seen yes\n" } do
        assert.matches(pattern, output)
      end
    end)

    it("explains a refused recipient and an error by session and queue id", function()
      local refused = history(h, "--from", "evil")[1]
      local output = h:ctl("explain", refused.session)
      assert.matches("reject at rcpt by 10%-auth%.lua:11: 550 5%.7%.1 no such box here\n", output)
      assert.matches("error: %S+10%-auth%.lua:17: broken on purpose\n", (h:ctl("explain", "4Qraises")))
    end)

    it("is chosen from by sender, recipient, network, id, verdict, script and time", function()
      local function from(...) return senders(history(h, ...)) end
      assert.same({ "<eve@evil.example>" }, from("--from", "EVIL"))
      assert.same({ "<eve@evil.example>" }, from("--to", "refused@"))
      assert.same({ "<ann@one.example>" }, from("--queue-id", "4Qgood"))
      assert.same({ "<spam@one.example>", "<raises@one.example>" }, from("--verdict", "tempfail"))
      assert.same({ "<eve@evil.example>" }, from("--verdict", "reject"))
      assert.same({ "<raises@one.example>" }, from("--verdict", "error"))
      assert.equal(4, #from("--script", "10-auth.lua"))
      assert.same({}, from("--script", "20-other"))
      assert.equal(4, #from("--ip", "192.0.2.0/24"))
      assert.same({}, from("--ip", "198.51.100.0/24"))
      assert.equal(4, #from("--since", "1h"))
      assert.same({}, from("--until", "1h"))
      assert.same({ "<raises@one.example>" }, from("--count", "1"))
      assert.same({ "<spam@one.example>" }, from("--verdict", "tempfail", "--from", "spam"))
    end)

    it("gives numbers and time lines to programs, and leaves the subject out", function()
      local message = history(h, "--queue-id", "4Qspam")[1]
      assert.equal("10-auth.lua:19", message.decided_by)
      assert.equal("192.0.2.1", message.client)
      assert.is_true(message.began > 1.5e9 and message.ended >= message.began)
      assert.is_nil(message.subject)
      local wait
      for _, item in ipairs(message.items) do
        if item.kind == "wait" then wait = item end
      end
      assert.equal("sleep 0.010 s", wait.asked)
      assert.equal(3, wait.line)
      assert.is_true(wait.seconds >= 0.009)
      assert.is_nil(h:ctl("explain", "4Qspam"):find("secret", 1, true))
    end)

    it("shows messages as they end", function()
      local tail = process.start({ host.program(), "ctl", "--control", h.control, "tail", "--count", "1", "--from",
        "late" }, { output = h.directory .. "/tail", life = 20 })
      finally(function() tail:stop() end)
      host.wait_until(5, function()
        mail(h, "late@one.example", "bob@two.example", "4Qlate")
        return tail:text():find "4Qlate"
      end, "a row of tail")
      assert.matches("continue +eom +4Qlate ", tail:text())
    end)

    it("survives a reload", function()
      assert.equal(0, (select(2, h:ctl "reload")))
      assert.equal(1, #history(h, "--queue-id", "4Qgood"))
    end)

    it("says what is wrong with options and ids", function()
      local output, status = h:ctl("explain", "4Qnothing")
      assert.equal(1, status)
      assert.matches("has no message with the queue id or session \"4Qnothing\"", output)
      for words, text in pairs { ["history --verdict maybe"] = "%-%-verdict \"maybe\"",
        ["history --since yesterday"] = "%-%-since \"yesterday\"", ["history --ip nowhere"] = "%-%-ip \"nowhere\"",
        ["history --count many"] = "%-%-count \"many\"", ["explain"] = "explain takes one",
        ["tail x"] = "options only" } do
        output, status = h:ctl(words)
        assert.equal(64, status)
        assert.matches(text, output)
      end
    end)
  end)
end

describe("the history", function()
  local h
  after_each(function() h:stop() end)

  it("keeps the messages of a killed worker, the one under way marked as unfinished", function()
    h = host.start { workers = 1, scripts = SCRIPTS }
    mail(h, "ann@one.example", "bob@two.example", "4Qbefore")
    local mta = assert(h:connect())
    mta:greet()
    mta:helo()
    mta:macros("M", { i = "4Qkilled" })
    mta:send("M", "<slow@one.example>\0")
    host.wait_until(5, function() return h:ctl("sessions"):find "waits_for=sleep" end, "a waiting handler")
    assert.matches("10%-auth%.lua:7 waits: sleep 30%.000 s: no answer yet", (h:ctl("explain", "4Qkilled")))
    host.kill(h:workers()[1], "SIGKILL")
    h:wait_log("worker_ended", 5)
    local list = wait_for(h, 2)
    assert.same({ "<ann@one.example>", "<slow@one.example>" }, senders(list))
    assert.equal("unfinished", list[2].verdict)
    assert.equal("mail", list[2].stage)
    assert.matches("waits: sleep 30%.000 s: no answer yet", (h:ctl("explain", "4Qkilled")))
    h:wait_serving(1)
    mail(h, "after@one.example", "bob@two.example")
    assert.equal(3, #wait_for(h, 3))
  end)

  it("keeps only the last messages", function()
    h = host.start { workers = 0, scripts = SCRIPTS, arguments = { "--history=3" } }
    for i = 1, 7 do mail(h, ("s%d@one.example"):format(i), "bob@two.example") end
    host.wait_until(5, function() return senders(history(h))[3] == "<s7@one.example>" end, "the seventh message")
    assert.same({ "<s5@one.example>", "<s6@one.example>", "<s7@one.example>" }, senders(history(h)))
  end)

  it("forgets after history_time", function()
    h = host.start { workers = 0, scripts = SCRIPTS, arguments = { "--history_time=1" } }
    mail(h, "ann@one.example", "bob@two.example")
    wait_for(h, 1)
    host.wait_until(10, function() return #history(h) == 0 end, "an empty history")
  end)

  it("masks local parts and texts with history_redact = \"addresses\", and shows subjects with \"nothing\"", function()
    h = host.start { workers = 0, scripts = SCRIPTS, arguments = { "--history_redact=addresses" } }
    mail(h, "spam@one.example", "bob@two.example", "4Qmasked")
    local message = wait_for(h, 1)[1]
    assert.same({ "<*@one.example>", "<*@two.example>", "451 4.7.1 " }, { message.from, message.to, message.reply })
    local text = h:ctl("explain", "4Qmasked")
    assert.matches("rcpt <%*@two%.example>", text)
    assert.matches("edit: add_header X%-Seen\n", text)
    h:stop()
    h = host.start { workers = 0, arguments = { "--history_redact=addresses" }, scripts = { ["10-notes.lua"] = [[
function on_rcpt(ctx)
  ctx:note(("%s, <o'neil+x@one.example> and \"ann smith\"@two.example; @ home"):format(ctx.sender))
  error("cannot bill " .. ctx.sender)
end]] } }
    mail(h, "ann@one.example", "bob@two.example", "4Qnotes")
    wait_for(h, 1)
    text = h:ctl("explain", "4Qnotes")
    assert.matches('note: %*@one%.example, <%*@one%.example> and %*@two%.example; %*@ home\n', text)
    assert.matches("cannot bill %*@one%.example", text)
    h:stop()
    h = host.start { workers = 0, scripts = SCRIPTS, arguments = { "--history_redact=nothing" } }
    mail(h, "ann@one.example", "bob@two.example", "4Qopen")
    assert.equal("a secret subject", wait_for(h, 1)[1].subject)
  end)

  it("shows hostile names on one line each", function()
    h = host.start { workers = 0, scripts = SCRIPTS }
    mail(h, "a\n\27[2Jfake", "bob@two.example", "4Qhostile")
    wait_for(h, 1)
    local output = h:ctl "history"
    assert.is_nil(output:find "\27")
    assert.matches("<a\\x0a\\x1b%[2Jfake>", output)
    assert.is_nil(h:ctl("explain", "4Qhostile"):find "\27")
    -- a C1 control, a character that turns text around, a line separator, a byte that is no UTF-8; "é" is shown
    mail(h, "\194\155\226\128\174x\226\128\168\195\169\255", "bob@two.example", "4Qunicode")
    wait_for(h, 2)
    for _, command in ipairs { "history", "explain 4Qunicode" } do
      assert.matches("<\\xc2\\x9b\\xe2\\x80\\xaex\\xe2\\x80\\xa8\195\169\\xff>", (h:ctl(command)))
    end
  end)

  it("is not kept with history = 0", function()
    h = host.start { workers = 0, scripts = SCRIPTS, arguments = { "--history=0" } }
    assert.equal("continue", mail(h, "ann@one.example", "bob@two.example").kind)
    local output, status = h:ctl "history"
    assert.equal(69, status)
    assert.matches("keeps no history; set history", output)
  end)

  it("tells a client that is refused before any message", function()
    h = host.start { workers = 0, scripts = { ["10-no.lua"] = [[
function on_helo(ctx, name)
  return ctx:reject(550, "5.7.1", "not you")
end]] } }
    local mta = assert(h:connect())
    mta:greet()
    assert.equal("550 5.7.1 not you", mta:helo().text)
    mta:quit()
    local message = wait_for(h, 1)[1]
    assert.same({ "reject", "helo", "10-no.lua:2" }, { message.verdict, message.stage, message.decided_by })
    assert.matches("^client %x+%-%d+, session", (h:ctl("explain", message.session)))
  end)
end)
