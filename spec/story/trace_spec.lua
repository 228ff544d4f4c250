--- ctl trace: sessions as an operator watches them, live.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = { ["10-auth.lua"] = [[
local milter = require "moonmilter"
local log = require "moonmilter.log"
function on_connect(ctx)
  milter.sleep(0.01)
end
function on_mail(ctx, from)
  ctx:note("looked at " .. from)
  log.debug("a debug line about %s", from)
  if from:find "die" then os.execute("kill -9 $PPID") end
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

--- A trace that runs, once so many workers watch.
local function trace(h, workers, ...)
  local child = process.start({ host.program(), "ctl", "--control", h.control, "trace", ... },
    { output = os.tmpname(), life = 60 })
  local self = { child = child }
  function self.text() return child:text() end
  function self.wait(pattern, count)
    return assert(process.wait_until(30, function()
      return select(2, child:text():gsub(pattern, "")) >= (count or 1)
    end, ("%d of %q in\n%s"):format(count or 1, pattern, child:text())))
  end
  function self.stop() child:stop() end
  self.wait((...) == "--json" and '"kind":"worker"' or "worker %d+ watches", math.max(workers, 1))
  return self
end

local function mail(h, sender, recipient, id, subject)
  local mta = assert(h:connect())
  mta:greet()
  mta:helo()
  mta:mail(sender, id)
  local reply = mta:rcpt(recipient)
  if reply.kind == "continue" then
    mta:data()
    mta:header("Subject", subject or "a secret subject")
    mta:eoh()
    mta:body()
    reply = mta:eom()
  else
    mta:abort()
  end
  mta:quit()
  return reply
end

for _, workers in ipairs { 0, 2 } do
  describe(("a trace, workers=%d,"):format(workers), function()
    local h

    setup(function() h = host.start { workers = workers, scripts = SCRIPTS } end)
    teardown(function() h:stop() end)

    it("shows packets, handlers, waits, edits, log lines of every level and the verdict", function()
      local t = trace(h, workers)
      mail(h, "spam@one.example", "bob@two.example", "4Qspam")
      t.wait "closed: quit\n"
      t.stop()
      local text = t.text()
      for _, pattern in ipairs {
        "%-%- worker %d+ watches\n",
        "%d%d:%d%d:%d%d%.%d+ %x+%-%x+ == session mta=127%.0%.0%.1:%d+\n",
        "%-> negotiate %(12 bytes%) version=6 actions=0x1ff steps=0x0\n<?",
        "<%- negotiate %(%d+ bytes%) version=6 ",
        "%-> connect %(%d+ bytes%) client%.example 192%.0%.2%.1 family=inet port=1025\n",
        "   10%-auth%.lua:4 asks: sleep 0%.010 s\n",
        "   10%-auth%.lua:3 on_connect [%d.]+ ms, waits\n",
        "   sleep 0%.010 s [%d.]+ ms %-> done\n",
        "%-> helo %(15 bytes%) client%.example\n",
        "%-> macros %(10 bytes%) for=mail i=4Qspam\n",
        "%-> mail %(%d+ bytes%) <spam@one%.example>\n",
        "   10%-auth%.lua:7 note: looked at spam@one%.example\n",
        '   log debug: script .*text="a debug line about spam@one%.example"\n',
        "   10%-auth%.lua:6 on_mail [%d.]+ ms\n",
        "<%- continue\n",
        "%-> header %(%d+ bytes%) Subject %*\n",
        "%-> body %(6 bytes%)\n",
        "   10%-auth%.lua:18 edit: add_header X%-Seen yes\n",
        "<%- tempfail %(%d+ bytes%) \"451 4%.7%.1 come back\", by 10%-auth%.lua:21\n",
        "   log info: message ",
        "== message 4Qspam: tempfail at eom by 10%-auth%.lua:21: 451 4%.7%.1 come back, took [%d.]+ m?s\n",
        "%-> quit\n",
      } do
        assert.matches(pattern, text)
      end
      assert.is_nil(h:log():find("a debug line", 1, true))
      assert.is_nil(text:find("secret subject", 1, true))
    end)

    it("shows what a script has raised, and a refused recipient", function()
      local t = trace(h, workers)
      mail(h, "raises@one.example", "bob@two.example", "4Qraises")
      mail(h, "ann@one.example", "refused@two.example", "4Qrefused")
      t.wait("closed: quit", 2)
      t.stop()
      assert.matches("error: .*10%-auth%.lua:19: broken on purpose\n", t.text())
      assert.matches("verdict: reject at rcpt by 10%-auth%.lua:13: 550 5%.7%.1 no such box here\n", t.text())
      assert.matches("== message 4Qrefused: none at rcpt, took", t.text())
    end)

    it("shows only the sessions that are asked for", function()
      local other = trace(h, workers, "--client", "198.51.100.0/24")
      local client = trace(h, workers, "--client", "192.0.2.0/24")
      local from = trace(h, workers, "--from", "*@ONE.example", "--to", "bob@")
      mail(h, "spam@one.example", "bob@two.example", "4Qyes")
      mail(h, "spam@one.example", "eve@two.example", "4Qno")
      mail(h, "spam@three.example", "bob@two.example", "4Qneither")
      client.wait("closed: quit", 3)
      other.stop()
      client.stop()
      from.stop()
      assert.is_nil(other.text():find("session", 1, true))
      assert.is_nil(client.text():find("-> negotiate", 1, true))
      assert.matches("== session mta=%S+ protocol=6\n", client.text())
      assert.matches("== session mta=%S+ protocol=6 client=192%.0%.2%.1 client_name=client%.example "
        .. "helo=client%.example\n%S+ %S+ %-> rcpt %(%d+ bytes%) <bob@two%.example>\n", from.text())
      assert.matches("== message 4Qyes: tempfail", from.text())
      assert.is_nil(from.text():find("4Qno", 1, true))
      assert.is_nil(from.text():find("4Qneither", 1, true))
      assert.is_nil(from.text():find("quit", 1, true))
    end)

    it("takes up a session that is open, by its id", function()
      local mta = assert(h:connect())
      mta:greet()
      local t = trace(h, workers, "--session", h:sessions()[1].session)
      mta:helo()
      mail(h, "spam@one.example", "bob@two.example", "4Qother")
      mta:quit()
      t.wait "closed: quit"
      t.stop()
      assert.matches("client=192%.0%.2%.1 client_name=client%.example\n%S+ %S+ %-> helo", t.text())
      assert.is_nil(t.text():find("4Qother", 1, true))
    end)

    it("ends after the messages that are asked for, and gives JSON to programs", function()
      local t = trace(h, workers, "--json", "--count", "2")
      mail(h, "ann@one.example", "bob@two.example", "4Qone")
      mail(h, "ann@one.example", "bob@two.example", "4Qtwo")
      assert(process.wait_until(10, function() return not t.child:running() end, "the end of the trace"))
      local kinds, last = {}, nil
      for line in t.text():gmatch "[^\n]+" do
        last = cjson.decode(line)
        kinds[last.kind] = last
      end
      assert.equal("message", last.kind)
      assert.equal("4Qtwo", last.queue_id)
      assert.equal("continue", last.verdict)
      assert.equal(1, last.edits)
      assert.same({}, kinds.reply.arguments)
      assert.equal("10-auth", kinds.handler.script)
      assert.equal("sleep 0.010 s", kinds.answer.asked)
      assert.is_true(kinds.answer.seconds > 0.005)
      for _, kind in ipairs { "worker", "session", "command", "reply", "handler", "wait", "answer", "edit", "note",
        "log", "message", "closed" } do
        assert.is_table(kinds[kind], kind)
      end
    end)

    it("escapes what a terminal would obey, and a value cannot pose as a line", function()
      local t = trace(h, workers)
      mail(h, "a\27]0;title\7\n== message@one.example", "bob\194\155@two.example", "4Qx")
      t.wait "closed: quit"
      t.stop()
      assert.is_nil(t.text():find "[%z\1-\9\11-\31\127]")
      assert.is_nil(t.text():find("\194\155", 1, true))
      assert.matches("<a\\x1b]0;title\\x07\\x0a== message@one%.example>", t.text())
    end)

    it("is refused beyond four, and its place is free when its reader goes", function()
      local traces = {}
      for i = 1, 4 do traces[i] = trace(h, workers) end
      local output, status = h:ctl "trace"
      assert.equal(75, status)
      assert.matches("too many traces", output)
      for i = 1, 4 do traces[i].stop() end
      trace(h, workers).stop()
    end)

    it("refuses wrong words with a sentence", function()
      for words, pattern in pairs { ["--client nowhere"] = "%-%-client \"nowhere\": ", ["--count 0"] = "from 1 on",
        ["x"] = "trace takes options only" } do
        local list = {}
        for word in words:gmatch "%S+" do list[#list + 1] = word end
        local output, status = h:ctl("trace", unpack(list))
        assert.equal(64, status)
        assert.matches(pattern, output)
      end
    end)

    it("delays no mail when its reader stops, and then says how many lines it has lost", function()
      local t = trace(h, workers)
      t.child:signal "SIGSTOP"
      for i = 1, 300 do
        assert.equal("continue", mail(h, "ann@one.example", "bob@two.example", "4Q" .. i).kind)
      end
      t.child:signal "SIGCONT"
      mail(h, "ann@one.example", "bob@two.example", "4Qlast")
      t.wait "== message 4Qlast:"
      t.stop()
      assert.matches("%-%- %d+ lines were lost: they came faster than they were read\n", t.text())
    end)
  end)
end

describe("a trace of a host with workers", function()
  it("goes on in the worker that replaces a dead one", function()
    local h = host.start { workers = 1, scripts = SCRIPTS }
    finally(function() h:stop() end)
    local t = trace(h, 1)
    mail(h, "die@one.example", "bob@two.example", "4Qdie")
    t.wait("worker %d+ watches", 2)
    h:wait_serving(1)
    mail(h, "ann@one.example", "bob@two.example", "4Qafter")
    t.wait "== message 4Qafter:"
    t.stop()
  end)

  it("ends when the host ends", function()
    local h = host.start { workers = 1, scripts = SCRIPTS }
    local t = trace(h, 1)
    h:stop()
    assert(process.wait_until(10, function() return not t.child:running() end, "the end of the trace"))
    assert.matches("the host has ended", t.text())
  end)

  it("works without a history, and shows no addresses where history_redact says so", function()
    local h = host.start { workers = 1, scripts = SCRIPTS,
      arguments = { "--history=0", "--history-redact=addresses" } }
    finally(function() h:stop() end)
    local t = trace(h, 1)
    mail(h, "ann.secret@one.example", "bob.secret@two.example", "4Qhidden", "secret")
    t.wait "closed: quit"
    t.stop()
    assert.matches("10%-auth%.lua:6 on_mail", t.text())
    assert.matches("%-> mail %(%d+ bytes%) <%*@one%.example>\n", t.text())
    assert.matches("%-> rcpt %(%d+ bytes%) <%*@two%.example>\n", t.text())
    assert.matches("note: looked at %*@one%.example\n", t.text())
    assert.is_nil(t.text():find("secret", 1, true))
    assert.matches("edit: add_header X%-Seen\n", t.text())
  end)
end)
