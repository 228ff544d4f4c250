--- Edits: what scripts may request, what is refused at their line, what is sent and in which order, and that Postfix
--- and Sendmail produce the same message.
local fake_mta = require "spec.support.fake_mta"
local header_list = require "spec.support.header_list"

-- Runs `body` in on_eom of a message; returns the reply.
local function eom(body, options)
  options = options or {}
  options.script = "local milter = require 'moonmilter'\nfunction on_eom(ctx)\n" .. body .. "\nend\n"
    .. (options.more or "")
  local mta = fake_mta.start(options)
  mta:connect()
  local reply = mta:message(options.message)
  reply.errors = mta:log_lines "script_error"
  mta:close()
  return reply
end

local function edits_of(body, options)
  local reply = eom(body, options)
  assert.same({}, reply.errors)
  assert.equal("continue", reply.kind)
  return reply.edits
end

describe("an edit", function()
  local cases = {
    { "ctx:add_header('X-A', 'b')", { "add_header", "X-A", "b" } },
    { "ctx:add_header('X-A', '')", { "add_header", "X-A", "" } },
    { "ctx:add_header('X-A', 'a\\n b\\n\\tc')", { "add_header", "X-A", "a\n b\n\tc" } },
    { "ctx:add_header('X-A', 'gr\\195\\188n \\255')", { "add_header", "X-A", "gr\195\188n \255" } },
    { "ctx:add_header('X-A', 7)", { "add_header", "X-A", "7" } },
    { "ctx:insert_header(0, 'X-A', 'b')", { "insert_header", 0, "X-A", "b" } },
    { "ctx:insert_header(1, 'X-A', 'b')", { "insert_header", 1, "X-A", "b" } },
    { "ctx:insert_header(1e300, 'X-A', 'b')", { "insert_header", 1e9, "X-A", "b" } },
    { "ctx:change_header('Subject', 1, 'b')", { "change_header", 1, "Subject", "b" } },
    { "ctx:change_header('subject', 0, 'b')", { "change_header", 1, "Subject", "b" } },
    { "ctx:change_header('Subject', -1, 'b')", { "change_header", 1, "Subject", "b" } },
    { "ctx:change_header('Subject', 2, 'b')", { "insert_header", 0x7fffffff, "Subject", "b" } },
    { "ctx:change_header('X-A', 1, 'b')", { "add_header", "X-A", "b" } },
    { "ctx:change_header('Subject', 1, '')", { "change_header", 1, "Subject", "" } },
    { "ctx:change_header('Subject', 1)", { "change_header", 1, "Subject", "" } },
    { "ctx:delete_header('Subject', 1)", { "change_header", 1, "Subject", "" } },
    { "ctx:delete_header('SUBJECT')", { "change_header", 1, "Subject", "" } },
    { "ctx:change_from('a@b')", { "change_from", "<a@b>" } },
    { "ctx:change_from('<a@b>')", { "change_from", "<a@b>" } },
    { "ctx:change_from('')", { "change_from", "<>" } }, { "ctx:change_from('<>')", { "change_from", "<>" } },
    { "ctx:change_from('a@b', 'RET=HDRS ENVID=x+2Dy')", { "change_from", "<a@b>", "RET=HDRS ENVID=x+2Dy" } },
    { "ctx:change_from('a@b', { RET = 'HDRS' })", { "change_from", "<a@b>", "RET=HDRS" } },
    { "ctx:change_from('a@b', { 'SMTPUTF8' })", { "change_from", "<a@b>", "SMTPUTF8" } },
    { "ctx:add_recipient('a@b')", { "add_recipient", "<a@b>" } },
    { "ctx:add_recipient(' <a@b>')", { "add_recipient", "<a@b>" } },
    { "ctx:add_recipient('\"a b\"@c')", { "add_recipient", '<"a b"@c>' } },
    { "ctx:add_recipient('local')", { "add_recipient", "<local>" } },
    { "ctx:add_recipient('a@b', 'NOTIFY=SUCCESS,FAILURE')", { "add_recipient", "<a@b>", "NOTIFY=SUCCESS,FAILURE" } },
    { "ctx:add_recipient('a@b', { NOTIFY = 'NEVER', ORCPT = 'rfc822;c@d' })", { "add_recipient", "<a@b>" } },
    { "ctx:delete_recipient('a@b')", { "delete_recipient", "<a@b>" } },
    { "ctx:quarantine('look at this')", { "quarantine", "look at this" } },
    { "ctx:replace_body('x\\r\\n')", { "replace_body", "x\r\n" } }, { "ctx:replace_body('')", { "replace_body", "" } },
  }
  for _, case in ipairs(cases) do
    it(("%s is sent as requested"):format(case[1]), function()
      local edits = edits_of(case[1])
      assert.equal(1, #edits)
      for i, wanted in ipairs(case[2]) do
        assert.equal(wanted, edits[1][i])
      end
    end)
  end

  it("can be requested from MAIL on and is sent at the end of message", function()
    for _, stage in ipairs { "mail", "rcpt", "data", "header", "eoh", "body", "unknown", "eom" } do
      local mta = fake_mta.start(("function on_eom() end function on_%s(ctx) "
        .. "ctx:add_header('X-A', %q) end"):format(stage, stage))
      mta:connect()
      mta:mail()
      mta:rcpt()
      mta:unknown "X"
      mta:data()
      mta:header("S", "1")
      mta:eoh()
      mta:body "x"
      assert.same({ { "add_header", "X-A", stage } }, mta:eom().edits)
      mta:close()
    end
  end)

  it("is an error where no message is open", function()
    for _, stage in ipairs { "connect", "helo", "unknown" } do
      local mta = fake_mta.start(("function on_%s(ctx) ctx:add_header('X-A', 'b') end"):format(stage))
      mta:connect()
      mta:helo()
      mta:unknown "X"
      assert.truthy(mta:log_lines("script_error")[1]:find("no message is open at " .. stage, 1, true))
      mta:close()
    end
    local mta = fake_mta.start "function on_mail() end function on_done(ctx) ctx:add_header('X-A', 'b') end on_abort = on_done"
    mta:connect()
    mta:message()
    mta:mail()
    mta:abort()
    assert.equal(2, #mta:log_lines "script_error")
    mta:close()
  end)
end)

describe("a wrong edit is refused at the script's line and none of the message's edits is sent", function()
  local cases = {
    -- header names
    { "ctx:add_header('', 'b')", "name is empty" }, { "ctx:add_header('X A', 'b')", "0x20" },
    { "ctx:add_header('X:A', 'b')", "0x3a" },
    { "ctx:add_header('X\\nA', 'b')", "0x0a" }, { "ctx:add_header('X\\r', 'b')", "0x0d" },
    { "ctx:add_header('X\\0', 'b')", "0x00" },
    { "ctx:add_header('X\\200', 'b')", "0xc8" }, { "ctx:add_header('X\\127', 'b')", "0x7f" },
    { "ctx:add_header(('X'):rep(999), 'b')", "at most 998" },
    { "ctx:insert_header(0, 'X A', 'b')", "0x20" }, { "ctx:change_header('X A', 1, 'b')", "0x20" },
    { "ctx:delete_header('X A', 1)", "0x20" },
    -- header values
    { "ctx:add_header('X', 'a\\r\\n b')", "holds CR" }, { "ctx:add_header('X', 'a\\rb')", "holds CR" },
    { "ctx:add_header('X', 'a\\0b')", "holds NUL" },
    { "ctx:add_header('X', 'a\\nBcc: x@y')", "holds LF" }, { "ctx:add_header('X', 'a\\n')", "holds LF" },
    { "ctx:add_header('X', '\\n')", "holds LF" },
    { "ctx:add_header('X', 'a\\n\\n b')", "holds LF" }, { "ctx:add_header('X', 'a\\n \\n b')", "holds LF" },
    { "ctx:add_header('X', 'a\\n ')", "holds LF" },
    { "ctx:add_header('X', 'a\\n\\nbody')", "holds LF" }, { "ctx:add_header('X', ('x'):rep(3000))", "longer than" },
    { "ctx:add_header('X', ('x'):rep(70000))", "at most 60000" }, { "ctx:insert_header(0, 'X', 'a\\nb')", "holds LF" },
    { "ctx:change_header('X', 1, 'a\\rb')", "holds CR" }, { "ctx:insert_header(-1, 'X', 'b')", "position -1" },
    { "ctx:change_header('X', 1e9, 'b')", "count the fields" },
    { "ctx['change' .. '_header'](ctx, 'X', -1, 'b')", "needs the header" },
    { "ctx['delete' .. '_header'](ctx, 'X')", "needs the header" },
    { "ctx:insert_header(0/0, 'X', 'b')", "position nan" },
    { "ctx:insert_header(-1e300, 'X', 'b')", "position -" }, { "ctx:delete_header('X', 1e9)", "count the fields" },
    { "ctx:change_header('X', 0/0, 'b')", "count the fields" },
    -- addresses
    { "ctx:add_recipient('')", "empty" }, { "ctx:add_recipient('<>')", "empty" },
    { "ctx:add_recipient('a@b\\r\\nRCPT TO:<c@d>')", "byte 0x0d" },
    { "ctx:add_recipient('a@b\\0')", "byte 0x00" }, { "ctx:add_recipient('a@b c@d')", "outside quotes" },
    { "ctx:add_recipient('a@b,c@d')", "outside quotes" },
    { "ctx:add_recipient('<a@b> <c@d>')", "outside quotes" }, { "ctx:add_recipient('<<a@b>>')", "outside quotes" },
    { "ctx:add_recipient('Bob <a@b>')", "outside quotes" }, { "ctx:add_recipient('a@b>')", "outside quotes" },
    { "ctx:add_recipient('\"a@b')", "open quote" },
    { "ctx:add_recipient('\"a\\\\\\n\"@b')", "control byte" }, { "ctx:add_recipient(('x'):rep(1001))", "at most 1000" },
    { "ctx:add_recipient('a@b;c')", "outside quotes" }, { "ctx:add_recipient('a(c)@b')", "outside quotes" },
    { "ctx:delete_recipient('a@b\\n')", "byte 0x0a" }, { "ctx:delete_recipient('')", "empty" },
    { "ctx:change_from('a@b\\n')", "byte 0x0a" },
    { "ctx:change_from('a b')", "outside quotes" },
    -- parameters
    { "ctx:add_recipient('a@b', 'FOO=1')", "is not one of" },
    { "ctx:add_recipient('a@b', 'NOTIFY=SOMETIMES')", "no MTA accepts" },
    { "ctx:add_recipient('a@b', 'NOTIFY=NEVER,DELAY')", "no MTA accepts" },
    { "ctx:add_recipient('a@b', 'NOTIFY=')", "no MTA accepts" },
    { "ctx:add_recipient('a@b', 'ORCPT=x')", "no MTA accepts" },
    { "ctx:add_recipient('a@b', 'ORCPT=rfc822;a b')", "is not one of" },
    { "ctx:add_recipient('a@b', 'NOTIFY=NEVER\\r\\nX')", "no MTA accepts" },
    { "ctx:add_recipient('a@b', { NOTIFY = {} })", "parameters are" },
    { "ctx:add_recipient('a@b', 'RET=FULL')", "is not one of" },
    { "ctx:change_from('a@b', 'NOTIFY=NEVER')", "is not one of" },
    { "ctx:change_from('a@b', 'RET=SOME')", "no MTA accepts" },
    { "ctx:change_from('a@b', 'ENVID=a+zz')", "no MTA accepts" },
    { "ctx:change_from('a@b', 'SIZE=-1')", "no MTA accepts" },
    { "ctx:change_from('a@b', 'SMTPUTF8=1')", "no MTA accepts" },
    { "ctx:change_from('a@b', 'ENVID=' .. ('x'):rep(1000))", "at most 1000" },
    -- quarantine, body
    { "ctx:quarantine('')", "give 1 to 100" }, { "ctx:quarantine(('x'):rep(101))", "give 1 to 100" },
    { "ctx:quarantine('a\\nb')", "control byte" },
    { "ctx:quarantine()", "string expected" }, { "ctx:replace_body()", "got a nil" },
    { "ctx:replace_body({})", "got a table" },
    { "ctx:replace_body(function() return {} end)", "got a table" },
    { "ctx:replace_body(function() error 'inner' end)", "inner" },
    -- arguments
    { "ctx:add_header('X')", "string expected" }, { "ctx:add_header()", "string expected" },
    { "ctx.add_header('X', 'b')", "colon" },
    { "ctx:add_header('X', {})", "string expected" }, { "ctx:insert_header('X', 'b')", "number expected" },
    { "for i = 1, 5000 do ctx:add_header('X', 'b') end", "more than 4096 edits" },
  }
  for _, case in ipairs(cases) do
    it(("%s: %s"):format(case[1]:sub(1, 70), case[2]), function()
      local reply = eom("ctx:add_header('X-Good', '1')\n" .. case[1] .. "\n")
      assert.equal("tempfail", reply.kind)
      assert.same({}, reply.edits)
      assert.equal(1, #reply.errors)
      assert.truthy(reply.errors[1]:find(case[2], 1, true), reply.errors[1])
      assert.truthy(reply.errors[1]:find("script.lua:4:", 1, true), reply.errors[1])
    end)
  end

  it("unless the script catches the error: then only the wrong edit is missing", function()
    for _, case in ipairs(cases) do
      if not case[1]:find "^for" then
        local edits = edits_of(("ctx:add_header('X-Good', '1') pcall(function() %s end)"):format(case[1]))
        assert.same({ { "add_header", "X-Good", "1" } }, edits, case[1])
      end
    end
  end)

  it("and arbitrary bytes either raise or are sent as both MTAs accept them", function()
    math.randomseed(5)
    local alphabet = { "a", "@", "b", "<", ">", " ", "\t", "\r", "\n", "\n ", "\r\n", "\0", ",", ";", '"', "\\", "%",
      ":", "\127", "\200", "(", ")", "=", "NOTIFY=", "NEVER", "RET=", "FULL", "ENVID=", "+", "2D", "-", ".",
      "ORCPT=", "rfc822;" }
    local host = assert(fake_mta.host { script = [[
      function on_header(ctx, name, value)
        local parts = {}
        for hex in value:gmatch "%S+" do
          parts[#parts + 1] = hex:sub(2):gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)
        end
        local call = parts[1]
        if call == "insert_header" or call == "change_header" then table.insert(parts, call == "insert_header" and 2 or 3, #value % 3) end
        pcall(ctx[call], ctx, unpack(parts, 2, 4))
      end
    ]], set = { "log_level=error" } })
    local mta = fake_mta.start { host = host }
    mta:connect()
    local calls = { "add_header", "insert_header", "change_header", "change_from", "add_recipient", "delete_recipient",
      "quarantine", "replace_body" }
    local function hex(text)
      return "x" .. text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    end
    local left = 0
    for _ = 1, 200 do
      local headers = {}
      for i = 1, 20 do
        local parts = { hex(calls[math.random(#calls)]) }
        for n = 1, 2 do
          local text = {}
          for _ = 1, math.random(0, 5) do
            text[#text + 1] = alphabet[math.random(#alphabet)]
          end
          parts[n + 1] = hex(table.concat(text))
        end
        headers[i] = { "X-" .. i, table.concat(parts, " ") }
      end
      local reply = mta:message { headers = headers } -- the oracle judges
      assert.equal("continue", reply.kind)
      left = left + #reply.edits
    end
    assert.is_true(left > 200)
    mta:close()
    host:close()
  end)
end)

describe("the burst", function()
  it("has the one order that both MTAs accept, whatever the script's order", function()
    local edits = edits_of([[
      ctx:quarantine "q"
      ctx:replace_body "one"
      ctx:add_header("X-New", "1")
      ctx:delete_recipient "gone@x"
      ctx:replace_body " two"
      ctx:delete_header("From", 1)
      ctx:add_recipient("more@x", "NOTIFY=NEVER")
      ctx:change_header("Subject", 1, "changed")
      ctx:change_from "new@x"
    ]])
    local names = {}
    for i, edit in ipairs(edits) do
      names[i] = edit[1]
    end
    assert.same({ "change_from", "delete_recipient", "add_recipient", "change_header", "change_header", "add_header",
      "replace_body", "quarantine" }, names)
    assert.equal("one two", edits[7][2])
  end)

  for verdict, kind in pairs { ["return 'reject'"] = "reject", ["return 'tempfail'"] = "tempfail",
    ["return 'discard'"] = "discard",
    ["ctx:disconnect()"] = "tempfail", ["error 'x'"] = "tempfail", ["return 'nonsense'"] = "tempfail" } do
    it(("is empty with %s"):format(verdict), function()
      local reply = eom("ctx:add_header('A', 'b') ctx:replace_body 'x' ctx:quarantine 'q' ctx:change_from 'a@b' "
        .. "ctx:add_recipient 'c@d' ctx:delete_recipient 'e@f' ctx:change_header('S', 1, 'b') " .. verdict)
      assert.equal(kind, reply.kind)
      assert.equal(1, #reply.raw)
    end)
  end

  it("is sent in the segment of the final reply", function()
    local mta = fake_mta.start [[
      function on_eom(ctx)
        ctx:add_header("A", "1")
        require "moonmilter".sleep(0.02)
        ctx:replace_body(("x"):rep(200000))
        require "moonmilter".sleep(0.02)
      end
    ]]
    mta:connect()
    mta:mail()
    mta:rcpt()
    local before = #mta.said
    mta:eom()
    assert.equal(before + 1, #mta.said)
    mta:close()
  end)
end)

describe("a new body", function()
  local function body_of(calls, options)
    local edits = edits_of(calls, options)
    local parts = {}
    for _, edit in ipairs(edits) do
      assert.equal("replace_body", edit[1])
      parts[#parts + 1] = edit[2]
    end
    return table.concat(parts), #parts
  end
  it("has CRLF line ends, whatever the script wrote", function()
    for given, wanted in pairs { ["a\\nb\\n"] = "a\r\nb\r\n", ["a\\r\\nb"] = "a\r\nb", ["a\\rb"] = "a\r\nb",
      ["a\\r"] = "a\r\n", ["\\n\\r"] = "\r\n\r\n",
      ["\\r\\r\\n"] = "\r\n\r\n", ["\\r\\n.\\r\\n"] = "\r\n.\r\n", ["\\r.\\r"] = "\r\n.\r\n", ["\\n.\\n"] = "\r\n.\r\n",
      ["a\\0b"] = "a\0b", [""] = "" } do
      assert.equal(wanted, (body_of(("ctx:replace_body '%s'"):format(given))))
    end
  end)
  it("is the same wherever it is cut into pieces", function()
    math.randomseed(9)
    for _ = 1, 150 do
      local text = {}
      for i = 1, math.random(0, 12) do
        text[i] = ({ "a", "\r", "\n", "\r\n", ".", "\r\r", "\n\n" })[math.random(7)]
      end
      text = table.concat(text)
      local wanted = text:gsub("\r\n", "\n"):gsub("\r", "\n"):gsub("\n", "\r\n")
      local calls, at = {}, 1
      while at <= #text do
        local size = math.random(1, 3)
        calls[#calls + 1] = ("ctx:replace_body(%q)"):format(text:sub(at, at + size - 1)):gsub("\r",
          "\\r"):gsub("\n", "n")
        at = at + size
      end
      calls[#calls + 1] = "ctx:replace_body ''"
      assert.equal(wanted, (body_of(table.concat(calls, " "))))
    end
  end)
  it("may be empty", function()
    local body, packets = body_of "ctx:replace_body ''"
    assert.equal("", body)
    assert.equal(1, packets)
    assert.equal("", (body_of "ctx:replace_body(function() end)"))
  end)
  it("may have 5 MB, in packets of 65535 bytes", function()
    local body, packets = body_of "ctx:replace_body(('0123456789abcde\\n'):rep(5000000 / 17))"
    assert.equal(math.floor(5000000 / 17) * 17, #body)
    assert.is_true(body == ("0123456789abcde\r\n"):rep(#body / 17))
    assert.equal(math.ceil(#body / 65535), packets)
  end)
  it("of exactly so many bytes has no empty packet after it", function()
    for _, size in ipairs { 65534, 65535, 65536, 131070 } do
      local body, packets = body_of(("ctx:replace_body(('x'):rep(%d))"):format(size))
      assert.equal(size, #body)
      assert.equal(math.ceil(size / 65535), packets)
    end
  end)
  it("may come from an iterator that waits", function()
    assert.equal("1\r\n2\r\n3\r\n", (body_of [[
      local n = 0
      ctx:replace_body(function() n = n + 1 milter.sleep(0) return n <= 3 and n .. "\n" or nil end)
    ]]))
  end)
  it("whose iterator fails is not sent in part", function()
    assert.same({}, edits_of "pcall(function() ctx:replace_body(coroutine.wrap(function() coroutine.yield 'half' error 'x' end)) end)")
  end)
  it("above body_max is an error", function()
    local reply = eom("ctx:replace_body(('x'):rep(2000000))", { set = { "body_max=1048576" } })
    assert.equal("tempfail", reply.kind)
    assert.truthy(reply.errors[1]:find("body_max is 1048576", 1, true))
  end)
end)

describe("a recipient that is deleted", function()
  local function deleted(given, asked)
    local mta = fake_mta.start(("function on_eom(ctx) ctx:delete_recipient(%q) return ctx.recipients "
      .. "and nil end"):format(asked))
    mta:connect()
    mta:mail()
    for _, address in ipairs(given) do
      mta:rcpt(address)
    end
    local list = {}
    for _, edit in ipairs(mta:eom().edits) do
      list[#list + 1] = edit[2]
    end
    mta:close()
    return list
  end
  it("is sent as the client wrote it, which Postfix compares with", function()
    assert.same({ "<Bob@Example.COM>" }, deleted({ "<a@x>", "<Bob@Example.COM>" }, "Bob@example.com"))
    assert.same({ "<Bob@Example.COM>" }, deleted({ "<a@x>", "<Bob@Example.COM>" }, "<Bob@EXAMPLE.com>"))
  end)
  it("with another mailbox part is another recipient", function()
    assert.same({ "<bob@example.com>" }, deleted({ "<Bob@Example.COM>" }, "bob@example.com"))
  end)
  it("given in several spellings is deleted in each of them", function()
    assert.same({ "<bob@X.com>", "<bob@x.COM>" }, deleted({ "<bob@X.com>", "<bob@x.COM>", "<bob@X.com>" }, "bob@x.com"))
  end)
  it("that the client never gave is sent as requested", function()
    assert.same({ "<eve@x>" }, deleted({ "<bob@x>" }, "eve@x"))
  end)
end)

describe("header numbers", function()
  local client = { { "Received", "from a" }, { "X-A", "1" }, { "Subject", "hello" }, { "X-A", "2" }, { "X-B", "1" },
    { "x-a", "3" } }

  -- Applies the code on both MTAs; returns both results and the script's final view.
  local host
  setup(function()
    host = assert(fake_mta.host { script = [[
      function on_data(ctx) ctx.message.n = 0 end
      function on_header(ctx, name, value) if name == "X-Plan" then ctx.message.plan = value end end
      function on_eom(ctx)
        local function each() return ctx.headers:each() end
        assert(loadstring("local ctx = ...\n" .. ctx.session.plan))(ctx)
        local seen = {}
        for name, value in each() do seen[#seen + 1] = name .. ": " .. value end
        ctx.session.seen = table.concat(seen, "|")
      end
      function on_unknown(ctx, line)
        if line ~= "SEEN" then ctx.session.plan = line return end
        return ctx:reject(ctx.session.seen)
      end
    ]] })
  end)
  teardown(function() host:close() end)

  local function apply(code, fields)
    local results = {}
    for i, kind in ipairs { "postfix", "sendmail" } do
      local mta = fake_mta.start { host = host }
      mta:introduce(kind)
      mta:connect()
      mta:unknown(code)
      local list = header_list[kind](fields)
      local reply = mta:message { headers = fields }
      assert.same({}, mta:log_lines "script_error")
      for _, edit in ipairs(reply.edits) do
        list:apply(edit)
      end
      results[i] = list:text()
      results.seen = mta:unknown("SEEN").text:match "^550 5.7.1 (.*)$"
      mta:close()
    end
    return results[1], results[2], results.seen
  end

  local function agree(code, wanted, fields)
    local postfix, sendmail, seen = apply(code, fields or client)
    assert.equal(postfix, sendmail, code)
    assert.equal(seen, (postfix:gsub("|?Received: %(mta%)|?", function(hit)
      return hit:sub(1, 1) == "|" and hit:sub(-1) == "|" and "|" or ""
    end)), code)
    if wanted then
      assert.equal(wanted, postfix)
    end
  end

  local cases = {
    { "ctx:add_header('X-A', 'new')", "Received: (mta)|Received: from a|X-A: 1|Subject: hello|X-A: 2|X-B: 1|x-a: "
      .. "3|X-A: new" },
    { "ctx:insert_header(0, 'X-A', 'new')", "X-A: new|Received: (mta)|Received: from a|X-A: 1|Subject: hello|X-A: "
      .. "2|X-B: 1|x-a: 3" },
    { "ctx:insert_header(1, 'X-A', 'new')", "Received: (mta)|X-A: new|Received: from a|X-A: 1|Subject: hello|X-A: "
      .. "2|X-B: 1|x-a: 3" },
    { "ctx:insert_header(3, 'X-N', 'new')", "Received: (mta)|Received: from a|X-A: 1|X-N: new|Subject: hello|X-A: "
      .. "2|X-B: 1|x-a: 3" },
    { "ctx:insert_header(99, 'X-A', 'new')", "Received: (mta)|Received: from a|X-A: 1|Subject: hello|X-A: 2|X-B: "
      .. "1|x-a: 3|X-A: new" },
    { "ctx:delete_header('X-A')", "Received: (mta)|Received: from a|Subject: hello|X-B: 1" },
    { "ctx:delete_header('X-A', -1)", "Received: (mta)|Received: from a|X-A: 1|Subject: hello|X-A: 2|X-B: 1" },
    { "ctx:delete_header('x-A', 1) ctx:change_header('X-a', 1, 'two')",
      "Received: (mta)|Received: from a|Subject: hello|X-A: two|X-B: 1|x-a: 3" },
    { "ctx:change_header('X-C', 1, 'new')", "Received: (mta)|Received: from a|X-A: 1|Subject: hello|X-A: 2|X-B: 1|x-a: "
      .. "3|X-C: new" },
    { "ctx:change_header('Received', 1, 'x')", "Received: (mta)|Received: x|X-A: 1|Subject: hello|X-A: "
      .. "2|X-B: 1|x-a: 3" },
    { "ctx:delete_header('X-A') ctx:add_header('X-A', 'only')", "Received: (mta)|Received: from a|Subject: hello|X-B: "
      .. "1|X-A: only" },
    { "ctx.headers:field('Subject'):insert_before('X-N', 'n')",
      "Received: (mta)|Received: from a|X-A: 1|X-N: n|Subject: hello|X-A: 2|X-B: 1|x-a: 3" },
    { "local s = ctx.headers:field('Subject') ctx:delete_header('X-A') ctx:insert_header(0, 'X-0', '0') s:set 'moved'",
      "X-0: 0|Received: (mta)|Received: from a|Subject: moved|X-B: 1" },
    { "ctx:delete_header('Nothing') ctx:delete_header('Nothing', 4)", "Received: (mta)|Received: from a|X-A: "
      .. "1|Subject: hello|X-A: 2|X-B: 1|x-a: 3" },
  }
  for _, case in ipairs(cases) do
    it(("%s gives the same message on Postfix and Sendmail"):format(case[1]), function()
      agree(case[1], case[2])
    end)
  end

  it("in a message without header fields put index 0 on top and the others below", function()
    agree("ctx:add_header('X-End', '1') ctx:insert_header(0, 'X-Top', '1')", "X-Top: 1|Received: (mta)|X-End: 1", {})
    agree("ctx:insert_header(0, 'X-Top', '1') ctx:add_header('X-End', '1')", "X-Top: 1|Received: (mta)|X-End: 1", {})
    agree("ctx:insert_header(1, 'X-End', '1')", "Received: (mta)|X-End: 1", {})
  end)

  it("of a trace field that only the MTA has leave the MTA's field in its place", function()
    agree("ctx:add_header('Received', 'by a filter')", "Received: (mta)|X-A: 1|Received: by a filter",
      { { "X-A", "1" } })
  end)

  it("in any sequence of edits have the same meaning to both and to the script", function()
    math.randomseed(tonumber(os.getenv "MOONMILTER_SEED") or 21)
    local r = math.random
    local names = { "X-A", "x-a", "X-B", "Subject", "X-New", "Received" }
    for _ = 1, tonumber(os.getenv "MOONMILTER_ROUNDS") or 400 do
      local fields = {}
      for i = 1, r(0, 6) do
        fields[i] = { names[r(#names)], "c" .. i }
      end
      local code = {}
      for i = 1, r(1, 8) do
        local name, n, value = names[r(#names)], r(-3, 4), "v" .. i
        code[i] = ({
          ("ctx:add_header(%q, %q)"):format(name, value),
          ("ctx:insert_header(%d, %q, %q)"):format(r(0, 8), name, value),
          ("ctx:insert_header(0, %q, %q)"):format(name, value),
          ("ctx:change_header(%q, %d, %q)"):format(name, n, value),
          ("ctx:change_header(%q, %d, '')"):format(name, n), ("ctx:delete_header(%q)"):format(name),
          ("ctx:delete_header(%q, %d)"):format(name, n),
          ("do local f = ctx.headers[%d] if f then f:set(%q) end end"):format(r(1, 6), value),
          ("do local f = ctx.headers[%d] if f then f:delete() end end"):format(r(1, 6)),
          ("do local f = ctx.headers[%d] if f then f:insert_before(%q, %q) end end"):format(r(1, 6), name, value),
        })[r(10)]
      end
      agree(table.concat(code, " "), nil, fields)
    end
  end)
end)

describe("header edits of a script that never reads the header", function()
  it("are sent as requested", function()
    local edits = edits_of [[
      ctx["change" .. "_header"](ctx, "Subject", 2, "x")
      ctx["delete" .. "_header"](ctx, "X-Old", 3)
      ctx:insert_header(0, "X-Top", "1")
      ctx:insert_header(1e6, "X-End", "1")
      ctx:add_header("X-Add", "1")
    ]]
    assert.same({ { "change_header", 2, "Subject", "x" }, { "change_header", 3, "X-Old", "" },
      { "insert_header", 0, "X-Top", "1" },
    { "insert_header", 1e6, "X-End", "1" },
      { "add_header", "X-Add", "1" } }, edits)
  end)
end)
