-- moonmilter ctl, as an operator reads it and as a program does.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = { ["10-slow.lua"] = [[
local milter = require "moonmilter"
local function ask() milter.sleep(20) end
function on_mail(ctx)
  milter.spawn(function() ask() end)
end
function on_eom(ctx)
  ask()
  return "accept"
end]] }

local function json(h, ...)
  local output, status = h:ctl("--json", ...)
  return cjson.decode(output), status
end

for _, workers in ipairs { 0, 2 } do
  describe(("ctl, workers=%d,"):format(workers), function()
    local h, mta

    setup(function()
      h = host.start { workers = workers, scripts = SCRIPTS, arguments = { "--log_level=warn" } }
      mta = assert(h:connect())
      mta:envelope("body", "4Qnight")
      mta:send "E"
      host.wait_until(3, function() return h:ctl("sessions"):find "waits_for" end, "a waiting session")
    end)
    teardown(function()
      mta:close()
      h:stop()
    end)

    it("shows a session's client, what it waits for and on which lines of the script, its tasks too", function()
      local output, status = h:ctl "sessions"
      assert.equal(0, status)
      local line, place = output:match "(session=[^\n]+)\n(.*)"
      for _, pattern in ipairs { "client=client%.example", "address=192%.0%.2%.1", "queue_id=4Qnight", "stage=eom",
        "age=%d+%.%d", "script=10%-slow", "waits_for=sleep", "waiting=%d+%.%d", "deadline_in=2%d%d%.%d" } do
        assert.matches(pattern, line)
      end
      local path = "%S+/10%-slow%.lua:"
      assert.matches("^    " .. path .. "2: in function 'ask'\n    " .. path .. "7: in function 'on_eom'\n"
        .. "    task script=10%-slow waits_for=sleep waiting=%d+%.%d\n"
        .. "        " .. path .. "2: in function 'ask'\n        " .. path .. "4: in function <" .. path
        .. "4>\n", place)
    end)

    it("shows sessions as JSON", function()
      local answer, status = json(h, "sessions")
      assert.equal(0, status)
      assert.equal(1, #answer.sessions)
      local session = answer.sessions[1]
      assert.equal("4Qnight", session.queue_id)
      assert.equal("number", type(session.age))
      assert.equal("number", type(session.waiting))
      assert.matches("10%-slow%.lua:7: in function 'on_eom'$", session.where[2])
      assert.equal(workers > 0 and true or nil, session.pid and session.pid ~= h:pid() or nil)
      assert.same({}, answer.notes)
    end)

    it("shows a line per process and the last reload in its status", function()
      local output = h:ctl "status"
      assert.matches("^version=%S+ pid=%d+ uptime=%d+ workers=" .. workers, output)
      local answer = json(h, "status")
      assert.equal(h:pid(), answer.pid)
      assert.equal("ok", answer.reload)
      assert.equal(math.max(1, workers), #answer.processes)
      local sessions = 0
      for _, worker in ipairs(answer.processes) do
        assert.equal("serving", worker.state)
        assert.equal(1, worker.generation)
        sessions = sessions + worker.sessions
      end
      assert.equal(1, sessions)
    end)

    it("counts messages by verdict in its status", function()
      local other = assert(h:connect())
      other:envelope("body", "4Qaborted")
      other:close()
      host.wait_until(10, function() return json(h, "status").aborted == 1 end, "a message that was given up")
      local answer = json(h, "status")
      assert.same({ 0, 0, 0, 0, 0 }, { answer.continue, answer.accept, answer.reject, answer.tempfail, answer.discard })
    end)

    it("ends one session, and says when there is none of that name", function()
      local other = assert(h:connect())
      other:envelope("body", "4Qended")
      local id
      for _, one in ipairs(json(h, "sessions").sessions) do
        if one.queue_id == "4Qended" then id = one.session end
      end
      local output, status = h:ctl("end", id)
      assert.same({ "session=" .. id .. " state=ended\n", 0 }, { output, status })
      host.wait_until(10, function() return not h:ctl("sessions"):find(id, 1, true) end, "the end of the session")
      assert.truthy(h:ctl("sessions"):find("4Qnight", 1, true))
      other:close()
      output, status = h:ctl("end", "nobody")
      assert.equal(66, status)
      assert.matches("there is no such session", output)
      local answer
      answer, status = json(h, "end", id)
      assert.equal(66, status)
      assert.same({}, answer["end"])
      assert.matches("no such session", answer.error)
    end)

    it("reports the result of a reload, without tracebacks of our own", function()
      h:write { ["20-bad.lua"] = "function on_rcpt(" }
      local output, status = h:ctl "reload"
      assert.equal(78, status)
      assert.matches("^moonmilter ctl: %S+20%-bad%.lua:1: [^\n]+\n$", output)
      local answer = json(h, "status")
      assert.equal("failed", answer.reload)
      assert.matches("^last failure: %S+20%-bad%.lua:1: ", answer.notes[1])
      h:write { ["20-bad.lua"] = "function on_rcpt() end" }
      answer, status = json(h, "reload")
      assert.equal(0, status)
      assert.same({ "generation 2 serves" }, answer.notes)
      assert.equal("ok", json(h, "status").reload)
    end)

    it("distinguishes generations that serve from those that sessions still hold", function()
      local found = {}
      for _, generation in ipairs(json(h, "generations").generations) do
        local name = generation.generation .. " " .. generation.state
        found[name] = (found[name] or 0) + generation.sessions
      end
      assert.same({ ["1 leaving"] = 1, ["2 serving"] = 0 }, found)
    end)

    it("accepts the levels of the log and no other word", function()
      assert.equal(0, select(2, h:ctl("loglevel", "debug")))
      local output, status = h:ctl("loglevel", "loud")
      assert.equal(64, status)
      assert.matches("give debug, info, warn or error", output)
      for _, words in ipairs { "", "statsu", "status now", "--jsn status" } do
        output, status = h:ctl(words)
        assert.equal(64, status, words)
        assert.matches("Usage: moonmilter ctl", output)
      end
    end)

    it("reports what is wrong with a request", function()
      for words, why in pairs {
        [""] = "no request is given; see moonmilter ctl --help",
        statsu = 'there is no request "statsu"; did you mean "status"?',
        ["status now"] = "status takes no argument",
        loglevel = "loglevel takes one argument, LEVEL",
      } do
        assert.equal("moonmilter ctl: " .. why, (h:ctl(words):match "^[^\n]*"))
      end
    end)

    it("reports errors as JSON, too", function()
      h:write { ["30-bad.lua"] = "function on_rcpt(" }
      local output, status = h:ctl "--json reload"
      assert.equal(78, status)
      assert.matches("30%-bad%.lua:1: ", cjson.decode(output:match "{.*}").error)
      assert(os.remove(h.scripts .. "/30-bad.lua"))
      output, status = h:ctl "--json loglevel loud"
      assert.equal(64, status)
      assert.matches("give debug", cjson.decode(output:match "{.*}").error)
      output, status = h:ctl(("--control %s/nobody --json status"):format(h.directory))
      assert.equal(69, status)
      assert.matches("no host with this control socket", cjson.decode(output:match "{.*}").error)
    end)
  end)
end

describe("ctl finds the host by its configuration", function()
  local h, file

  before_each(function()
    h = host.start { scripts = SCRIPTS }
    file = h.directory .. "/moonmilter.conf"
  end)
  after_each(function() h:stop() end)

  local function ask(text)
    process.write_file(file, text)
    local output = process.run(("%s ctl -c %s status 2>&1; echo status $?"):format(host.program(), file))
    return output:match "^(.*)status (%d+)\n$"
  end

  it("even when the configuration no longer loads", function()
    for _, text in ipairs { 'wrokers = 2\ncontrol = "control.sock"', 'control = "control.sock"\nworkers = "many"' } do
      local output, status = ask(text)
      assert.equal("0", status)
      assert.matches("^version=", output)
    end
  end)

  it("or says why it cannot, and what to do", function()
    local output, status = ask 'control = "control.sock'
    assert.equal("78", status)
    assert.matches("moonmilter%.conf:1.*%-%-control PATH", output)
  end)
end)
