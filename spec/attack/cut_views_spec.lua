-- A peer that sends more of a message than the host keeps, so that the part that matters is behind the bound: the host
-- must not show the kept part as if it were whole.
local fake_mta = require "spec.support.fake_mta"
local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"

local FIELDS, HEADER_BYTES, RECIPIENTS = 16384, 1024 * 1024, 100000 -- as base/bounds.h
local TOO_BIG = "552 5.3.4 Message header too big"

local function field(name, value)
  return fake_mta.packet("L", name .. "\0 " .. value .. "\0")
end

local many = field("X", "y"):rep(FIELDS)
-- Two fields that cannot both be kept, then small ones that could.
local large = field("X-Pad", ("x"):rep(60000)):rep(math.ceil(HEADER_BYTES / 60000)) .. field("X", "y")

local function start(options)
  local mta = fake_mta.start(options)
  finally(function() mta:close() end)
  mta:introduce(options.kind or "postfix")
  mta:begin()
  return mta
end

--- A message whose header is `before`, as packets, and then `fields`. -> the reply that ended it
local function send(mta, before, fields, body)
  mta:mail()
  mta:rcpt()
  mta:data()
  assert(mta:feed(before))
  for _, pair in ipairs(fields) do
    mta:header(pair[1], pair[2])
  end
  local reply = mta:eoh()
  if reply.kind ~= "continue" and reply.kind ~= "none" then
    return reply
  end
  reply = mta:body(body or "hello\r\n")
  if reply.kind ~= "continue" and reply.kind ~= "none" and reply.kind ~= "skip" then
    return reply
  end
  return mta:eom()
end

local PROGRAM = "MZ" .. ("\0"):rep(62) .. "This program cannot be run in DOS mode"

describe("beyond the kept part of a header,", function()
  for what, before in pairs { ["16384 fields"] = many, ["a mebibyte"] = large } do
    it("after " .. what .. ", a forged Authentication-Results does not pass", function()
      local mta = start { paths = { "examples/strip-authres.lua" } }
      local forged = { { "Authentication-Results", "mx.example; dkim=pass header.d=bank.example" } }
      assert.equal("add_header", send(mta, "", forged).edits[2][1]) -- deleted and noted
      local reply = send(mta, before, forged)
      assert.same({ "reject", TOO_BIG }, { reply.kind, reply.text })
      assert.same({}, reply.edits)
      assert.equal("add_header", send(mta, "", forged).edits[2][1]) -- and the next message is judged as before
    end)

    it("after " .. what .. ", a second From does not pass", function()
      local mta = start { paths = { "examples/from-spoofing.lua" } }
      local from = { "From", "ann@one.example" }
      assert.equal("continue", send(mta, "", { from }).kind)
      assert.equal("reject", send(mta, "", { from, from }).kind)
      local reply = send(mta, field("From", "ann@one.example") .. before, { { "From", "ceo@bank.example" } })
      assert.same({ "reject", TOO_BIG }, { reply.kind, reply.text })
    end)

    it("after " .. what .. ", a program does not pass", function()
      local mta = start { paths = { "examples/block-executables.lua" } }
      local type = { { "Content-Type", "multipart/mixed; boundary=b" } }
      local body = "--b\r\nContent-Type: image/png\r\n\r\n" .. PROGRAM .. "\r\n--b--\r\n"
      assert.matches("^554 5.7.1 programs", send(mta, "", type, body).text)
      local reply = send(mta, before, type, body)
      assert.same({ "reject", TOO_BIG }, { reply.kind, reply.text })
    end)
  end

  it("a program does not pass where a bound of the walker hides its part", function()
    local mta = start { paths = { "examples/block-executables.lua" } }
    local part = "Content-Type: image/png\r\n\r\n" .. PROGRAM .. "\r\n"
    local long = ("b"):rep(999)
    for defect, case in pairs {
      ["long-delimiter"] = { "b", "--b\r\n\r\ntext\r\n--b" .. (" "):rep(1200) .. "\r\n" .. part .. "--b--\r\n" },
      ["long-boundary"] = { long, "--" .. long .. "\r\n" .. part },
      ["more than max_parts 1000 parts"] = { "b", ("--b\r\n\r\n\r\n"):rep(1000) .. "--b\r\n" .. part },
      ["header of a part is over max_header_bytes 262144"] =
        { "b", "--b\r\n" .. ("X: y\r\n"):rep(50000) .. part .. "--b--\r\n" },
    } do
      mta:mail()
      mta:rcpt()
      mta:data()
      mta:header("Content-Type", "multipart/mixed; boundary=" .. case[1])
      mta:eoh()
      for at = 1, #case[2], 65535 do
        mta:body(case[2]:sub(at, at + 65534))
      end
      local text = mta:eom().text
      assert.truthy(text and text:find("^554 5.6.0 message structure refused") and (text:find(defect, 1, true) or text:find("bad-boundary", 1, true)),
        defect .. ": " .. tostring(text))
    end
  end)

  it("a script that does not read it sees nothing of the bound", function()
    local mta = start { script = [[
      function on_header(ctx, name) ctx.message.count = (ctx.message.count or 0) + 1 end
      function on_eom(ctx) ctx:add_header("X-Count", tostring(ctx.message.count)) end]] }
    assert.same({ { "add_header", "X-Count", "16386" } }, send(mta, many, { { "A", "b" }, { "C", "d" } }).edits)
    assert.same({}, mta:log_lines "over")
  end)

  it("a script cannot catch the refusal", function()
    for _, script in ipairs {
      "function on_eom(ctx) pcall(function() return ctx.headers end) return 'accept' end",
      "function on_eom(ctx) pcall(ctx.change_header, ctx, 'From', 2, '') end",
      "function on_eom(ctx) pcall(ctx.delete_header, ctx, 'From') return ctx:accept() end",
      "function on_eom(ctx) coroutine.wrap(function() pcall(function() return ctx.headers end) end)() end",
      [[local milter = require "moonmilter"
        function on_eom(ctx)
          local task = milter.spawn(function() return #ctx.headers end)
          pcall(task.wait, task)
          return "accept"
        end]],
      [[function on_header(ctx)
          ctx.message.count = (ctx.message.count or 0) + 1
          if ctx.message.count > 16384 then
            pcall(function() return ctx.headers end)
            return "accept"
          end
        end]],
      [[function on_eoh(ctx) ctx:body() end
        function on_eom(ctx) return "accept" end]],
    } do
      local mta = start { script = script }
      local reply = send(mta, many, { { "From", "b" } })
      assert.same({ "reject", TOO_BIG }, { reply.kind, reply.text }, script)
      local lines = mta:log_lines "over"
      assert.equal(1, #lines)
      assert.matches("part=header verdict=reject", lines[1])
      assert.same({}, mta:log_lines "script_error")
      mta:close()
      mta.close = function() end
    end
  end)

  it("the verdict is the one that the setting says, and is logged once", function()
    local script = [[
      function on_eoh(ctx) local n = ctx.headers; n = ctx.headers end
      function on_eom(ctx)
        ctx:add_header("X-Seen", ("%d %s"):format(#ctx.headers, tostring(ctx.headers.truncated)))
      end]]
    local mta = start { script = script, set = { "over=tempfail" } }
    assert.equal("452 4.3.4 Message header too big for its filter, please try again later",
      send(mta, many, { { "A", "b" } }).text)
    local other = start { script = script, set = { "over=truncate" } }
    assert.same({ { "add_header", "X-Seen", "16384 true" } }, send(other, many, { { "A", "b" } }).edits)
    assert.same({ { "add_header", "X-Seen", "16384 false" } }, send(other, many, {}).edits)
    assert.same({ { "add_header", "X-Seen", "17 true" } }, send(other, large, { { "A", "b" } }).edits)
    assert.equal(2, #other:log_lines "over")
    assert.matches("part=header verdict=truncate .*script=.*handler=on_eoh reads=ctx.headers kept=16384",
      other:log_lines("over")[1])
  end)

  it("what was read before the bound is no excuse, and what runs after the verdict raises", function()
    local mta = start { script = [[
      function on_header(ctx) ctx.message.list = ctx.headers end
      function on_done(ctx) print("last: " .. tostring(pcall(function() return ctx.headers end))) end]],
      set = { "over=reject" } }
    assert.equal(TOO_BIG, send(mta, field("X", "y"):rep(3) .. large, {}).text)
    assert.truthy(mta.owner:log():find("last: false", 1, true))
  end)

  it("a script that fails on a part that truncate shows refuses the message for good", function()
    local mta = start { paths = { "examples/strip-authres.lua" }, set = { "over=truncate", "on_error=accept" } }
    local reply = send(mta, many, { { "Authentication-Results", "mx.example; dkim=pass" } })
    assert.same({ "reject", TOO_BIG }, { reply.kind, reply.text })
  end)
end)

describe("edits beyond the kept part of a header, which truncate shows,", function()
  -- The script's one edit; what is sent for it, or the message's verdict.
  local function edit(kind, code)
    local mta = start { script = "function on_eom(ctx) local n = #ctx.headers; " .. code .. " end", kind = kind,
      set = { "over=truncate" } }
    local reply = send(mta, field("A", "1") .. many, { { "A", "2" }, { "B", "3" } })
    mta:close()
    mta.close = function() end
    return reply.kind == "continue" and reply.edits or reply.text
  end

  for _, kind in ipairs { "postfix", "sendmail" } do
    it("are exact or refused with " .. kind, function()
      assert.same({ { "change_header", 1, "A", "x" } }, edit(kind, "ctx:change_header('A', 1, 'x')"))
      assert.same({ { "change_header", 7, "X", "" } }, edit(kind, "ctx:delete_header('X', 7)"))
      assert.same({ { "change_header", 1, "A", "x" } }, edit(kind, "ctx.headers:field('A'):set 'x'"))
      for _, code in ipairs { "ctx:change_header('A', 2, 'x')", "ctx:change_header('A', -1, 'x')",
        "ctx:delete_header 'A'", "ctx:delete_header('B', 1)", "ctx:change_header('B', 1, 'x')" } do
        assert.equal(TOO_BIG, edit(kind, code), code)
      end
      -- "B" exists, but we do not know: an insert at the end is right for both
      local at_end = kind == "sendmail" and { "insert_header", 0x7fffffff, "B", "x" } or { "add_header", "B", "x" }
      assert.same({ at_end }, edit(kind, "ctx:add_header('B', 'x')"))
      assert.same({ at_end }, edit(kind, "ctx:insert_header(30000, 'B', 'x')"))
      -- after a new field is after the unknown ones, too; a namesake is inserted, as always
      assert.same({ at_end, { "insert_header", 0x7fffffff, "B", "y" } },
        edit(kind, ("ctx:add_header('B', 'x') ctx:insert_header(%d, 'B', 'y')"):format(FIELDS + 2)))
      local own = kind == "sendmail" and 7 or 0
      assert.same({ { "insert_header", 2 + own, "B", "x" } }, edit(kind, "ctx:insert_header(2, 'B', 'x')"))
      -- the place after the last kept field is not the end
      assert.same({ { "insert_header", FIELDS + 1 + own, "B", "x" } },
        edit(kind, ("ctx:insert_header(%d, 'B', 'x')"):format(FIELDS + 1)))
    end)
  end
end)

describe("beyond the kept recipients,", function()
  local function recipients(count, letter)
    local list = {}
    for i = 1, count do
      list[i] = fake_mta.packet("R", ("<%s%d@x>\0"):format(letter or "r", i))
    end
    return table.concat(list)
  end
  local all = recipients(RECIPIENTS)

  local function envelope(mta)
    mta:mail()
    mta.split = 16384 -- the oracle cuts its packets from the front
    assert(mta:feed(all))
    mta.split, mta.input = nil, ""
  end

  it("a message whose recipients a script reads does not pass", function()
    local mta = start { script = [[
      function on_eom(ctx)
        for _, r in ipairs(ctx.recipients) do
          if r.address == "spy@x" then return ctx:reject("no") end
        end
      end]] }
    envelope(mta)
    assert.equal("continue", mta:eom().kind)
    envelope(mta)
    mta:rcpt "<spy@x>"
    local reply = mta:eom()
    assert.same({ "reject", "554 5.5.3 Too many recipients" }, { reply.kind, reply.text })
    assert.equal(1, #mta:log_lines "over")
  end)

  it("a script that reads them at each is told to the client, which goes on without the last", function()
    local mta = start { script = [[
      function on_rcpt(ctx, recipient)
        if recipient == "spy@x" then ctx.message.seen = #ctx.recipients end
      end
      function on_eom(ctx)
        ctx:add_header("X-Count", ("%d %s"):format(#ctx.recipients, tostring(ctx.recipients.truncated)))
      end]] }
    envelope(mta)
    assert.equal("452 4.5.3 Too many recipients", mta:rcpt("<spy@x>").text)
    assert.equal("452 4.5.3 Too many recipients", mta:rcpt("<spy@x>").text)
    assert.same({ { "add_header", "X-Count", "100000 nil" } }, mta:eom().edits)
  end)

  it("truncate says so, and deletes none that it cannot find in every spelling", function()
    local mta = start { set = { "over=truncate" }, script = [[
      function on_eom(ctx)
        if ctx.recipients.truncated then ctx:delete_recipient "r1@x" end
      end]] }
    envelope(mta)
    assert.same({}, mta:eom().edits)
    envelope(mta)
    mta:rcpt "<R1@X>"
    assert.equal("554 5.5.3 Too many recipients", mta:eom().text)
  end)
end)

describe("a real peer", function()
  it("gets the refusal over its socket, for a message and not for the next one", function()
    local server = host.start { scripts = { ["10.lua"] = [[
      function on_eom(ctx) ctx:add_header("X-Count", tostring(ctx.headers:count "X")) end]] } }
    finally(function() server:stop() end)
    local mta = assert(server:dial(30))
    mta:send("O", fake_mta.u32(6) .. fake_mta.u32(0x1ff) .. fake_mta.u32(0x80)) -- no replies to fields
    assert.equal("O", (mta:read()))
    local function send_message(packets)
      mta:mail()
      mta:rcpt()
      mta:data()
      assert(mta.socket:send(packets))
      mta:eoh()
      return mta:eom()
    end
    mta:greet()
    mta:helo()
    local packets = mta_client.packet("L", "X\0y\0"):rep(FIELDS)
    assert.same({ "hX-Count\00016384\0" }, send_message(packets).edits)
    local reply = send_message(packets .. mta_client.packet("L", "X\0y\0"))
    assert.same({ "reply", TOO_BIG }, { reply.kind, reply.text })
    mta:abort()
    assert.same({ "hX-Count\0001\0" }, send_message(mta_client.packet("L", "X\0y\0")).edits)
    mta:quit()
  end)
end)
