local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "mta/mail_edit.h"

local function text(s)
  return ffi.new("struct mm_text", { ffi.cast("const char *", s), #s })
end

local function from_span(m, span)
  return span.size > 0 and ffi.string(m.store.bytes + span.at, span.size) or ""
end

local function parse(s)
  local m, why = ffi.gc(ffi.new "struct mm_mail_file", C.mm_mail_file_free), ffi.new "struct mm_fault"
  if C.mm_mail_file_parse(m, s, #s, why) then return m end
  return nil, ffi.string(why.text)
end

local function fields(m)
  local list = {}
  for i = 0, m.field_count - 1 do
    list[#list + 1] = { from_span(m, m.fields[i].name), from_span(m, m.fields[i].value) }
  end
  return list
end

local function written(m)
  local out = ffi.new "struct mm_buffer"
  C.mm_mail_file_write(m, out)
  local s = ffi.string(out.bytes, out.size)
  C.mm_buffer_free(out)
  return s
end

local function body(m) return ffi.string(m.body.bytes, m.body.size) end

describe("a message file", function()
  it("becomes fields with LF folds and a body with CRLF, with any line ends", function()
    local lf = "From: a@b\nSubject:  two\n folded\n\tagain\nX-Empty:\n\nbody\n\nend\n"
    for _, file in ipairs { lf, (lf:gsub("\n", "\r\n")) } do
      local m = assert(parse(file))
      assert.same({ { "From", " a@b" }, { "Subject", "  two\n folded\n\tagain" }, { "X-Empty", "" } }, fields(m))
      assert.equal("body\r\n\r\nend\r\n", body(m))
      assert.equal(file, written(m))
    end
  end)

  it("may be without a body, or without a header", function()
    assert.equal("", body(assert(parse "From: a@b\n")))
    assert.equal("", body(assert(parse "From: a@b\n\n")))
    local m = assert(parse "\nbody only")
    assert.equal(0, m.field_count)
    assert.equal("body only\r\n", body(m))
    assert.is_truthy(parse "")
  end)

  it("may begin with an mbox line", function()
    assert.same({ { "From", " a@b" } }, fields(assert(parse "From ann Mon Jan  1 00:00:00 2024\nFrom: a@b\n\nx\n")))
    assert.same({ { "From", " a@b" } }, fields(assert(parse "From : a@b\n\nx\n")))
  end)

  it("keeps blanks before a colon in the output, but not in the name", function()
    local m = assert(parse "Subject : x\n\n")
    assert.same({ { "Subject", " x" } }, fields(m))
    assert.equal("Subject : x\n\n", written(m))
  end)

  it("ends its header at the first line that is not a field, as in an MTA", function()
    local m = assert(parse "From: a@b\nno field here\nX: y\n")
    assert.equal(1, m.field_count)
    assert.equal("no field here\r\nX: y\r\n", body(m))
  end)

  it("passes 8-bit text, bare CR and NUL in the body unchanged", function()
    local m = assert(parse "Subject: \195\164\n\na\rb\0c\255\n")
    assert.equal(" \195\164", fields(m)[1][2])
    assert.equal("a\rb\0c\255\r\n", body(m))
  end)

  it("is refused when it is not a message", function()
    assert.matches("neither a header field nor empty", select(2, parse "local x = 1\nreturn x\n"))
    assert.matches("line 2: a NUL", select(2, parse "From: a\nX: a\0b\n\n"))
    assert.matches("65535", select(2, parse("X: " .. ("y"):rep(65600) .. "\n\n")))
  end)
end)

describe("an envelope", function()
  local function envelope(m)
    local list = {}
    for i = 0, m.recipient_count - 1 do list[#list + 1] = from_span(m, m.recipients[i].address) end
    return from_span(m, m.sender), list
  end

  it("takes addresses with and without brackets, and parameters", function()
    local m = assert(parse "X: y\n\n")
    assert.is_true(C.mm_mail_file_set_sender(m, text "ann@example.org SIZE=100  BODY=8BITMIME"))
    assert.is_true(C.mm_mail_file_add_recipient(m, text "<\"b o b\"@example.org> NOTIFY=NEVER"))
    assert.same({ "<ann@example.org>", { "<\"b o b\"@example.org>" } }, { envelope(m) })
    assert.equal("SIZE=100\0BODY=8BITMIME\0", from_span(m, m.sender_params))
    assert.equal("NOTIFY=NEVER\0", from_span(m, m.recipients[0].params))
  end)

  it("is derived from the header where it is not given", function()
    local m = assert(parse("From: Ann <ann@example.org>\nTo: \"Bob, the builder\" <bob@example.org>,\n "
      .. "eve@example.net (Eve, too)\nCc: group: dan@example.net;\n\n"))
    assert.is_true(C.mm_mail_file_guess_envelope(m))
    assert.same({ "<ann@example.org>", { "<bob@example.org>", "<eve@example.net>", "<dan@example.net>" } },
      { envelope(m) })
  end)

  it("prefers the fields noted at delivery", function()
    local m = assert(parse "Return-Path: <>\nDelivered-To: bob@x\nFrom: ann@x\nTo: list@x\n\n")
    assert.is_true(C.mm_mail_file_guess_envelope(m))
    assert.same({ "<>", { "<bob@x>" } }, { envelope(m) })
  end)

  it("always has a sender and a recipient", function()
    local m = assert(parse "X: y\n\n")
    assert.is_true(C.mm_mail_file_guess_envelope(m))
    assert.same({ "<>", { "<postmaster>" } }, { envelope(m) })
  end)
end)

local function u32(n) return "\0\0" .. string.char(math.floor(n / 256), n % 256) end

--- Applies edits, packets as { letter, data }, to "A: 1, A: 2, A: 3" and more, as one of the MTAs.
local function edited(kind, file, ...)
  local m, why = assert(parse(file)), ffi.new "struct mm_fault"
  C.mm_mail_file_guess_envelope(m)
  assert.is_true(C.mm_mail_edit_take_in(m, kind, why))
  for _, edit in ipairs { ... } do
    local reply = ffi.new "struct mm_mta_reply"
    local p = ffi.new("struct mm_packet", { edit[1]:byte(), ffi.cast("const uint8_t *", edit[2]), #edit[2] })
    assert(C.mm_mta_decode(p, reply, why), ffi.string(why.text))
    assert.is_true(C.mm_mail_edit_apply(m, kind, false, reply, why))
  end
  return m
end

local function header_of(...)
  return (written(edited(...)):gsub("\n\n.*", ""):gsub("\n", " | "))
end

local POSTFIX, SENDMAIL = C.MM_MTA_POSTFIX, C.MM_MTA_SENDMAIL
local both = { postfix = POSTFIX, sendmail = SENDMAIL }
local three = "A: 1\nB: x\nA: 2\nA: 3\n\nbody\n"

describe("header edits", function()
  it("add at the end on both, when the name is new", function()
    for _, kind in pairs(both) do assert.equal("A: 1 | B: x | A: 2 | A: 3 | N: v",
      header_of(kind, three, { "h", "N\0v\0" })) end
  end)

  it("add a known name at the end on Postfix, before the first of it on Sendmail", function()
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | A: new", header_of(POSTFIX, three, { "h", "A\0new\0" }))
    assert.equal("A: new | A: 1 | B: x | A: 2 | A: 3", header_of(SENDMAIL, three, { "h", "A\0new\0" }))
  end)

  it("insert below the MTA's hidden Received on Postfix", function()
    local function insert(n) return header_of(POSTFIX, three, { "i", u32(n) .. "N\0v\0" }) end
    assert.equal("N: v | A: 1 | B: x | A: 2 | A: 3", insert(0))
    assert.equal("N: v | A: 1 | B: x | A: 2 | A: 3", insert(1))
    assert.equal("A: 1 | N: v | B: x | A: 2 | A: 3", insert(2))
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | N: v", insert(1000))
  end)

  it("insert after Sendmail's own nine fields", function()
    local function insert(n) return header_of(SENDMAIL, three, { "i", u32(n) .. "N\0v\0" }) end
    assert.equal("N: v | A: 1 | B: x | A: 2 | A: 3", insert(0))
    assert.equal("N: v | A: 1 | B: x | A: 2 | A: 3", insert(8))
    assert.equal("A: 1 | N: v | B: x | A: 2 | A: 3", insert(9))
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | N: v", insert(1000))
  end)

  it("insert 0, 1, 2 in that order on Postfix", function()
    assert.equal("N: a | N: b | N: c | A: 1 | B: x | A: 2 | A: 3", header_of(POSTFIX, three,
      { "i", u32(0) .. "N\0a\0" }, { "i", u32(1) .. "N\0b\0" }, { "i", u32(2) .. "N\0c\0" }))
  end)

  it("change and delete the field they count", function()
    for _, kind in pairs(both) do
      assert.equal("A: 1 | B: x | A: new | A: 3", header_of(kind, three, { "m", u32(2) .. "a\0new\0" }))
      assert.equal("A: 1 | B: x | A: 3", header_of(kind, three, { "m", u32(2) .. "A\0\0" }))
      assert.equal("A: 1 | B: x | A: 2 | A: 3", header_of(kind, three, { "m", u32(4) .. "A\0\0" }))
    end
  end)

  it("shift what is counted after a deletion on Postfix only", function()
    local edits = { { "m", u32(1) .. "A\0\0" }, { "m", u32(2) .. "A\0new\0" } }
    assert.equal("B: x | A: 2 | A: new", header_of(POSTFIX, three, unpack(edits)))
    assert.equal("B: x | A: new | A: 3", header_of(SENDMAIL, three, unpack(edits)))
  end)

  it("add a field that they do not find", function()
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | N: v", header_of(POSTFIX, three, { "m", u32(1) .. "N\0v\0" }))
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | A: v", header_of(POSTFIX, three, { "m", u32(9) .. "A\0v\0" }))
    assert.equal("A: v | A: 1 | B: x | A: 2 | A: 3", header_of(SENDMAIL, three, { "m", u32(9) .. "A\0v\0" }))
  end)

  it("do not reach the MTA's own Received", function()
    assert.equal("A: 1 | B: x | A: 2 | A: 3 | Received: v",
      header_of(POSTFIX, three, { "m", u32(1) .. "Received\0v\0" }))
    assert.equal("Received: v | A: 1 | B: x | A: 2 | A: 3",
      header_of(SENDMAIL, three, { "m", u32(1) .. "Received\0v\0" }))
  end)

  it("set a field that Sendmail would have made itself, in its place", function()
    assert.equal("Date: v | A: 1 | B: x | A: 2 | A: 3", header_of(SENDMAIL, three, { "h", "Date\0v\0" }))
    assert.equal("Date: v | A: 1 | B: x | A: 2 | A: 3", header_of(SENDMAIL, three, { "m", u32(1) .. "Date\0v\0" }))
  end)

  it("write folds with the file's line ends", function()
    local m = edited(POSTFIX, (three:gsub("\n", "\r\n")), { "h", "N\0a\n b\0" })
    assert.matches("N: a\r\n b\r\n\r\nbody\r\n$", written(m))
  end)
end)

describe("other edits", function()
  it("replace the body by all body packets together, even when a CRLF is cut between two of them", function()
    local m = edited(POSTFIX, three, { "b", "one\r" }, { "b", "\ntwo\n" })
    assert.equal("one\r\ntwo\r\n", body(m))
    assert.matches("\n\none\ntwo\n$", written(m))
    assert.equal("", body(edited(POSTFIX, three, { "b", "" })))
  end)

  it("change the envelope", function()
    local m = edited(POSTFIX, "From: a@x\nTo: Bob@X, eve@x\n\n", { "e", "<c@x>\0RET=HDRS\0" }, { "+", "dan@x\0" },
      { "+", "<dan@x>\0" },
      { "-", "<eve@x>\0" }, { "-", "bob@x\0" })
    assert.equal("<c@x>", from_span(m, m.sender))
    assert.equal("RET=HDRS\0", from_span(m, m.sender_params))
    assert.equal(2, m.recipient_count) -- Postfix requires the recipient as received
    assert.equal("<dan@x>", from_span(m, m.recipients[1].address))
    assert.equal(0, edited(SENDMAIL, "From: a@x\nTo: Bob@X\n\n", { "-", "bob@x\0" }).recipient_count)
  end)

  it("quarantine", function()
    local m = edited(POSTFIX, three, { "q", "why\0" })
    assert.is_true(m.is_quarantined)
    assert.equal("why", from_span(m, m.reason))
  end)

  it("leave the original unchanged when made on a copy", function()
    local m, why = assert(parse(three)), ffi.new "struct mm_fault"
    local copy = ffi.gc(ffi.new "struct mm_mail_file", C.mm_mail_file_free)
    assert.is_true(C.mm_mail_file_copy(copy, m, why))
    assert.is_true(C.mm_mail_edit_take_in(copy, POSTFIX, why))
    assert.equal(three, written(m))
    assert.equal(three, written(copy))
  end)
end)
