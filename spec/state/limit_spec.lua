-- moonmilter.limit: the bucket against a model, and what scripts see.
local ffi = require "ffi"
local process = require "spec.support.process"
local testing = require "moonmilter.testing"
local testlib = require "spec.support.testlib"

testlib.load "state/store.h"
local C = testlib.load "state/bucket.h"

-- The same bucket with units in it, filled as time passes: what GCRA must be equal to.
local function model(capacity, interval)
  local units, at = capacity, 0
  return function(now, count)
    units, at = math.min(capacity, units + (now - at) / interval), now
    if units + 1e-9 >= count then
      units = units - count
      return true, units
    end
    return false, units
  end
end

describe("a bucket", function()
  local function bucket(capacity, interval)
    local b, full_at, was_crossed = ffi.new "struct mm_bucket", ffi.new "double[1]", ffi.new "bool[1]"
    return function(now, count)
      b.capacity, b.interval, b.count, b.now = capacity, interval, count, now
      C.mm_bucket_take(b, full_at, was_crossed)
      return b.ok, b.remaining, b.retry_after, b.crossed
    end
  end

  it("gives what a bucket of units would give, at any times, for any rates", function()
    for seed = 1, 200 do
      math.randomseed(seed)
      local capacity, interval = math.random(1, 50), math.random(1, 40) / 4
      local take, expect = bucket(capacity, interval), model(capacity, interval)
      local now = 1e9
      expect(now, 0)
      for _ = 1, 200 do
        now = now + math.random(0, 8) * interval / 4
        local count = math.random(1, 3)
        local ok, left = expect(now, count)
        local got, remaining = take(now, count)
        assert.equal(ok, got, ("seed %d"):format(seed))
        assert.is_true(math.abs(remaining - math.floor(left + 1e-6)) <= 0)
      end
    end
  end)

  it("says when so many units are there again, and they are", function()
    local take = bucket(3, 20)
    assert.is_true((take(1000, 3)))
    local ok, _, retry_after = take(1005, 2)
    assert.is_false(ok)
    assert.equal(35, retry_after)
    assert.is_false((take(1039.9, 2)))
    assert.is_true((take(1040, 2)))
    assert.equal(math.huge, (select(3, take(1040, 4))))
  end)

  it("reports a crossing once, and again after it was half full", function()
    local take = bucket(4, 10)
    take(1000, 4)
    local crossings = {}
    for now = 1000, 1019 do
      local ok, _, _, crossed = take(now, 1)
      if crossed then crossings[#crossings + 1] = now end
      assert.equal(now == 1010, ok)
    end
    assert.same({ 1000 }, crossings)
    take(1045, 2)
    assert.is_true((select(4, take(1045, 3))))
  end)

  it("locks nobody out when the clock is put back", function()
    local take = bucket(2, 10)
    take(1e9, 2)
    local _, _, retry_after = take(1e9 - 1e6, 1)
    assert.equal(10, retry_after)
  end)

  it("takes back", function()
    local take = bucket(2, 10)
    take(1000, 2)
    take(1000, -1)
    assert.is_true((take(1000, 1)))
    assert.is_false((take(1000, 1)))
    take(1000, -50)
    assert.equal(0, (select(2, take(1000, 2))))
  end)
end)

describe("the table of buckets", function()
  local all, directory
  before_each(function()
    directory = process.directory()
    all = C.mm_buckets_open(directory, "b", ffi.new "struct mm_fault")
    assert(all ~= nil)
  end)
  after_each(function()
    C.mm_buckets_close(all)
    process.run("rm -rf " .. directory)
  end)

  local function take(key, now, count)
    local b = ffi.new("struct mm_bucket", { interval = 10, capacity = 5, count = count or 1, now = now })
    assert.is_true(C.mm_buckets_take(all, ffi.new("struct mm_text", { key, #key }), b))
    return b.ok, b.remaining
  end

  it("tells keys apart, and forgets the buckets that are full", function()
    for i = 1, 20000 do
      assert.is_true((take("key " .. i, 1000, i % 5 + 1)))
    end
    for i = 1, 20000 do
      assert.equal(5 - (i % 5 + 1), select(2, take("key " .. i, 1000, 0)))
    end
    for i = 1, 20000 do
      assert.is_true((take("other " .. i, 1060, 5)))
    end
  end)

  it("with bits flipped in its file still decides, and never beyond what a bucket may be", function()
    for i = 1, 2000 do take("key " .. i, 1000, i % 5 + 1) end
    C.mm_buckets_close(all)
    local file, random = assert(io.open(directory .. "/b.buckets", "r+b")), math.random
    local size = file:seek "end"
    math.randomseed(1)
    for _ = 1, 20000 do
      file:seek("set", random(200, size - 1)) -- behind the lock
      file:write(string.char(random(0, 255)))
    end
    file:close()
    all = C.mm_buckets_open(directory, "b", ffi.new "struct mm_fault")
    for i = 1, 4000 do
      local _, remaining = take("key " .. i, 1000, 0)
      assert.is_true(remaining >= 0 and remaining <= 5, remaining)
      take("key " .. i, 1000)
    end
  end)

  it("is bounded: of many keys some are forgotten, and no bucket is ever too empty", function()
    local forgotten = 0
    for i = 1, 400000 do take("key " .. i, 1000) end
    for i = 1, 400000, 100 do
      local _, remaining = take("key " .. i, 1000, 0)
      assert.is_true(remaining == 4 or remaining == 5)
      forgotten = forgotten + (remaining == 5 and 1 or 0)
    end
    assert.is_true(forgotten > 4000 * 0.3 and forgotten < 4000 * 0.5, "forgotten: " .. forgotten)
  end)
end)

describe("moonmilter.limit", function()
  local function start(script)
    local mta = testing.start { now = 1700000000, script = 'local limit = require "moonmilter.limit"\n' .. script }
    finally(function() mta:close() end)
    return mta
  end

  local ACCOUNT = [[
    local out = limit.new { name = "account", rate = "3/m" }
    function on_mail(ctx)
      local ok, state = out:take(ctx.sender, { of = "message" })
      if not ok then
        return ctx:tempfail(451, "4.7.1", ("wait %.0f crossed %s"):format(state.retry_after, tostring(state.crossed)))
      end
    end
    function on_rcpt(ctx, rcpt) if rcpt:find "^bad" then return "reject" end end
    function on_eom(ctx) if ctx.sender:find "^refused" then return "reject" end end ]]

  it("lets so many messages pass, then says when the next may come", function()
    local mta = start(ACCOUNT)
    for _ = 1, 3 do assert.equal("accept", mta:message().verdict) end
    assert.equal("wait 20 crossed true", mta:message().text)
    assert.equal("wait 20 crossed false", mta:message().text)
    assert.equal("accept", mta:message { from = "other@example.org" }.verdict)
    mta:pass(20)
    assert.equal("accept", mta:message().verdict)
  end)

  it("gives back what a message took that did not pass", function()
    local mta = start(ACCOUNT)
    for _ = 1, 10 do
      assert.equal("reject", mta:message { from = "refused@example.org" }.verdict)
      mta:message { to = { "bad@example.org" } } -- no recipient: the MTA aborts
    end
    assert.equal("accept", mta:message().verdict)
  end)

  -- Messages of "refused@…" do not pass; after each the log has what is left of buckets.
  local function left_after(takes, keys)
    local mta = start(([[
      local log, milter = require "moonmilter.log", require "moonmilter"
      local out = limit.new { name = "b", rate = "5000/d" }
      local function take(...) assert(out:take(...)) end
      function on_mail(ctx)
        %s
      end
      function on_eom(ctx) if ctx.sender:find "^refused" then return "reject" end end
      function on_connect()
        for _, key in ipairs { %s } do
          log.info("NOTE %%s %%d", key, select(2, out:peek(key)).remaining)
        end
      end ]]):format(takes, keys))
    mta:message { from = "refused@example.org" }
    mta:another():message()
    mta:another():message()
    return table.concat(mta:log "NOTE", "\n")
  end

  it("gives back all that a message took, however often and of however many buckets", function()
    local log = left_after([[
      for _ = 1, 1500 do take("one", { of = "message" }) end
      for i = 1, 40 do take("key " .. i % 20, i, { of = "message" }) end
      take("kept") ]], '"one", "key 0", "key 7", "kept"')
    local seen = {}
    for key, remaining in log:gmatch "NOTE ([%w ]+) (%d+)" do
      seen[key] = seen[key] or {}
      table.insert(seen[key], tonumber(remaining))
    end
    -- before all; after the message that did not pass; after one that did
    assert.same({ one = { 5000, 5000, 3500 }, ["key 0"] = { 5000, 5000, 4940 }, ["key 7"] = { 5000, 5000, 4966 },
      kept = { 5000, 4999, 4998 } }, seen)
  end)

  it("gives back what a task of the message took", function()
    local log = left_after('milter.spawn(function() take("task", 5, { of = "message" }) end):wait()', '"task"')
    local seen = {}
    for remaining in log:gmatch "NOTE task (%d+)" do seen[#seen + 1] = tonumber(remaining) end
    assert.same({ 5000, 5000, 4995 }, seen)
  end)

  it("gives back at the end of the client what was taken outside of a message", function()
    local mta = start [[ local out = limit.new { name = "a", rate = "1/d" }
      function on_connect(ctx) if not out:take("c", { of = "message" }) then return "reject" end end ]]
    assert.equal("accept", mta:message().verdict)
    assert.equal("reject", mta:another():message().verdict)
    mta:quit()
    assert.equal("accept", mta:another():message().verdict)
  end)

  it("says what is wrong with a take, at the script's line", function()
    local mta = start [[
      local log = require "moonmilter.log"
      local out = limit.new { name = "a", rate = "1/d" }
      function on_mail(ctx)
        for i, wrong in ipairs { { 1 }, { "k", 0 }, { "k", "2" }, { "k", { off = "message" } }, { "k", {} },
          { "k", 1, { of = "message", by = 1 } }, { "k", { of = "client" } } } do
          log.info("NOTE %d %s", i, select(2, pcall(function() local ok = out:take(unpack(wrong)) return tostring(ok) end)))
        end
      end ]]
    mta:message()
    local list = mta:log "NOTE"
    for i, text in ipairs { "the key is a number", "0 units", "2 units", "unknown option off = message", "true",
      "unknown option by = 1", "unknown option of = client" } do
      assert.truthy(list[i]:find(text, 1, true), list[i])
      assert.is_true(text == "true" or list[i]:find "%.lua:%d+: take: " ~= nil, list[i])
    end
  end)

  it("without a key takes nothing", function()
    local mta = start [[ local out = limit.new { name = "a", rate = "1/d" }
      function on_mail(ctx) if not out:take(nil) then return "reject" end end ]]
    for _ = 1, 5 do assert.equal("accept", mta:message().verdict) end
  end)

  it("says at load what is wrong", function()
    for wrong, text in pairs {
      ['{ rate = "1/h" }'] = "name must be", ['{ name = "a" }'] = "rate is missing",
      ['{ name = "a", rate = "5" }'] = "write it as", ['{ name = "a", rate = "0/h" }'] = "write it as",
      ['{ name = "a", rate = "1/h", bursts = 2 }'] = "did you mean \"burst\"",
      ['{ name = "a", rate = "1/h", burst = 0 }'] = "burst is 0",
      ['{ name = "a", rate = "1/h", on_down = "reject" }'] = "on_down",
      ['"a"'] = "expected a table",
    } do
      local script = 'require "moonmilter.limit".new ' .. wrong .. "\nfunction on_mail() end"
      local ok, why = pcall(testing.start, { script = script })
      assert.is_false(ok)
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
    end
  end)

  it("counts what is under way", function()
    local mta = start [[
      local busy = limit.concurrency { name = "c", max = 2 }
      function on_connect(ctx, host, ip)
        local ok, state = busy:enter(ip)
        if not ok then return ctx:tempfail(421, "4.7.0", "too many: " .. state.count) end
      end ]]
    local second, third = mta:another(), mta:another()
    assert.equal("accept", mta:message().verdict)
    assert.equal("accept", second:message().verdict)
    assert.equal("tempfail", third:message().verdict)
    second:quit()
    assert.equal("accept", mta:another():message().verdict)
  end)

  it("peeks: what take would answer, and takes nothing", function()
    local mta = start [[
      local log = require "moonmilter.log"
      local out = limit.new { name = "p", rate = "3/m" }
      function on_mail()
        for _ = 1, 2 do out:peek("k", 3) end
        out:take("k", 2)
        local ok, state = out:peek("k", 2)
        log.info("NOTE %s %d %.0f %s", tostring(ok), state.remaining, state.retry_after, tostring((out:peek "k")))
      end ]]
    mta:message()
    assert.matches("NOTE false 1 20 true", table.concat(mta:log "NOTE"))
  end)

  -- Another worker may do anything between two of our steps in the store.
  it("lets no more different values pass than it says, however workers take turns", function()
    local mta = start [[
      local store, log = require "moonmilter.store", require "moonmilter.log"
      local many = limit.distinct { name = "d", count = 1, per = "1h" }
      local kept = store.open "distinct"
      local Store = getmetatable(kept)
      local at, others, passed, step
      local function add(value)
        passed[value] = many:add("k", value) or passed[value]
      end
      for _, name in ipairs { "get", "add", "incr", "update", "delete" } do
        local method = Store[name]
        Store[name] = function(...)
          step = step + 1
          local other = others and others[step]
          if other then others[step] = nil add(other) end
          return method(...)
        end
      end
      function on_mail()
        local tried = 0
        for i = 1, 12 do for j = i + 1, 24 do
          kept:clear()
          others, passed, step, tried = { [i] = "X", [j] = "V" }, {}, 0, tried + 1
          add "V"
          others = nil
          local sum = 0
          for _ in pairs(passed) do sum = sum + 1 end
          if sum > 1 then log.info("NOTE too many at %d %d", i, j) end
          if sum == 0 then log.info("NOTE none at %d %d", i, j) end
        end end
        log.info("NOTE tried %d", tried)
      end ]]
    mta:message()
    local list = mta:log "NOTE"
    assert.equal(1, #list, table.concat(list, "\n"))
  end)

  it("counts different values", function()
    local mta = start [[
      local many = limit.distinct { name = "d", count = 2, per = "1h" }
      function on_rcpt(ctx, rcpt)
        local ok, state = many:add(ctx.sender, rcpt)
        if not ok then return ctx:reject(550, "5.7.1", "already " .. state.count) end
      end ]]
    local function verdicts(...)
      local list = {}
      for _, to in ipairs { ... } do
        list[#list + 1] = mta:message { to = { to } }.verdict
      end
      return table.concat(list, " ")
    end
    assert.equal("accept accept accept reject accept", verdicts("a@x.example", "b@x.example", "a@x.example",
      "c@x.example", "b@x.example"))
    mta:pass(3601)
    assert.equal("accept accept reject", verdicts("c@x.example", "d@x.example", "a@x.example"))
  end)
end)
