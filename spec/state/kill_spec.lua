-- Stores under SIGKILL: of one process inside any operation, of all processes, with and without what was in memory.
-- SLOW=1 for a thousand rounds of each, which takes most of an hour; ROUNDS=100 for as many.
local ffi = require "ffi"
local process = require "spec.support.process"
local testlib = require "spec.support.testlib"

testlib.load "state/store.h"
testlib.load "state/mirror.h"
testlib.load "state/bucket.h"
local C = testlib.load "state/tally.h"
pcall(ffi.cdef, "int usleep(unsigned);")

local MANY = tonumber(os.getenv "ROUNDS") or os.getenv "SLOW" and 1000
local ROUNDS, DURABLE_ROUNDS = MANY or 25, MANY or 5 -- a durable round waits for the disk
local KEYS = ffi.new "struct mm_text"

-- All that was ever taken, read from a store that nobody else uses now.
local function sum(memory, copy)
  local why = ffi.new "struct mm_fault"
  local options = ffi.new("struct mm_store_options", { 16 * 2 ^ 20, "MM_FULL_REFUSE", true, copy })
  local store = C.mm_store_open(memory, "count", options, why)
  assert(store ~= nil, ffi.string(why.text))
  local key, record = ffi.new "struct mm_text", ffi.new "struct mm_record"
  local total, after = 0, ""
  while true do
    local text = ffi.new("struct mm_text", { after, #after })
    if C.mm_store_next(store, text, KEYS, 1000, key, record) ~= C.MM_STORE_DONE then break end
    after = ffi.string(key.bytes, key.size)
    total = total + ffi.cast("const double *", record.bytes.bytes)[0]
  end
  local news = ffi.new "char[640]"
  assert(not C.mm_store_has_news(store, news, 640), ffi.string(news))
  C.mm_store_close(store)
  return total
end

local function sum_of_buckets(memory)
  local buckets = C.mm_buckets_open(memory, "count", ffi.new "struct mm_fault")
  local bucket, total = ffi.new("struct mm_bucket", { interval = 1, capacity = 1e9, looks = true, now = 1000 }), 0
  for i = 1, 200 do
    local key = "key " .. i
    assert(C.mm_buckets_take(buckets, ffi.new("struct mm_text", { key, #key }), bucket))
    total = total + 1e9 - bucket.remaining
  end
  C.mm_buckets_close(buckets)
  return total
end

-- What waits to be told, which is then gone.
local function told(memory)
  local tally, total = C.mm_tally_open(memory, "count", ffi.new "struct mm_fault"), 0
  local counts = ffi.new "struct mm_tally_count[100]"
  repeat
    local count = C.mm_tally_drain(tally, counts, 100)
    for i = 0, count - 1 do total = total + counts[i].count end
  until count == 0
  C.mm_tally_close(tally)
  return total
end

describe("a store", function()
  local memory, disk, directory

  before_each(function()
    directory = process.directory()
    memory, disk = ("/dev/shm/moonmilter-spec-%s"):format(directory:match "[^/]+$"), directory .. "/disk"
    process.run(("mkdir -m 700 %s %s"):format(memory, disk))
  end)
  after_each(function() process.run(("rm -rf %s %s"):format(memory, directory)) end)

  local starts = 0
  -- what: true for a durable store, false for another, or "buckets"
  local function start(what)
    starts = starts + 1
    local where = what == true and disk or what or "-"
    return process.start({ "luajit", "spec/state/taker.lua", memory, where, directory .. "/taken" },
      { output = ("%s/output%d"):format(directory, starts), life = 60 })
  end

  local function acknowledged()
    return #(process.read_file(directory .. "/taken") or "")
  end

  -- Kills both at times that differ; each may have been inside an operation that it could not confirm.
  local function kill(takers, round)
    for i, taker in ipairs(takers) do
      ffi.C.usleep((round * 7919 + i * 104729) % 4000)
      assert(taker:running(), taker:text())
      taker:signal "SIGKILL"
    end
    for _, taker in ipairs(takers) do taker:stop() end
  end

  local function run_round(durable, round)
    local before = acknowledged()
    local takers = { start(durable), start(durable) }
    process.wait_until(10, function() return acknowledged() > before + 50 end, "takers that take")
    ffi.C.usleep(round * 977 % 20000)
    kill(takers, round)
  end

  -- Each copy changes the file on the disk; how long one takes is the disk's affair.
  local function wait_for_copies(count)
    local seen = process.run("stat -c %y " .. disk .. "/count.mdb 2>/dev/null || true")
    for _ = 1, count do
      process.wait_until(10, function()
        local now = process.run("stat -c %y " .. disk .. "/count.mdb 2>/dev/null || true")
        local is_new = now ~= seen
        seen = now
        return is_new
      end, "a copy on the disk")
    end
  end

  it("is whole, and no confirmed count is lost, when its processes are killed at any time", function()
    for round = 1, ROUNDS do
      run_round(false, round)
      local total = sum(memory)
      assert.is_true(total >= acknowledged() and total <= acknowledged() + 2 * round,
        ("round %d: %d in the store, %d confirmed"):format(round, total, acknowledged()))
    end
  end)

  it("of buckets, too", function()
    for round = 1, ROUNDS do
      run_round("buckets", round)
      local total = sum_of_buckets(memory)
      assert.is_true(total >= acknowledged() and total <= acknowledged() + 2 * round,
        ("round %d: %d in the buckets, %d confirmed"):format(round, total, acknowledged()))
    end
  end)

  it("of what several hosts share, too", function()
    local total = 0
    for round = 1, ROUNDS do
      run_round("tally", round)
      total = total + told(memory)
      assert.is_true(total >= acknowledged() and total <= acknowledged() + 2 * round,
        ("round %d: %d to be told, %d confirmed"):format(round, total, acknowledged()))
    end
  end)

  it("that is durable survives the loss of what was in memory, but for the last second", function()
    for round = 1, DURABLE_ROUNDS do
      local takers = { start(true), start(true) }
      local first = acknowledged()
      process.wait_until(10, function() return acknowledged() > first + 50 end, "takers that take")
      local safe = acknowledged()
      -- making the file changes it twice; of the others the second began after the count above
      wait_for_copies(round == 1 and 4 or 2)
      kill(takers, round)
      process.run(("rm -rf %s; mkdir -m 700 %s"):format(memory, memory))
      local total = sum(memory, disk .. "/count.mdb")
      assert.is_true(total >= safe, ("round %d: %d restored, %d were confirmed before"):format(round, total, safe))
      assert.is_true(total <= acknowledged() + 2 * round)
      -- what was lost is lost: the next round counts from here
      process.write_file(directory .. "/taken", ("x"):rep(total))
    end
  end)

  it("that is durable loses nothing while its memory is there", function()
    for round = 1, DURABLE_ROUNDS do
      run_round(true, round)
      local total = sum(memory)
      assert.is_true(total >= acknowledged() and total <= acknowledged() + 2 * round)
    end
  end)
end)
