-- Programs hidden where a mail reader finds them and the walker would not, through examples/block-executables.lua in a
-- running host; and how many harmless messages it refuses.
package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local codec = require "moonmilter.codec"
local fake_mta = require "spec.support.fake_mta"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local generate = require "generate"
local hand = require "hand"

local PROGRAM = "MZ\144\0\3\0\0\0\4\0\0\0\255\255" .. ("\0"):rep(200)
local BASE64 = codec.base64_encode(PROGRAM)

local function uuencode(bytes)
  local lines = {}
  for at = 1, #bytes, 45 do
    local piece = bytes:sub(at, at + 44)
    local line = { string.char(32 + #piece) }
    for i = 1, #piece, 3 do
      local a, b, c = piece:byte(i), piece:byte(i + 1) or 0, piece:byte(i + 2) or 0
      local sixes = { math.floor(a / 4), a % 4 * 16 + math.floor(b / 16), b % 16 * 4 + math.floor(c / 64), c % 64 }
      for _, six in ipairs(sixes) do
        line[#line + 1] = six == 0 and "`" or string.char(32 + six)
      end
    end
    lines[#lines + 1] = table.concat(line)
  end
  return table.concat(lines, "\r\n") .. "\r\n`\r\nend\r\n"
end

local function yencode(bytes)
  return (bytes:gsub(".", function(c)
    local byte = (c:byte() + 42) % 256
    if byte == 0 or byte == 10 or byte == 13 or byte == 61 then
      return "=" .. string.char((byte + 64) % 256)
    end
    return string.char(byte)
  end))
end

local BINHEX = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
local function binhex(name, bytes)
  local fork = "APPLmoon" .. "\0\0" .. "\0\0\0\214" .. "\0\0\0\0" .. "\0\0" .. bytes
  local whole = (string.char(#name) .. name .. "\0" .. fork):gsub("\144", "\144\0")
  local out, bits, count = {}, 0, 0
  for i = 1, #whole do
    bits, count = bits * 256 + whole:byte(i), count + 8
    while count >= 6 do
      count = count - 6
      local six = math.floor(bits / 2 ^ count)
      out[#out + 1], bits = BINHEX:sub(six + 1, six + 1), bits % 2 ^ count
    end
  end
  return (":" .. table.concat(out)):gsub(("."):rep(64), "%0\r\n") .. ":\r\n"
end

local function u32(n) return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256, 0) end
local function attribute(level, id, kind, data)
  return string.char(level) .. string.char(id % 256, math.floor(id / 256), kind, 0) .. u32(#data) .. data .. "\0\0"
end
local TNEF = "\120\159\62\34\1\0" .. attribute(1, 0x9006, 8, "\0\0\1\0") .. attribute(1, 0x9003, 6, ("x"):rep(5000))
  .. attribute(2, 0x9002, 6, ("\0"):rep(14)) .. attribute(2, 0x8010, 1, "evil.exe\0")
  .. attribute(2, 0x800F, 6, PROGRAM)

local function lines(...) return table.concat({ ... }, "\r\n") end
local function multipart(fields, ...) return lines("MIME-Version: 1.0", fields, "", ...) end

local PART = lines("--b", "Content-Type: application/octet-stream; name=evil.exe",
  "Content-Transfer-Encoding: base64", "", BASE64, "--b--", "")

local HARMLESS = lines("--a", "", "hi", "--a--")

-- By evasion: the message.
local evasions = {
  ["two Content-Types, text first"] = multipart(lines("Content-Type: text/plain",
    "Content-Type: multipart/mixed; boundary=b"), PART),
  ["two Content-Types, of which the second has another boundary"] = multipart(lines(
    "Content-Type: multipart/mixed; boundary=a", "Content-Type: multipart/mixed; boundary=b"), HARMLESS, PART),
  ["boundary twice"] = multipart("Content-Type: multipart/mixed; boundary=a; boundary=b", HARMLESS, PART),
  ["boundary plain and in an RFC 2231 form"] = multipart(
    "Content-Type: multipart/mixed; boundary=b; boundary*=us-ascii''a", HARMLESS, PART),
  ["boundary plain and continued"] = multipart(
    "Content-Type: multipart/mixed; boundary=b; boundary*0=a; boundary*1=a", "--aa", "", "hi", "--aa--", PART),
  ["no boundary"] = multipart("Content-Type: multipart/mixed", PART),
  ["a boundary of a thousand characters"] = multipart("Content-Type: multipart/mixed; boundary=" .. ("b"):rep(1000),
    (PART:gsub("%-%-b", "--" .. ("b"):rep(1000)))),
  ["a boundary with blanks at its end"] = multipart('Content-Type: multipart/mixed; boundary="b  "', PART),
  ["an empty boundary"] = multipart('Content-Type: multipart/mixed; boundary=""', (PART:gsub("%-%-b", "--"))),
  ["two Content-Transfer-Encodings"] = multipart(lines("Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: base64"), BASE64),
  ["unknown encoding"] = multipart("Content-Transfer-Encoding: x-base64", BASE64),
  ["an encoding with a hyphen"] = multipart("Content-Transfer-Encoding: base-64", BASE64),
  ["an unknown encoding that is quoted-printable"] = multipart("Content-Transfer-Encoding: qp",
    codec.qp_encode(PROGRAM)),
  ["an encoding in mixed case"] = multipart("Content-Transfer-Encoding: bAsE64", BASE64),
  ["an encoding in a comment"] = multipart("Content-Transfer-Encoding: (x) base64", BASE64),
  ["an encoding with a parameter"] = multipart("Content-Transfer-Encoding: base64; x=y", BASE64),
  ["an encoding in quotes"] = multipart('Content-Transfer-Encoding: "base64"', BASE64),
  ["x-uue"] = multipart("Content-Transfer-Encoding: X-UUE", "begin 644 evil.exe", uuencode(PROGRAM)),
  ["multipart in base64"] = multipart(lines("Content-Type: multipart/mixed; boundary=b",
    "Content-Transfer-Encoding: base64"), codec.base64_encode(PART, 76)),
  ["multipart in quoted-printable"] = multipart(lines("Content-Type: multipart/mixed; boundary=b",
    "Content-Transfer-Encoding: quoted-printable"), (codec.qp_encode(PART):gsub("%-%-b", "=2D-b"))),
  ["a message in base64"] = multipart(lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64"),
    codec.base64_encode(multipart("Content-Type: multipart/mixed; boundary=b", PART), 76)),
  ["a message in base64 in a message in base64"] = multipart(lines("Content-Type: message/rfc822",
    "Content-Transfer-Encoding: base64"), codec.base64_encode(multipart(lines("Content-Type: message/global",
      "Content-Transfer-Encoding: base64"),
      codec.base64_encode("Content-Transfer-Encoding: base64\r\n\r\n" .. BASE64)), 76)),
  ["a piece of a message"] = multipart('Content-Type: message/partial; id="x"; number=1; total=2',
    "Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64", "", BASE64:sub(1, 10)),
  ["a line without a colon in a part's header"] = multipart("Content-Type: multipart/mixed; boundary=b", "--b",
    "Content-Type: application/octet-stream", "no field", "Content-Transfer-Encoding: base64", "", BASE64, "--b--", ""),
  ["a NUL in a part's header"] = multipart("Content-Type: multipart/mixed; boundary=b", "--b",
    "Content-Type: multipart/mixed; boundary=\"c\0d\"", "", "--c", "Content-Transfer-Encoding: base64", "", BASE64,
    "--c--", "--b--", ""),
  ["uuencode in text"] = multipart("Content-Type: text/plain", "see below", "", "begin 644 evil.exe",
    uuencode(PROGRAM)),
  ["uuencode on the first line, without a type"] = lines("", "begin 644 evil.exe", uuencode(PROGRAM)),
  ["uuencode with two blanks and no mode"] = lines("", "begin  evil.exe", uuencode(PROGRAM)),
  ["uuencode in quoted-printable text"] = multipart("Content-Transfer-Encoding: quoted-printable",
    (codec.qp_encode(lines("begin 644 evil.exe", uuencode(PROGRAM))))),
  ["begin-base64 in text"] = lines("", "begin-base64 644 evil.exe", BASE64, "====", ""),
  ["uuencode after an innocent file"] = lines("", "begin 644 a.txt", uuencode "hello world", "begin 644 evil.exe",
    uuencode(PROGRAM)),
  ["uuencode far down"] = lines("", ("line of text\r\n"):rep(20000), "begin 755 evil.exe", uuencode(PROGRAM)),
  ["yEnc in text"] = lines("", "=ybegin line=128 size=214 name=evil.exe", yencode(PROGRAM), "=yend size=214", ""),
  ["yEnc in pieces"] = lines("", "=ybegin part=1 total=1 line=128 size=214 name=evil.exe", "=ypart begin=1 end=214",
    yencode(PROGRAM), "=yend size=214", ""),
  ["BinHex"] = multipart("Content-Type: application/mac-binhex40; name=evil.hqx",
    "(This file must be converted with BinHex 4.0)", "", binhex("evil", PROGRAM)),
  ["BinHex in text"] = lines("", "(This file must be converted with BinHex 4.0)", "", binhex("evil", PROGRAM)),
  ["winmail.dat"] = multipart(lines("Content-Type: application/ms-tnef; name=winmail.dat",
    "Content-Transfer-Encoding: base64"), codec.base64_encode(TNEF, 76)),
  ["winmail.dat under another name and type"] = multipart(lines("Content-Type: image/png; name=a.png",
    "Content-Transfer-Encoding: base64"), codec.base64_encode(TNEF, 76)),
  ["a name that differs between the two fields"] = multipart(lines("Content-Type: image/png; name=a.png",
    "Content-Disposition: attachment; filename=evil.exe", "Content-Transfer-Encoding: base64"), BASE64),
  ["a name in an RFC 2231 form beside a plain one"] = multipart(lines("Content-Type: image/png",
    "Content-Disposition: attachment; filename=a.png; filename*0=evil; filename*1=.exe",
    "Content-Transfer-Encoding: base64"), BASE64),
}

-- Messages that look like the above and are not.
local innocent = {
  ["the word begin"] = lines("", "Let us", "begin 644 things and", "end them.", "=ybegin is a word of yEnc", ""),
  ["an uuencoded text"] = lines("", "begin 644 a.txt", uuencode "hello, this is a text"),
  ["the same Content-Type twice"] = multipart(lines("Content-Type: text/plain; charset=utf-8",
    "Content-type:  text/plain;charset=UTF-8"), "hi"),
  ["an unknown encoding of text"] = multipart("Content-Transfer-Encoding: amazonses.com", "hello there", ""),
  ["an encoding spelt 8-bit"] = multipart("Content-Transfer-Encoding: 8-bit", "gr\252n", ""),
  ["a plain name beside the RFC 2231 form"] = multipart(lines(
    "Content-Type: image/png; name=\"=?utf-8?Q?Gr=C3=BCn?=.png\"",
    "Content-Disposition: attachment; filename=Gruen.png; filename*=utf-8''Gr%C3%BCn.png",
    "Content-Transfer-Encoding: base64"), codec.base64_encode "\137PNG\r\n\26\n"),
  ["a multipart labelled quoted-printable that is not"] = multipart(lines("Content-Type: multipart/mixed; boundary=b",
    "Content-Transfer-Encoding: quoted-printable"), "--b", "", "hi", "--b--", ""),
  ["a part without a header"] = multipart("Content-Type: multipart/mixed; boundary=b", "--b", "", "text only",
    "--b--", ""),
  ["a part whose text begins at once"] = multipart("Content-Type: multipart/mixed; boundary=b", "--b", "text at once",
    "--b--", ""),
  ["winmail.dat with a picture"] = multipart(lines("Content-Type: application/ms-tnef",
    "Content-Transfer-Encoding: base64"), codec.base64_encode("\120\159\62\34\1\0" .. attribute(2, 0x8010, 1, "a.png\0")
      .. attribute(2, 0x800F, 6, "\137PNG\r\n\26\n" .. ("\0"):rep(3000)), 76)),
}

local function start()
  local mta = assert(fake_mta.start { paths = { "examples/block-executables.lua" } })
  finally(function() mta:close() end)
  mta:begin()
  return mta
end

local function send(mta, message, size)
  local block, after = header.block(message)
  local body = message:sub(after):gsub("\r?\n", "\r\n")
  mta:mail()
  mta:rcpt()
  mta:data()
  for name, value in block:each() do mta:header(name, value) end
  mta:eoh()
  for at = 1, #body, size or 65535 do
    if mta:is_finished() then break end
    mta:body(body:sub(at, at + (size or 65535) - 1))
  end
  local reply = mta:eom()
  if reply.kind == "reject" then mta:abort() end
  return reply
end

describe("examples/block-executables.lua refuses a program behind", function()
  for name, message in pairs(evasions) do
    it(name, function()
      local mta = start()
      for _, size in ipairs { 65535, 1000, #message < 3000 and 1 or 777 } do
        local reply = send(mta, message, size)
        assert.equal("reject", reply.kind, name)
        assert.truthy(reply.text:find "^554 5%.7%.1 programs are not"
          or reply.text:find "^554 5%.6%.0 message structure", reply.text)
      end
      assert.same({}, mta:log_lines "script_error")
    end)
  end
  it("a defect that has a name, whenever it is not the content that shows it", function()
    for name, message in pairs(evasions) do
      local found
      assert(mime.parse(message, { on_end = nil }))
      local walker = mime.walker { with_header = true, on_end = function(part)
        found = found or next(part.defects) or mime.executable_kinds[part.kind]
      end, on_embedded = function() found = true end }
      assert(walker:body(message))
      assert(walker:eom())
      assert.truthy(found, name)
    end
  end)
end)

describe("looking for files in text", function()
  -- seconds of CPU time for a text of so many bytes
  local function seconds(line, size)
    local walker = mime.walker { on_embedded = function() end }
    local chunk = (line .. "\r\n"):rep(math.ceil(65536 / (#line + 2)))
    local began = os.clock()
    for _ = 1, size / 65536 do
      if not walker:body(chunk) then break end
    end
    walker:eom()
    return os.clock() - began
  end
  for _, line in ipairs { "begin", "begin 644 x", "begin-base64 6 x", "=ybegin name=x", "=ybegin ",
    "M" .. ("A"):rep(60), "(This file must be converted with BinHex" } do
    it("takes time in proportion to its size: " .. line:sub(1, 20), function()
      seconds(line, 131072)
      local small, large = seconds(line, 262144), seconds(line, 4 * 1048576)
      assert.is_true(large < 16 * 4 * math.max(small, 0.02), ("%.3f s, then %.3f s"):format(small, large))
    end)
  end
  it("ends with the limit on parts", function()
    local walker = mime.walker { on_embedded = function() end }
    local ok, text, code
    for _ = 1, 1000 do ok, text, code = walker:body(("=ybegin name=x\r\n"):rep(100)) end
    assert.same({ nil, "mime: more than max_parts 1000 parts", "limit" }, { ok, text, code })
  end)
end)

describe("examples/block-executables.lua accepts", function()
  for name, message in pairs(innocent) do
    it(name, function()
      for _, size in ipairs { 65535, 3 } do assert.equal("continue", send(start(), message, size).kind, name) end
    end)
  end
  it("all mail of the corpus without a program but for the few with an ambiguous structure", function()
    local mta, refused, count = start(), {}, 0
    local function try(name, message, has_program)
      if has_program then return end
      count = count + 1
      local reply = send(mta, message)
      if reply.kind ~= "continue" then refused[#refused + 1] = name .. ": " .. reply.text end
    end
    for _, case in ipairs(hand) do
      local file = assert(io.open("spec/mail/corpus/hand/" .. case.name .. ".eml", "rb"))
      try(case.name, file:read "*a", case.expect:find("kind=exe", 1, true))
      file:close()
    end
    for _, case in ipairs(generate.all()) do
      try(case.name, case.message, case.expect:find("kind=exe", 1, true))
    end
    assert.is_true(count > 300)
    table.sort(refused)
    assert.same({
      "mime-empty-boundary: 554 5.6.0 message structure refused: bad-boundary",
      "mime-no-boundary: 554 5.6.0 message structure refused: no-boundary",
      "mime-repeated-type: 554 5.6.0 message structure refused: conflicting-field",
    }, refused)
  end)
end)
