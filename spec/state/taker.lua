-- A process that counts in a store until it is killed: luajit taker.lua MEMORY DISK ACKNOWLEDGED. It appends a byte to
-- the file for each count that the store has confirmed. DISK "-": the store is not durable; "buckets": it counts in the
-- buckets of limits instead; "tally": in those of several hosts.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local memory, disk, acknowledged = ...
testlib.load "state/store.h"
testlib.load "state/mirror.h"
testlib.load "state/bucket.h"
local C = testlib.load "state/tally.h"
ffi.cdef [[ int open(const char *, int, ...); long write(int, const void *, size_t); int usleep(unsigned); ]]

local why = ffi.new "struct mm_fault"
local is_durable = disk ~= "-" and disk ~= "buckets" and disk ~= "tally"
local options = ffi.new("struct mm_store_options", { 16 * 2 ^ 20, "MM_FULL_REFUSE", is_durable })
local copy = disk .. "/count.mdb"
if is_durable then
  options.copy = copy
end
local store = C.mm_store_open(memory, "count", options, why)
assert(store ~= nil, ffi.string(why.text))
local buckets = disk == "buckets" and C.mm_buckets_open(memory, "count", why)
local tally = disk == "tally" and C.mm_tally_open(memory, "count", why)
if is_durable then
  assert(C.mm_mirror_start(disk, memory, "count", options, why) ~= nil, ffi.string(why.text))
end

-- A bucket that never fills: each unit that is taken moves it by a second.
local bucket = ffi.new "struct mm_bucket"

local sum = ffi.new "double[1]"
local function decide(_, old, new)
  sum[0] = old ~= nil and ffi.cast("const double *", old.bytes.bytes)[0] + 1 or 1
  new.bytes.bytes, new.bytes.size, new.ends_at = ffi.cast("const char *", sum), 8, 0
  return C.MM_CHANGE_PUT
end
jit.off(decide)
local callback = ffi.cast("mm_store_decide *", decide)

local function count(text)
  if not buckets and not tally then
    return C.mm_store_change(store, text, 1000, callback, nil) == C.MM_STORE_DONE
  end
  bucket.interval, bucket.capacity, bucket.count, bucket.now = 1, 1e9, 1, 1000
  if tally then
    return C.mm_tally_take(tally, text, bucket, 100, 1e9) == C.MM_TALLY_DONE
  end
  return C.mm_buckets_take(buckets, text, bucket)
end
jit.off(count)

local fd = ffi.C.open(acknowledged, 1025 + 64, ffi.cast("int", 384)) -- O_WRONLY | O_CREAT | O_APPEND, 0600
local text = ffi.new "struct mm_text"
local key
while true do
  key = "key " .. math.random(200)
  text.bytes, text.size = key, #key
  if count(text) then
    ffi.C.write(fd, "x", 1)
  end
  if is_durable then -- its rounds are long: they leave the processors to others
    ffi.C.usleep(100)
  end
end
