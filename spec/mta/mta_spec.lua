local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "mta/mta.h"

local function text(s)
  return ffi.new("struct mm_text", { ffi.cast("const char *", s), #s })
end

local function mta(actions, steps, version)
  local offer = ffi.new("struct mm_offer", { version or 6, actions or 0x1ff, steps or 0x1fffff })
  local m = ffi.new "struct mm_mta"
  C.mm_mta_init(m, offer)
  m.agreed = offer
  return m
end

local anchors = {} -- packets borrow their bytes

local function packet(letter, data)
  data = data or ""
  anchors[#anchors + 1] = data
  return ffi.new("struct mm_packet", { letter:byte(), ffi.cast("const uint8_t *", data), #data })
end

local function decode(letter, data)
  local reply, why = ffi.new "struct mm_mta_reply", ffi.new "struct mm_fault"
  if C.mm_mta_decode(packet(letter, data), reply, why) then return reply end
  return nil, ffi.string(why.text)
end

--- True when the reply is accepted in answer to a command, else false and the complaint.
local function accepts(command, letter, data, m)
  local reply, shape = decode(letter, data)
  if not reply then return false, shape end
  local why = ffi.new "struct mm_fault"
  if C.mm_mta_accepts(m or mta(), command:byte(), reply, why) then return true end
  return false, ffi.string(why.text)
end

local function refused(pattern, command, letter, data, m)
  local ok, why = accepts(command, letter, data, m)
  assert.is_false(ok)
  assert.matches(pattern, why)
end

local function bytes(write, ...)
  local out = ffi.new "struct mm_buffer"
  write(out, ...)
  local s = ffi.string(out.bytes, out.size)
  C.mm_buffer_free(out)
  return s
end

local function hex(s)
  return (s:gsub(".", function(c) return ("%02X "):format(c:byte()) end):gsub(" $", ""))
end

describe("an MTA's packets, as in the protocol's test vectors:", function()
  it("the offer", function()
    assert.equal("00 00 00 0D 4F 00 00 00 06 00 00 01 FF 00 1F FF FF",
      hex(bytes(C.mm_mta_write_offer, ffi.new("struct mm_offer", { 6, 0x1ff, 0x1fffff }))))
  end)

  it("macros", function()
    local pairs_ = ffi.new("struct mm_text[2]", { text "j", text "mx" })
    assert.equal("00 00 00 07 44 43 6A 00 6D 78 00", hex(bytes(C.mm_mta_write_macros, ("C"):byte(), pairs_, 2)))
    assert.equal("00 00 00 02 44 48", hex(bytes(C.mm_mta_write_macros, ("H"):byte(), pairs_, 0)))
  end)

  it("connect", function()
    assert.equal("00 00 00 0E 43 61 00 34 00 19 31 2E 32 2E 33 2E 34 00",
      hex(bytes(C.mm_mta_write_connect, text "a", C.MM_FAMILY_INET, 25, text "1.2.3.4")))
    assert.equal("00 00 00 04 43 61 00 55",
      hex(bytes(C.mm_mta_write_connect, text "a", C.MM_FAMILY_UNKNOWN, 0, text "")))
  end)

  it("a sender with parameters", function()
    assert.equal("00 00 00 0E 4D 3C 61 40 62 3E 00 53 49 5A 45 3D 31 00",
      hex(bytes(C.mm_mta_write_address, ("M"):byte(), text "<a@b>", text "SIZE=1\0")))
  end)

  it("a header field, with the space after the colon only where that was agreed", function()
    local function field(m)
      return bytes(function(out, ...) C.mm_mta_write_field(m, out, ...) end, text "X", text " y")
    end
    assert.equal("00 00 00 05 4C 58 00 79 00", hex(field(mta(0x1ff, 0))))
    assert.equal("00 00 00 06 4C 58 00 20 79 00", hex(field(mta())))
  end)

  it("the end of a message", function()
    assert.equal("00 00 00 01 45", hex(bytes(C.mm_mta_write_bytes, ("E"):byte(), nil, 0)))
  end)

  it("all are read by the engine's own decoder", function()
    local wire = bytes(C.mm_mta_write_connect, text "mail.example.org", C.MM_FAMILY_INET6, 4711,
      text "IPv6:2001:db8::1")
    local command, why = ffi.new "struct mm_command", ffi.new "struct mm_fault"
    assert.is_true(C.mm_command_decode(packet("C", wire:sub(6)), 0, command, why))
    assert.equal("2001:db8::1", ffi.string(command.value.bytes, command.value.size))
    assert.equal(4711, command.port)
  end)
end)

describe("which commands are sent and answered", function()
  local function sends(letter, m) return C.mm_mta_sends(m, letter:byte()) end
  local function waits(letter, m) return C.mm_mta_waits(m, letter:byte()) end

  it("follows from the agreed steps", function()
    local m = mta(0, 0x20 + 0x8000) -- no_header, quiet_rcpt
    assert.is_false(sends("L", m))
    assert.is_true(sends("R", m))
    assert.is_false(waits("R", m))
    assert.is_true(waits("M", m))
  end)

  it("never waits for an answer to macros, abort and quit", function()
    for letter in ("DAQK"):gmatch "." do assert.is_false(waits(letter, mta(0, 0))) end
  end)

  it("respects what old versions lack", function()
    assert.is_false(sends("U", mta(0, 0, 2)))
    assert.is_true(sends("U", mta(0, 0, 3)))
    assert.is_false(sends("T", mta(0, 0, 3)))
    assert.is_true(sends("T", mta(0, 0, 4)))
    assert.is_false(sends("K", mta(0, 0, 4)))
  end)
end)

describe("the filter's answer to the offer", function()
  local function agree(data, m)
    local reply, why = assert(decode("O", data)), ffi.new "struct mm_fault"
    if C.mm_mta_agree(m or mta(), reply, why) then return true end
    return false, ffi.string(why.text)
  end
  local function u32(...)
    local out = {}
    for _, n in ipairs { ... } do
      out[#out + 1] = string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256,
        math.floor(n / 256) % 256, n % 256)
    end
    return table.concat(out)
  end

  it("may take less than was offered", function() assert.is_true(agree(u32(2, 1, 0x20))) end)

  it("may not take more", function()
    assert.is_false((agree(u32(7, 0, 0))))
    assert.is_false((agree(u32(1, 0, 0))))
    assert.matches("actions 0x200", select(2, agree(u32(6, 0x3ff, 0))))
    assert.matches("steps 0x200000", select(2, agree(u32(6, 0, 0x200000))))
  end)

  it("is at least twelve bytes", function()
    local reply, why = decode("O", u32(6, 0) .. "\0\0\0")
    assert.is_nil(reply)
    assert.matches("OPTNEG: 11 bytes are too few", why)
  end)

  it("may contain macro lists", function()
    local m = mta()
    assert.is_true(agree(u32(6, 0x100, 0) .. u32(2) .. "i {auth_authen}\0" .. u32(5) .. "\0", m))
    assert.is_true(m.has_list[C.MM_MACRO_SET_mail])
    assert.is_true(m.has_list[C.MM_MACRO_SET_eom])
    assert.is_false(m.has_list[C.MM_MACRO_SET_eoh])
    local list = m.lists[C.MM_MACRO_SET_mail]
    assert.equal("i {auth_authen}", ffi.string(list.bytes, list.size))
    C.mm_mta_free(m)
  end)

  it("contains only lists that both MTAs can read", function()
    assert.matches("cut short", select(2, agree(u32(6, 0x100, 0) .. u32(2) .. "i")))
    assert.matches("cut short", select(2, agree(u32(6, 0x100, 0) .. "\0\0")))
    assert.matches("stage 9", select(2, agree(u32(6, 0x100, 0) .. u32(9) .. "i\0")))
    assert.matches("51 macros", select(2, agree(u32(6, 0x100, 0) .. u32(2) .. ("i "):rep(51) .. "\0")))
  end)
end)

describe("the shape of a reply", function()
  it("has exactly the expected strings, each terminated", function()
    for letter, good in pairs { ["+"] = "<a@b>\0", ["-"] = "<a@b>\0", q = "why\0", y = "550 no\0", h = "X\0y\0",
      i = "\0\0\0\1X\0y\0", m = "\0\0\0\1X\0\0", e = "<>\0", ["2"] = "<a@b>\0NOTIFY=NEVER\0" } do
      assert.is_truthy(decode(letter, good), letter)
      assert.is_nil((decode(letter, good:sub(1, -2))), letter .. " without its last NUL")
      assert.is_nil((decode(letter, good .. (letter == "e" and "a\0b\0" or "z\0"))),
        letter .. " with a string too many")
      assert.is_nil((decode(letter, "")), letter .. " empty")
    end
  end)

  it("has no data after replies that carry none", function()
    for letter in ("acdrtsp"):gmatch "." do
      assert.is_truthy(decode(letter))
      assert.matches("1 bytes after", select(2, decode(letter, "\0")))
    end
  end)

  it("has one of the letters that filters may send", function()
    assert.matches("reply '4'", select(2, decode "4"))
    assert.matches("reply 'l'", select(2, decode("l", "\0\0\0\0i\0")))
    assert.matches("reply 0x01", select(2, decode "\1"))
  end)

  it("may be a body packet of 65535 bytes but not of one more", function()
    assert.is_truthy(decode("b", ("x"):rep(65535)))
    assert.matches("65536 bytes", select(2, decode("b", ("x"):rep(65536))))
    assert.is_truthy(decode("b", ""))
  end)
end)

describe("a final reply", function()
  it("is legal where it has the same meaning on both MTAs", function()
    local legal = { c = "CHMRTLNBEU", a = "CHMRTLNBE", r = "CHMRTLNBEU", t = "CHMRTLNBEU", d = "MRTLNBE", s = "B" }
    for letter, commands in pairs(legal) do
      for command in ("CHMRTLNBEUAQKDO"):gmatch "." do
        assert.equal(commands:find(command, 1, true) ~= nil, (accepts(command, letter)), letter .. " at " .. command)
      end
    end
  end)

  it("is skip only when that was agreed", function()
    refused("skip was not negotiated", "B", "s", "", mta(0x1ff, 0))
  end)

  it("is refused as an answer to an unknown command", function() refused("may not answer nothing", "z", "c") end)
end)

describe("progress", function()
  it("comes at end of message only", function()
    assert.is_true(accepts("E", "p"))
    refused("may not answer rcpt", "R", "p")
  end)
end)

describe("a reply code", function()
  local function code(s) return accepts("R", "y", s .. "\0") end
  local function bad(pattern, s) refused(pattern, "R", "y", s .. "\0") end

  it("is a line, or several with the same code", function()
    assert.is_true(code "550 5.7.1 no")
    assert.is_true(code "451 later")
    assert.is_true(code "550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 c")
    assert.is_true(code "550 ")
  end)

  it("has a code that refuses", function()
    bad("4dd text", "250 ok")
    bad("4dd text", "5x0 no")
    bad("bytes; Sendmail reads the fourth", "550")
    bad("4dd text", "no such user")
  end)

  it("ends in a line with a blank, so that the client does not wait", function()
    bad("wait for more", "550-5.7.1 no")
    bad("take it for the last", "550 a\r\n550 b")
  end)

  it("has one code and one class", function()
    bad("550 on one line and 551", "550-a\r\n551 b")
    bad("same class", "550 4.7.1 no")
    bad("same class", "550 4 lines")
  end)

  it("has only CRLF line ends", function()
    bad("a bare LF", "550 a\nb")
    bad("a bare CR", "550 a\rb")
    refused("after what it carries", "R", "y", "550 a\0b\0")
  end)

  it("has every percent sign doubled", function()
    assert.is_true(code "550 5.7.1 100%% sure")
    bad("single %%", "550 really 100% sure")
    bad("single %%", "550 really 100%%%")
  end)

  it("has at most 32 lines of 980 bytes", function()
    assert.is_true(code(("550-x\r\n"):rep(31) .. "550 x"))
    bad("more than 32", ("550-x\r\n"):rep(32) .. "550 x")
    assert.is_true(code("550 5.7.1 " .. ("x"):rep(980)))
    assert.is_true(code("550 5.7.1 " .. ("%%"):rep(980)))
    bad("a line of", "550 5.7.1 " .. ("x"):rep(999))
  end)
end)

describe("an edit", function()
  local edits = { h = "X\0y\0", i = "\0\0\0\0X\0y\0", m = "\0\0\0\1X\0y\0", ["+"] = "<a@b>\0", ["-"] = "<a@b>\0",
    ["2"] = "<a@b>\0", e = "<>\0", b = "x", q = "why\0" }

  it("is legal at end of message, when its action was agreed", function()
    for letter, data in pairs(edits) do
      assert.is_true(accepts("E", letter, data), letter)
      refused("may not answer body", "B", letter, data)
      refused("not negotiated", "E", letter, data, mta(0, 0))
    end
  end)

  it("names a field according to RFC 5322", function()
    refused("empty", "E", "h", "\0v\0")
    refused("byte 0x20", "E", "h", "X Y\0v\0")
    refused("byte 0x3a", "E", "h", "X:\0v\0")
    refused("byte 0x0a", "E", "i", "\0\0\0\0X\nY\0v\0")
  end)

  it("has line breaks in values only as folds", function()
    assert.is_true(accepts("E", "h", "X\0a\n b\n\tc\0"))
    refused("CR in the value", "E", "h", "X\0a\r\n b\0")
    refused("LF in the value", "E", "h", "X\0a\nEvil: yes\0")
    refused("LF in the value", "E", "m", "\0\0\0\1X\0a\n\0")
  end)

  it("has an index that both count alike", function()
    refused("index 0", "E", "m", "\0\0\0\0X\0y\0")
    refused("over 2147483647", "E", "i", "\255\255\255\255X\0y\0")
  end)

  it("has one address", function()
    for _, address in ipairs { "<a@b,c@d>", "a@b c@d", "<a@b> (x)", "a@b\r\nRCPT TO:<c@d>", "\"a@b" } do
      assert.is_false((accepts("E", "+", address .. "\0")), address)
    end
    assert.is_true(accepts("E", "+", "<\"a b,c\"@d>\0"))
    refused("null recipient", "E", "+", "<>\0")
    refused("empty", "E", "e", "\0")
  end)

  it("has parameters that both MTAs read", function()
    assert.is_true(accepts("E", "2", "<a@b>\0NOTIFY=NEVER ORCPT=rfc822;a@b\0"))
    assert.is_true(accepts("E", "e", "<a@b>\0RET=HDRS ENVID=x\0"))
    refused("debug text", "E", "2", "<a@b>\0FOO=1\0")
    refused("debug text", "E", "e", "<a@b>\0NOTIFY=NEVER\0")
  end)

  it("gives a reason in one line", function()
    refused("empty", "E", "q", "\0")
    refused("control byte", "E", "q", "a\nb\0")
  end)

  it("keeps body packets together", function()
    local m = mta()
    assert.is_true(accepts("E", "b", "x", m))
    assert.is_true(accepts("E", "b", "y", m))
    assert.is_true(accepts("E", "h", "X\0y\0", m))
    refused("another request between", "E", "b", "z", m)
    assert.is_true(accepts("E", "c", "", m)) -- the next message starts anew
    assert.is_true(accepts("E", "b", "z", m))
  end)
end)
