local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "mta/dialogue.h"

if jit then jit.off() end -- C calls back into Lua here, which is not allowed from compiled code

local function u32(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256, math.floor(n / 256) % 256, n % 256)
end

local function frame(letter, data)
  return u32(1 + #(data or "")) .. letter .. (data or "")
end

local bits = {
  no_connect = 1, no_helo = 2, no_mail = 4, no_rcpt = 8, no_body = 16, no_header = 32, no_eoh = 64, no_data = 0x200,
  skip = 0x400, quiet_header = 0x80, quiet_mail = 0x4000, leading_space = 0x100000,
}
local quiet_letters = { L = bits.quiet_header, M = bits.quiet_mail }

--- A filter in Lua: answers[letter] is bytes or a function of the payload; "c" where there is no entry.
local function filter(answers, steps, answer_tail)
  local f = { heard = {}, log = "", out = "" }
  local function take(letter, data)
    f.heard[#f.heard + 1] = { letter, data }
    f.log = f.log .. (letter == "D" and "D" .. data:sub(1, 1) or letter) .. " "
    if ("DAQK"):find(letter, 1, true) then return end
    if letter == "O" then
      f.out = f.out .. frame("O", u32(6) .. u32(0x1ff) .. u32(steps or 0) .. (answer_tail or ""))
      return
    end
    if quiet_letters[letter] and math.floor((steps or 0) / quiet_letters[letter]) % 2 == 1 then return end
    local answer = answers[letter]
    if type(answer) == "function" then answer = answer(data, f) end
    f.out = f.out .. (answer or frame "c")
  end
  local pending = ""
  f.write = ffi.cast("bool (*)(void *, const void *, size_t, struct mm_fault *)", function(_, p, n)
    pending = pending .. ffi.string(p, n)
    while #pending >= 5 do
      local a, b, c, d = pending:byte(1, 4)
      local size = ((a * 256 + b) * 256 + c) * 256 + d
      if #pending < 4 + size then break end
      local letter, data = pending:sub(5, 5), pending:sub(6, 4 + size)
      pending = pending:sub(5 + size)
      take(letter, data)
    end
    return true
  end)
  f.read = ffi.cast("bool (*)(void *, double, const void **, size_t *, struct mm_fault *)", function(_, _, p, n)
    f.lent = f.out
    f.out = ""
    p[0] = ffi.cast("const char *", f.lent)
    n[0] = #f.lent
    return true
  end)
  return f
end

local message = "From: ann@example.org\nTo: bob@example.org, eve@example.net\nSubject: x\n\nhello\n"

--- Runs messages through a filter. Returns the filter, the results, and the complaint, if any.
local function play(options)
  local f = options.filter
  local plan = ffi.new("struct mm_dialogue_plan", {
    kind = options.kind or C.MM_MTA_POSTFIX, offer = { 6, 0x1ff, 0x1fffff }, mta_name = "mx.example.org",
    family = C.MM_FAMILY_INET,
    client_host = "client.example.org", client_address = "192.0.2.1", client_port = 4711, helo = "client.example.org",
    command_timeout_s = 1, content_timeout_s = 1,
  })
  local why = ffi.new "struct mm_fault"
  local transport = ffi.new("struct mm_dialogue_transport", { write = f.write, read = f.read })
  local d = C.mm_dialogue_new(plan, transport)
  local mail = ffi.new "struct mm_mail_file"
  local source = options.message or message
  assert.is_true(C.mm_mail_file_parse(mail, source, #source, why))
  C.mm_mail_file_guess_envelope(mail)
  local results, opening = {}, ffi.new "struct mm_dialogue_result"
  local ok = C.mm_dialogue_open(d, opening, why)
  for _ = 1, options.messages or 1 do
    local r = ffi.gc(ffi.new "struct mm_dialogue_result", C.mm_dialogue_result_free)
    if ok then ok = C.mm_dialogue_message(d, mail, options.stop_after or C.MM_STAGE_COUNT, options.hangs_up
      or false, r, why) end
    results[#results + 1] = r
    if ok and options.apply then
      ok = C.mm_dialogue_apply(d, r, mail, why)
      local out = ffi.new "struct mm_buffer"
      C.mm_mail_file_write(mail, out)
      f.result = ffi.string(out.bytes, out.size)
      C.mm_buffer_free(out)
    end
  end
  local last = ffi.gc(ffi.new "struct mm_dialogue_result", C.mm_dialogue_result_free)
  if ok then ok = C.mm_dialogue_quit(d, last, why) end
  C.mm_dialogue_free(d)
  C.mm_dialogue_result_free(opening)
  C.mm_mail_file_free(mail)
  f.write:free()
  f.read:free()
  f.last = last
  return f, results, not ok and ffi.string(why.text) or nil
end

local function reply_of(r) return ffi.string(r.store.bytes + r.text.at, r.text.size) end
local function macros_before(f, letter, nth)
  local found, count = {}, 0
  for _, packet in ipairs(f.heard) do
    if packet[1] == "D" and packet[2]:sub(1, 1) == letter then
      count = count + 1
      if count == (nth or 1) then
        for name, value in packet[2]:sub(2):gmatch "(%Z*)%z(%Z*)%z" do found[name] = value end
        return found
      end
    end
  end
end

describe("a session of Postfix", function()
  it("sends macros before every command and an abort after every message", function()
    local f, r, why = play { filter = filter {} }
    assert.is_nil(why)
    assert.equal("O DC C DH H DM M DR R DR R DT T DL L DL L DL L DN N DB B DE E A A Q ", f.log)
    assert.is_true(r[1].is_decided)
    assert.equal(C.MM_VERDICT_accept, r[1].verdict)
    assert.equal(250, r[1].code)
  end)

  it("omits steps that were switched off, but still sends the envelope's macros", function()
    local all = bits.no_connect + bits.no_helo + bits.no_mail + bits.no_rcpt + bits.no_body + bits.no_header
      + bits.no_eoh + bits.no_data
    assert.equal("O DC DH DM DR DR DT DE E A A Q ", play({ filter = filter({}, all) }).log)
  end)

  it("does not wait where no reply was agreed", function()
    local f, _, why = play { filter = filter({}, bits.quiet_header) }
    assert.is_nil(why)
    assert.matches("DL L DL L DL L DN N", f.log)
  end)

  it("names the message from the second recipient on", function()
    local f = play { filter = filter {} }
    assert.is_nil(macros_before(f, "M").i)
    assert.is_nil(macros_before(f, "R", 1).i)
    assert.is_truthy(macros_before(f, "R", 2).i)
    assert.is_truthy(macros_before(f, "E").i)
  end)

  it("sends several messages", function()
    local f = play { filter = filter {}, messages = 2 }
    assert.matches("DE E A DM M", f.log)
  end)

  it("closes silently when the client is refused", function()
    local f, r = play { filter = filter { C = frame "r" }, messages = 2 }
    assert.equal("O DC C ", f.log)
    assert.equal("554 ESMTP not accepting connections", reply_of(r[2]))
    assert.equal(C.MM_STAGE_connect, r[2].stage)
  end)
end)

describe("a session of Sendmail", function()
  it("sends macros where it has a list", function()
    local f, _, why = play { filter = filter {}, kind = C.MM_MTA_SENDMAIL }
    assert.is_nil(why)
    assert.equal("O DC C DH H DM M DR R DR R T L L L N B DE E Q ", f.log)
    assert.is_truthy(macros_before(f, "M").i)
  end)

  it("sends the lists that a filter requests", function()
    local lists = u32(4) .. "i {client_addr}\0" .. u32(6) .. "i\0" .. u32(5) .. "i {msg_id}\0"
    local f = play { filter = filter({}, 0, lists), kind = C.MM_MTA_SENDMAIL }
    assert.matches("DT T L L L DN N B DE E Q", f.log)
    assert.same({ ["{client_addr}"] = "192.0.2.1", i = macros_before(f, "M").i }, macros_before(f, "T"))
  end)

  it("ignores a list for end of message without one for end of headers, as 8.17 does", function()
    local f = play { filter = filter({}, 0, u32(5) .. "i\0"), kind = C.MM_MTA_SENDMAIL }
    assert.is_nil(macros_before(f, "E").i)
    f = play { filter = filter({}, 0, u32(6) .. "i\0"), kind = C.MM_MTA_SENDMAIL }
    assert.is_nil(macros_before(f, "E"))
  end)

  it("aborts with the next message when no recipient was left", function()
    local f, r = play { filter = filter { R = frame "r" }, kind = C.MM_MTA_SENDMAIL, messages = 2 }
    assert.equal("O DC C DH H DM M DR R DR R A DM M DR R DR R Q ", f.log)
    assert.equal(2, r[1].recipients_refused)
    assert.equal(C.MM_VERDICT_reject, r[1].verdict)
    assert.equal(C.MM_STAGE_rcpt, r[1].stage)
  end)

  it("quits when the client is refused", function()
    local f, r = play { filter = filter { C = frame("y", "421 4.7.0 go\0") }, kind = C.MM_MTA_SENDMAIL }
    assert.equal("O DC C Q ", f.log)
    assert.equal(C.MM_VERDICT_tempfail, r[1].verdict)
    assert.equal("451 4.3.2 Please try again later", reply_of(r[1]))
  end)
end)

describe("a verdict", function()
  local function verdict(letter, answer, kind)
    local f, r, why = play { filter = filter { [letter] = answer }, kind = kind, messages = 2 }
    assert.is_nil(why)
    return r[2], f
  end

  it("on the envelope ends a message, and the next begins", function()
    local r, f = verdict("M", frame("y", "550-5.7.1 a\r\n550 5.7.1 100%%\0"))
    assert.equal("550-5.7.1 a\r\n550 5.7.1 100%", reply_of(r))
    assert.equal(550, r.code)
    assert.equal("O DC C DH H DM M A DM M A A Q ", f.log)
  end)

  it("on the content has each MTA's own text", function()
    assert.equal("550 5.7.1 Command rejected", reply_of((verdict("N", frame "r"))))
    assert.equal("554 5.7.1 Command rejected", reply_of((verdict("N", frame "r", C.MM_MTA_SENDMAIL))))
    assert.equal("451 4.7.1 Service unavailable - try again later", reply_of((verdict("E", frame "t"))))
  end)

  it("to discard or accept ends the filter's part in the message", function()
    local r, f = verdict("M", frame "d", C.MM_MTA_SENDMAIL)
    assert.equal(C.MM_VERDICT_discard, r.verdict)
    assert.equal("O DC C DH H DM M DM M Q ", f.log)
    r, f = verdict("R", frame "a")
    assert.equal(C.MM_VERDICT_accept, r.verdict)
    assert.equal("O DC C DH H DM M DR R A DM M DR R A A Q ", f.log)
  end)

  it("421 ends the session", function()
    local r, f = verdict("M", frame("y", "421 4.7.0 bye\0"))
    assert.equal(421, r.code)
    assert.equal("O DC C DH H DM M A A Q ", f.log)
  end)

  it("skip stops the body, when agreed", function()
    local long = "From: a@x\nTo: b@x\n\n" .. ("x"):rep(70000) .. "\n"
    local f, r = play { filter = filter({ B = frame "s" }, bits.skip), message = long, kind = C.MM_MTA_SENDMAIL }
    assert.equal("O DC C DH H DM M DR R T L L N B DE E Q ", f.log)
    assert.equal(0, r[1].complaint_count)
    f = play { filter = filter {}, message = long, kind = C.MM_MTA_SENDMAIL }
    assert.matches("N B B DE E", f.log)
  end)
end)

describe("a client that gives up", function()
  it("resets", function()
    local f, r = play { filter = filter {}, stop_after = C.MM_STAGE_data, messages = 2, kind = C.MM_MTA_SENDMAIL }
    assert.equal("O DC C DH H DM M DR R DR R T A DM M DR R DR R T A Q ", f.log)
    assert.is_true(r[1].is_aborted)
    assert.is_false(r[1].is_decided)
  end)

  it("resets without notifying a filter that Sendmail does not count as in the message", function()
    local f = play { filter = filter({}, bits.quiet_mail), stop_after = C.MM_STAGE_rcpt, messages = 2,
      kind = C.MM_MTA_SENDMAIL }
    assert.equal("O DC C DH H DM M DR R DR R DM M DR R DR R Q ", f.log)
  end)

  it("or goes away", function()
    local f = play { filter = filter {}, stop_after = C.MM_STAGE_body, hangs_up = true }
    assert.matches("DB B $", f.log)
  end)
end)

describe("a filter that fails", function()
  it("by an unknown letter", function()
    local _, _, why = play { filter = filter { M = frame "4" } }
    assert.matches("in answer to mail: reply '4'", why)
  end)

  it("by closing", function()
    local _, _, why = play { filter = filter { E = "" } }
    assert.matches("in answer to eom: the filter closed the connection", why)
    _, _, why = play { filter = filter { E = "\0\0\0\5y55" } }
    assert.matches("7 bytes into a packet", why)
  end)

  it("by accepting what was not offered", function()
    local f = filter({}, 0x200000)
    local _, _, why = play { filter = f }
    assert.matches("steps 0x200000 were not offered", why)
  end)
end)

describe("a complaint", function()
  local function complaint(answers)
    local f, r, why = play { filter = filter(answers) }
    assert.is_nil(why)
    for i = 0, r[1].reply_count - 1 do
      local e = r[1].replies[i]
      if e.complaint.size > 0 then return ffi.string(r[1].store.bytes + e.complaint.at, e.complaint.size), f, r[1] end
    end
    return nil, f, r[1]
  end

  it("is made about a reply that only one of the MTAs accepts, and the dialogue goes on", function()
    local what, f = complaint { R = frame "s" }
    assert.matches("SKIP: may not answer rcpt", what)
    assert.matches("E A A Q", f.log)
    assert.matches("index 0", (complaint { E = frame("m", u32(0) .. "X\0y\0") .. frame "c" }))
    assert.is_nil((complaint { E = frame("h", "X\0y\0") .. frame "p" .. frame "c" }))
  end)

  it("is made about a superfluous reply, at the end at the latest", function()
    local f = play { filter = filter { E = frame "c" .. frame "c" } }
    assert.equal(1, f.last.complaint_count)
  end)
end)

describe("the edits of an accepted message", function()
  it("are applied by the MTA", function()
    local answer = frame("h", "X-Tag\0yes\0") .. frame("m", u32(1) .. "Subject\0new\0")
      .. frame("b", "other\r\n") .. frame "a"
    local f = play { filter = filter { E = answer }, apply = true }
    assert.equal("From: ann@example.org\nTo: bob@example.org, eve@example.net\nSubject: new\nX-Tag: "
      .. "yes\n\nother\n", f.result)
  end)

  it("contain their own space when that was agreed", function()
    local f = play { filter = filter({ E = frame("h", "X-Tag\0 yes\0") .. frame "a" }, bits.leading_space),
      apply = true }
    assert.matches("\nX%-Tag: yes\n", f.result)
  end)

  it("do not affect a refused message", function()
    local f = play { filter = filter { E = frame("h", "X-Tag\0yes\0") .. frame "r" }, apply = true }
    assert.equal(message, f.result)
  end)
end)
