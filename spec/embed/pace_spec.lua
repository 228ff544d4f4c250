-- How soon the next reload may begin: requests and signals in, decisions out.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "embed/pace.h"

local every = 0.5 -- MM_RELOAD_EVERY

describe("the pace of reloads", function()
  local pace
  before_each(function() pace = ffi.new "struct mm_pace" end)

  local function reload_until(to)
    assert.is_true(lib.mm_pace_ask(pace))
    lib.mm_pace_end(pace, to)
  end

  it("lets the first reload begin at once, requested or by a signal", function()
    assert.is_true(lib.mm_pace_ask_soon(pace, 100))
    assert.is_true(lib.mm_pace_ask(pace))
  end)

  it("merges many requests during a reload into one more", function()
    assert.is_true(lib.mm_pace_ask(pace))
    for _ = 1, 50 do assert.is_false(lib.mm_pace_ask(pace)) end
    assert.is_true(lib.mm_pace_end(pace, 100))
    assert.is_true(lib.mm_pace_ask(pace))
    assert.is_false(lib.mm_pace_end(pace, 101))
  end)

  it("lets a requested reload begin right after another", function()
    reload_until(101)
    assert.is_true(lib.mm_pace_ask(pace))
  end)

  it("defers a signal until half a second after the last reload", function()
    reload_until(101)
    assert.is_false(lib.mm_pace_ask_soon(pace, 101.125))
    assert.is_false(lib.mm_pace_ask_soon(pace, 101.25))
    assert.equal(0.25, lib.mm_pace_wait(pace, 101.25))
    assert.is_false(lib.mm_pace_is_due(pace, 101.25))
    assert.is_true(lib.mm_pace_is_due(pace, 101 + every))
    assert.is_false(lib.mm_pace_is_due(pace, 101 + every))
    assert.equal(-1, lib.mm_pace_wait(pace, 102))
  end)

  it("lets a signal begin a reload when the last one ended long ago", function()
    reload_until(101)
    assert.is_true(lib.mm_pace_ask_soon(pace, 101 + every))
  end)

  it("defers a signal during a reload until half a second after its end", function()
    assert.is_true(lib.mm_pace_ask(pace))
    assert.is_false(lib.mm_pace_ask_soon(pace, 100))
    assert.equal(-1, lib.mm_pace_wait(pace, 100))
    assert.is_false(lib.mm_pace_end(pace, 101))
    assert.equal(every, lib.mm_pace_wait(pace, 101))
    assert.is_true(lib.mm_pace_is_due(pace, 102))
  end)

  it("serves a deferred signal with a requested reload", function()
    reload_until(101)
    assert.is_false(lib.mm_pace_ask_soon(pace, 101.25))
    reload_until(101.5)
    assert.equal(-1, lib.mm_pace_wait(pace, 102))
    assert.is_false(lib.mm_pace_is_due(pace, 102))
  end)
end)
