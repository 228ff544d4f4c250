--- Packets that come at once are handled in turns: a turn ends after some work or after one end of message, the rest
--- waits, and no order changes.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "milter/engine.h"
jit.off() -- the runtime below consists of callbacks

local busy = ffi.new "uint64_t[1]"
local cost, seen, outcome
local wanted = ffi.new "struct mm_wanted"
wanted.stages = bit.bnot(0x20) -- no DATA: it is not sent here
local ops = ffi.new("struct mm_runtime_ops", {
  open = function() return ffi.cast("void *", 1) end, wanted = function() return wanted end,
  event = function(_, event)
    busy[0] = busy[0] + cost
    if event.stage ~= lib.MM_STAGE_negotiate then seen[#seen + 1] = event.stage end
    return outcome
  end,
  cancel = function() end, end_message = function() end, end_client = function() end, close = function() end,
})
local owner = ffi.new("struct mm_engine_owner", { wake = function() end })

local function u32(n)
  return string.char(bit.rshift(n, 24), bit.band(bit.rshift(n, 16), 255), bit.band(bit.rshift(n, 8), 255),
    bit.band(n, 255))
end

local function packet(letter, data) return u32(#(data or "") + 1) .. letter .. (data or "") end

local MAIL, RCPT = packet("M", "<a@one.example>\0"), packet("R", "<b@two.example>\0")
local FIELD = packet("L", "X\0v\0")
local REST = packet "N" .. packet "E"

describe("an engine", function()
  local e, shared, out, why

  before_each(function()
    cost, seen, outcome = 1, {}, lib.MM_DECIDED
    shared, out, why = ffi.new "struct mm_engine_shared", ffi.new "struct mm_buffer", ffi.new "struct mm_fault"
    shared.turn_ticks, shared.busy = 10, busy
    e = lib.mm_engine_new(shared, ffi.new("struct mm_runtime", ops, nil), owner, nil, out)
    local offer = packet("O", u32(6) .. u32(0x1ff) .. u32(0))
    assert.is_true(lib.mm_engine_feed(e, offer, #offer, why))
    out.size = 0
  end)

  after_each(function()
    outcome = lib.MM_DECIDED
    lib.mm_engine_free(e)
    lib.mm_engine_shared_free(shared)
    lib.mm_buffer_free(out)
  end)

  local function feed(bytes) assert.is_true(lib.mm_engine_feed(e, bytes, #bytes, why)) end

  --- Turns until nothing is left; how many events each has run.
  local function turns(bytes)
    local list = {}
    local before = #seen
    feed(bytes)
    list[1] = #seen - before
    while lib.mm_engine_has_more(e) do
      assert.is_false(lib.mm_engine_wants_input(e))
      before = #seen
      assert.is_true(lib.mm_engine_go_on(e, why))
      list[#list + 1] = #seen - before
    end
    return list
  end

  it("handles all packets in one turn when they cost little", function()
    cost = 0
    assert.same({ 32 }, turns(MAIL .. RCPT .. FIELD:rep(30)))
    assert.is_true(lib.mm_engine_wants_input(e))
  end)

  it("ends a turn when its runtime has worked long enough", function()
    cost = 4                            -- three of them are more than 10
    assert.same({ 3, 3, 3, 3 }, turns(MAIL .. RCPT .. FIELD:rep(10)))
    assert.equal(12 * 5, out.size)      -- each has its answer
  end)

  it("handles at least one packet in a turn", function()
    cost = 1000
    assert.same({ 1, 1, 1 }, turns(MAIL .. RCPT .. FIELD))
  end)

  it("ends a turn after an end of message, whose on_done has run", function()
    cost = 0
    local message = MAIL .. RCPT .. FIELD .. REST
    assert.same({ 6, 6, 6 }, turns(message:rep(3)))
    assert.equal(lib.MM_STAGE_done, seen[6])
  end)

  it("has no more to do when the rest is half a packet", function()
    cost = 1000
    feed(MAIL .. RCPT:sub(1, 7))
    assert.is_false(lib.mm_engine_has_more(e))
    assert.is_true(lib.mm_engine_wants_input(e))
    feed(RCPT:sub(8))
    assert.equal(2, #seen)
  end)

  it("ends a turn after thousands of packets that no handler sees", function()
    cost = 0
    feed(MAIL)
    local count = 20000
    local list = turns(packet("D", "R"):rep(count))
    assert.is_true(#list >= 4 and #list <= 6, #list .. " turns")
  end)

  it("does not end a turn while a handler waits, and goes on in turns afterwards", function()
    cost = 4
    feed(MAIL)
    outcome = lib.MM_WAITING
    feed(RCPT .. FIELD:rep(10))
    assert.is_false(lib.mm_engine_has_more(e))
    outcome = lib.MM_DECIDED
    local before = #seen
    lib.mm_engine_decided(e, ffi.new "struct mm_verdict")
    assert.equal(3, #seen - before)     -- the time before the verdict does not count
    assert.is_true(lib.mm_engine_has_more(e))
    assert.is_true(lib.mm_engine_go_on(e, why))
    assert.equal(6, #seen - before)
  end)

  it("aborts what is open when the MTA is lost in the middle", function()
    cost = 1000
    feed(MAIL .. RCPT .. FIELD:rep(3))
    assert.is_true(lib.mm_engine_has_more(e))
    cost = 0
    lib.mm_engine_end(e, lib.MM_CANCEL_DISCONNECT)
    assert.is_true(lib.mm_engine_is_finished(e))
    assert.is_false(lib.mm_engine_has_more(e))
    assert.same({ lib.MM_STAGE_mail, lib.MM_STAGE_abort, lib.MM_STAGE_close }, seen)
  end)

  it("knows no turns without a limit", function()
    shared.turn_ticks, cost = 0, 1000
    assert.same({ 18 }, turns((MAIL .. RCPT .. FIELD .. REST):rep(3)))
  end)
end)
