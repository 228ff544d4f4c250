-- What several hosts share besides rates: places, different values, greylists and results of memos; on the fake Redis.
local hosts = require "spec.state.hosts"

local DOWN = { nil, "READONLY You can't write against a read only replica.", "reply" }

-- A world whose server fails while world.is_failing.
local function start(count, script, options)
  local world = hosts.start(count, script, options)
  finally(function() world:close() end)
  return world
end

local function text_of(reply)
  return reply.verdict == "continue" and "continue" or reply.text
end

describe("places of all hosts", function()
  local SCRIPT = [[
    local busy = require "moonmilter.limit".concurrency { name = "busy", max = 4, shared = "hosts", hosts = 2, %s }
    function on_mail(ctx, sender)
      local ok, state = busy:enter(sender)
      ctx.message.state = state
      if not ok then return ctx:tempfail(451, "4.7.1", state.state .. " " .. state.count) end
    end
    function on_rcpt(ctx) return ctx:reject(550, "5.7.1", tostring(busy:count(ctx.sender))) end ]]

  -- A message under way at a host; another connection each time.
  local function begin(world, number)
    local mta = world.mtas[number]:another()
    return mta, text_of(mta:mail "ann@example.org")
  end

  it("are so many in sum, and free again when a message ends", function()
    local world = start(3, SCRIPT:format "", { skew = 60 })
    local first
    for i = 1, 4 do
      local mta, text = begin(world, i % 3 + 1)
      first = first or mta
      assert.equal("continue", text)
    end
    assert.equal("4", text_of(first:rcpt "bob@example.net"))
    for i = 1, 3 do
      assert.equal("shared 4", select(2, begin(world, i)))
    end
    first:abort()
    world:pass(0.2)
    assert.equal("continue", select(2, begin(world, 1)))
    assert.equal("shared 4", select(2, begin(world, 2)))
  end)

  it("stay taken as long as messages take, and end 30 seconds after their host died", function()
    local world = start(2, SCRIPT:format "")
    for _ = 1, 4 do assert.equal("continue", select(2, begin(world, 1))) end
    for _ = 1, 12 do
      world:pass(10)
      assert.equal("shared 4", select(2, begin(world, 2)))
    end
    world.mtas[1]:close() -- what it would say last is not heard
    table.remove(world.mtas, 1)
    world:pass(15)
    assert.equal("shared 4", select(2, begin(world, 1)))
    world:pass(16)
    assert.equal("continue", select(2, begin(world, 1)))
  end)

  it("are the host's own part while the server is down, and are told when it is back", function()
    local world = start(2, SCRIPT:format "")
    world.fail = DOWN
    assert.equal("continue", select(2, begin(world, 1)))
    assert.equal("continue", select(2, begin(world, 1)))
    assert.equal("local 2", select(2, begin(world, 1)))
    world.fail = nil
    world:pass(16)
    assert.equal("continue", select(2, begin(world, 2)))
    assert.equal("continue", select(2, begin(world, 2)))
    assert.equal("shared 4", select(2, begin(world, 2)))
  end)

  it("are open, or none, while the server is down if the script says so", function()
    local world = start(1, SCRIPT:format 'on_down = "open"')
    world.fail = DOWN
    for _ = 1, 4 do assert.equal("continue", select(2, begin(world, 1))) end
    assert.equal("shared 4", select(2, begin(world, 1))) -- this host alone has them all
    world = start(1, SCRIPT:format 'on_down = "tempfail"')
    world.fail = DOWN
    assert.equal("down 0", select(2, begin(world, 1)))
  end)

  it("are never more than the limit, whatever order messages begin and end in", function()
    local world = start(5, SCRIPT:format "", { skew = 60 })
    math.randomseed(11)
    local held, passed = {}, 0
    for _ = 1, 300 do
      if #held > 0 and math.random(2) == 1 then
        table.remove(held, math.random(#held)):abort()
      else
        local mta, text = begin(world, math.random(5))
        if text == "continue" then
          held[#held + 1], passed = mta, passed + 1
        end
      end
      assert.is_true(#held <= 4)
      if math.random(3) == 1 then world:pass(0.15) end
    end
    assert.is_true(passed > 50, passed .. " passed")
    world:pass(1)
    for _, mta in ipairs(held) do mta:abort() end
    world:pass(1)
    assert.is_nil((world.server:call("HGETALL", "moonmilter:places:busy:ann@example.org"))[1])
  end)
end)

describe("different values of all hosts", function()
  local SCRIPT = [[
    local spread = require "moonmilter.limit".distinct { name = "rcpt", count = 4, per = "1h", shared = "hosts", hosts = 2, %s }
    function on_mail(ctx, value)
      local ok, state = spread:add("account", value:match "^[^@]+")
      return ctx:reject(550, "5.7.1", ("%%s %%d %%s"):format(tostring(ok), state.count, state.state))
    end ]]

  local function add(world, number, value)
    return world:mail(number, value .. "@example.org").text
  end

  it("are so many in the time; what was noted is free on each", function()
    local world = start(3, SCRIPT:format "", { skew = 60 })
    for i = 1, 4 do assert.equal(("true %d shared"):format(i), add(world, i % 3 + 1, "v" .. i)) end
    for i = 1, 3 do
      assert.equal("false 4 shared", add(world, i, "new" .. i))
      assert.equal("true 4 shared", add(world, i, "v" .. i))
    end
    world:pass(3500)
    assert.equal("false 4 shared", add(world, 1, "new"))
    world:pass(101)
    assert.equal("true 1 shared", add(world, 1, "new"))
  end)

  it("may be longer than a member of a set", function()
    local world = start(1, SCRIPT:format "")
    assert.equal("true 1 shared", add(world, 1, ("x"):rep(300) .. "1"))
    assert.equal("true 2 shared", add(world, 1, ("x"):rep(300) .. "2"))
    assert.equal("true 2 shared", add(world, 1, ("x"):rep(300) .. "1"))
  end)

  it("are the host's part while the server is down; what it has let pass counts", function()
    local world = start(2, SCRIPT:format "")
    assert.equal("true 1 shared", add(world, 1, "v1"))
    world.fail = DOWN
    assert.equal("true 2 local", add(world, 1, "v2"))
    assert.equal("false 2 local", add(world, 1, "v3"))
    assert.equal("true 2 local", add(world, 1, "v1"))
    world.fail = nil
    world:pass(6)
    assert.equal("true 2 shared", add(world, 1, "v3"))
  end)

  it("pass, or do not, while the server is down if the script says so", function()
    for on_down, expected in pairs { open = "true 0 down", tempfail = "false 0 down" } do
      local world = start(1, SCRIPT:format(("on_down = %q"):format(on_down)))
      world.fail = DOWN
      assert.equal(expected, add(world, 1, "v"))
    end
  end)
end)

describe("a greylist of all hosts", function()
  local SCRIPT = [[
    local grey = require "moonmilter.greylist".new { shared = "hosts", delay = 60, known_for = 100000, allow_after = 3, %s }
    function on_rcpt(ctx, rcpt)
      if rcpt:find "^clear" then return ctx:reject(550, "5.7.1", tostring(grey:clear())) end
      local ok, state = grey:check(ctx, rcpt)
      return ctx:reject(550, "5.7.1", ("%%s %%s %%d"):format(tostring(ok), state.reason, state.wait))
    end ]]

  local function ask(world, number, sender, recipient, client)
    local mta = world.mtas[number]:another()
    mta:connect(client or { ip = "198.51.100.7", host = false })
    mta:mail(sender or "ann@example.org")
    local reply = mta:rcpt(recipient or "bob@example.net")
    mta:close()
    return reply.text
  end

  it("defers a stranger once, whichever hosts it tries, and all know it from then on", function()
    local world = start(3, SCRIPT:format "", { skew = 60 })
    assert.equal("false new 60", ask(world, 1))
    assert.equal("false early 60", ask(world, 2))
    world:pass(30)
    assert.equal("false early 30", ask(world, 3))
    world:pass(30)
    assert.equal("true passed 0", ask(world, 2))
    for i = 1, 3 do assert.equal("true known 0", ask(world, i, "other@example.org", "carl@example.net")) end
    local calls = world.server.calls
    for i = 1, 3 do assert.equal("true known 0", ask(world, i)) end
    assert.equal(calls, world.server.calls) -- each host remembers it
  end)

  it("prolongs the life of what is used, and forgets what is not", function()
    local world = start(2, SCRIPT:format "")
    ask(world, 1)
    world:pass(61)
    assert.equal("true passed 0", ask(world, 1))
    for i = 1, 4 do
      world:pass(60000)
      assert.equal("true known 0", ask(world, i % 2 + 1))
    end
    world:pass(100001)
    assert.equal("false new 60", ask(world, 2))
  end)

  it("knows a network for all senders after several domains, but no name", function()
    local named = { ip = "198.51.100.9", host = "mx1.pool.example" }
    for _, client in ipairs { { ip = "198.51.100.7", host = false }, named } do
      local world = start(2, SCRIPT:format "")
      for i = 1, 3 do ask(world, 1, ("ann@d%d.example"):format(i), nil, client) end
      world:pass(61)
      for i = 1, 3 do assert.equal("true passed 0", ask(world, 2, ("ann@d%d.example"):format(i), nil, client)) end
      assert.equal(client == named and "false new 60" or "true known 0", ask(world, 1, "new@d9.example", nil, client))
    end
  end)

  it("is cleared for all hosts", function()
    local world = start(2, SCRIPT:format "")
    ask(world, 1)
    world:pass(61)
    assert.equal("true passed 0", ask(world, 1))
    assert.equal("true", ask(world, 1, nil, "clear@example.net"))
    assert.equal("false new 60", ask(world, 1))
    assert.equal("false early 60", ask(world, 2))
  end)

  it("lets mail through while the server is down, or defers it if the script says so", function()
    for on_down, expected in pairs { open = "true down 0", tempfail = "false down 0" } do
      local world = start(1, SCRIPT:format(("on_down = %q"):format(on_down)))
      ask(world, 1)
      world:pass(61)
      assert.equal("true passed 0", ask(world, 1))
      world.fail = DOWN
      assert.equal(expected, ask(world, 1, "stranger@example.com"))
      assert.equal("true known 0", ask(world, 1)) -- the host's own memory
    end
  end)

  it("says at load what is wrong", function()
    for wrong, text in pairs {
      ['shared = "all"'] = "shared is", ['shared = "hosts", durable = true'] = "there is no option durable",
      ['redis = {}'] = "there is no option redis", ['on_down = "local"'] = "on_down is",
      ['shared = "hosts", name = "a b"'] = "name must be",
    } do
      local ok, why = pcall(hosts.start, 1,
        ('require "moonmilter.greylist".new { %s }\nfunction on_mail() end'):format(wrong))
      assert.is_false(ok)
      assert.truthy(tostring(why):find("script.lua:1: greylist.new: ", 1, true), tostring(why))
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
    end
  end)
end)

describe("a memo of all hosts", function()
  local SCRIPT = [[
    local milter = require "moonmilter"
    local memo = require "moonmilter.memo"
    local slow = memo(function(key)
      milter.log.info "CALLED"
      milter.sleep(2)
      if key:find "^none" then return nil end
      if key:find "^fails" then return nil, "no directory", "timeout" end
      return { "of " .. key }
    end, { name = "slow", ttl = 300, negative = 20, shared = "hosts", %s })
    function on_mail(ctx, sender)
      if sender:find "^forget" then slow:forget(sender:sub(8)) return end
      local value, text, code = slow(sender)
      milter.log.info("GOT %%s %%s", value and value[1] or "nil", code or "")
    end ]]

  local function count(world, what)
    local sum = 0
    for _, mta in ipairs(world.mtas) do sum = sum + #mta:log(what) end
    return sum
  end

  -- All hosts ask in the same moment, in tasks that wait beside each other.
  local BESIDE = SCRIPT:gsub("local value, text, code = slow%(sender%)", [[
      milter.spawn(function()
      local value, text, code = slow(sender)]]):gsub("code or \"\"%)", "code or \"\") end)")

  -- In messages that stay open, to which the tasks belong.
  local function ask_all(world, sender, tenths)
    local open = {}
    for i, mta in ipairs(world.mtas) do
      open[i] = mta:another()
      open[i]:mail(sender)
    end
    for _ = 1, tenths or 30 do world:pass(0.1) end
    for _, mta in ipairs(open) do mta:close() end
  end

  it("has one caller, and the others get its result", function()
    local world = start(10, BESIDE:format "", { skew = 60 })
    ask_all(world, "ann@example.org")
    assert.equal(1, count(world, "CALLED"))
    assert.equal(10, count(world, "GOT of ann@example.org"))
    ask_all(world, "ann@example.org")
    world:pass(200)
    ask_all(world, "ann@example.org")
    assert.equal(1, count(world, "CALLED"))
    assert.equal(30, count(world, "GOT of ann@example.org"))
    world:pass(101)
    ask_all(world, "ann@example.org")
    assert.equal(2, count(world, "CALLED"))
  end)

  it("keeps that there is none, and no failure", function()
    local world = start(3, BESIDE:format "")
    ask_all(world, "none@example.org")
    ask_all(world, "none@example.org")
    assert.equal(1, count(world, "CALLED"))
    assert.equal(6, count(world, "GOT nil"))
    world:pass(20)
    ask_all(world, "none@example.org")
    assert.equal(2, count(world, "CALLED"))
    ask_all(world, "fails@example.org", 80) -- each host tries, one after the other
    assert.equal(5, count(world, "CALLED"))
    assert.equal(3, count(world, "GOT nil timeout"))
  end)

  it("gives an old result while one host finds a new one", function()
    local world = start(5, SCRIPT:format "stale = 1000")
    world:mail(1, "ann@example.org")
    for _ = 1, 3 do
      for i = 1, 4 do world:mail(i, "ann@example.org") end
    end
    world:pass(301)
    for i = 1, 5 do world:mail(i, "ann@example.org") end -- the fifth has no copy of its own
    assert.equal(18, count(world, "GOT of ann"))
    world:pass(3)
    for i = 1, 5 do world:mail(i, "ann@example.org") end
    world:pass(3)
    assert.equal(2, count(world, "CALLED"))
  end)

  it("forgets for all hosts within a minute", function()
    local world = start(2, SCRIPT:format "")
    world:mail(1, "ann@example.org")
    world:mail(2, "ann@example.org")
    world:mail(1, "forget.ann@example.org")
    world:mail(1, "ann@example.org")
    assert.equal(2, count(world, "CALLED"))
    world:pass(61)
    world:mail(2, "ann@example.org")
    assert.equal(2, count(world, "CALLED"))
  end)

  it("calls on each host while the server is down, or fails if the script says so", function()
    local world = start(3, SCRIPT:format "")
    world.fail = DOWN
    for _ = 1, 2 do
      for i = 1, 3 do world:mail(i, "ann@example.org") end
    end
    assert.equal(3, count(world, "CALLED"))
    assert.equal(6, count(world, "GOT of ann"))
    world = start(1, SCRIPT:format 'on_down = "fail"')
    world.fail = DOWN
    world:mail(1, "ann@example.org")
    world:mail(1, "ann@example.org")
    assert.equal(0, count(world, "CALLED"))
    assert.equal(1, count(world, "GOT nil reply"))
    assert.equal(1, count(world, "GOT nil down"))
  end)

  it("takes the claim of a host that died after 30 seconds", function()
    local world = start(2, BESIDE:format "")
    world.mtas[1]:another():mail "ann@example.org"
    world:pass(0.1)
    world.mtas[1]:close()
    table.remove(world.mtas, 1)
    ask_all(world, "ann@example.org", 330)
    assert.equal(1, count(world, "GOT of ann"))
  end)
end)
