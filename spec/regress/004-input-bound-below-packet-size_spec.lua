-- With packets of up to 1 MiB negotiated (MDS_1M), reading stopped at 1 MiB of kept bytes, a few bytes before such a
-- packet was complete: no handler waited, the host did not read, and the MTA ran into its timeout. Since 0.1.0.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "milter/engine.h"
jit.off() -- the runtime below consists of callbacks

local closed = 0
local wanted = ffi.new "struct mm_wanted"
wanted.stages = bit.lshift(1, lib.MM_STAGE_helo)
local verdict = lib.MM_DECIDED
local ops = ffi.new("struct mm_runtime_ops", {
  open = function() return ffi.cast("void *", 1) end, wanted = function() return wanted end,
  event = function(_, event) return event.stage == lib.MM_STAGE_helo and verdict or lib.MM_DECIDED end,
  cancel = function() end, end_message = function() end, end_client = function() end,
  close = function() closed = closed + 1 end,
})
local owner = ffi.new("struct mm_engine_owner", { wake = function() end })

local function u32(n)
  return string.char(bit.rshift(n, 24), bit.band(bit.rshift(n, 16), 255), bit.band(bit.rshift(n, 8), 255),
    bit.band(n, 255))
end

local function engine()
  local shared, out, why = ffi.new "struct mm_engine_shared", ffi.new "struct mm_buffer", ffi.new "struct mm_fault"
  local e = lib.mm_engine_new(shared, ffi.new("struct mm_runtime", ops, nil), owner, nil, out)
  local function feed(bytes)
    return lib.mm_engine_feed(e, bytes, #bytes, why)
  end
  assert(feed(u32(13) .. "O" .. u32(6) .. u32(0x1ff) .. u32(0x201fffff)))
  return e, feed, { shared, out, why }
end

describe("an MTA that may send packets of 1 MiB", function()
  it("is read until its packet is complete", function()
    local e, feed, anchors = engine()
    local packet = u32(1 + 1048575) .. "H" .. ("x"):rep(1048574) .. "\0"
    assert(feed(packet:sub(1, -3)))
    assert.is_true(lib.mm_engine_wants_input(e))
    assert(feed(packet:sub(-2)))
    lib.mm_engine_free(e)
    lib.mm_engine_shared_free(anchors[1])
    lib.mm_buffer_free(anchors[2])
  end)

  it("is read no further than 1 MiB while a handler waits", function()
    local e, feed, anchors = engine()
    verdict = lib.MM_WAITING
    assert(feed(u32(3) .. "Hx\0"))
    assert.is_true(lib.mm_engine_is_waiting(e))
    assert.is_true(lib.mm_engine_wants_input(e))
    for _ = 1, 16 do
      assert(feed(u32(65536) .. "U" .. ("x"):rep(65534) .. "\0"))
    end
    assert.is_false(lib.mm_engine_wants_input(e))
    verdict = lib.MM_DECIDED
    lib.mm_engine_free(e)
    lib.mm_engine_shared_free(anchors[1])
    lib.mm_buffer_free(anchors[2])
  end)
end)
