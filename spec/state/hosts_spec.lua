-- Limits that several hosts share, on the fake Redis: what scripts see, and a hundred hosts that are one limit.
local hosts = require "spec.state.hosts"
local testing = require "moonmilter.testing"

local ACCOUNT = [[
  local limit = require "moonmilter.limit"
  local out = limit.new { name = "account", shared = "hosts", redis = { host = "r.example" }, %s }
  function on_mail(ctx)
    local ok, state = out:take(ctx.sender, { of = "message" })
    if not ok then
      return ctx:tempfail(451, "4.7.1", ("wait %%.0f crossed %%s %%s"):format(state.retry_after, tostring(state.crossed),
        state.state))
    end
  end
  function on_eom(ctx) if ctx.sender:find "^refused" then return "reject" end end ]]

local function start(options, redis)
  local mta = testing.start { now = 1700000000, script = ACCOUNT:format(options), redis = redis or {} }
  finally(function() mta:close() end)
  return mta
end

local function verdicts(mta, count, message)
  local list = {}
  for i = 1, count do
    list[i] = mta:message(message).verdict
  end
  return table.concat(list, " ")
end

describe("a limit of all hosts", function()
  it("lets so many messages pass, then says when the next may come, with one call a refusal", function()
    local mta = start 'rate = "3/m"'
    assert.equal("accept accept accept", verdicts(mta, 3))
    assert.equal("wait 20 crossed true shared", mta:message().text)
    local asked = #mta:asked "redis"
    assert.equal("wait 20 crossed false shared", mta:message().text)
    assert.equal("tempfail tempfail", verdicts(mta, 2))
    assert.equal(asked, #mta:asked "redis")
    assert.equal("accept", mta:message { from = "other@example.org" }.verdict)
    mta:pass(20)
    assert.equal("accept tempfail", verdicts(mta, 2))
  end)

  it("gives back what a message took that did not pass", function()
    local mta = start 'rate = "2/m"'
    assert.equal(("reject "):rep(10), verdicts(mta, 10, { from = "refused@example.org" }) .. " ")
    assert.equal("accept accept tempfail", verdicts(mta, 3))
  end)

  it("remembers a refusal for a minute at most, so that a reset elsewhere is seen", function()
    local server = hosts.server(1700000000)
    local mta = start('rate = "1/d"', server.answer)
    assert.equal("accept tempfail tempfail", verdicts(mta, 3))
    server:call("DEL", "moonmilter:limit:account:ann@example.org")
    assert.equal("tempfail", verdicts(mta, 1))
    mta:pass(61)
    server.clock = server.clock + 61
    assert.equal("accept", verdicts(mta, 1))
  end)

  it("asks and fills: peek and reset", function()
    local mta = testing.start { redis = {}, script = [[
      local l = require "moonmilter.limit".new { name = "l", rate = "2/h", shared = "hosts" }
      function on_mail(ctx)
        local words = {}
        local function note(ok, state) words[#words + 1] = tostring(ok) .. (state and state.remaining or "") end
        note(l:peek "k") note(l:take "k") note(l:peek("k", 2)) note(l:peek "k") note(l:take("k", 2)) note(l:take "k")
        note(l:take "k") note(l:reset "k") note(l:reset "k") note(l:take("k", 2)) note(l:take("k", 3)) note(l:take(nil))
        return ctx:reject(550, "5.7.1", table.concat(words, " "))
      end ]] }
    finally(function() mta:close() end)
    assert.equal("true2 true1 false1 true1 false1 true0 false0 true false true0 false0 trueinf", mta:message().text)
  end)

  it("says at load what is wrong", function()
    for wrong, text in pairs {
      ['shared = "all"'] = 'it must be "host" or "hosts"',
      ['shared = "hosts", redis = { hots = "r" }'] = 'did you mean "host"',
      ['redis = {}'] = 'redis is for a limit with shared = "hosts"',
      ['on_down = "local"'] = 'with shared = "hosts" also "local"',
      ['mode = "soon"'] = 'mode is for a limit with shared = "hosts"',
      ['shared = "hosts", mode = "fast"'] = 'it must be "exact" or "soon"',
      ['shared = "hosts", hosts = 0'] = "hosts is 0", ['shared = "hosts", on_down = "reject"'] = "on_down is",
    } do
      local script = ('require "moonmilter.limit".new { name = "a", rate = "1/h", %s }\nfunction on_mail() end'):format(wrong)
      local ok, why = pcall(testing.start, { script = script, redis = "real" })
      assert.is_false(ok)
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
      assert.truthy(tostring(why):find("script.lua:1: limit.new", 1, true), tostring(why))
    end
  end)
end)

describe("a limit of all hosts whose Redis fails", function()
  -- Each failure as the client reports it.
  local FAILURES = {
    { "LOADING Redis is loading the dataset in memory", "reply" },
    { "OOM command not allowed when used memory > 'maxmemory'.", "reply" },
    { "READONLY You can't write against a read only replica.", "reply" },
    { "NOAUTH Authentication required.", "reply" }, { "NOPERM this user has no permissions", "reply" },
    { "MISCONF Redis is configured to save RDB snapshots", "reply" },
    { "CLUSTERDOWN The cluster is down", "reply" }, { "MASTERDOWN Link with MASTER is down", "reply" },
    { "BUSY Redis is busy running a script.", "reply" },
    { "connection refused", "refused" }, { "no reply within 1 s", "timeout" }, { "is down", "down" },
    { "the other end has closed", "closed" }, { "all connections are in use", "busy" }, { "no such name", "nxdomain" },
    { "ERR unknown command", "reply" }, { "WRONGTYPE Operation against a key", "reply" },
  }

  local function failing(failure)
    local server = hosts.server(1700000000)
    local is_failing = false
    return function(...)
      if is_failing then return nil, failure[1], failure[2] end
      return server.answer(...)
    end, function(is) is_failing = is end
  end

  for _, failure in ipairs(FAILURES) do
    it("counts on the host alone, and is exact again afterwards: " .. failure[1], function()
      local answer, fail = failing(failure)
      local mta = start('rate = "4/d", hosts = 2', answer)
      assert.equal("accept", verdicts(mta, 1))
      fail(true)
      assert.equal("accept", verdicts(mta, 1)) -- 2 of 4 for this host, 1 of which it has let pass before
      assert.equal("wait 43200 crossed true local", mta:message().text)
      fail(false)
      mta:pass(6)
      assert.equal("accept accept accept tempfail", verdicts(mta, 4))
      assert.truthy(mta:message().text:find "shared")
    end)

    it("is open or refuses where the script says so: " .. failure[1], function()
      local answer, fail = failing(failure)
      fail(true)
      assert.equal("accept accept", verdicts(start('rate = "1/d", on_down = "open"', answer), 2))
      local mta = start('rate = "1/d", on_down = "tempfail"', answer)
      assert.truthy(mta:message().text:find "down")
    end)
  end

  it("is asked in the background until it is back, not by messages", function()
    local answer, fail = failing { "no reply within 1 s", "timeout" }
    local takes = 0
    local mta = start('rate = "1000/d"', function(command, ...)
      takes = takes + (command == "EVAL" and 1 or 0)
      return answer(command, ...)
    end)
    fail(true)
    verdicts(mta, 50)
    assert.equal(1, takes)
    mta:pass(100)
    verdicts(mta, 50)
    assert.equal(1, takes)
    fail(false)
    mta:pass(5)
    verdicts(mta, 50)
    assert.equal(51, takes)
  end)
end)

describe("a hundred hosts with one limit", function()
  local SCRIPT = [[
    local limit = require "moonmilter.limit"
    local out = limit.new { name = "all", rate = "%s", shared = "hosts", redis = { host = "r.example" } }
    function on_mail(ctx, sender)
      local ok, state = out:take(sender)
      if not ok then return ctx:tempfail(451, "4.7.1", state.crossed and "first" or "again") end
    end ]]

  it("passes exactly the limit, whatever their clocks say, and reports one crossing", function()
    local world = hosts.start(100, SCRIPT:format "500/d", { skew = 60 })
    finally(function() world:close() end)
    local passed, first = 0, 0
    for i = 1, 1500 do
      local reply = world:mail((i * 37) % 100 + 1, "account@example.org")
      if i <= 500 then assert.equal("continue", reply.verdict) end -- no refusal below the limit
      passed = passed + (reply.verdict == "continue" and 1 or 0)
      first = first + (reply.text == "first" and 1 or 0)
    end
    assert.equal(500, passed)
    assert.equal(1, first)
    assert.is_true(world.server.calls <= 600, world.server.calls .. " calls") -- one a unit, one a host that was refused
  end)

  it("passes in any time no more than the bucket and what flowed back", function()
    local world = hosts.start(20, SCRIPT:format "60/m", { skew = 60 })
    finally(function() world:close() end)
    math.randomseed(7)
    local passed, seconds = 0, 0
    for _ = 1, 60 do
      world:pass(0.5)
      seconds = seconds + 0.5
      for _ = 1, 20 do
        passed = passed + (world:mail(math.random(20), "account@example.org").verdict == "continue" and 1 or 0)
        assert.is_true(passed <= 60 + seconds)
      end
    end
    assert.is_true(passed >= 60 + seconds - 2, passed .. " passed") -- nor fewer
  end)
end)

describe("a limit in the mode soon", function()
  local SCRIPT = [[
    local limit = require "moonmilter.limit"
    local out = limit.new { name = "all", rate = "%s", shared = "hosts", mode = "soon", redis = { host = "r.example" } }
    function on_mail(ctx, sender)
      local ok, state = out:take(sender, sender:find "^refused" and { of = "message" } or 1)
      if not ok then return ctx:tempfail(451, "4.7.1", state.crossed and "first" or state.state) end
    end
    function on_eom(ctx) if ctx.sender:find "^refused" then return "reject" end end ]]

  -- Offers so many messages a second to the hosts of a world, by tenths of a second.
  local function flood(world, count, a_second, seconds, each)
    local passed, first = 0, 0
    for i = 1, seconds * 10 do
      for j = 1, a_second / 10 do
        local reply = world:mail((i * 31 + j * 7) % count + 1, "account@example.org")
        passed = passed + (reply.verdict == "continue" and 1 or 0)
        first = first + (reply.text == "first" and 1 or 0)
      end
      world:pass(0.1)
      each(i / 10, passed)
    end
    return passed, first
  end

  it("passes too many by what comes in one exchange and one a host, refuses none below, and reports one crossing",
    function()
      local world = hosts.start(30, SCRIPT:format "200/d", { skew = 60 })
      finally(function() world:close() end)
      local passed, first = flood(world, 30, 200, 4, function(seconds, passed)
        if seconds <= 0.9 then assert.equal(seconds * 200, passed) end
      end)
      assert.is_true(passed >= 200 and passed <= 200 + 200 * 0.4 + 30, passed .. " passed")
      assert.equal(1, first)
      assert.is_true(world.server.calls <= 30 * 4 / 0.2, world.server.calls .. " calls")
    end)

  it("holds the rate in the long run: what was too much is paid back", function()
    local world = hosts.start(20, SCRIPT:format "60/m")
    finally(function() world:close() end)
    local passed = flood(world, 20, 40, 20, function(seconds, passed)
      assert.is_true(passed <= 60 + seconds + 40 * 0.4 + 20)
    end)
    assert.is_true(passed >= 60 + 20 - 2, passed .. " passed")
  end)

  it("gives back what a message took that did not pass", function()
    local server = hosts.server(1700000000)
    local mta = testing.start { now = 1700000000, redis = server.answer, script = SCRIPT:format "2/d" }
    finally(function() mta:close() end)
    for _ = 1, 5 do
      assert.equal("reject reject", verdicts(mta, 2, { from = "refused@example.org" }))
      mta:pass(1)
    end
    assert.is_nil((server:call("GET", "moonmilter:limit:all:refused@example.org"))) -- the bucket is full
  end)

  it("counts on the host alone while the server is down", function()
    local is_failing = false
    local server = hosts.server(1700000000)
    local mta = testing.start { now = 1700000000, script = SCRIPT:format "3/d", redis = function(...)
      if is_failing then return nil, "OOM command not allowed", "reply" end
      return server.answer(...)
    end }
    finally(function() mta:close() end)
    assert.equal("accept", verdicts(mta, 1))
    is_failing = true
    mta:pass(1)
    assert.equal("accept accept tempfail", verdicts(mta, 3))
    assert.equal("local", mta:message().text)
    is_failing = false
    mta:pass(6)
    assert.equal("accept", verdicts(mta, 1)) -- what passed meanwhile is not counted on the server
  end)
end)
