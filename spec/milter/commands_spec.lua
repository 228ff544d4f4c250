--- Each command of the milter protocol as an MTA may and may not send it. A command that no MTA may send closes the
--- connection, with one line in the log; every other command gets exactly one answer (the oracle of fake_mta counts).
local fake_mta = require "spec.support.fake_mta"

local packet, u32 = fake_mta.packet, fake_mta.u32

local SCRIPT = [[
  function on_connect(ctx, host, address) ctx.session.connect = host .. " " .. tostring(address) end
  function on_helo(ctx, name) end
  function on_mail(ctx, sender, params) end
  function on_rcpt(ctx, recipient, params) end
  function on_data(ctx) end
  function on_header(ctx, name, value) end
  function on_eoh(ctx) end
  function on_body(ctx, chunk) end
  function on_eom(ctx) end
  function on_unknown(ctx, command) end
  function on_abort(ctx) require "moonmilter".log.info("abort") end
  function on_close(ctx) require "moonmilter".log.info("close") end
  options = { lockstep = true }
]]

-- Brings a session into the state in which the letter is allowed.
local before = {
  O = {}, D = { "O" }, C = { "O" }, H = { "O", "C" }, M = { "O", "C", "H" }, R = { "O", "C", "H", "M" },
  T = { "O", "C", "H", "M", "R" }, L = { "O", "C", "H", "M", "R", "T" }, N = { "O", "C", "H", "M", "R", "T", "L" },
  B = { "O", "C", "H", "M", "R", "T", "L", "N" }, E = { "O", "C", "H", "M", "R", "T", "L", "N", "B" },
  A = { "O", "C", "H", "M" },
  Q = { "O", "C", "H", "M" }, K = { "O", "C" }, U = { "O", "C" },
}
local good = {
  O = u32(6) .. u32(0x1ff) .. u32(0x1fffff), C = "mail.example\0" .. "4\0\25" .. "192.0.2.1\0", H = "mail.example\0",
  M = "<ann@one.example>\0SIZE=100\0", R = "<bob@two.example>\0", T = "", L = "Subject\0 hello\0", N = "",
  B = "text\r\n",
  E = "", A = "", Q = "", K = "", U = "BOGUS command\0", D = "Mi\0ABC123\0",
}

local function open(letter)
  local mta = fake_mta.start { script = SCRIPT, negotiates = false }
  for _, earlier in ipairs(before[letter]) do
    assert(mta:feed(packet(earlier, good[earlier])))
    mta:output()
  end
  return mta
end

local function closes_once(mta)
  assert.is_true(mta:is_finished(), "the connection is open")
  local lines = mta:log_lines "connection_closed"
  assert.equal(1, #lines, table.concat(lines, "\n"))
  assert.truthy(lines[1]:find("cause=peer", 1, true), lines[1])
  assert.truthy(lines[1]:find("error=", 1, true), lines[1])
  local closes = select(2, mta.owner:log():gsub("text=close", ""))
  assert.equal(1, closes)
  return lines[1]
end

local function answers(mta, wanted)
  local said = {}
  for _, reply in ipairs(mta:output()) do
    said[#said + 1] = reply[1]
  end
  assert.equal(wanted, table.concat(said))
  assert.is_false(mta:is_finished())
  assert.same({}, mta:log_lines "connection_closed")
end

describe("a command as it should be", function()
  local one_reply = { C = "c", H = "c", M = "c", R = "c", T = "c", L = "c", N = "c", B = "c", E = "c",
    U = "c", O = "O" }
  for letter, payload in pairs(good) do
    it(letter .. " is taken and has " .. (one_reply[letter] and "one answer" or "no answer"), function()
      local mta = open(letter)
      assert(mta:feed(packet(letter, payload)))
      if letter == "Q" then
        assert.is_true(mta:is_finished())
        assert.same({}, mta:log_lines "connection_closed")
      else
        answers(mta, one_reply[letter] or "")
      end
      mta:close()
    end)
  end

  local odd_but_legal = {
    { "C", "\0U", "an unknown client" },
    { "C", "unknown\0L\0\0/run/socket\0", "a client on a unix socket" },
    { "C", "x\0" .. "6\0\0IPv6:2001:db8::1\0", "an address with Sendmail's IPv6: prefix" },
    { "C", "x\0" .. "6\0\0ipv6:::1\0", "the prefix in small letters" },
    { "C", "x\0" .. "6\0\0" .. "2001:db8::1\0", "an address as Postfix writes it" },
    { "H", "\0", "an empty HELO argument" },
    { "M", "<>\0", "the null sender" }, { "M", "\0", "an empty address" },
    { "M", "<a@b>\0\0X\0", "an empty parameter" },
    { "R", "bob\0", "a recipient without brackets" }, { "L", "X\0\0", "an empty value" },
    { "L", "X\0 a\n\tb\0", "a folded value" }, { "U", "\0", "an empty line" },
    { "B", ("x"):rep(65535), "a full chunk" },
    { "B", ("x"):rep(65536), "the chunk of 65536 bytes that miltertest cuts" },
    { "B", "\0\0\0", "NULs in the body" }, { "E", "the last piece\r\n", "body bytes in the end-of-message packet" },
  }
  for _, case in ipairs(odd_but_legal) do
    it(("%s: %s is accepted"):format(case[1], case[3]), function()
      local mta = open(case[1])
      assert(mta:feed(packet(case[1], case[2])))
      answers(mta, "c")
      mta:close()
    end)
  end

  for _, macros in ipairs { "M", "Mi\0\0", "Mi\0ABC\0odd\0", "L", "Bi\0X\0", "?", "Ui\0X\0" } do
    it(("macros %q are accepted silently"):format(macros), function()
      local mta = open "D"
      assert(mta:feed(packet("D", macros)))
      answers(mta, "")
      mta:close()
    end)
  end
end)

describe("a malformed command closes the connection and leaves one line in the log", function()
  local cases = {
    { "O", "", "needs 12 bytes" }, { "O", good.O:sub(1, 11), "needs 12 bytes" },
    { "D", "", "1 byte" }, { "D", "Mi", "NUL" }, { "D", "Mi\0x", "NUL" },
    { "C", "", "NUL" }, { "C", "host", "NUL" }, { "C", "host\0", "family" }, { "C", "host\0X", "family" },
    { "C", "host\0" .. "4", "port" }, { "C", "host\0" .. "4\0", "port" }, { "C", "host\0" .. "4\0\25", "address" },
    { "C", "host\0" .. "4\0\25" .. "1.2.3.4", "NUL" },
    { "C", "host\0" .. "4\0\25unknown\0", "does not fit" },
    { "C", "host\0" .. "6\0\25" .. "1.2.3.4\0", "does not fit" },
    { "C", "host\0" .. "4\0\25" .. "::1\0", "does not fit" }, { "C", "host\0" .. "4\0\25\0", "does not fit" },
    { "H", "", "NUL" }, { "H", "name", "NUL" }, { "H", "name\0x", "after" }, { "H", "a\0b\0", "after" },
    { "M", "", "NUL" }, { "M", "<a@b>", "NUL" }, { "M", "<a@b>\0SIZE=1", "NUL" },
    { "R", "", "NUL" }, { "R", "<a@b>", "NUL" }, { "R", "<a@b>\0X", "NUL" },
    { "T", "x", "no data" }, { "N", "x", "no data" }, { "A", "x", "no data" }, { "Q", "x", "no data" },
    { "K", "x", "no data" },
    { "L", "", "NUL" }, { "L", "X", "NUL" }, { "L", "X\0", "value" }, { "L", "X\0y", "NUL" },
    { "L", "X\0y\0z", "after" },
    { "L", "X\0y\0z\0", "after" }, { "L", "\0y\0", "empty" },
    { "B", "", "empty" }, { "U", "", "NUL" }, { "U", "line", "NUL" }, { "U", "a\0b\0", "after" },
  }
  for _, case in ipairs(cases) do
    it(("%s with %q"):format(case[1], case[2]), function()
      local mta = open(case[1])
      assert.is_nil(mta:feed(packet(case[1], case[2])))
      assert.same({}, mta:output())
      local line = closes_once(mta)
      assert.truthy(line:find(case[3], 1, true), line)
      mta:close()
    end)
  end

  it("with a message open, on_abort comes before on_close", function()
    local mta = open "R"
    assert.is_nil(mta:feed(packet("R", "")))
    closes_once(mta)
    local log = mta.owner:log()
    assert.truthy(log:find("text=abort.*text=close"))
    mta:close()
  end)

  it("and packets after it are ignored", function()
    local mta = open "M"
    assert.is_nil(mta:feed(packet("M", "") .. packet("M", good.M) .. packet("Q")))
    assert.same({}, mta:output())
    closes_once(mta)
    assert.is_true(mta:feed(packet("M", good.M)))
    assert.same({}, mta:output())
    mta:close()
  end)
end)

describe("a command out of order closes the connection", function()
  local function sequence(letters)
    local mta = fake_mta.start { script = SCRIPT, negotiates = false }
    local ok = true
    for letter in letters:gmatch "." do
      assert.is_true(ok, "closed before " .. letter)
      ok = mta:feed(packet(letter, good[letter]))
      mta:output()
    end
    return mta, ok
  end
  local wrong = { "C", "D", "H", "M", "R", "T", "L", "N", "B", "E", "A", "K", "U", "OO", "OCC", "OCHC", "OCMC",
    "OCR", "OCT", "OCL", "OCN", "OCB", "OCMRTT", "OCMRTR", "OCMRLT", "OCMRNL", "OCMRNN", "OCMRBN", "OCMRBL", "OCMRBR",
    "OCMRTLNBER" .. "EO", "OCMO" }
  for _, letters in ipairs(wrong) do
    it(letters, function()
      local mta, ok = sequence(letters)
      assert.is_nil(ok)
      assert.truthy(closes_once(mta):find("out of order", 1, true))
      mta:close()
    end)
  end

  -- what real MTAs do (protocol 2.14, 5.6), and what is harmless when answered with "continue"
  local right = { "Q", "OQ", "OCQ", "OM", "OCM", "OCHH", "OCMH", "OCMM", "OCMRM", "OCMRTLM", "OCA", "OCAA",
    "OCMAA", "OCMRTLNBEA", "OCMRTLNBEAA", "OCHMRTLNBEM", "OCE", "OCMEE", "OCME", "OCMRNBE", "OCMRBE", "OCMRTLNEMRTLNE",
    "OUCUHUMURUTLNE", "OCKCMREK", "OCMAE",
    "OCMRAMRTLNE", "OCMRTLNERTLNBE" }
  for _, letters in ipairs(right) do
    it(letters .. " is in order", function()
      local mta, ok = sequence(letters)
      assert.is_true(ok)
      assert.same({}, mta:log_lines "connection_closed")
      assert.equal(letters:sub(-1) == "Q", mta:is_finished())
      mta:close()
    end)
  end
end)

describe("a packet length", function()
  local function starts(bytes)
    local mta = fake_mta.start { script = SCRIPT }
    mta:feed(bytes)
    return mta
  end
  for name, bytes in pairs {
    ["of 0 closes at once, before any letter"] = "\0\0\0\0", ["of 0 followed by a byte closes"] = "\0\0\0\0A",
    ["of 0x10002 closes without waiting for so many bytes"] = "\0\1\0\2",
    ["of 0x10001 closes unless it is a body"] = "\0\1\0\1H",
    ["of 0x7fffffff closes"] = "\127\255\255\255", ["of 0x80000001 closes"] = "\128\0\0\1A",
    ["of 0xffffffff closes"] = "\255\255\255\255",
    ["of a port scanner's GET closes"] = "GET / HTTP/1.0\r\n\r\n",
    ["of a TLS hello closes"] = "\22\3\1\2\0\1\0\1\252\3\3",
    ["of SMTP spoken by mistake closes"] = "EHLO me\r\n",
  } do
    it(name, function()
      local mta = starts(bytes)
      assert.truthy(closes_once(mta):find("packet length", 1, true))
      assert.same({}, mta:output())
      mta:close()
    end)
  end

  it("of 0x10000 is accepted", function()
    local mta = fake_mta.start { script = SCRIPT }
    mta:connect()
    assert(mta:feed(packet("H", ("x"):rep(65534) .. "\0")))
    answers(mta, "c")
    mta:close()
  end)
end)

describe("a letter that no MTA sends", function()
  for name, payload in pairs { ["alone"] = "", ["with data"] = "x\0" } do
    it(name .. " closes the connection, whichever it is", function()
      for code = 0, 255 do
        local letter = string.char(code)
        if not letter:find "[ODCHMRTLNBEAQKU]" then
          local mta = fake_mta.start { script = SCRIPT }
          assert.is_nil(mta:feed(packet(letter, payload)))
          assert.truthy(closes_once(mta):find("no milter command has this letter", 1, true))
          mta:close()
        end
      end
    end)
  end
end)

describe("a connection that sends nothing", function()
  it("and closes logs no line, but on_close runs", function()
    local mta = fake_mta.start { script = SCRIPT, negotiates = false }
    mta:vanish()
    assert.is_true(mta:is_finished())
    assert.same({}, mta:log_lines "connection_closed")
    assert.truthy(mta.owner:log():find("text=close", 1, true))
    mta:close()
  end)
  it("but one byte behaves alike", function()
    local mta = fake_mta.start { script = SCRIPT, negotiates = false }
    mta:feed "\0"
    mta:vanish()
    assert.is_true(mta:is_finished())
    assert.same({}, mta:log_lines "connection_closed")
    mta:close()
  end)
end)
