-- The table of what a host has let pass of limits that several hosts share, and who tells the server.
local ffi = require "ffi"
local process = require "spec.support.process"
local testlib = require "spec.support.testlib"

local C = testlib.load "state/tally.h"

local function text(bytes) return ffi.new("struct mm_text", { bytes, #bytes }), bytes end

describe("a tally", function()
  local directory, tally

  before_each(function()
    directory = process.directory()
    tally = C.mm_tally_open(directory, "t", ffi.new "struct mm_fault")
    assert(tally ~= nil)
  end)
  after_each(function()
    C.mm_tally_close(tally)
    process.run("rm -rf " .. directory)
  end)

  -- A bucket of ten units that come back each second; at second 1000.
  local function take(key, count, options)
    local b = ffi.new "struct mm_bucket"
    options = options or {}
    b.interval, b.capacity, b.count, b.now, b.looks = 1, 10, count or 1, 1000, options.looks or false
    return tonumber(C.mm_tally_take(tally, (text(key)), b, options.time or 100, 1)), b
  end

  local function passes(key, count, options)
    local result, b = take(key, count, options)
    return result == 0 and b.ok
  end

  local counts = ffi.new "struct mm_tally_count[8]"
  local function drain(most)
    local list = {}
    for i = 1, C.mm_tally_drain(tally, counts, most or 8) do
      local c = counts[i - 1]
      list[i] = ("%s %g%s"):format(ffi.string(c.key, c.key_size), c.count, c.is_refused and " refused" or "")
    end
    return table.concat(list, ", ")
  end

  it("takes as a bucket does, and says what is to be told, in the order of the first takes", function()
    assert.is_true(passes("a", 4))
    assert.is_true(passes("b"))
    assert.is_true(passes("a", 6))
    assert.is_false(passes "a")
    assert.is_true(passes("b", -1))
    assert.equal("a 10 refused, b 0", drain())
    assert.equal("", drain())
    assert.is_true(passes "b")
    assert.equal("b 1", drain())
  end)

  it("is asked without taking", function()
    assert.is_true(passes("a", 10, { looks = true }))
    assert.is_false(passes("a", 11, { looks = true }))
    assert.equal("", drain())
  end)

  it("goes on from what the server says, with what has passed here since", function()
    assert.is_true(passes("a", 2))
    assert.equal("a 2", drain())
    assert.is_true(passes("a", 3))
    C.mm_tally_settle(tally, (text "a"), 1000, 6, true) -- others have taken four
    assert.is_false(passes("a", 2)) -- 6 and 3 of 10
    local _, b = take("a", 2)
    assert.is_false(b.crossed) -- it has been reported
    assert.is_true(passes "a")
  end)

  it("reports a crossing once, at the refusal after the server has said so", function()
    take("a", 10)
    drain()
    C.mm_tally_settle(tally, (text "a"), 1000, 10, true)
    local _, first = take "a"
    local _, second = take "a"
    assert.is_true(first.crossed)
    assert.is_false(second.crossed)
  end)

  it("is down for a bucket that the server did not take, until it is settled, and tells it again", function()
    take("a", 2)
    drain()
    C.mm_tally_restore(tally, counts)
    assert.equal(1, (take "a")) -- down
    assert.is_true(passes "b")
    assert.equal("a 2, b 1", drain())
    C.mm_tally_settle(tally, (text "a"), 1000, 2, false)
    assert.is_true(passes "a")
  end)

  it("is down when nobody tells in time, and when the server cannot be used", function()
    assert.is_true(passes "a")
    assert.is_true(passes("a", 1, { time = 101 }))
    assert.equal(1, (take("a", 1, { time = 101.1 })))
    drain()
    C.mm_tally_end_round(tally, 101.1, false)
    assert.is_true(passes("a", 1, { time = 110 }))
    C.mm_tally_end_round(tally, 110, true)
    assert.equal(1, (take("b", 1, { time = 110 })))
  end)

  it("has one flusher, until it ends or lets its time pass", function()
    assert.is_true(C.mm_tally_lead(tally, 100, 2))
    assert.is_true(C.mm_tally_lead(tally, 101, 2))
    local other = ([[luajit -e 'package.path = "./?.lua;" .. package.path
      local C, ffi = require "spec.support.testlib".load "state/tally.h", require "ffi"
      local t = C.mm_tally_open("%s", "t", ffi.new "struct mm_fault")
      print(C.mm_tally_lead(t, %g, 2))']])
    assert.equal("false\n", process.run(other:format(directory, 102)))
    assert.equal("true\n", process.run(other:format(directory, 104)))
    assert.is_true(C.mm_tally_lead(tally, 104, 2)) -- that one has ended
  end)

  it("forgets the bucket that is full first when there is no room, and tells most of the others", function()
    for i = 1, 40000 do take("key " .. i) end
    local told = 0
    repeat
      local count = C.mm_tally_drain(tally, counts, 8)
      for i = 0, count - 1 do told = told + counts[i].count end
    until count == 0
    assert.is_true(told > 0.7 * 32768 and told <= 32768, told .. " were told")
    assert.is_false(C.mm_tally_is_waiting(tally))
  end)
end)
