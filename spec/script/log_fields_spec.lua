-- log.fields: what scripts add to the line of a message, and to no other line, in both forms of the log.
local cjson = require "cjson"
local fake_mta = require "spec.support.fake_mta"

local function host_of(files, ...)
  return assert(fake_mta.host { files = files, set = { ... } })
end

-- The lines of all messages that one session sends.
local function lines_of(script, options)
  options = options or {}
  local host = host_of(type(script) == "table" and script or { ["10-a.lua"] = script }, unpack(options.set or {}))
  local mta = fake_mta.start { host = host }
  mta:begin()
  for _ = 1, options.messages or 1 do
    mta:message()
    mta:settle()
  end
  mta:quit()
  mta:close()
  local lines, errors = host:log_lines "message", host:log_lines "script_error"
  local log = host:log()
  host:close()
  return lines, errors, log
end

local function fields(body)
  return "local log = require 'moonmilter.log'\n" .. body
end

describe("log.fields", function()
  it("adds fields to the message's line, sorted, after the host's own", function()
    local lines, errors = lines_of(fields [[
      function on_mail() log.fields{ zone = "eu", country = "NL", listed = false } end
      function on_eom() log.fields{ score = 5.25, words = "a b=c" } end]])
    assert.same({}, errors)
    assert.matches(' seconds=%S+ .-country=NL listed=false score=5%.25 words="a b=c" zone=eu$', lines[1])
  end)

  it("adds members of the right types to the line as JSON", function()
    local log = select(3, lines_of(fields [[
      function on_mail() log.fields{ listed = true, text = nil, n = -3, half = 0.5, s = "12", odd = 0/0, big = 1e300 }
      end]], { set = { "log_format=json" } }))
    local found
    for line in log:gmatch "[^\n]+" do
      local value = cjson.decode(line)
      found = value.event == "message" and value or found
    end
    assert.is_true(found.listed)
    assert.equal(-3, found.n)
    assert.equal(0.5, found.half)
    assert.equal("12", found.s)
    assert.equal("string", type(found.odd)) -- JSON has no such number
    assert.equal(1e300, found.big)
    assert.equal("message", found.event)
  end)

  it("merges what several scripts set: the last value of a name counts", function()
    local lines = lines_of { ["10-a.lua"] = fields "function on_mail() log.fields{ who = 'first', a = 1 } end",
      ["20-b.lua"] = fields "function on_mail() log.fields{ who = 'a longer second', b = 2 } end" }
    assert.matches(' a=1 b=2 who="a longer second"$', lines[1])
  end)

  it("takes fields after a wait, of a task, in on_done, and none into the next message", function()
    local lines, errors = lines_of(fields [[
      local milter = require "moonmilter"
      local n = 0
      function on_mail() n = n + 1 end
      function on_eom()
        if n > 1 then return end
        local task = milter.spawn(function() milter.sleep(0.01) log.fields{ task = 1 } end)
        milter.sleep(0.005)
        log.fields{ waited_for = "x" }
        task:wait()
      end
      function on_done() if n == 1 then log.fields{ done = true } end end]], { messages = 2 })
    assert.same({}, errors)
    assert.equal(2, #lines)
    assert.matches(" done=true task=1 waited_for=x$", lines[1])
    assert.is_nil(lines[2]:find "done=" or lines[2]:find "task=" or lines[2]:find "waited_for=")
  end)

  it("keeps two sessions apart whose handlers wait at the same time", function()
    local host = host_of { ["10-a.lua"] = fields [[
      local milter = require "moonmilter"
      function on_mail(ctx, sender)
        log.fields{ mail = sender }
        milter.sleep(sender:find "^a" and 0.05 or 0.02)
        log.fields{ slept = sender }
        if sender:find "^b" then log.fields{ only_b = 1 } end
      end]] }
    local a, b = fake_mta.start { host = host }, fake_mta.start { host = host }
    a:begin()
    b:begin()
    for _, pair in ipairs { { a, "<a@x.example>" }, { b, "<b@x.example>" } } do
      pair[1].player:play("mail", pair[2], "")
      pair[1]:feed(pair[1].player:take())
    end
    assert.is_true(a:is_waiting() and b:is_waiting())
    for _, mta in ipairs { a, b } do
      mta:reply()
      mta:rcpt()
      mta:eoh()
      mta:eom()
    end
    a:close()
    b:close()
    local lines = host:log_lines "message"
    host:close()
    assert.equal(2, #lines)
    for _, line in ipairs(lines) do
      local who = line:match " from=<(.)@"
      assert.matches(("mail=%s@x.example"):format(who), line)
      assert.matches(("slept=%s@x.example"):format(who), line)
      assert.equal(who == "b", line:find(" only_b=1", 1, true) ~= nil)
    end
  end)

  it("adds them to the line of an aborted message", function()
    local host = host_of { ["10-a.lua"] = fields [[
      function on_mail() log.fields{ a = 1 } end
      function on_abort() log.fields{ aborted_by = "mta" } end]] }
    local mta = fake_mta.start { host = host }
    mta:begin()
    mta:mail()
    mta:abort()
    mta:close()
    local line = host:log_lines "message"[1]
    host:close()
    assert.matches(" aborted=yes .* a=1 aborted_by=mta$", line)
  end)
end)

describe("a hostile value of log.fields", function()
  it("stays one value of one line", function()
    local lines, errors = lines_of(fields [[
      function on_mail() log.fields{ a = 'x" verdict=accept\n2026-01-01 info message verdict=accept\0\27[2J\255',
        b = "" } end]])
    assert.same({}, errors)
    assert.equal(1, #lines)
    assert.matches([[a="x\" verdict=accept\n2026%-01%-01 info message verdict=accept\x00\x1b%[2J\xff" b=""$]], lines[1])
  end)

  it("is cut at 256 bytes, between characters, and counted", function()
    local line = lines_of(fields "function on_mail() log.fields{ a = ('ü'):rep(100000), b = 'x' } end")[1]
    assert.matches(' fields_lost=1 a="' .. ("ü"):rep(128) .. '" b=x$', line)
    line = lines_of(fields "function on_mail() log.fields{ a = 'x' .. ('ü'):rep(200) } end")[1]
    assert.matches(' fields_lost=1 a="x' .. ("ü"):rep(127) .. '"$', line)
  end)

  it("leaves room for what the host says, however many there are", function()
    local lines, errors = lines_of(fields [[
      function on_mail()
        for i = 1, 1000 do log.fields{ ["f" .. i] = ("\1"):rep(250), again = i } end
      end]])
    assert.same({}, errors)
    assert.matches(" verdict=continue .* seconds=", lines[1])
    assert.matches(" again=1000 f1=", lines[1])
    assert.matches(" fields_lost=9%d%d", lines[1])
    assert.is_true(#lines[1] <= 4096)
  end)

  it("needs no more memory for a name that is set a million times", function()
    local lines = lines_of(fields [[
      function on_mail() for i = 1, 100000 do log.fields{ n = i, s = ("x"):rep(i % 250) } end end]])
    assert.matches(" n=100000 s=", lines[1])
  end)
end)

describe("log.fields raises at the script's line", function()
  local function error_of(call, handler)
    local lines, errors, log = lines_of(fields(("function %s()\n log.fields%s end\nfunction on_mail() end"):format(
      handler or "on_eom", call)))
    assert.equal(1, #errors, log)
    return errors[1]:match '10%-a%.lua:3: (.-)\\nstack', lines[1]
  end

  it("for names that are not names", function()
    for _, name in ipairs { "", "A", "1a", "a-b", "a b", "a=b", 'a\\"', "\\n", "ü", "a\\0b", ("x"):rep(33) } do
      assert.matches("is not 1 to 32 of a%-z", error_of(('{ good = 1, ["%s"] = 1 }'):format(name)))
    end
    assert.matches("a field has no name", error_of "{ 'x' }")
  end)

  it("for the host's own names: a script cannot say what the verdict was", function()
    for key in io.open "docs/logs.md":read "*a":match "\n## message: info(.-)\n## client":gmatch "\n| `([^|]+)` |" do
      for name in key:gmatch "[%w_]+" do
        local text, line = error_of(("{ %s = 777 }"):format(name))
        assert.matches("is the host's own", text)
        assert.is_nil(line:find((" %s=777"):format(name), 1, true))
      end
    end
    for _, name in ipairs { "time", "level", "event", "is_cut", "fields_lost", "milter", "helo", "to" } do
      assert.matches("is the host's own", (error_of(("{ %s = 1 }"):format(name))))
    end
  end)

  it("for wrong values and arguments, and sets nothing then", function()
    local text, line = error_of "{ a = 1, b = {} }"
    assert.matches("b is a table; give a string, a number or a boolean", text)
    assert.is_nil(line:find(" a=1", 1, true))
    assert.matches("b is a function", (error_of "{ b = print }"))
    assert.matches("expected a table of fields, got a string", (error_of "'x'"))
    assert.matches("expected a table of fields, got a no value", (error_of "()"))
  end)

  it("where no message is open", function()
    for _, handler in ipairs { "on_connect", "on_helo", "on_close" } do
      assert.matches("no message is open", (error_of("{ a = 1 }", handler)))
    end
    local host, err = fake_mta.host { script = fields "log.fields{ a = 1 }" }
    assert.is_nil(host)
    assert.matches("no message is open", err)
  end)
end)

describe("moonmilter try and ctl explain", function()
  it("show the fields", function()
    local path = os.tmpname()
    local file = assert(io.open(path .. ".lua", "w"))
    file:write(fields "function on_eom() log.fields{ country = 'NL', words = 'a b' } end")
    file:close()
    local pipe = assert(io.popen("printf 'Subject: x\\n\\nx\\n' | " .. (os.getenv "MOONMILTER" or "build/moonmilter")
      .. " try - " .. path .. ".lua 2>&1"))
    local text = pipe:read "*a"
    pipe:close()
    os.remove(path)
    os.remove(path .. ".lua")
    assert.matches('info  fields: country=NL words="a b"\n', text)
  end)
end)
