-- The message as received, beside its edits; hashes of its body, made while it arrives; seals, made after the last
-- handler (lua/moonmilter/identity/). Hashes are compared with openssl's of the same bytes.
local fake_mta = require "spec.support.fake_mta"
local seal = require "moonmilter.seal"

local HEAD = [[
local received = require "moonmilter.identity.received"
local leaving = require "moonmilter.identity.leaving"
local log = require "moonmilter.log"
local function hex(s) return s and (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) or "none" end
local function show(ctx, name, value) ctx:add_header("X-" .. name, tostring(value)) end
]]

local function start(script, options)
  options = options or {}
  if type(script) == "table" then
    options.files = {}
    for name, source in pairs(script) do options.files[name] = HEAD .. source end
  else
    options.script = HEAD .. script
  end
  local mta = assert(fake_mta.start(options))
  finally(function() mta:close() end)
  mta:begin()
  return mta
end

local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local function hash_of(form, body)
  local b = seal.body(form, "sha256")
  b:feed(body)
  return hex((b:finish()))
end

-- The values of the fields that a script has shown, by name.
local function shown(reply)
  local found = {}
  for _, edit in ipairs(reply.edits or {}) do
    if edit[1] == "add_header" then found[edit[2]:gsub("^X%-", "")] = edit[3] end
  end
  return found
end

describe("the received header", function()
  it("has every field as it came, whatever scripts have changed", function()
    local mta = start({ ["1.lua"] = [[
      function on_eoh(ctx)
        ctx.headers:field("Subject"):set "other"
        ctx:delete_header("To")
        ctx:insert_header(0, "X-Top", "1")
        ctx:add_header("X-End", "1")
      end
    ]], ["2.lua"] = [[
      function on_eom(ctx)
        local m = received.of(ctx)
        local list = {}
        for i, f in ipairs(m.fields) do list[i] = f.raw:gsub("\r\n", "\\") end
        show(ctx, "Raw", table.concat(list, "|"))
        show(ctx, "Facts", tostring(m.complete) .. " " .. tostring(m.leading_space) .. " " .. m.fields[2].value)
      end
    ]] })
    mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
    for _, field in ipairs { { "From", " a@b" }, { "Subject", "  one\n\ttwo" }, { "To", "c@d" }, { "Empty", "" } } do
      mta:command("L", field[1] .. "\0" .. field[2] .. "\0")
    end
    mta:eoh()
    local got = shown(mta:eom())
    assert.equal("From: a@b|Subject:  one\\\ttwo|To:c@d|Empty:", got.Raw)
    assert.equal("true true  one\n\ttwo", got.Facts)
  end)

  it("says when the MTA tells nothing about the space after the colon", function()
    local mta = start([[
      function on_eom(ctx) show(ctx, "Facts", received.of(ctx).leading_space, received.of(ctx).fields[1].raw) end
    ]], { offer = { steps = bit.band(fake_mta.ALL_STEPS, bit.bnot(0x100000)) } })
    assert.equal("false", shown(mta:message()).Facts)
  end)
end)

describe("hashes of the body", function()
  local BODY = "one \t two  \r\n\r\nthree\r\n\r\n\r\n"

  it("are those of the canonical forms, for any cut into pieces", function()
    local mta = start [[
      received.early("eoh", function(_, m)
        assert(m:want "simple" and m:want "relaxed" and m:want("simple", 5) and m:want("simple", 5))
      end)
      function on_eom(ctx)
        local m = received.of(ctx)
        local limited, whole = m:hash("simple", 5)
        show(ctx, "Simple", hex(m:hash "simple"))
        show(ctx, "Relaxed", hex(m:hash "relaxed"))
        show(ctx, "Limited", hex(limited) .. " " .. whole)
      end
    ]]
    for _, size in ipairs { 1, 3, 1000 } do
      mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
      mta:header("From", "a@b")
      mta:eoh()
      for at = 1, #BODY - 1, size do mta:body(BODY:sub(at, math.min(at + size - 1, #BODY - 1))) end
      local got = shown(mta:eom(BODY:sub(-1)))
      assert.equal(hash_of("simple", BODY), got.Simple)
      assert.equal(hash_of("relaxed", BODY), got.Relaxed)
      assert.equal(hash_of("simple", "one") ~= got.Limited, true)
      assert.equal(#"one \t two  \r\n\r\nthree\r\n", tonumber(got.Limited:match " (%d+)$"))
    end
  end)

  it("go on whatever on_body answers, and after an accept", function()
    for _, answer in ipairs { "return 'skip'", "return ctx:accept()" } do
      local mta = start({ ["1.lua"] = "function on_body(ctx) " .. answer .. " end", ["2.lua"] = [[
        received.early("eoh", function(_, m) m:want "simple" end)
        function on_eom(ctx) show(ctx, "Simple", hex(received.of(ctx):hash "simple")) end
      ]] })
      assert.equal(hash_of("simple", "a\r\nb\r\n"), shown(mta:message { body = "a\r\nb\r\n" }).Simple)
    end
  end)

  it("are not made, and the body is skipped, when nothing asks for one", function()
    local mta = start [[
      function on_eom(ctx)
        local hash, why = received.of(ctx):hash "simple"
        show(ctx, "Hash", tostring(hash) .. " " .. why)
      end
    ]]
    mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
    mta:header("From", "a@b")
    mta:eoh()
    assert.equal("skip", mta:body("a\r\n").kind)
    assert.equal("nil the body was not hashed in this form", shown(mta:eom()).Hash)
  end)

  it("are asked for too late once the body comes, and a handler learns that", function()
    local mta = start [[
      function on_eom(ctx) show(ctx, "Want", select(2, received.of(ctx):want "simple")) end
    ]]
    assert.equal("the body has begun", shown(mta:message()).Want)
  end)

  it("also find the first line of more than 998 bytes, for any cut into pieces", function()
    local mta = start [[
      received.early("eoh", function(_, m) m:want("simple", nil, true) end)
      function on_eom(ctx)
        local number, size = ctx:_long_line()
        show(ctx, "Line", tostring(number) .. " " .. tostring(size))
      end
    ]]
    local lengths = { { 998 }, { 999 }, { 997, 998, 1000 }, { 5, 0, 998, 998, 2500, 3000 }, { 0, 0, 1999 },
      { 998, 998, 998 }, { 500, 499, 1 } }
    math.randomseed(7)
    for _, list in ipairs(lengths) do
      local lines, wanted = {}, "nil nil"
      for i, length in ipairs(list) do
        lines[i] = ("x"):rep(length)
        if length > 998 and wanted == "nil nil" then wanted = i .. " " .. length end
      end
      local body = table.concat(lines, "\r\n") .. "\r\n"
      for _ = 1, 12 do
        mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
        mta:header("From", "a@b")
        mta:eoh()
        local at = 1
        while at <= #body do
          local size = math.random(1, 2) == 1 and math.random(1, 1200) or math.random(1, 3)
          mta:body(body:sub(at, at + size - 1))
          at = at + size
        end
        assert.equal(wanted, shown(mta:eom()).Line, table.concat(list, ","))
      end
    end
  end)

  it("cost a generation that loads none of this nothing: no body is asked for", function()
    local mta = assert(fake_mta.start { script = "function on_eom() end" })
    finally(function() mta:close() end)
    mta:begin()
    mta:mail "<a@b>"; mta:rcpt "<c@d>"
    assert.equal("none", mta:body("a\r\n").kind)
  end)
end)

describe("early work", function()
  it("begins at MAIL and at the end of header, before the handlers, and ends with the message", function()
    local mta = start [[
      local milter = require "moonmilter"
      received.early("mail", function(ctx, m)
        m.notes.order = { "mail" }
        m.notes.task = milter.spawn(function() return ctx.sender end)
      end)
      received.early("eoh", function(_, m) table.insert(m.notes.order, "eoh " .. #m.fields) end)
      function on_mail(ctx) table.insert(received.of(ctx).notes.order, "on_mail") end
      function on_eoh(ctx) table.insert(received.of(ctx).notes.order, "on_eoh") end
      function on_eom(ctx)
        local notes = received.of(ctx).notes
        show(ctx, "Order", table.concat(notes.order, ","))
        show(ctx, "Task", (notes.task:wait()))
      end
    ]]
    for _ = 1, 2 do
      local got = shown(mta:message { headers = { { "From", "a@b" }, { "To", "c@d" } } })
      assert.equal("mail,on_mail,eoh 2,on_eoh", got.Order)
      assert.truthy(got.Task)
    end
  end)

  it("that fails is a fault: 451", function()
    local mta = start [[
      received.early("eoh", function() error "broken" end)
      function on_eom() end
    ]]
    mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
    mta:header("From", "a@b")
    mta:eoh()
    assert.equal("tempfail", mta:body("x\r\n").kind)
    assert.truthy(table.concat(mta:log_lines "script_error"):find("broken", 1, true))
  end)
end)

describe("a seal", function()
  local SIGNER = [[
    local function ask(ctx, rank, name)
      assert(leaving.ask(received.of(ctx), rank, function(m)
        local names = {}
        for i, f in ipairs(m:fields()) do names[i] = f.raw end
        m:breathe()
        m:insert(name, table.concat(names, "|"):gsub("\r\n", "\n") .. " " .. hex(m:hash "relaxed"):sub(1, 8))
      end))
    end
  ]]

  it("is made after the last handler of all scripts, by rank, of what leaves, and stands at the top", function()
    local mta = start { ["1.lua"] = SIGNER .. [[
      function on_eoh(ctx)
        received.of(ctx):want "relaxed"
        ask(ctx, leaving.SEAL, "X-Seal")
        ask(ctx, leaving.SIGN, "X-Sign")
      end
    ]], ["2.lua"] = [[
      function on_eom(ctx)
        ctx:add_header("X-Late", "1")
        ctx.headers:field("Subject"):set "new"
        ctx:replace_body("other\r\n")
      end
    ]] }
    local reply = mta:message { headers = { { "From", "a@b" }, { "Subject", "x" } }, body = "old\r\n" }
    local hash = hash_of("relaxed", "other\r\n"):sub(1, 8)
    local fields = "From: a@b|Subject: new|X-Late: 1"
    local sign = fields .. " " .. hash
    assert.same({ "insert_header", 0, "X-Sign", sign }, reply.edits[3])
    assert.same({ "insert_header", 0, "X-Seal", "X-Sign: " .. sign .. "|" .. fields .. " " .. hash }, reply.edits[4])
    assert.equal("continue", reply.kind)
  end)

  it("is made when a script has accepted the message before its end", function()
    for _, where in ipairs { "on_mail", "on_eoh" } do
      local mta = start(SIGNER .. ([[
        function %s(ctx)
          assert(received.of(ctx):want "relaxed")
          ask(ctx, leaving.SIGN, "X-Sign")
          return ctx:accept()
        end
      ]]):format(where))
      local reply = mta:message { headers = { { "From", "a@b" } }, body = "old\r\n" }
      assert.same({ { "insert_header", 0, "X-Sign", "From: a@b " .. hash_of("relaxed", "old\r\n"):sub(1, 8) } },
        reply.edits)
      assert.equal("accept", reply.kind)
    end
  end)

  it("is not made of a message that is refused", function()
    local mta = start(SIGNER .. [[
      function on_eoh(ctx) received.of(ctx):want "relaxed"; ask(ctx, leaving.SIGN, "X-Sign") end
      function on_eom(ctx) return ctx:reject(550, "5.7.1", "no") end
    ]])
    assert.equal("reject", mta:message().kind)
    assert.same({}, mta:log_lines "script_error")
  end)

  it("that fails makes the message fail for now, and no edit is sent", function()
    local mta = start { ["1.lua"] = [[
      function on_eoh(ctx) leaving.ask(received.of(ctx), leaving.SIGN, function() error("no key", 0) end) end
    ]], ["2.lua"] = "function on_eom(ctx) ctx:add_header('X-Late', '1') end" }
    local reply = mta:message()
    assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
    assert.same({}, reply.edits)
    assert.truthy(table.concat(mta:log_lines "script_error"):find("no key", 1, true))
  end)

  it("is taken back with the other edits of a recipient's failed handler", function()
    local mta = start(SIGNER .. [[
      function on_rcpt(ctx, address)
        received.of(ctx):want "relaxed"
        ask(ctx, leaving.SIGN, "X-" .. address:match "%w+")
        if address:find "bad" then error "broken" end
      end
    ]])
    mta:mail "<a@b>"; mta:rcpt "<one@d>"; mta:rcpt "<bad@d>"; mta:rcpt "<two@d>"; mta:data()
    mta:header("From", "a@b")
    mta:eoh()
    mta:body "x\r\n"
    local names = {}
    for i, edit in ipairs(mta:eom().edits) do names[i] = edit[3] end
    assert.same({ "X-one", "X-two" }, names)
  end)

  it("that waits is cancelled when the MTA hangs up", function()
    local mta = start [[
      local milter = require "moonmilter"
      function on_eoh(ctx)
        leaving.ask(received.of(ctx), leaving.SIGN, function()
          local ok, err = pcall(milter.sleep, 100)
          log.info("ended: %s", tostring(err))
          error(err, 0)
        end)
      end
      function on_abort() log.info "aborted" end
    ]]
    mta:mail "<a@b>"; mta:rcpt "<c@d>"; mta:data()
    mta:header("From", "a@b")
    mta:eoh()
    mta:feed(fake_mta.packet("E"))
    assert.is_true(mta:is_waiting())
    mta:abort()
    local log = table.concat(mta:log_lines "script", "\n")
    assert.truthy(log:find("ended: cancelled: abort", 1, true))
    assert.truthy(log:find("aborted", 1, true))
  end)

  it("needs an MTA that lets us insert fields, and says so where it is asked for", function()
    local mta = start([[
      function on_eoh(ctx)
        local ok, why = leaving.ask(received.of(ctx), leaving.SIGN, function() end)
        log.info("%s %s", tostring(ok), why)
      end
    ]], { offer = { actions = bit.band(fake_mta.ALL_ACTIONS, bit.bnot(1)) } })
    mta:message()
    assert.truthy(table.concat(mta:log_lines "script"):find("nil not negotiated: ", 1, true))
  end)
end)
