--- A handler's verdict, and the reply to the MTA.
local fake_mta = require "spec.support.fake_mta"

local stages = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }

-- Brings the session to a stage and returns the reply there.
local steps = {
  connect = function(mta) return mta:connect() end, helo = function(mta) return mta:helo() end,
  mail = function(mta) return mta:mail() end, rcpt = function(mta) return mta:rcpt() end,
  data = function(mta) return mta:data() end, header = function(mta) return mta:header("Subject", "hello") end,
  eoh = function(mta) return mta:eoh() end, body = function(mta) return mta:body "hello\r\n" end,
  eom = function(mta) return mta:eom() end, unknown = function(mta) return mta:unknown "BOGUS" end,
}

local function reach(mta, stage)
  if stage == "unknown" then
    mta:connect()
    return mta:unknown "BOGUS"
  end
  for _, name in ipairs(stages) do
    local reply = steps[name](mta)
    if name == stage then
      return reply
    end
    assert.truthy(reply.kind == "continue" or reply.kind == "none", name .. ": " .. reply.kind)
  end
end

-- The reply to a handler with `body` at a stage; lockstep, so that every stage answers.
local function reply_at(stage, body, options)
  options = options or {}
  options.script = ("local milter = require 'moonmilter'\nfunction on_%s(ctx, ...)\n%s\nend\noptions = { lockstep "
    .. "= true }\n%s")
    :format(stage, body, options.more or "")
  local mta = fake_mta.start(options)
  local reply = reach(mta, stage)
  reply.errors = mta:log_lines "script_error"
  reply.mta = mta
  return reply
end

local all = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom", "unknown" }
local allowed = {
  continue = "connect helo mail rcpt data header eoh body eom unknown",
  accept = "connect helo mail rcpt data header eoh body eom",
  reject = "connect helo mail rcpt data header eoh body eom unknown",
  tempfail = "connect helo mail rcpt data header eoh body eom unknown",
  discard = "mail rcpt data header eoh body eom",
  skip = "header body",
}

describe("a verdict", function()
  for verdict, where in pairs(allowed) do
    for _, stage in ipairs(all) do
      local is_allowed = (" " .. where .. " "):find(" " .. stage .. " ", 1, true)
      for how, body in pairs { returned = ("return %q"):format(verdict), ["by method"] = ("ctx:%s()"):format(verdict),
        ["by returned method"] = ("return ctx:%s()"):format(verdict) } do
        if is_allowed then
          it(("%s, %s, is sent at %s"):format(verdict, how, stage), function()
            local reply = reply_at(stage, body)
            local heard = verdict == "skip" and stage == "header" and "continue" or verdict
            assert.equal(heard, reply.kind)
            assert.is_nil(reply.text)
            assert.same({}, reply.errors)
            reply.mta:close()
          end)
        else
          it(("%s, %s, is a script error at %s that names handler, file and line"):format(verdict, how, stage),
            function()
            local reply = reply_at(stage, body)
            assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
            assert.equal(1, #reply.errors)
            local line = reply.errors[1]
            assert.truthy(line:find("handler=on_" .. stage, 1, true), line)
            assert.truthy(line:find("script%.lua:[23]: "), line)
            assert.truthy(line:find("not possible at " .. stage, 1, true), line)
            reply.mta:close()
          end)
        end
      end
    end
  end

  local depths = {
    ["inside pcall"] = "pcall(function() VERDICT end) error 'went on'",
    ["inside xpcall and its message handler"] = "xpcall(function() error 'x' end, function() VERDICT end) "
      .. "error 'went on'",
    ["inside nested pcalls"] = "pcall(pcall, pcall, function() VERDICT end) error 'went on'",
    ["inside coroutine.wrap"] = "coroutine.wrap(function() VERDICT end)() error 'went on'",
    ["inside coroutine.resume"] = "coroutine.resume(coroutine.create(function() pcall(function() VERDICT end) end)) "
      .. "error 'went on'",
    ["inside coroutines in coroutines"] =
      "coroutine.wrap(function() coroutine.wrap(function() coroutine.wrap(function() VERDICT end)() end)() end)() error 'went on'",
    ["inside an iterator"] = "for _ in coroutine.wrap(function() VERDICT end) do end error 'went on'",
    ["inside a metamethod"] = "local _ = setmetatable({}, { __index = function() VERDICT end }).x error 'went on'",
    ["after a wait"] = "milter.sleep(0) VERDICT error 'went on'",
    ["after a wait inside pcall"] = "pcall(function() milter.sleep(0) VERDICT end) error 'went on'",
    ["deep down"] = "local function f(n) if n == 0 then VERDICT end f(n - 1) return 1 end f(150) error 'went on'",
    ["inside a table.sort comparator"] = "table.sort({ 3, 1, 2 }, function(a, b) VERDICT return a < b end) "
      .. "error 'went on'",
    ["inside a gsub replacement"] = "string.gsub('abc', '%w', function() VERDICT end) error 'went on'",
    ["inside a caught gsub replacement"] = "pcall(string.gsub, 'abc', '%w', function() VERDICT end) return 'accept'",
    ["inside a comparator in a coroutine"] =
      "coroutine.wrap(function() table.sort({ 2, 1, 3 }, function(a, b) VERDICT return a < b end) end)() error 'went on'",
    ["inside a coroutine in a comparator"] =
      "table.sort({ 2, 1, 3 }, function(a, b) coroutine.wrap(function() VERDICT end)() return a < b end) error 'went on'",
  }
  for where, body in pairs(depths) do
    it(("%s ends the handler"):format(where), function()
      for _, stage in ipairs { "rcpt", "eom", "connect" } do
        local reply = reply_at(stage, (body:gsub("VERDICT", "ctx:reject(554, '5.7.9', 'no')")))
        assert.equal("554 5.7.9 no", reply.text)
        assert.same({}, reply.errors)
        reply.mta:close()
      end
    end)
  end

  it("is logged at its place among the message's lines", function()
    for body, wanted in pairs { ["ctx:reject()"] = "decided_by=script.lua:3",
      ["return ctx:reject()"] = "decided_by=script.lua:3",
      ["return 'reject'"] = 'decided_by="script on_mail"' } do
      local reply = reply_at("mail", body)
      local line = reply.mta:log_lines("message")[1]
      assert.truthy(line:find(wanted, 1, true), line)
      reply.mta:close()
    end
  end)

  it("is logged at its place in a helper and in a module, in every style of the docs", function()
    for source, wanted in pairs {
      ["local function no(c)\n return c:reject(550,\n '5.7.1', 'x')\nend\nfunction on_mail(ctx)\n return no(ctx)\nend"] =
        "script.lua:2",
      ["return {\n on_mail = function(ctx)\n  if ctx.sender then return ctx:tempfail 'later' end\n end }"] = "script.lua:3",
      ["local p = require 'policy'\nfunction on_mail(ctx)\n p.check(ctx)\nend"] = "policy.lua:3",
      ["function on_mail(ctx) -- return ctx:reject()\n local s = [[return ctx:reject()]]\n return ctx:discard() -- (\nend"] =
        "script.lua:3",
    } do
      local host = assert(fake_mta.host { files = { ["script.lua"] = source,
        ["lib/policy.lua"] = "local p = {}\nfunction p.check(ctx)\n  return ctx:reject 'no'\nend\nreturn p" } })
      local mta = fake_mta.start { host = host }
      mta:begin()
      mta:mail()
      mta:close()
      assert.truthy(host:log():find("decided_by=" .. wanted, 1, true), wanted .. "\n" .. host:log())
      host:close()
    end
  end)

  it("cannot be given by on_done, on_abort and on_close", function()
    local mta = fake_mta.start [[
      function on_eom() end
      function on_done(ctx) return "reject" end
      function on_abort(ctx) ctx:reject() end
      function on_close(ctx) return 7 end
    ]]
    mta:connect()
    assert.equal("continue", mta:message().kind)
    mta:mail()
    mta:abort()
    assert.equal("continue", mta:message().kind)
    mta:quit()
    assert.equal(4, #mta:log_lines "script_error")
    mta:close()
  end)
end)

describe("reply texts", function()
  local good = {
    { "ctx:reject('no')", "550 5.7.1 no" }, { "ctx:reject(554, 'no')", "554 5.7.1 no" },
    { "ctx:reject('5.1.1', 'no')", "550 5.1.1 no" },
    { "ctx:reject(552, '5.2.2', 'no')", "552 5.2.2 no" }, { "ctx:reject('552', '5.2.2', 'no')", "552 5.2.2 no" },
    { "ctx:reject(552)", "552 5.7.1 Command rejected" }, { "ctx:reject(550, '5.1.1')", "550 5.1.1 Command rejected" },
    { "ctx:tempfail('later')", "451 4.7.1 later" }, { "ctx:tempfail(450, '4.2.0', 'later')", "450 4.2.0 later" },
    { "ctx:tempfail(421, '4.7.0', 'go')", "421 4.7.0 go" }, { "ctx:disconnect('go away')", "421 4.7.0 go away" },
    { "ctx:disconnect()", "421 4.7.0 Service unavailable - try again later" },
    { "ctx:reject('a', 'b', 'c')", "550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 c" },
    { "ctx:reject('100% %s %%')", "550 5.7.1 100%% %%s %%%%" }, { "ctx:reject('')", "550 5.7.1 " },
      { "ctx:reject('', '')", "550-5.7.1 \r\n550 5.7.1 " },
    { "ctx:reject('100')", "550 5.7.1 100" }, { "ctx:reject('550')", "550 5.7.1 550" },
    { "ctx:reject('5.1.1', '552')", "550 5.1.1 552" },
    { "ctx:reject('552', '100')", "552 5.7.1 100" }, { "ctx:reject('552', '5.2.2')", "552 5.2.2 Command rejected" },
    { "ctx:reject(550, '4 lines')", "550 5.7.1 4 lines" },
    { "ctx:reject('5.7.1 is no status here')", "550 5.7.1 5.7.1 is no status here" },
    { "ctx:reject('gr\195\188n')", "550 5.7.1 gr?n" }, { "ctx:reject(12345 .. '')", "550 5.7.1 12345" },
    { "ctx:reject(('x'):rep(980))", "550 5.7.1 " .. ("x"):rep(980) },
    { "ctx:reject(('%'):rep(980))", "550 5.7.1 " .. ("%"):rep(1960) },
    { "local t = {} for i = 1, 32 do t[i] = 'l' end ctx:reject(unpack(t))", ("550-5.7.1 l\r\n"):rep(31)
      .. "550 5.7.1 l" },
    { "ctx:reject('5.1.1', '550 5.7.1 they say')", "550 5.1.1 550 5.7.1 they say" },
    { "ctx:reject('550 5 boxes')", "550 5.7.1 550 5 boxes" },
    { "ctx:reject('550 4.7.1 no')", "550 5.7.1 550 4.7.1 no" },
    { "ctx:reject('5505.7.1 no')", "550 5.7.1 5505.7.1 no" },
    { "ctx:reject(('550 5.1.1 no'):match '^(%d%d%d) (%d%.%d+%.%d+) (.*)')", "550 5.1.1 no" },
    { "ctx:reject('5.123.123', 'x')", "550 5.123.123 x" },
  }
  for _, case in ipairs(good) do
    it(("%s is sent correctly"):format(case[1]:sub(1, 70)), function()
      for _, stage in ipairs { "rcpt", "eom" } do
        local reply = reply_at(stage, case[1])
        assert.equal(case[2], reply.text)
        reply.mta:close()
      end
    end)
  end

  local bad = {
    { "ctx:reject(450, 'x')", "reject takes 500 to 599" }, { "ctx:tempfail(550, 'x')", "tempfail takes 400 to 499" },
    { "ctx:reject(250, 'x')", "500 to 599" }, { "ctx:reject(421, 'x')", "500 to 599" },
    { "ctx:reject(0, 'x')", "500 to 599" },
    { "ctx:reject(-1)", "500 to 599" }, { "ctx:reject(5500)", "500 to 599" }, { "ctx:reject(1e300)", "500 to 599" },
    { "ctx:reject(0/0)", "500 to 599" }, { "ctx:reject('4.7.1', 'x')", "disagree" },
    { "ctx:tempfail('5.7.1', 'x')", "disagree" },
    { "ctx:reject('2.0.0', 'x')", "disagree" }, { "ctx:reject('a\\nb')", "holds LF at byte 2" },
    { "ctx:reject('a\\r\\nb')", "holds CR" },
    { "ctx:reject('a\\0b')", "holds NUL" }, { "ctx:reject('ok', 'b\\n')", "line 2" },
    { "ctx:reject(('x'):rep(981))", "at most 980" },
    { "local t = {} for i = 1, 33 do t[i] = 'l' end ctx:reject(unpack(t))", "at most 32" },
    { "local t = {} for i = 1, 200 do t[i] = 'l' end ctx:reject(unpack(t))", "at most 32" },
    { "ctx:reject('550 5.7.1 no')", [[write reject(550, \"5.7.1\", \"text\")]] },
    { "ctx:reject(550, '550 5.7.1 no')", "sent twice" }, { "ctx:tempfail('451-4.3.0 no')", "sent twice" },
    { "ctx:disconnect('421 4.7.0')", [[write disconnect(\"4.7.0\", \"text\")]] },
    { "ctx:reject({})", "string expected" }, { "ctx:reject('a', nil, 'b')", "string expected" },
    { "ctx:reject(550, true)", "string expected" },
    { "ctx.reject('x')", "colon" }, { "ctx.reject()", "colon" }, { "ctx.reject({}, 'x')", "colon" },
  }
  for _, case in ipairs(bad) do
    it(("%s is a script error: %s"):format(case[1]:sub(1, 70), case[2]), function()
      local reply = reply_at("rcpt", case[1])
      assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
      assert.equal(1, #reply.errors)
      assert.truthy(reply.errors[1]:find(case[2], 1, true), reply.errors[1])
      assert.truthy(reply.errors[1]:find("script.lua:3:", 1, true), reply.errors[1])
      reply.mta:close()
    end)
  end

  it("of arbitrary bytes either raise or are sent as both MTAs accept them", function()
    math.randomseed(3)
    local host = assert(fake_mta.host { script = [[
      function on_unknown(ctx, line)
        local parts = loadstring("return " .. line)()
        if parts.later then ctx:tempfail(unpack(parts)) else ctx:reject(unpack(parts)) end
      end
    ]], set = { "log_level=error" } })
    local mta = fake_mta.start { host = host }
    mta:connect()
    local alphabet = { "%", "%%", "5", "4", "5.7.1", "4.0.0", " ", "-", "\\r", "\\n", "\\0", "\\r\\n", "x",
      "\\200", "550", "." }
    for _ = 1, 1500 do
      local parts = { math.random(2) == 1 and "later = true" or nil }
      for _ = 1, math.random(0, 4) do
        local text = {}
        for _ = 1, math.random(0, 6) do
          text[#text + 1] = alphabet[math.random(#alphabet)]
        end
        parts[#parts + 1] = math.random(5) == 1 and tostring(math.random(0, 999)) or '"' .. table.concat(text) .. '"'
      end
      local reply = mta:unknown("{ " .. table.concat(parts, ", ") .. " }") -- the oracle judges
      assert.truthy(reply.kind == "reject" or reply.kind == "tempfail")
    end
    mta:close()
    host:close()
  end)
end)

describe("wrong return values", function()
  for _, value in ipairs { "true", "false", "42", "{}", "function() end", "'REJECT'", "'rejct'", "''", "ctx",
    "'reject', 'no text here'", "550, 'no'" } do
    it(("such as %s get the on_error verdict and a line that says what may be returned"):format(value), function()
      local reply = reply_at("mail", "return " .. value)
      assert.equal("tempfail", reply.kind)
      assert.equal(1, #reply.errors)
      assert.truthy(reply.errors[1]:find("script.lua:2: on_mail: the handler returned", 1, true), reply.errors[1])
      reply.mta:close()
    end)
  end
  it("nil, nothing and nil with a reason are continue", function()
    for _, value in ipairs { "", "nil", "nil, 'reason'" } do
      local reply = reply_at("mail", "return " .. value)
      assert.equal("continue", reply.kind)
      reply.mta:close()
    end
  end)
end)

describe("a handler that fails", function()
  local ways = { "error 'oops'", "error { code = 7 }", "error(nil)", "error()", "assert(false)", "local x = nil + 1",
    "ctx.nothing()", "milter.sleep(0) error 'oops'", "string.rep()", "coroutine.yield()", "coroutine.yield(1)",
      "error(setmetatable({}, { __tostring = function() error 'twice' end }))",
    "local function f() return f() + 1 end f()", "ctx.foo = 1", "local _ = ctx.foo", "coroutine.wrap(function() error "
      .. "'inner' end)()",
    "pcall(coroutine.yield) error 'then'" }
  for _, way in ipairs(ways) do
    it(("(%s) costs that message a temporary failure, and the next is served"):format(way:sub(1, 50)), function()
      for _, stage in ipairs { "mail", "rcpt", "header", "eom" } do
        local reply = reply_at(stage, "if ctx.sender == 'good@x' then return end " .. way)
        assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
        assert.equal(1, #reply.errors)
        assert.truthy(reply.errors[1]:find("handler=on_" .. stage, 1, true))
        reply.mta:abort()
        assert.equal("continue", reply.mta:message({ from = "<good@x>" }).kind)
        reply.mta:close()
      end
    end)
  end

  for _, stage in ipairs(all) do
    it(("at %s is answered once by each on_error verdict"):format(stage), function()
      local wanted = { tempfail = "tempfail", reject = "reject", accept = stage == "unknown"
        and "continue" or "accept" }
      for verdict, kind in pairs(wanted) do
        local reply = reply_at(stage, "error 'oops'", { set = { "on_error=" .. verdict } })
        assert.equal(kind, reply.kind)
        assert.truthy(reply.errors[1]:find("verdict=" .. verdict, 1, true))
        reply.mta:close()
      end
    end)
  end

  it("with on_error = accept lets the message pass unchanged", function()
    local mta = fake_mta.start { script = [[
      function on_mail(ctx) ctx:add_header("X-A", "1") end
      function on_eom(ctx) ctx:replace_body "half" error "oops" end
    ]], set = { "on_error=accept" } }
    mta:connect()
    local reply = mta:message()
    assert.equal("accept", reply.kind)
    assert.same({}, reply.edits)
    mta:close()
  end)

  it("is logged with its place and a traceback", function()
    local reply = reply_at("mail", "local function deep() error 'oops' end\ndeep()")
    assert.truthy(reply.errors[1]:find("script.lua:3: oops\\nstack traceback:", 1, true), reply.errors[1])
    assert.truthy(reply.errors[1]:find("script.lua:4", 1, true), reply.errors[1])
    reply.mta:close()
  end)
end)

describe("a verdict in on_header, where headers are not answered", function()
  local function at_end_of_headers(body, more)
    local mta = fake_mta.start(([[
      function on_header(ctx, name, value) if value == "bad" then %s end end
      %s
    ]]):format(body, more or ""))
    mta:connect()
    mta:mail()
    mta:rcpt()
    for _, value in ipairs { "good", "bad", "good" } do
      assert.equal("none", mta:header("X", value).kind)
    end
    local reply = mta:eoh()
    reply.mta = mta
    return reply
  end
  for body, text in pairs {
    ["ctx:reject(550, '5.6.0', 'bad header')"] = "550 5.6.0 bad header", ["ctx:tempfail('later')"] = "451 4.7.1 later",
    ["error 'oops'"] = "451 4.3.0 Mail filter failed, please try again later",
    ["ctx:disconnect('go')"] = "421 4.7.0 go" } do
    it(("(%s) is sent at the end of headers"):format(body), function()
      local reply = at_end_of_headers(body)
      assert.equal(text, reply.text)
      assert.equal("none", reply.mta:body("x").kind)
      reply.mta:close()
    end)
  end
  for body, kind in pairs { ["return 'reject'"] = "reject", ["return 'discard'"] = "discard",
    ["return 'accept'"] = "accept",
    ["return 'skip'"] = "continue", ["return 'continue'"] = "continue" } do
    it(("(%s) is %s at the end of headers"):format(body, kind), function()
      local reply = at_end_of_headers(body)
      assert.equal(kind, reply.kind)
      reply.mta:close()
    end)
  end
  it("skips later handlers of that message and is passed to on_done", function()
    local reply = at_end_of_headers("return 'reject'", [[
      function on_eoh() error 'never' end
      function on_body() error 'never' end
      function on_eom() error 'never' end
      function on_done(ctx, result) require 'moonmilter'.log.info("done %s", result.verdict) end
    ]])
    assert.equal("reject", reply.kind)
    assert.truthy(reply.mta:log_lines("script")[1]:find "done reject")
    assert.same({}, reply.mta:log_lines "script_error")
    reply.mta:close()
  end)
  it("of one message never affects the next", function()
    local reply = at_end_of_headers("return 'reject'")
    reply.mta:mail()
    reply.mta:rcpt()
    reply.mta:header("X", "bad")
    reply.mta:abort()
    assert.equal("continue", reply.mta:message({ headers = { { "X", "good" } } }).kind)
    reply.mta:close()
  end)
  it("is sent at the header when the script requests lockstep", function()
    local reply = reply_at("header", "return ctx:reject 'bad'")
    assert.equal("550 5.7.1 bad", reply.text)
    reply.mta:close()
  end)
end)

describe("body bytes in the end-of-message packet", function()
  it("go to on_body first", function()
    local mta = fake_mta.start [[
      function on_body(ctx, chunk) ctx.message.text = (ctx.message.text or "") .. chunk end
      function on_eom(ctx) return ctx:reject(ctx.message.text .. ctx.body_size) end
    ]]
    mta:connect()
    mta:mail()
    mta:body "one "
    assert.equal("550 5.7.1 one two7", mta:eom("two").text)
    mta:close()
  end)
  for _, verdict in ipairs { "reject", "tempfail", "discard", "accept" } do
    it(("%s in on_body is the one answer"):format(verdict), function()
      local mta = fake_mta.start(("function on_body() return %q end function on_eom() error "
        .. "'never' end"):format(verdict))
      mta:connect()
      mta:mail()
      assert.equal(verdict, mta:eom("x").kind)
      assert.same({}, mta:log_lines "script_error")
      mta:close()
    end)
  end
end)

describe("several scripts", function()
  -- each source gets `tell`, whose words the log keeps in order
  local function start(sources, options)
    local files = {}
    for i, source in ipairs(sources) do
      files[("%d.lua"):format(i)] = ("local milter = require 'moonmilter'\n"
        .. "local function tell(what) milter.log.info('%%s', '%d' .. what) end\n"):format(i) .. source
    end
    options = options or {}
    options.files = files
    local mta = fake_mta.start(options)
    mta.heard = function()
      local list = {}
      for _, line in ipairs(mta:log_lines "script") do
        list[#list + 1] = line:match "text=(%S+)"
      end
      return table.concat(list, " ")
    end
    mta:connect()
    return mta
  end

  for _, verdict in ipairs { "reject", "tempfail", "discard" } do
    it(("the first %s decides and the other scripts are not called"):format(verdict), function()
      local mta = start { "function on_mail() tell 'm' end",
        ("function on_mail() tell 'm' return %q end"):format(verdict), "function on_mail() tell 'm' return "
          .. "'accept' end" }
      assert.equal(verdict, mta:mail().kind)
      assert.equal("1m 2m", mta.heard())
      mta:close()
    end)
  end

  it("accept ends one script's part of the message, and the others go on", function()
    local mta = start { "function on_mail() tell 'm' return 'accept' end function on_eom() tell 'e' end function "
      .. "on_done() tell 'd' end", "function on_mail() tell 'm' end function on_eom() tell 'e' return 'reject' end "
      .. "function on_done() tell 'd' end" }
    assert.equal("reject", mta:message().kind)
    assert.equal("1m 2m 2e 1d 2d", mta.heard())
    assert.equal("reject", mta:message().kind)
    assert.equal("1m 2m 2e 1d 2d 1m 2m 2e 1d 2d", mta.heard())
    mta:close()
  end)

  it("accept of all scripts with a part in the message is sent to the MTA at once", function()
    local mta = start { "function on_mail() return 'accept' end function on_eom() tell 'e' end",
      "function on_connect() end", "function on_rcpt() return 'accept' end" }
    assert.equal("continue", mta:mail().kind)
    assert.equal("accept", mta:rcpt().kind)
    assert.equal("", mta.heard())
    mta:close()
  end)

  it("accept at connect or helo is for the whole client", function()
    local mta = start { "function on_helo() return 'accept' end function on_mail() tell 'm' end function on_done() "
      .. "tell 'd' end", "function on_mail() tell 'm' end function on_done() tell 'd' end" }
    assert.equal("continue", mta:helo().kind)
    mta:message()
    mta:message()
    assert.equal("2m 2d 2m 2d", mta.heard())
    mta:close()
    mta = start { "function on_helo() return 'accept' end function on_mail() tell 'm' end" }
    assert.equal("accept", mta:helo().kind)
    assert.equal("accept", mta:mail().kind) -- an MTA that nevertheless goes on asking
    assert.equal("", mta.heard())
    mta:close()
  end)

  it("skip is sent when no script wants more of the body", function()
    local mta = start { "function on_body() tell 'b' return 'skip' end",
      "function on_body(ctx) tell 'b' if ctx.message.n then return 'skip' end "
      .. "ctx.message.n = 1 end" }
    mta:mail()
    assert.equal("continue", mta:body("1").kind)
    assert.equal("skip", mta:body("2").kind)
    assert.equal("1b 2b 2b", mta.heard())
    assert.equal("continue", mta:eom().kind)
    mta:mail()
    assert.equal("continue", mta:body("1").kind)
    assert.equal("1b 2b 2b 1b 2b", mta.heard())
    mta:close()
  end)

  it("skip of headers skips the rest of them for that script, but not the end of headers", function()
    local mta = start { "function on_header() tell 'h' return 'skip' end function on_eoh() tell 'n' end",
      "function on_header() tell 'h' end" }
    mta:message()
    assert.equal("1h 2h 2h 1n", mta.heard())
    mta:close()
  end)

  it("an error of one decides for the message; the others still get its end", function()
    local mta = start { "function on_mail() error 'oops' end function on_done() tell 'd' end",
      "function on_mail() tell 'm' end function on_done(ctx, result) tell(result.verdict) end" }
    assert.equal("tempfail", mta:mail().kind)
    assert.equal("1d 2tempfail", mta.heard())
    mta:close()
  end)

  it("an error in on_done, on_abort or on_close of one does not prevent those of the others", function()
    local mta = start { "function on_mail() end "
      .. "function on_done() error 'x' end function on_abort() error 'x' end function on_close() error 'x' end",
      "function on_done() tell 'd' end function on_abort() tell 'a' end function on_close() tell 'c' end" }
    mta:message()
    mta:mail()
    mta:abort()
    mta:quit()
    assert.equal("2d 2a 2c", mta.heard())
    mta:close()
  end)

  it("share ctx.message and ctx.session, and one waits while the other's verdict is pending", function()
    local mta = start { "function on_mail(ctx) require 'moonmilter'.sleep(0.01) ctx.message.x = 1 "
      .. "ctx.session.y = 2 end", "function on_mail(ctx) tell(ctx.message.x .. ctx.session.y) end" }
    assert.equal("continue", mta:mail().kind)
    assert.equal("212", mta.heard())
    mta:close()
  end)
end)

describe("accept with edits queued", function()
  for _, stage in ipairs { "mail", "rcpt", "data", "header", "eoh", "body" } do
    it(("at %s waits for the end of message, where both are sent together"):format(stage), function()
      local reply = reply_at(stage, "ctx:add_header('X-A', '1') return 'accept'",
        { more = "function on_eom() error 'never' end" })
      assert.equal("continue", reply.kind)
      local mta = reply.mta
      if stage == "mail" then
        mta:rcpt()
      end
      mta:unknown "BOGUS"
      local last = mta:eom "tail"
      assert.equal("accept", last.kind)
      assert.same({ { "add_header", "X-A", "1" } }, last.edits)
      assert.equal("accept", mta:log_lines("message")[1]:match "verdict=(%S+)")
      assert.equal("continue", mta:eom().kind) -- no message is open
      mta:close()
    end)
  end
  it("is forgotten with an aborted message", function()
    local reply = reply_at("mail", "if ctx.sender == 'one@x' then ctx:add_header('X-A', '1') return 'accept' end",
      { more = "function on_eom() return 'reject' end" })
    local mta = reply.mta
    mta:abort()
    mta:mail "<one@x>"
    mta:abort()
    assert.equal("reject", mta:message({ from = "<two@x>" }).kind)
    mta:close()
  end)
end)
