-- `moonmilter try`: message files through scripts, in process.
local program = os.getenv "MOONMILTER" or "build/moonmilter"

local function run(command)
  local pipe = assert(io.popen(command .. "; echo \"status $?\"", "r"))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)status (%d+)\n$"
  return text, tonumber(status)
end

local message = "Received: from a by b\nFrom: Ann <ann@example.org>\nTo: bob@example.org, eve@example.net\n"
  .. "Subject: hello\n folded\n\nHello.\n"

describe("moonmilter try", function()
  if os.execute("test -x " .. program) ~= 0 then
    pending("needs " .. program)
    return
  end

  local directory, file

  local function write(name, text)
    local path = directory .. "/" .. name
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    return path
  end

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert.equal(0, os.execute("mkdir " .. directory))
    file = write("m.eml", message)
  end)

  teardown(function() os.execute("rm -rf " .. directory) end)

  --- Runs a script given as text; arguments before the message.
  local function try(script, arguments, quiet_errors)
    local path = write("script.lua", script)
    return run(("%s try %s %s %s %s"):format(program, arguments or "", file, path, quiet_errors
      and "2>/dev/null" or "2>&1"))
  end

  it("shows the verdict, the edits and the edited message", function()
    local text, status = try [[
      function on_rcpt(ctx) ctx.message.rcpts = (ctx.message.rcpts or 0) + 1 end
      function on_eom(ctx) ctx:add_header("X-Rcpt-Count", ctx.message.rcpts) end
    ]]
    assert.equal(0, status)
    local expected = message:gsub("\n\n", "\nX-Rcpt-Count: 2\n\n", 1)
    assert.equal("accept at eom: 250 2.0.0 Ok\n  add_header X-Rcpt-Count: 2\n\n" .. expected, text)
  end)

  it("shows the reply to the SMTP client", function()
    local script = [[function on_mail(ctx) ctx:reject(550, "5.7.1", "not today, 100%", "not tomorrow") end]]
    local text, status = try(script, "--expect reject:550")
    assert.equal(0, status)
    assert.equal("reject at mail: 550-5.7.1 not today, 100%\n    550 5.7.1 not tomorrow\n  decided by script.lua:1\n",
      text)
  end)

  it("passes the given envelope, client and macros to scripts", function()
    local text = try([[
      function on_eom(ctx)
        ctx:add_header("X-Told", table.concat({ ctx.sender, ctx.recipients[1].address, ctx.helo, ctx.client.ip, ctx.client.host,
          ctx:macro("auth_authen"), ctx:macro("colour") }, " "))
      end
    ]], "--from 'x@example.org SIZE=1' --to y@example.net --helo there --client 2001:db8::7,mx.example.net --auth ann --macro colour=red")
    assert.matches("X%-Told: x@example.org y@example.net there 2001:db8::7 mx.example.net ann red", text)
  end)

  it("waits for handlers that wait", function()
    local text = try [[local milter = require "moonmilter" function on_eom(ctx) milter.sleep(0.1) ctx:add_header("X-Late", "yes") end]]
    assert.matches("X%-Late: yes", text)
  end)

  it("gives up on handlers that wait too long for the MTA", function()
    local text, status = try([[local milter = require "moonmilter" function on_eom(ctx) milter.sleep(20) end]],
      "--timeout 0.2")
    assert.equal(76, status)
    assert.matches("in answer to eom: no answer within 0.2 seconds", text)
  end)

  it("shows the error of a handler and the resulting verdict", function()
    local text, status = try "function on_rcpt(ctx) return nil + 1 end"
    assert.equal(70, status)
    assert.matches("error on_rcpt of script.lua: %S*/script.lua:1: attempt to perform arithmetic", text)
    assert.matches("tempfail at rcpt: 451 4.3.0", text)
    assert.matches("\n  decided by on_error %(script%)\n", text)
    assert.matches("a script failed: see the error above", text)
  end)

  it("refuses scripts that do not load", function()
    local text, status = try "function on_recpt(ctx) end"
    assert.equal(78, status)
    assert.matches("on_rcpt", text)
    assert.equal(78, (select(2, run(("%s try %s %s/none.lua 2>/dev/null"):format(program, file, directory)))))
  end)

  it("shows differences", function()
    local text = try([[function on_eom(ctx) ctx:change_header("Subject", 1, "bye") ctx:replace_body("Bye.\n") end]],
      "--diff")
    assert.matches("\n%-Subject: hello\n%- folded\n%+Subject: bye\n", text)
    assert.matches("\n%-Hello.\n%+Bye.\n$", text)
  end)

  it("is quiet on request", function()
    assert.equal("", (try("function on_eom(ctx) end", "-q --expect accept")))
  end)

  it("runs several messages of one session, and aborts", function()
    local counting = [[
      function on_mail(ctx) ctx.session.n = (ctx.session.n or 0) + 1 end
      function on_eom(ctx) ctx:add_header("X-N", ctx.session.n) end
    ]]
    local text = try(counting, "--repeat 3")
    for n = 1, 3 do assert.matches("X%-N: " .. n, text) end
    for _, stage in ipairs { "mail", "rcpt", "data", "header", "eoh", "body" } do
      for _, mta in ipairs { "postfix", "sendmail" } do
        assert.equal(0, (select(2, try(counting,
          ("--mta %s --abort-after %s --repeat 2 -q --expect abort"):format(mta, stage)))))
        assert.equal(0, (select(2, try(counting,
          ("--mta %s --hang-up-after %s -q --expect abort"):format(mta, stage)))))
      end
    end
  end)

  it("works for every protocol version and set of steps", function()
    local script = [[
      function on_header(ctx) end
      function on_body(ctx) return "skip" end
      function on_eom(ctx) ctx:add_header("X-Tag", "yes") end
    ]]
    for _, options in ipairs { "--protocol 2", "--protocol 3", "--protocol 4", "--steps no_data",
      "--steps quiet_header", "--steps leading_space", "--steps skip", "--actions add_header" } do
      assert.matches("\nX%-Tag: yes\n\nHello", (try(script, options)), options)
    end
  end)

  it("gives the same message, without complaint, on Postfix and on Sendmail", function()
    local long = "Received: from a by b\nA: 1\nSubject: s\nB: 2\nA: 3\nMessage-Id: <m>\nX-Seed: %d\nA: 4\n\nbody\n"
    for seed = 1, 40 do
      local path, results = write("r.eml", long:format(seed)), {}
      for _, mta in ipairs { "postfix", "sendmail" } do
        local text = run(("%s try --mta %s %s spec/fixtures/random_edits.lua 2>&1"):format(program, mta, path))
        assert.matches("^accept", text)
        assert.is_nil(text:find("complaint", 1, true), text)
        results[mta] = text:match "\n\n(.*)$"
      end
      assert.equal(results.postfix, results.sendmail)
    end
  end)

  it("reports what is wrong with its arguments", function()
    assert.equal(64, (select(2, run(program .. " try 2>/dev/null"))))
    assert.equal(64, (select(2, run(program .. " try --dif x 2>/dev/null --expect maybe"))))
    assert.equal(66, (select(2, run(program .. " try " .. directory .. "/none.eml scripts/ 2>/dev/null"))))
    local text, status = run(program .. " try --help")
    assert.equal(0, status)
    for _, option in ipairs { "from", "rcpt", "to", "expect", "diff", "json", "mta", "macro", "config" } do
      assert.matches("%-%-" .. option, text)
    end
  end)

  it("shows what scripts print and log, with its level, script and stage", function()
    local script = [[
      local log = require "moonmilter.log"
      print "while loading"
      function on_mail(ctx) print("two\nlines", 3) log.debug "hidden" log.info "info" log.warn 'say "warn" = 1' end]]
    local text = try(script)
    assert.matches("info  script: while loading\n", text)
    assert.matches("info  script at mail: two\n      lines\t3\n", text)
    assert.matches("info  script at mail: info\n", text)
    assert.matches('warn  script at mail: say "warn" = 1\n', text)
    assert.is_nil(text:find("hidden", 1, true))
    assert.is_nil(text:find("descriptors", 1, true))
    text = try(script, "--verbose")
    assert.matches("debug script session=%S+ script=script stage=mail text=hidden", text)
    assert.matches("info message session=", text)
    assert.equal("", (try(script, "--quiet")))
  end)

  it("does not warn of descriptors, whatever the limit", function()
    local path = write("script.lua", "function on_eom() end")
    local text = run(("ulimit -n 64; %s try %s %s 2>&1 >/dev/null"):format(program, file, path))
    assert.equal("", text)
  end)

  it("says which line decided, in text and JSON, also for a refused recipient", function()
    local cjson = require "cjson"
    local script = [[
      function on_rcpt(ctx, recipient)
        if recipient:find "^bob" then ctx:reject(550, "5.1.1", "no bob") end
      end
      function on_eom(ctx)
        if ctx.sender == "late@x" then ctx:tempfail(451, "4.7.1", "later") end
      end]]
    local text = try(script)
    assert.matches("accept at eom: 250 2.0.0 Ok %(1 recipient refused%)\n  refused <bob@example.org>: 550 5.1.1 no bob "
      .. "%(script.lua:2%)\n", text)
    text = try(script, "--from late@x")
    assert.matches("tempfail at eom: 451 4.7.1 later %(1 recipient refused%)\n  decided by script.lua:5\n", text)
    local all = cjson.decode((try(script, "--from late@x --json", true)))
    assert.equal("script.lua:5", all.decided_by)
    assert.equal(0, all.script_errors)
    for _, reply in ipairs(all.replies) do
      assert.equal(reply.text == "550 5.1.1 no bob" and "script.lua:2" or reply.text == "451 4.7.1 later"
        and "script.lua:5"
        or nil, reply.decided_by)
    end
    all = cjson.decode((try("function on_eom() end", "--json", true)))
    assert.equal(cjson.null, all.decided_by)
    for stage, handler in pairs { connect = "on_connect", helo = "on_helo", mail = "on_mail" } do
      all = cjson.decode((try(("function %s(ctx) ctx:reject(550, '5.7.1', 'x') end"):format(handler), "--json", true)))
      assert.equal("script.lua:1", all.decided_by, stage)
    end
  end)

  it("has an exit status of its own for scripts that fail, wherever", function()
    for _, script in ipairs { "function on_eom() error 'x' end", "function on_done() error 'x' end",
      "function on_close() error 'x' end", "local m = require 'moonmilter' function on_mail() m.spawn(error, 'x') m.sleep(0.01) end",
      "function on_rcpt() return 'maybe' end" } do
      for _, arguments in ipairs { "", "-q", "--expect tempfail", "--expect accept" } do
        local text, status = try(script, arguments)
        assert.is_true(status == 70 or (status == 1 and text:find "expected" ~= nil), arguments .. " " .. script
          .. " " .. status)
      end
    end
    assert.equal(0, (select(2, try("function on_eom() error 'x' end", "--expect error -q"))))
    assert.equal(1, (select(2, try("function on_eom() end", "--expect error -q"))))
  end)

  it("shows signs of life while a handler waits", function()
    local text, status = try [[local milter = require "moonmilter" function on_eom() milter.sleep(2.6) end]]
    assert.equal(0, status)
    assert.matches("moonmilter try: a handler has not answered for 2 s, at most 300 s %(%-%-timeout%)", text)
    text = try([[local milter = require "moonmilter" function on_eom() milter.sleep(2.6) end]], "-q")
    assert.equal("", text)
  end)

  it("ends at --timeout, also when a script is stuck in C: in a handler, while loading, at the end", function()
    local stuck = 'local f = io.popen "exec sleep 20 2>/dev/null" f:read "*a"'
    for _, script in ipairs { "function on_eom() %s end", "function on_connect() %s end", "%s function on_mail() end",
      "function on_close() %s end", "function on_unload() %s end function on_mail() end" } do
      local began = os.time()
      local text, status = try(script:format(stuck), "--timeout 1")
      assert.equal(76, status, script)
      assert.is_true(os.time() - began < 10, script)
      assert.matches("no answer within 1 seconds: .*a C function that the script called does not return", text)
    end
    local text, status = try(("function on_eom() %s end"):format(stuck), "--timeout 1 --json", true)
    assert.equal(76, status)
    local all = require "cjson".decode(text)
    assert.equal("none", all.verdict)
    assert.matches("no answer within 1 seconds: on_eom of %S+script.lua: a C function", all.error)
    assert.equal(0, (select(2, try(("function on_eom() %s end"):format(stuck), "--timeout 1 --expect failed"))))
  end)

  it("has colour on a terminal only, and never with NO_COLOR", function()
    local path = write("script.lua", "function on_eom(ctx) print 'x' ctx:add_header('X-A', 'b') end")
    local function on_terminal(environment, arguments)
      return (run(("env -u NO_COLOR TERM=xterm %s script -qec '%s try %s --diff %s %s' /dev/null </dev/null")
        :format(environment, program, arguments or "", file, path)))
    end
    local text = on_terminal ""
    assert.truthy(text:find("\27[32maccept\27[0m at eom", 1, true), text)
    assert.truthy(text:find("\27[36minfo \27[0m script at eom: x", 1, true), text)
    assert.truthy(text:find("\27[32m+X-A: b\27[0m", 1, true), text)
    for _, plain in ipairs { on_terminal "NO_COLOR=1", on_terminal "TERM=dumb", on_terminal("", "--color never"),
      (try("function on_eom() end", "--diff")) } do
      assert.is_nil(plain:find("\27", 1, true), plain)
      assert.matches("accept at eom", plain)
    end
    assert.truthy(on_terminal "NO_COLOR=":find("\27[32maccept", 1, true))
    assert.truthy(try("function on_eom() end", "--color always"):find("\27[32maccept", 1, true))
    assert.equal(64, (select(2, try("function on_eom() end", "--color sometimes"))))
  end)
end)
