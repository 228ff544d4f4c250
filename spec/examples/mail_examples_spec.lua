-- The examples that look into mail, in a running host, over whole messages.
local fake_mta = require "spec.support.fake_mta"
local codec = require "moonmilter.codec"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"

local function start(name)
  local mta = assert(fake_mta.start { paths = { "examples/" .. name } })
  finally(function() mta:close() end)
  mta:macros("C", { { "j", "mx.example" } })
  mta:begin()
  return mta
end

local function read(name)
  local file = assert(io.open("spec/mail/corpus/hand/" .. name .. ".eml", "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Sends a stored message through the session and returns the reply.
local function send(mta, message)
  local block, after = header.block(message)
  local list = {}
  for name, value in block:each() do
    list[#list + 1] = { name, value }
  end
  return mta:message { headers = list, body = message:sub(after):gsub("\r?\n", "\r\n") }
end

local function edit_of(reply, kind)
  for _, edit in ipairs(reply.edits) do
    if edit[1] == kind then
      return edit
    end
  end
end

local MIXED = table.concat({
  "From: Ann <ann@x.example>", "Subject: =?iso-8859-1?Q?Gr=FC=DFe?=", "MIME-Version: 1.0",
  'Content-Type: multipart/mixed;\r\n\tboundary="m"', "",
  "preamble", "--m", 'Content-Type: multipart/alternative; boundary="a"', "",
  "--a", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64", "",
  codec.base64_encode "Schöne Grüße\r\n", "--a", "Content-Type: text/html; charset=iso-8859-1",
  "Content-Transfer-Encoding: quoted-printable", "", "<html><body><p>Sch=F6ne Gr=FC=DFe</p></body></html>", "--a--", "",
  "--m", "Content-Type: %s", "Content-Disposition: attachment; filename*=utf-8''%s",
  "Content-Transfer-Encoding: base64", "", "%s", "--m--", "epilogue", "" }, "\r\n")

local function mixed(type, name, content)
  return MIXED:gsub("%%s", function() return "\1" end):gsub("\1", type, 1):gsub("\1", (name:gsub("%%", "%%%%")), 1)
    :gsub("\1", content, 1)
end

local PNG = codec.base64_encode("\137PNG\r\n\26\n" .. ("\0\255picture"):rep(3000))
local PROGRAM = codec.base64_encode("MZ\144\0\3\0\0\0" .. ("\0"):rep(500))

describe("examples/block-executables.lua", function()
  it("refuses a program that is labelled as a picture, and accepts a picture", function()
    local mta = start "block-executables.lua"
    assert.equal("continue", send(mta, mixed("image/png", "bild.png", PNG)).kind)
    assert.equal("554 5.7.1 programs are not accepted by mail: bild.png",
      send(mta, mixed("image/png", "bild.png", PROGRAM)).text)
    mta:abort()
    assert.equal("554 5.7.1 programs are not accepted by mail: l??ben.png",
      send(mta, mixed("image/png", "l%C3%B6ben.png", PROGRAM)).text)
    mta:abort()
    assert.equal("continue", send(mta, mixed("image/png", "bild.png", PNG)).kind)
  end)

  it("finds it at every size of chunk, and inside an attached message in base64", function()
    local inner = "Subject: x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: "
      .. "base64\r\n\r\n" .. PROGRAM
    local message = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
      .. codec.base64_encode(inner)
    local mta = start "block-executables.lua"
    local block, after = header.block(message)
    local body = message:sub(after)
    for _, size in ipairs { 1, 7, 1000 } do
      mta:mail()
      mta:rcpt()
      mta:data()
      for name, value in block:each() do
        mta:header(name, value)
      end
      mta:eoh()
      for at = 1, #body, size do
        mta:body(body:sub(at, at + size - 1))
      end
      assert.equal("554 5.7.1 programs are not accepted by mail: a.pdf", mta:eom().text)
      mta:abort()
    end
  end)

  it("refuses every message of the corpus with a program or an ambiguous structure, and no other", function()
    local mta = start "block-executables.lua"
    package.path = "spec/mail/corpus/?.lua;" .. package.path
    for _, case in ipairs(require "hand") do
      local reply = send(mta, read(case.name))
      local is_refused = case.expect:find("kind=exe", 1, true) ~= nil
      for defect in pairs(mime.ambiguous_defects) do
        is_refused = is_refused or case.expect:find(defect, 1, true) ~= nil
      end
      assert.equal(is_refused and "reject" or "continue", reply.kind, case.name)
      if reply.kind == "reject" then
        mta:abort()
      end
    end
  end)
end)

describe("examples/tag-subject-utf8.lua", function()
  it("tags a subject in another charset, once", function()
    local mta = start "tag-subject-utf8.lua"
    local edit = edit_of(send(mta, MIXED), "change_header")
    assert.same({ "change_header", 1, "Subject" }, { edit[1], edit[2], edit[3] })
    assert.equal("[außen] Grüße", header.decode(edit[4]))
    assert.is_nil(edit[4]:find "[\128-\255\r\n]")
    assert.same({}, send(mta, "Subject: " .. header.encode "[außen] Grüße" .. "\r\n\r\nx").edits)
  end)
  it("folds a long tagged subject, and adds a subject to mail without one", function()
    local mta = start "tag-subject-utf8.lua"
    local long = ("日本語の件名"):rep(20)
    local edit = edit_of(send(mta, "Subject: " .. header.encode(long):gsub("\n", "\r\n") .. "\r\n\r\nx"),
      "change_header")
    assert.equal("[außen] " .. long, header.decode(edit[4]))
    for line in edit[4]:gmatch "[^\n]+" do
      assert.is_true(#line <= 78)
    end
    edit = edit_of(send(mta, "To: x@y\r\n\r\nx"), "add_header")
    assert.equal("[außen] (kein Betreff)", header.decode(edit[3]))
  end)
end)

describe("examples/footer-text-html.lua", function()
  local function result(message, reply)
    local block = header.block(message)
    local head = {}
    for name, value in block:each() do
      head[#head + 1] = name .. ": " .. value:gsub("\n", "\r\n")
    end
    for _, edit in ipairs(reply.edits) do
      if edit[1] == "add_header" then
        head[#head + 1] = edit[2] .. ": " .. edit[3]
      end
    end
    local body = {}
    for _, edit in ipairs(reply.edits) do
      body[#body + 1] = edit[1] == "replace_body" and edit[2] or nil
    end
    return table.concat(head, "\r\n") .. "\r\n\r\n" .. table.concat(body)
  end

  it("adds it to text and HTML, in their charsets, and leaves the attachment byte for byte", function()
    local mta = start "footer-text-html.lua"
    local message = mixed("image/png", "bild.png", PNG)
    local reply = send(mta, message)
    assert.equal("continue", reply.kind)
    local text = result(message, reply)
    local root = mime.parse(text)
    local plain, html = root.parts[1].parts[1], root.parts[1].parts[2]
    assert.equal("Schöne Grüße\r\n\r\n-- \r\nBeispiel GmbH · Musterstraße 1 · 12345 Köln\r\n", plain.content)
    assert.equal("base64", plain.encoding)
    assert.truthy(html.content:find("<p>Beispiel GmbH &#183; Musterstra&#223;e 1", 1, true), html.content)
    assert.truthy(html.content:find "Köln</p>\r\n</body></html>"
      or html.content:find("K&#246;ln</p>\r\n</body></html>", 1, true))
    local tail = message:sub((message:find("--m\r\nContent-Type: image/png", 1, true)))
    assert.equal(tail, text:sub(-#tail))
  end)

  it("adds it to a message of one text, and updates the header", function()
    local mta = start "footer-text-html.lua"
    local reply = send(mta, "Subject: x\r\n\r\nhello\r\n")
    assert.same({ "replace_body", "hello\r\n\r\n=2D-=20\r\nBeispiel GmbH =C2=B7 Musterstra=C3=9Fe 1 =C2=B7 12345 "
      .. "K=C3=B6ln\r\n" }, edit_of(reply, "replace_body"))
    local added = {}
    for _, edit in ipairs(reply.edits) do
      if edit[1] == "add_header" then
        added[edit[2]] = edit[3]
      end
    end
    assert.same({ ["MIME-Version"] = "1.0", ["Content-Type"] = "text/plain; charset=utf-8",
      ["Content-Transfer-Encoding"] = "quoted-printable" }, added)
  end)

  it("leaves signed mail and mail over the limit unchanged", function()
    local mta = start "footer-text-html.lua"
    assert.same({}, send(mta, read "mime-signed").edits)
    local big = mta:message { body = ("x"):rep(78):rep(140000) }
    assert.equal("accept", big.kind)
    assert.same({}, big.edits)
    assert.equal("replace_body", mta:message().edits[4][1])
  end)
end)

describe("examples/from-spoofing.lua", function()
  it("refuses a From that shows one address but contains another, and accepts the rest", function()
    local mta = start "from-spoofing.lua"
    for from, text in pairs {
      ['"ceo@bank.example" <evil@x.example>'] = "550 5.7.1 From shows bank.example but is evil@x.example",
      ["=?utf-8?q?ceo=40bank.example?= <evil@x.example>"] = "550 5.7.1 From shows bank.example but is evil@x.example",
      ["Ann <ann@x.example>"] = false, ['"ann@x.example" <ann@X.example>'] = false,
      ["=?utf-8?b?R3LDvMOfZQ==?= <ann@x.example>"] = false,
    } do
      local reply = mta:message { headers = { { "From", from } } }
      assert.equal(text or nil, reply.text, from)
      if text then
        mta:abort()
      end
    end
    assert.equal("550 5.6.0 exactly one From field is required (RFC 5322 3.6)",
      mta:message({ headers = { { "From", "a@x" }, { "From", "b@x" } } }).text)
    mta:abort()
    assert.equal("550 5.6.0 exactly one From field is required (RFC 5322 3.6)",
      mta:message({ headers = { { "To", "a@x" } } }).text)
  end)
end)

describe("examples/strip-authres.lua", function()
  it("removes fields that claim to be ours, in any spelling, by their index", function()
    local mta = start "strip-authres.lua"
    local edits = mta:message({ headers = {
      { "Authentication-Results", "other.example; spf=pass smtp.mailfrom=x.example" },
      { "Authentication-Results", "MX.example; dkim=pass header.d=x.example" },
      { "Subject", "x" },
      { "authentication-results", "(comment)\n\tmx.example 1; none" },
      { "ARC-Authentication-Results", "i=1; mx.example; spf=pass" },
    } }).edits
    local deleted = {}
    for _, edit in ipairs(edits) do
      if edit[1] == "change_header" and edit[4] == "" then
        deleted[#deleted + 1] = edit[3]:lower() .. " " .. edit[2]
      end
    end
    table.sort(deleted)
    assert.same({ "authentication-results 2", "authentication-results 3" }, deleted)
    assert.same({ "add_header", "X-Forged-Results", "2" }, edit_of({ edits = edits }, "add_header"))
    assert.same({}, mta:message().edits)
  end)
end)
