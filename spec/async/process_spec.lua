local fake_mta = require "spec.support.fake_mta"
local processes = require "spec.support.process"
local support = require "spec.async.support"

local HEAD = 'local milter = require "moonmilter"\nlocal process = require "moonmilter.process"\n'

local mta

local function serve(source, set)
  mta = fake_mta.start { script = HEAD .. source, set = set }
  mta:begin()
end

local function answer_of(body)
  serve("function on_mail(ctx)\n" .. body .. "\nend")
  local reply = mta:mail()
  if not (reply.text or ""):find "^550" then
    error(mta.owner:log())
  end
  return reply.text:sub(11)
end

-- Is there a process whose command line contains this word?
local function is_running(word)
  local list = io.popen("ps -eo args | grep -F '" .. word .. "' | grep -v grep")
  local text = list:read "*a"
  list:close()
  return text:find(word, 1, true) ~= nil
end

local function ends(word, turns)
  return processes.wait_until(5, function()
    if turns then
      turns:turn(0.02)
    end
    return not is_running(word)
  end)
end

describe("process.run", function()
  after_each(function()
    mta:close()
  end)

  it("gives output, error output and exit status", function()
    assert.equal("out|err|3|nil", answer_of [[
      local r = process.run { argv = { "sh", "-c", "printf out; printf err >&2; exit 3" } }
      return ctx:reject(("%s|%s|%s|%s"):format(r.stdout, r.stderr, r.status, tostring(r.signal)))
    ]])
  end)

  it("passes arguments unchanged, never through a shell", function()
    assert.equal("$(id);`id` && *|a b", answer_of [[
      local r = process.run { argv = { "printf", "%s|%s", "$(id);`id` && *", "a b" } }
      return ctx:reject(r.stdout)
    ]])
  end)

  it("feeds standard input of any size and content while output is read", function()
    assert.equal("3000000 true true", answer_of [[
      local text = ("ab\0\n\255"):rep(600000)
      local r = process.run { argv = { "cat" }, stdin = text, max_output = 4e6 }
      return ctx:reject(("%d %s %s"):format(#r.stdout, tostring(r.stdout == text), tostring(r.status == 0)))
    ]])
  end)

  it("tolerates a program that does not read its input", function()
    assert.equal("0", answer_of [[
      local r = process.run { argv = { "true" }, stdin = ("x"):rep(1e6) }
      return ctx:reject(tostring(r.status))
    ]])
  end)

  it("names the signal that ended it", function()
    assert.equal("nil 9", answer_of [[
      local r = process.run { argv = { "sh", "-c", "kill -9 $$" } }
      return ctx:reject(tostring(r.status) .. " " .. r.signal)
    ]])
  end)

  it("ends a program that is not done in time, with all that it has started", function()
    assert.equal("nil timeout true", answer_of [[
      local began = milter.now()
      local r, text, code = process.run { argv = { "sh", "-c", "sleep 4711.1 & sleep 4711.2; true" }, timeout = 0.1 }
      return ctx:reject(tostring(r) .. " " .. code .. " " .. tostring(milter.now() - began < 1))
    ]])
    assert.is_true(ends("4711.", mta.owner))
  end)

  it("kills a program that ignores SIGTERM", function()
    assert.equal("timeout", answer_of [[
      return ctx:reject(select(3, process.run { argv = { "sh", "-c", "trap '' TERM; while :; do sleep 0.0815; done" }, timeout = 0.1 }))
    ]])
    assert.is_true(ends("0.0815", mta.owner))
  end)

  it("waits for output of its children, but not beyond the time-out", function()
    assert.equal("late timeout", answer_of [[
      local r = process.run { argv = { "sh", "-c", "(sleep 0.1; printf late) & exit 0" } }
      local _, _, code = process.run { argv = { "sh", "-c", "sleep 4712 & exit 0" }, timeout = 0.1 }
      return ctx:reject(r.stdout .. " " .. code)
    ]])
    assert.is_true(ends("4712", mta.owner))
  end)

  it("ends a program that writes without end", function()
    assert.equal("limit", answer_of [[
      return ctx:reject(select(3, process.run { argv = { "yes", "4713" }, max_output = 10000 }))
    ]])
    assert.is_true(ends("yes 4713", mta.owner))
  end)

  it("sets environment and directory", function()
    assert.equal("A=1 B=two words /", answer_of [[
      local r = process.run { argv = { "/usr/bin/env" }, env = { A = "1", B = "two words" } }
      local lines = {}
      for line in r.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
      table.sort(lines)
      local d = process.run { argv = { "pwd" }, cwd = "/" }
      return ctx:reject(table.concat(lines, " ") .. " " .. d.stdout:gsub("%s", ""))
    ]])
  end)

  it("says why a program cannot be started", function()
    assert.equal("notfound denied notfound", answer_of [[
      local function code(order) return select(3, process.run(order)) end
      return ctx:reject(("%s %s %s"):format(code { argv = { "no-such-program-here" } }, code { argv = { "/etc/passwd" } },
        code { argv = { "true" }, cwd = "/no/such/directory" }))
    ]])
  end)

  it("reports the caller's mistakes", function()
    assert.equal("unknown key \"command\"|must be a string|NUL", answer_of [[
      local function why(order) return select(2, pcall(process.run, order)) end
      return ctx:reject(why({ command = "x" }):match('unknown key "command"') .. "|"
        .. why({ argv = { "true", 7 } }):match("must be a string") .. "|" .. why({ argv = { "true", "a\0b" } }):match("NUL"))
    ]])
  end)

  it("passes none of our descriptors to the program", function()
    assert.equal("0 1 2", answer_of [[
      local held = io.open("/etc/passwd")
      local r = process.run { argv = { "sh", "-c", "ls /proc/$$/fd" } }
      held:close()
      return ctx:reject((r.stdout:gsub("%s+", " "):gsub(" $", "")))
    ]])
  end)

  it("runs many programs side by side, and refuses more than the limit", function()
    assert.equal("40 24 busy", answer_of [[
      local list = {}
      for i = 1, 40 do list[i] = function() return process.run { argv = { "sleep", "0.2" } }.status end end
      local began = milter.now()
      local found = milter.all(list)
      for i = 1, 88 do list[i] = function() return process.run { argv = { "sleep", "0.3" } } end end
      local _, failures = milter.all(list)
      local failed, code = 0
      for _, failure in pairs(failures) do failed, code = failed + 1, failure.code end
      return ctx:reject(("%d %d %s"):format(#found, failed, code))
    ]])
  end)

  it("is ended with the handler that waits for it", function()
    serve([[ function on_rcpt(ctx) process.run { argv = { "sleep", "4714" } } end ]])
    mta:mail()
    mta:feed(fake_mta.packet("R", "<a@b>\0"))
    mta.owner:turn(0.05)
    assert.is_true(is_running "sleep 4714")
    mta:abort()
    assert.is_true(ends("sleep 4714"))
  end)

  it("is ended with the host", function()
    serve([[ function on_rcpt(ctx) process.run { argv = { "sh", "-c", "trap '' TERM; sleep 4715; sleep 4715" } } end ]])
    mta:mail()
    mta:feed(fake_mta.packet("R", "<a@b>\0"))
    mta.owner:turn(0.05)
    mta:close()
    assert.is_true(ends("sleep 4715"))
  end)

  it("leaves no descriptor and no zombie", function()
    serve [[
      function on_mail(ctx)
        for _ = 1, 30 do process.run { argv = { "true" } } end
        for _ = 1, 5 do process.run { argv = { "sleep", "60" }, timeout = 0.01 } end
        milter.sleep(0.1)
      end
    ]]
    collectgarbage() -- closes what earlier specs have left open
    local before = support.descriptors()
    mta:mail()
    assert.is_true(support.descriptors() <= before)
    local zombies
    processes.wait_until(5, function() -- killed programs may take some time
      mta.owner:turn(0.01)
      local list = io.popen "ps -o stat= --ppid $PPID | grep -c Z"
      zombies = list:read "*l"
      list:close()
      return zombies == "0"
    end)
    assert.equal("0", zombies)
  end)
end)
