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
    assert.equal("reject at mail: 550-5.7.1 not today, 100%\n    550 5.7.1 not tomorrow\n", text)
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
    assert.equal(0, status)
    assert.matches("script.lua:1: attempt to perform arithmetic", text)
    assert.matches("tempfail at rcpt: 451 4.3.0", text)
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
end)
