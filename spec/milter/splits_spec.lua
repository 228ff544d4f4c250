--- Packets arrive in any form: whole, in pieces, many at once. The filter's output must not depend on it. And a random
--- MTA against random handlers: whatever happens, each opened message gets exactly one of on_done and on_abort,
--- on_close comes exactly once and last, and each command that expects a reply gets exactly one final reply.
local fake_mta = require "spec.support.fake_mta"

local packet = fake_mta.packet

local EVERY_STAGE = [[
  local milter = require "moonmilter"
  local function pause() if PAUSES then milter.sleep(0) end end
  function on_connect(ctx, host, address) pause() end
  function on_helo(ctx, name) pause() end
  function on_mail(ctx, sender, params) pause() ctx:change_from("<bounce@x>", "RET=HDRS ENVID=1") end
  function on_rcpt(ctx, recipient) pause() if recipient == "no@x" then return ctx:reject(550, "5.1.1", "100% no", "sorry") end end
  function on_data(ctx) pause() end
  function on_header(ctx, name, value) pause() ctx.message.n = (ctx.message.n or 0) + #name * #value end
  function on_eoh(ctx) pause() end
  function on_body(ctx, chunk) pause() ctx.message.size = (ctx.message.size or 0) + #chunk end
  function on_unknown(ctx, line) pause() end
  function on_eom(ctx)
    ctx:insert_header(0, "X-Top", "1")
    pause()
    ctx:add_header("X-Size", ("%d %d"):format(ctx.message.n or 0, ctx.message.size or 0))
    ctx:change_header("Subject", 1, "[x] " .. ctx.headers:get "Subject")
    ctx:delete_header("X-Old")
    ctx:add_recipient("more@x", "NOTIFY=NEVER")
    ctx:delete_recipient("yes@X")
    ctx:replace_body(("0123456789\n"):rep(9))
    ctx:quarantine "look"
  end
]]

local function script(pauses)
  return "local PAUSES = " .. tostring(pauses) .. "\n" .. EVERY_STAGE
end

local function say_message(mta, subject)
  mta:macros("M", { { "i", "Q" .. subject } })
  mta:mail("<a@x>", "SIZE=1000", "BODY=8BITMIME")
  mta:rcpt "<yes@x>"
  mta:unknown "NOOPE"
  assert.equal("reject", mta:rcpt("<no@x>").kind)
  mta:data()
  mta:header("Subject", subject)
  mta:header("X-Old", "1")
  mta:header("X-Old", "folded\n 2")
  mta:eoh()
  mta:body "line one\r\nline"
  mta:body " two\r"
  mta:body "\n"
  return mta:eom "last\r\n"
end

-- A dialogue of two messages; returns the packets sent and the filter's output.
local function dialogue(host, with_aborts, offer)
  local mta = fake_mta.start { host = host, offer = offer }
  mta:introduce "postfix"
  mta:connect()
  mta:helo()
  assert.equal(10, #say_message(mta, "one").edits)
  if with_aborts then
    mta:abort()
    mta:mail "<b@x>"
    mta:abort()
    mta:mail "<c@x>"
    mta:helo "again"
    mta:abort()
    mta:abort()
  end
  assert.equal(10, #say_message(mta, "two").edits)
  if with_aborts then
    mta:quit()
  end
  local told, said = mta.told, table.concat(mta.said)
  mta:close()
  return told, said
end

local function replay(host, pieces)
  local mta = fake_mta.start { host = host, negotiates = false }
  for _, piece in ipairs(pieces) do
    mta:feed(piece)
  end
  mta:settle()
  mta:receive(0) -- pulls
  local said = table.concat(mta.said)
  mta:close()
  return said
end

for pauses, how in pairs { [false] = "handlers that answer at once", [true] = "handlers that wait" } do
  for name, offer in pairs { ["every NR_ bit offered"] = {}, ["no NR_ bit offered"] = { steps = 0x10077f } } do
    describe(("a dialogue of two messages with %s, %s"):format(how, name), function()
      local host, told, said
      setup(function()
        host = assert(fake_mta.host { script = script(pauses), set = { "log_level=error" } })
        told, said = dialogue(host, not pauses, offer)
      end)
      teardown(function() host:close() end)

      it("is the same byte by byte", function()
        local mta = fake_mta.start { host = host, negotiates = false, split = 1 }
        for _, piece in ipairs(told) do
          mta:feed(piece)
          mta:settle()
        end
        mta:receive(0)
        assert.is_true(said == table.concat(mta.said))
        mta:close()
      end)

      it("is the same in one segment, and in segments of any size", function()
        local all = table.concat(told)
        for _, size in ipairs { #all, 2, 3, 5, 7, 64, 100, 1000 } do
          local pieces = {}
          for at = 1, #all, size do
            pieces[#pieces + 1] = all:sub(at, at + size - 1)
          end
          assert.is_true(said == replay(host, pieces), "segments of " .. size)
        end
      end)

      it("is the same with each packet cut at each of its bytes", function()
        local before = {}
        for i, bytes in ipairs(told) do
          local step = pauses and 5 or 1
          for at = 1, #bytes - 1, step do
            local pieces = { table.concat(before), bytes:sub(1, at), bytes:sub(at + 1), table.concat(told, "", i + 1) }
            assert.is_true(said == replay(host, pieces), ("packet %d cut at %d"):format(i, at))
          end
          before[#before + 1] = bytes
        end
      end)

      it("is the same at random cuts", function()
        math.randomseed(11)
        local all = table.concat(told)
        for _ = 1, 40 do
          local pieces, at = {}, 1
          while at <= #all do
            local size = math.random(1, math.random(1, 400))
            pieces[#pieces + 1] = all:sub(at, at + size - 1)
            at = at + size
          end
          assert.is_true(said == replay(host, pieces))
        end
      end)
    end)
  end
end

-- ---- a random MTA, random handlers ----

local RANDOM = [[
  local milter = require "moonmilter"
  math.randomseed(SEED)
  local random = math.random
  local function tell(ctx, what) milter.log.info("%s %s", ctx.id, what) end

  local function edit(ctx)
    local kind = random(9)
    if kind == 1 then ctx:add_header("X-Random", ("x"):rep(random(0, 30)))
    elseif kind == 2 then ctx:insert_header(random(0, 9), "X-Random", "i")
    elseif kind == 3 then ctx:change_header("A", random(1, 3), random(2) == 1 and "" or "changed")
    elseif kind == 4 then ctx:delete_header("A")
    elseif kind == 5 then ctx:add_recipient("r@x", random(2) == 1 and "NOTIFY=NEVER" or nil)
    elseif kind == 6 then ctx:delete_recipient("recipient@EXAMPLE.com")
    elseif kind == 7 then ctx:replace_body(("b\n\r"):rep(random(0, 40000)))
    elseif kind == 8 then ctx:change_from(random(2) == 1 and "" or "new@x")
    else ctx:quarantine "random" end
  end

  -- Verdicts of the right and the wrong kind, errors, waits; most of the time nothing.
  local words = { "accept", "reject", "tempfail", "discard", "skip", "continue", "nonsense", 42, true }
  local function act(ctx, edits)
    if STRESS then collectgarbage() end -- frees objects that the host forgot to anchor
    if random(4) == 1 then milter.sleep(0) end
    if STRESS then collectgarbage() end
    if edits and random(3) == 1 then edit(ctx) end
    if random(6) == 1 then milter.sleep(random() / 200) end
    local fate = random(EAGER)
    if fate == 1 then return words[random(#words)]
    elseif fate == 2 then error "random"
    elseif fate == 3 then return ctx:reject(550, "5.7.1", "100% sure", "really")
    elseif fate == 4 then return ctx:tempfail("later")
    elseif fate == 5 then pcall(function() ctx:discard() end)
    elseif fate == 6 then ctx:disconnect("go")
    elseif fate == 7 then coroutine.wrap(function() milter.sleep(0) ctx:accept() end)()
    elseif fate == 8 then table.sort({ 3, 1, 2 }, function(a, b) ctx:skip() return a < b end)
    elseif fate == 9 then pcall(table.sort, { 3, 1, 2 }, function(a, b) milter.sleep(0) return a < b end) end
  end
  for _, stage in ipairs { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom", "unknown" } do
    local edits = stage ~= "connect" and stage ~= "helo" and stage ~= "unknown"
    local name = "on_" .. stage
    if random(5) > 1 then
      getfenv()[name] = function(ctx)
        if stage == "mail" then tell(ctx, "mail") end
        return act(ctx, edits)
      end
    end
  end
  if not on_mail then function on_mail(ctx) tell(ctx, "mail") end end
  function on_done(ctx) tell(ctx, "done") act(ctx) end
  function on_abort(ctx) tell(ctx, "abort") act(ctx) end
  function on_close(ctx) tell(ctx, "close") act(ctx) end
  options = { lockstep = random(3) == 1, facts = { "headers", "recipients" } }
]]

-- One random session; the oracle watches the wire.
local function random_session(mta, random)
  local state = "idle"
  local steps = {
    rcpt = function() return mta:rcpt() end, data = function() return mta:data() end,
    eoh = function() return mta:eoh() end,
    header = function() return mta:header("A", tostring(random(100))) end,
    body = function() return mta:body(("x\r\n"):rep(random(1, 400))) end,
  }
  local after = {
    envelope = { "rcpt", "rcpt", "rcpt", "data", "header", "eoh", "body", "eom" },
    data = { "header", "header", "eoh", "body", "eom" },
    headers = { "header", "header", "eoh", "eom" }, body = { "body", "body", "eom" },
  }
  local leads = { rcpt = "envelope", data = "data", header = "headers", eoh = "body", body = "body" }
  -- a command whose answer the MTA does not wait for
  local function give_up(letter, data)
    mta:feed(packet(letter, data))
    mta:abort()
    mta:output()
    state = "idle"
  end
  if random(10) > 1 then
    mta:connect()
  end
  for _ = 1, random(1, 25) do
    if mta:is_finished() then
      return
    end
    local dice = random(30)
    if dice == 1 then
      mta:abort()
      state = "idle"
    elseif dice == 2 then
      mta:helo()
      state = "idle"
    elseif dice == 3 then
      mta:unknown "BOGUS"
    elseif dice == 4 then
      mta:feed(packet "K")
      mta:settle()
      state = "idle"
    elseif dice == 5 then
      give_up("M", "<a@b>\0")
    elseif dice == 6 and state ~= "idle" then
      give_up("E", "x")
    elseif dice == 7 and state ~= "idle" and mta.steps and bit.band(mta.steps, 0x80000) == 0
      and bit.band(mta.steps, 0x10) == 0 then
      give_up("B", "given up")
    elseif state == "idle" or dice == 8 then
      mta:macros("M", { { "i", "Q" .. random(1000) } })
      local kind = mta:mail().kind
      state = (kind == "continue" or kind == "none") and "envelope" or "idle"
    else
      local step = after[state][random(#after[state])]
      if step == "eom" then
        local reply = mta:eom(random(3) == 1 and "tail" or "")
        assert(reply.kind ~= "none", "no answer at end of message")
        state = "idle"
      else
        local kind = steps[step]().kind
        state = leads[step]
        if kind == "accept" or kind == "discard" or ((kind == "reject" or kind == "tempfail") and step ~= "rcpt") then
          state = "idle"
        end
      end
    end
  end
  if random(2) == 1 then
    mta:quit()
  else
    mta:vanish()
  end
  mta:settle()
end

-- In the log of one client's handlers every mail has one done or abort before the next, and close comes once, last.
local function check_promises(log)
  local sessions, order = {}, {}
  for id, what in log:gmatch ' text="(%S+) (%S+)"' do
    if not sessions[id] then
      sessions[id], order[#order + 1] = { open = false, closed = false }, id
    end
    local s = sessions[id]
    assert(not s.closed, id .. ": " .. what .. " after close")
    if what == "mail" then
      assert(not s.open, id .. ": a second mail with a message open")
      s.open = true
    elseif what == "close" then
      assert(not s.open, id .. ": closed with a message open")
      s.closed = true
    else
      assert(s.open, id .. ": " .. what .. " without a message")
      s.open = false
    end
  end
  for _, id in ipairs(order) do
    assert(sessions[id].closed, id .. ": never closed")
  end
  return #order
end


describe("a random MTA against random handlers", function()
  for seed = 1, tonumber(os.getenv "MOONMILTER_SEEDS") or 60 do
    it(("(seed %d) finds every promise kept"):format(seed), function()
      math.randomseed(seed)
      local offers = { {}, { steps = 0x10077f }, { steps = 0x1fffff, actions = 0x1 },
        { version = 2, steps = 0x7f, actions = 0x3f },
        { steps = math.random(0, 0x1fffff) } }
      local host = assert(fake_mta.host {
        script = ("local SEED, EAGER, STRESS = %d, %d, %s\n"):format(seed, seed % 3 == 0 and 12 or 60, seed % 5 == 0)
          .. RANDOM,
      })
      for i = 1, 12 do
        local mta = fake_mta.start { host = host, offer = offers[i % #offers + 1], split = i % 4 == 0
          and math.random(1, 20) or nil }
        if mta.answer then
          random_session(mta, math.random)
        end
        assert.is_nil(mta.fault)
        mta:close()
      end
      check_promises(host:log())
      assert.same({}, host:log_lines "connection_closed")
      host:close()
    end)
  end
end)
