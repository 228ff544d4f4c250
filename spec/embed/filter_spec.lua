-- Filters in C: examples/embed-filter.c on its own and before a script, and filter.c, which plays single situations.
local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
local sanitizer = require "spec.support.embedding".sanitizer
local program = os.getenv "MOONMILTER" or "build/moonmilter"

local function compile(source, binary, is_static)
  process.run(("ln -sf libmoonmilter.so %s/libmoonmilter.so.0"):format(build))
  process.run(("cc -std=gnu11 -Wall -Wextra -Werror -g %s -Ihost -o %s %s -L%s %s -pthread"):format(sanitizer, binary,
    source, build, is_static and "-l:libmoonmilter.a $(make -s libs)" or "-lmoonmilter -Wl,-rpath,$PWD/" .. build))
end

local function output_of(command)
  local pipe = io.popen("env -u LD_PRELOAD timeout 60 " .. command .. " 2>&1")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("a filter in C", function()
  local directory

  setup(function()
    directory = process.directory()
    compile("examples/embed-filter.c", directory .. "/example")
    compile("spec/embed/filter.c", directory .. "/filter")
    process.write_file(directory .. "/mail.eml", "From: a@example.org\nSubject: hello\n\nbody\n")
    process.write_file(directory .. "/tag.lua", [[
      function on_rcpt(ctx, recipient) if recipient:match "^later" then return ctx:tempfail "script" end end
      function on_eom(ctx) require("moonmilter").sleep(0.01) ctx:add_header("X-Script", "seen") end
    ]])
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  local function serve(script)
    local socket = directory .. "/socket"
    local child = process.start({ "env", "-u", "LD_PRELOAD", directory .. "/example", "unix:" .. socket, script },
      { output = directory .. "/output", life = 120 })
    finally(function() child:stop() end)
    assert(child:wait_text("serving", 20))
    return child, function(arguments)
      return output_of(("%s send --to unix:%s %s %s/mail.eml"):format(program, socket, arguments, directory))
    end
  end

  it("serves without any script: replies, edits, and an answer that a thread gives later", function()
    local child, send = serve()
    local text = send "--from a@example.org --rcpt one@example.org --rcpt nobody@example.org --rcpt two@example.org"
    assert.truthy(text:find("X-Rcpt-Count: 2", 1, true), text)
    assert.truthy(text:find("550 5.1.1 no such user", 1, true), text)
    assert(child:wait_text("done: 0 at eom by , 1 edits, 1 of 3 recipients refused", 5))
    text = send "--from spam@example.org --rcpt one@example.org"
    assert.truthy(text:find("reject", 1, true), text)
    assert(child:wait_text("done: 2 at eom by embed-filter.c, 0 edits, 0 of 1 recipients refused", 5))
  end)

  it("runs before the scripts of its milter, whose handlers may wait, too", function()
    local child, send = serve(directory .. "/tag.lua")
    local text = send "--from a@example.org --rcpt one@example.org --rcpt later@example.org --rcpt nobody@example.org"
    assert.truthy(text:find("X-Rcpt-Count: 2", 1, true), text)
    assert.truthy(text:find("X-Script: seen", 1, true), text)
    assert.truthy(text:find("550 5.1.1 no such user", 1, true), text)
    assert.truthy(text:find("script", 1, true), text)
    assert(child:wait_text("done: 0 at eom by , 2 edits, 2 of 3 recipients refused", 5))
  end)

  local function lines_of(situation)
    local lines = {}
    for line in output_of(("%s/filter %s %s"):format(directory, situation, directory)):gmatch "[^\n]+" do
      lines[#lines + 1] = line
    end
    return lines
  end

  it("sees every event with its facts and macros, and keeps data by client and message", function()
    assert.same({
      "connect [192.0.2.1] 192.0.2.1", "helo client.example", "mail a@example.org, message 1, auth ann",
      "rcpt b@example.org", "data", "header Subject=hello", "eoh", "body 6 bytes",
      "eom a@example.org to b@example.org, message data 1",
      "done 0 at eom, 6 edits", "destroy 1", "mail c@example.org, message 2, auth nil",
      "abort at mail by 1", "destroy 2", "close 4", "destroy 100",
    }, lines_of "events")
  end)

  it("sees macros as they come, and the result of a message in full", function()
    local lines = lines_of "result"
    local function first_of(stage)
      for i, line in ipairs(lines) do
        if line:find("macros of " .. stage, 1, true) then return line, lines[i + 1] end
      end
    end
    assert.truthy(first_of("connect"):find(" j=mx.example .*, sender nil$"))
    assert.truthy(first_of("mail"):find(" auth_authen=ann .*, sender a@example.org$"))
    local line, after = first_of "rcpt"
    assert.equal("macros of rcpt at macros: rcpt_addr=no@example.org rcpt_host=example.org rcpt_mailer=smtp, "
      .. "sender a@example.org", line)
    assert.equal("rcpt no@example.org, no@example.org no", after)
    for _, stage in ipairs { "data", "eoh", "eom" } do assert.truthy(first_of(stage):find(": i=%w+, ")) end
    local text = table.concat(lines, "\n")
    for _, expected in ipairs {
      "rcpt b@example.org, no@example.org yes, later@example.org yes, b@example.org no",
      'done 0 at eom by "", reply "", 6 edits, 3 recipients, 2 refused, quarantine odd, times yes',
      "added new@example.org more@example.org, deleted b@example.org, refused no@example.org=reject "
        .. "later@example.org=tempfail",
      "changed, quarantine odd",
      'done 2 at eom by "tells", reply "", 0 edits, 1 recipients, 0 refused, quarantine nil, times yes',
      "added, deleted, refused",
    } do
      assert.truthy(text:find(expected, 1, true), expected .. "\n" .. text)
    end
  end)

  it("knows the client, what the MTA lets it do and a strange command, and skips the rest of a body", function()
    assert.same({ "client [192.0.2.1] 192.0.2.1", "unknown XJUGGLE 3", "verdict r",
      "client data 100, may add yes, may quarantine no, may juggle no", "skip one", "verdict s", "verdict n",
      "done 0 at eom, 0 edits", "close 4", "destroy 100" }, lines_of "facts")
  end)

  it("does the same when it is linked with the static library", function()
    compile("spec/embed/filter.c", directory .. "/filter-static", true)
    for _, situation in ipairs { "events", "facts", "errors", "accept", "refuse", "give_up", "at_once" } do
      local lines = {}
      for line in output_of(("%s/filter-static %s %s"):format(directory, situation, directory)):gmatch "[^\n]+" do
        lines[#lines + 1] = line
      end
      assert.same(lines_of(situation), lines, situation)
    end
  end)

  it("refuses edits that are malformed or at the wrong stage, with their reason", function()
    assert.same({ "connect: wrong_stage", "name: bad_value", "value: too_large", "reply: bad_value",
      "not_granted: not_granted" }, lines_of "errors")
  end)

  it("decides with the first refusal, and lets scripts go on after its accept", function()
    assert.same({ "mail c", "eom a", "X-Script: seen" }, lines_of "accept")
    assert.same({ "mail r" }, lines_of "refuse")
  end)

  it("needs no Lua state while its milter has no scripts, and gets one with a reload that finds some", function()
    process.run(("mkdir -p %s/scripts"):format(directory))
    local lines = lines_of "without_lua"
    assert.same({ "filter yes, script no", "filter adds in C: on_eom", "states made: no", "reload: ok",
      "filter yes, script yes", "states made: yes", "reload: ok", "filter yes, script no", "states made: no" }, lines)
  end)

  it("is cancelled when the MTA gives up or the deadline passes, and a late answer counts for nothing", function()
    assert.same({ "later", "cancelled", "abort at mail by 1", "finish: no" }, lines_of "give_up")
    assert.same({ "later", "cancelled", "eom t", "finish: no" }, lines_of "deadline")
  end)

  it("may answer at once what it had promised for later", function()
    assert.same({ "finish: yes", "finish: no", "eom r" }, lines_of "at_once")
  end)

  it("lists sessions, ends them in the next turn of the loop, and counts messages by verdict", function()
    local rest = ", errors 0, generation 1, lua no, held yes, seconds yes"
    assert.same({
      "sessions 1 of 1, messages 0: 0 0 0 0 0, aborted 0" .. rest, "helo client.example", "abort at mail by 1",
      "sessions 1 of 1, messages 5: 1 1 1 1 1, aborted 1" .. rest,
      "session milter=default feed=yes negotiated=yes client=192.0.2.1 helo=client.example sender=waits@x "
        .. "recipients=1 messages=7 waits_at=eom waited=yes age=yes held=yes id=yes",
      "seen 1 of 2", "close 5", "unknown: not_found", "known: fine",
      "cancelled", "close 7", "finished yes, last reply t", "ended: not_found",
      "sessions 0 of 2, messages 6: 1 1 1 2 1, aborted 1" .. rest,
      "helo client.example", "ends itself: yes", "abort at rcpt by 7", "close 7", "rcpt c", "finished yes",
    }, lines_of "sessions")
  end)

  it("sends nothing of a message when its process is killed in a handler, and the next one serves", function()
    local child
    finally(function() child:stop() end)
    local function start()
      if child then child:stop() end
      child = process.start({ "env", "-u", "LD_PRELOAD", directory .. "/filter", "killed", directory },
        { output = directory .. "/killed.out", life = 120 })
      assert(child:wait_text("serving", 20))
      return assert(mta_client.connect(directory .. "/killed"))
    end
    local mta = start()
    mta:greet()
    mta:helo()
    mta:mail "deadly@example.org"
    mta:rcpt()
    local reply = mta:eom()
    assert.equal("closed", reply.kind)
    assert.same({}, reply.edits or {})
    mta:close()
    mta = start()
    mta:envelope()
    assert.equal("continue", mta:eom().kind)
    mta:close()
  end)

  it("says with a code why a host does not start", function()
    assert.same({ "first yes", "socket: in_use", "configuration: config", "key: config", "script: config",
      "filter: bad_value" }, lines_of "starts")
  end)

  it("refuses to start two filters for one milter, or one for a milter that there is not", function()
    assert.same({ "two: in_use", "nowhere: not_found" }, lines_of "two")
  end)
end)
