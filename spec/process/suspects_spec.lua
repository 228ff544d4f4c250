-- What the master remembers of what its workers have died of: weights, times, bounds.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "process/suspects.h"

local MAX = 64 -- MM_POISON_MAX
local DAY = 86400

describe("what workers have died of", function()
  local suspects, poison, nowhere
  before_each(function()
    poison = ffi.gc(lib.mm_poison_new(), lib.mm_poison_free)
    suspects = ffi.new("struct mm_suspects", { poison = poison })
    nowhere = ffi.new "struct mm_whereabouts"
  end)

  local function die(digest, now, options)
    options = options or {}
    return lib.mm_suspects_add(suspects, digest, options.certain ~= false, nowhere, options.time or 100, now)
  end
  local function refuses(digest, now) return lib.mm_poison_has(poison, digest, now) end

  it("is refused for poison_time after one death that is its own", function()
    assert.equal(100, die(8, 1000))
    assert.is_true(refuses(8, 1099))
    assert.is_false(refuses(8, 1101))
    assert.is_false(refuses(10, 1001))
  end)

  it("is refused after two deaths that may have come from outside", function()
    assert.equal(0, die(8, 1000, { certain = false }))
    assert.is_false(refuses(8, 1001))
    assert.equal(100, die(8, 1010, { certain = false }))
    assert.is_true(refuses(8, 1011))
  end)

  it("is refused after two deaths when many messages share the event", function()
    assert.equal(0, die(9, 1000))
    assert.equal(100, die(9, 1010))
  end)

  it("forgets a single death from outside after poison_time", function()
    die(8, 1000, { certain = false })
    lib.mm_suspects_sweep(suspects, 1101)
    assert.equal(0, die(8, 1110, { certain = false }))
  end)

  it("is refused for twice as long each time, up to a day", function()
    local now = 0
    for _, seconds in ipairs { 1, 2, 4, 8, 16, 24, 24 } do
      assert.equal(seconds * 3600, die(8, now, { time = 3600 }))
      now = now + seconds * 3600 + 1
      lib.mm_suspects_sweep(suspects, now)
      assert.is_false(refuses(8, now))
    end
  end)

  it("is refused for longer than a day when poison_time says so", function()
    assert.equal(2 * DAY, die(8, 0, { time = 2 * DAY }))
    assert.equal(2 * DAY, die(8, 2 * DAY, { time = 2 * DAY }))
  end)

  it("is forgotten a day after its time", function()
    die(8, 0)
    lib.mm_suspects_sweep(suspects, DAY + 99)
    assert.equal(1, suspects.count)
    lib.mm_suspects_sweep(suspects, DAY + 101)
    assert.equal(0, suspects.count)
  end)

  it("may be tried again after a pardon, but not twice", function()
    die(8, 0)
    lib.mm_suspects_pardon(suspects)
    assert.is_false(refuses(8, 1))
    assert.equal(200, die(8, 1))
  end)

  it("costs no reading when nothing is remembered, or all is over", function()
    assert.equal(0, poison.count)
    die(8, 0)
    assert.equal(1, poison.count)
    lib.mm_suspects_sweep(suspects, 101)
    assert.equal(0, poison.count)
    die(8, 102)
    assert.equal(1, lib.mm_suspects_forget(suspects))
    assert.equal(0, poison.count)
  end)

  it("keeps the newest of many", function()
    for i = 1, 3 * MAX do die(2 * i, i) end
    assert.equal(MAX, suspects.count)
    assert.equal(MAX, poison.count)
    assert.is_true(refuses(6 * MAX, 3 * MAX))
    assert.is_false(refuses(2, 3 * MAX))
  end)

  it("is off with poison_time = 0, and for a worker that was idle", function()
    assert.equal(0, die(8, 0, { time = 0 }))
    assert.equal(0, die(0, 0))
    assert.equal(0, suspects.count)
  end)
end)

describe("the whereabouts that a dying worker leaves", function()
  it("are read with an end, whatever it wrote", function()
    local rows = ffi.new "struct mm_census_row[2]"
    ffi.fill(rows, ffi.sizeof(rows), 0x41)
    local at = lib.mm_whereabouts_read(rows)
    for _, name in ipairs { "session", "queue_id", "handler", "script", "sender" } do
      assert.is_true(#ffi.string(at[name]) < ffi.sizeof(at[name]), name)
    end
    rows[0].whereabouts.is_set = 0
    assert.equal("", ffi.string(lib.mm_whereabouts_read(rows).script))
  end)
end)
