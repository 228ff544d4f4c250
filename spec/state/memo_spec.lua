-- moonmilter.memo: one caller for each key, whatever becomes of it.
local testing = require "moonmilter.testing"

local function start(script, options)
  options = options or {}
  options.now, options.script = 1700000000, [[
    local memo = require "moonmilter.memo"
    local milter = require "moonmilter"
    local calls = 0
    local function note(...) milter.log.info("NOTE %s", table.concat({ ... }, " ")) end
  ]] .. script
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

local function notes(mta)
  local list = {}
  for _, line in ipairs(mta:log "NOTE") do list[#list + 1] = line:match 'text="NOTE (.*)"' end
  return list
end

local COUNTED = [[
  local slow = memo(function(a, b)
    calls = calls + 1
    milter.sleep(1)
    return ("%s"):format(tostring(a), tostring(b), calls)
  end, { ttl = 60 %s })
  function on_mail(ctx, sender) note(slow(sender, true)) end ]]

describe("moonmilter.memo", function()
  it("calls once, until the result is old", function()
    local mta = start(COUNTED:format("%s-%s-%d", ""))
    mta:message() mta:message()
    mta:message { from = "other@example.org" }
    mta:pass(61)
    mta:message()
    assert.same({ "ann@example.org-true-1", "ann@example.org-true-1", "other@example.org-true-2",
      "ann@example.org-true-3" }, notes(mta))
  end)

  it("gives an old result at once while one caller finds a new one", function()
    local mta = start(COUNTED:format("%s-%s-%d", ", stale = 600"))
    mta:message()
    mta:pass(61)
    mta:message() mta:message()
    mta:pass(2)
    mta:message()
    assert.same({ "ann@example.org-true-1", "ann@example.org-true-1", "ann@example.org-true-1",
      "ann@example.org-true-2" }, notes(mta))
  end)

  it("has one caller for all who wait, and all get its result", function()
    local mta = start [[
      local slow = memo(function(key) calls = calls + 1 milter.sleep(1) return key .. calls end)
      function on_mail(ctx)
        local tasks = {}
        for i = 1, 20 do tasks[i] = milter.spawn(function() return slow "k" end) end
        for i = 1, 20 do tasks[i] = tasks[i]:wait() end
        note(#tasks, tasks[1], tasks[20], calls)
      end ]]
    mta:message()
    assert.same({ "20 k1 k1 1" }, notes(mta))
  end)

  it("goes on when the session that was first goes away", function()
    local mta = start [[
      local slow = memo(function() calls = calls + 1 milter.sleep(1) return "v" .. calls end)
      function on_mail(ctx, sender)
        if sender:find "^first" then milter.timeout(0.5, function() return slow() end) note "gave up" else note(slow()) end
      end ]]
    mta:message { from = "first@example.org" }
    mta:message()
    assert.same({ "gave up", "v1" }, notes(mta))
  end)

  it("keeps that there is none, for its own time; and no failure", function()
    local mta = start [[
      local none = memo(function() calls = calls + 1 return nil end, { ttl = 600, negative = 10 })
      local fails = memo(function() calls = calls + 1 return nil, "no route", "unreachable" end)
      local raises = memo(function() calls = calls + 1 error("broken", 0) end)
      function on_mail(ctx, sender)
        local before = calls
        local results = { none() }
        note("none", tostring(results[1]), calls - before) before = calls
        note(tostring((fails())), select(2, fails()), select(3, fails()), calls - before) before = calls
        note(tostring(pcall(raises)), tostring(select(2, pcall(raises))), calls - before)
      end ]]
    mta:message() mta:message()
    mta:pass(11)
    mta:message()
    local tail = { "nil no route unreachable 3", "false broken 2" }
    assert.same({ "none nil 1", tail[1], tail[2], "none nil 0", tail[1], tail[2], "none nil 1", tail[1], tail[2] },
      notes(mta))
  end)

  it("tells arguments apart, and forgets", function()
    local mta = start [[
      local f = memo(function(a, b) calls = calls + 1 return calls end)
      function on_mail(ctx)
        note(f("1"), f(1), f(true), f("true"), f("a\n1", "b"), f("a", "1\nb"), f(nil, "x"), f("1"))
        f:forget(1) note(f("1"), f(1))
        f:forget() note(f("1"))
        note(tostring(select(2, pcall(f, {}))))
      end ]]
    mta:message()
    assert.same({ "1 2 3 4 5 6 7 1", "1 8", "9" }, { unpack(notes(mta), 1, 3) })
    assert.matches("argument 1 is a table", notes(mta)[4])
  end)

  it("raises for a result that cannot be kept, and the next caller need not wait", function()
    local mta = start [[
      local bad = memo(function() calls = calls + 1 return print end)
      function on_mail()
        note(tostring(select(2, pcall(bad))))
        local began = milter.now()
        pcall(bad)
        note(calls, ("%.1f"):format(milter.now() - began))
      end ]]
    mta:message()
    assert.matches("the result cannot be kept: .*a function", notes(mta)[1])
    assert.equal("2 0.0", notes(mta)[2])
  end)

  it("gives an old result even when no task can be started", function()
    local mta = start [[
      local m = memo(function() calls = calls + 1 return "v" .. calls end, { ttl = 10, stale = 1000 })
      local tasks = require "moonmilter.runtime.tasks"
      local detach = tasks.detach
      function on_mail(ctx, sender)
        if sender:find "^full" then tasks.detach = function() error "too many" end end
        note((m()))
        tasks.detach = detach
      end ]]
    mta:message()
    mta:pass(11)
    mta:message { from = "full@example.org" } -- its claim must not stop the next one
    mta:message { from = "next@example.org" }
    mta:pass(0.1)
    mta:message()
    assert.same({ "v1", "v1", "v1", "v2" }, notes(mta))
  end)

  it("says at load what is wrong", function()
    for wrong, text in pairs { ["memo(5)"] = "expected a function", ["memo(print, { tl = 1 })"] = 'did you mean "ttl"',
      ["memo(print, { ttl = -1 })"] = "ttl is -1",
      ['memo(print, { name = "a\\n" })'] = "without control characters" } do
      local script = 'local memo = require "moonmilter.memo"\n' .. wrong .. "\nfunction on_mail() end"
      local ok, why = pcall(testing.start, { script = script })
      assert.is_false(ok)
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
    end
  end)
end)
