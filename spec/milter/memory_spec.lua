--- A session whose account may hold no more (base/account.h): commands that bring facts are answered with a temporary
--- failure, without handlers; each message still has one done or abort, each client one close, and all is given back.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "milter/engine.h"
jit.off() -- the runtime below consists of callbacks

local events = {}
local wanted = ffi.new "struct mm_wanted"
wanted.stages, wanted.quiet, wanted.rejected_recipients = 0xfff, 0xfff, true
local ops = ffi.new("struct mm_runtime_ops", {
  open = function() return ffi.cast("void *", 1) end, wanted = function() return wanted end,
  event = function(_, event)
    events[#events + 1] = tostring(tonumber(event.stage))
    return lib.MM_DECIDED
  end,
  cancel = function() end, end_message = function() end, end_client = function() end, close = function() end,
})
local fault
local owner = ffi.new("struct mm_engine_owner", { wake = function() end,
  fault = function(_, why) fault = ffi.string(why.text) end })

local function u32(n)
  return string.char(bit.rshift(n, 24), bit.band(bit.rshift(n, 16), 255), bit.band(bit.rshift(n, 8), 255),
    bit.band(n, 255))
end

local function packet(letter, data) return u32(#(data or "") + 1) .. letter .. (data or "") end

local CONNECT = "client.example\0" .. "4" .. "\4\1" .. "192.0.2.1\0"
local LIMIT = 1000000

--- An engine that has negotiated with these steps, and functions to feed it: letters of its replies come back.
local function engine(steps)
  local self = { shared = ffi.new "struct mm_engine_shared", out = ffi.new "struct mm_buffer",
    why = ffi.new "struct mm_fault", other = ffi.new "struct mm_account", declared = ffi.new "size_t[1]" }
  self.shared.held.limit = LIMIT
  self.other.sum = self.shared.held
  self.e = lib.mm_engine_new(self.shared, ffi.new("struct mm_runtime", ops, nil), owner, nil, self.out)
  events, fault = {}, nil
  function self.send(letter, data)
    local bytes = packet(letter, data)
    lib.mm_engine_feed(self.e, bytes, #bytes, self.why)
    local replies = ffi.string(self.out.bytes, self.out.size)
    self.out.size = 0
    local letters = ""
    while #replies > 0 do
      local a, b, c, d = replies:byte(1, 4)
      letters = letters .. replies:sub(5, 5)
      replies = replies:sub(5 + ((a * 256 + b) * 256 + c) * 256 + d)
    end
    return letters
  end
  --- Another session holds so much that this one may hold at most `left` bytes.
  function self.squeeze(left) lib.mm_account_redeclare(self.other, self.declared, LIMIT - left) end
  function self.release() lib.mm_account_redeclare(self.other, self.declared, 0) end
  function self.stages() return table.concat(events, " ") end
  function self.free()
    self.release()
    lib.mm_engine_free(self.e)
    lib.mm_buffer_free(self.out)
    lib.mm_engine_shared_free(self.shared)
    assert.equal(0, tonumber(self.shared.held.held))
  end
  assert.equal("O", self.send("O", u32(6) .. u32(0x1ff) .. u32(steps or 0)))
  events = {}
  return self
end

local function list(...)
  local names = {}
  for i, name in ipairs { ... } do names[i] = tostring(lib["MM_STAGE_" .. name]) end
  return table.concat(names, " ")
end

--- Makes the session hold some 60 kB, so that a squeeze to 10 kB leaves it no room.
local function fatten(s)
  s.send("D", "C" .. "j\0" .. ("x"):rep(60000) .. "\0")
end

describe("a session that may hold no more", function()
  it("gets a temporary failure at connect and goes on when there is room", function()
    local s = engine()
    fatten(s)
    s.squeeze(10000)
    assert.equal("t", s.send("C", CONNECT))
    s.release()
    assert.equal("c", s.send("C", CONNECT))
    assert.equal(list "connect", s.stages())
    s.free()
  end)

  it("loses only the recipients that came meanwhile", function()
    local s = engine()
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    assert.equal("c", s.send("R", "<first@two.example>\0"))
    s.squeeze(10000)
    assert.equal("t", s.send("R", "<second@two.example>\0"))
    s.release()
    assert.equal("c", s.send("R", "<third@two.example>\0"))
    local m = lib.mm_engine_session(s.e).message
    assert.same({ 2, 0 }, { m.recipient_count, m.refused_count })
    assert.equal("c", s.send("E"))
    assert.equal(list("connect", "mail", "rcpt", "rcpt", "data", "eom", "done"), s.stages())
    s.free()
  end)

  it("refuses a recipient after one that the MTA has refused itself", function()
    local s = engine(lib.SMFIP_RCPT_REJ)
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.send("D", "R{rcpt_mailer}\0error\0")
    assert.equal("c", s.send("R", "<refused@two.example>\0"))
    s.send("D", "R{rcpt_mailer}\0local\0")
    s.squeeze(10000)
    assert.equal("t", s.send("R", "<second@two.example>\0"))
    s.release()
    assert.equal(1, lib.mm_engine_session(s.e).message.recipient_count)
    s.free()
  end)

  it("loses the message at MAIL and at a header, and begins the next one as ever", function()
    local s = engine()
    fatten(s)
    s.send("C", CONNECT)
    s.squeeze(10000)
    assert.equal("t", s.send("M", "<a@one.example>\0"))
    s.release()
    assert.equal("c", s.send("M", "<a@one.example>\0"))
    assert.equal("c", s.send("R", "<b@two.example>\0"))
    s.squeeze(10000)
    assert.equal("t", s.send("L", "Subject\0text\0"))
    s.release()
    s.send "A"
    assert.equal("c", s.send("M", "<a@one.example>\0"))
    assert.equal("c", s.send("E"))
    assert.equal(list("connect", "done", "mail", "rcpt", "data", "done", "mail", "data", "eom", "done"), s.stages())
    s.free()
  end)

  it("loses the message for a field that needs no answer at the next stage that gives one", function()
    local s = engine(lib.SMFIP_NR_HDR)
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.send("R", "<b@two.example>\0")
    s.send("L", "Subject\0text\0")
    s.squeeze(10000)
    assert.equal("", s.send("L", "From\0c@one.example\0"))
    s.release()
    assert.equal("", s.send("L", "To\0b@two.example\0"))
    assert.equal("t", s.send "N")
    assert.equal(list("connect", "mail", "rcpt", "data", "header", "done"), s.stages())
    s.free()
  end)

  it("loses the message for a recipient that needs no answer", function()
    local s = engine(lib.SMFIP_NR_RCPT)
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.squeeze(10000)
    assert.equal("", s.send("R", "<b@two.example>\0"))
    s.release()
    assert.equal("t", s.send "T")
    s.free()
  end)

  it("does not run a command whose macros it could not keep", function()
    local s = engine()
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.send("R", "<b@two.example>\0")
    s.squeeze(10000)
    s.send("D", "T" .. "i\0queue-id\0")
    s.release()
    assert.equal("t", s.send "T")
    assert.equal(list("connect", "mail", "rcpt", "done"), s.stages())
    s.send("D", "A" .. "i\0queue-id\0")
    s.free()
  end)

  it("still sees the abort of its message, even with macros before it", function()
    local s = engine()
    fatten(s)
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.squeeze(10000)
    s.send("D", "T" .. "i\0queue-id\0")
    assert.equal("", s.send "A")
    assert.equal(list("connect", "mail", "abort"), s.stages())
    s.free()
  end)

  it("is closed when facts of its client cannot be kept and no answer may be given", function()
    local s = engine(lib.SMFIP_NR_CONN)
    fatten(s)
    s.squeeze(10000)
    s.send("C", CONNECT)
    assert.matches("memory_held", fault)
    assert.is_true(lib.mm_engine_is_finished(s.e))
    s.free()
  end)

  it("gives everything back, whatever it was", function()
    local s = engine()
    fatten(s)
    s.send("C", CONNECT)
    s.send("H", ("h"):rep(30000) .. "\0")
    s.send("M", "<a@one.example>\0")
    for i = 1, 200 do s.send("R", "<" .. i .. "@two.example>\0" .. ("NOTIFY=NEVER\0"):rep(20)) end
    for i = 1, 200 do s.send("L", "X-" .. i .. "\0" .. ("v"):rep(200) .. "\0") end
    local part = packet("B", ("b"):rep(60000)):sub(1, 50000)
    lib.mm_engine_feed(s.e, part, #part, s.why)
    assert.is_true(tonumber(s.shared.held.held) > 60000 + 30000 + 200 * 280 + 200 * 200 + 50000)
    s.free()
  end)
end)

describe("bytes that can be fed without any being left over", function()
  it("end where the last whole packet ends, however the bytes were cut before", function()
    local bytes, ends = "", {}
    for size = 0, 7 do
      bytes = bytes .. packet("B", ("x"):rep(size))
      ends[#ends + 1] = #bytes
    end
    bytes = bytes .. "\0\0\0"
    for kept = 0, ends[2] - 1 do
      local frame, why, out = ffi.new "struct mm_frame", ffi.new "struct mm_fault", ffi.new "struct mm_packet"
      lib.mm_frame_init(frame, 65535)
      lib.mm_frame_feed(frame, bytes, kept, why)
      local handled = 0
      while lib.mm_frame_next(frame, out, why) == lib.MM_FRAME_PACKET do
        handled = ends[1]
        lib.mm_frame_done(frame)
      end
      lib.mm_frame_keep(frame, why)
      for n = 1, #bytes - kept do
        local last = handled
        for _, at in ipairs(ends) do last = at <= kept + n and at or last end
        assert.equal(math.max(0, last - kept),
          tonumber(lib.mm_frame_complete(frame, bytes:sub(kept + 1, kept + n), n)), kept .. " kept, " .. n .. " more")
      end
      lib.mm_frame_free(frame)
    end
  end)

  it("are all of them when no packet can begin so", function()
    local frame = ffi.new "struct mm_frame"
    lib.mm_frame_init(frame, 65535)
    assert.equal(8, tonumber(lib.mm_frame_complete(frame, "\255\255\255\255abcd", 8)))
    assert.equal(6, tonumber(lib.mm_frame_complete(frame, "\0\0\0\0ab", 6)))
  end)
end)

describe("the recipients of a message", function()
  it("are bounded in bytes, too, and leave the header its own room", function()
    local s = engine()
    s.shared.held.limit = 0
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    for i = 1, 300 do s.send("R", "<" .. i .. "@two.example>\0" .. ("x"):rep(60000) .. "\0") end
    local m = lib.mm_engine_session(s.e).message
    assert.is_true(m.recipient_bytes <= 8 * 2 ^ 20 and m.recipient_count < 300)
    assert.is_true(tonumber(m.declared) < 2 * 8 * 2 ^ 20)
    s.send("L", "Subject\0text\0")
    assert.equal(1, m.field_count)
    s.free()
  end)
end)

describe("an engine that rests", function()
  local function kept(s)
    lib.mm_engine_rest(s.e)
    return s.shared.handling_count
  end

  it("gives back what it needs for packets, and goes on with a message that is open", function()
    local s = engine()
    assert.equal(1, kept(s))
    assert.equal("c", s.send("C", CONNECT))
    assert.equal("c", s.send("M", "<a@one.example>\0"))
    assert.equal(1, kept(s))
    assert.equal("c", s.send("R", "<b@two.example>\0"))
    assert.equal("c", s.send("E"))
    assert.equal(1, kept(s))
    assert.equal(list("connect", "mail", "rcpt", "data", "eom", "done"), s.stages())
    s.free()
  end)

  it("keeps it while a packet is not whole", function()
    local s = engine()
    lib.mm_engine_feed(s.e, packet("C", CONNECT), 7, s.why)
    assert.equal(0, kept(s))
    assert.equal(7, tonumber(lib.mm_engine_pending(s.e)))
    local rest = packet("C", CONNECT):sub(8)
    lib.mm_engine_feed(s.e, rest, #rest, s.why)
    assert.equal(list "connect", s.stages())
    assert.equal(1, kept(s))
    assert.equal(0, tonumber(lib.mm_engine_pending(s.e)))
    s.free()
  end)

  it("keeps it while macros of the next MAIL wait for their command", function()
    local s = engine()
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    s.send("D", "M" .. "i\0second\0")
    assert.equal(0, kept(s))
    s.send("M", "<b@one.example>\0")
    assert.equal("second", ffi.string(lib.mm_session_macro(lib.mm_engine_session(s.e), "i").bytes))
    assert.equal(1, kept(s))
    s.free()
  end)

  it("tells an open message and the client of their end", function()
    local s = engine()
    s.send("C", CONNECT)
    s.send("M", "<a@one.example>\0")
    assert.equal(1, kept(s))
    lib.mm_engine_end(s.e, lib.MM_CANCEL_DISCONNECT)
    assert.equal(list("connect", "mail", "abort", "close"), s.stages())
    s.free()
  end)
end)
