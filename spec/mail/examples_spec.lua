package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local fake_ctx = require "fake_ctx"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local portrait = require "portrait"
local hand = require "hand"

local function lines(...)
  return table.concat({ ... }, "\r\n")
end

local function read(name)
  return portrait.read_file("spec/mail/corpus/hand/" .. name .. ".eml")
end

-- Does a portrait show a program, or a structure that mail readers may read differently?
local function is_refused(expect)
  for defects in expect:gmatch " defects=(%S+)" do
    for defect in defects:gmatch "[^,]+" do
      if mime.ambiguous_defects[defect] then
        return true
      end
    end
  end
  return expect:find("kind=exe", 1, true) ~= nil
end

describe("examples/block-executables.lua", function()
  it("refuses programs and ambiguous structures, and passes the rest of the corpus", function()
    local ambiguous = 0
    for _, case in ipairs(hand) do
      local got = fake_ctx.run("examples/block-executables.lua", read(case.name))
      assert.equal(is_refused(case.expect) and "reject" or nil, got.verdict, case.name)
      ambiguous = ambiguous + (got.verdict and got.reply[2] == "5.6.0" and 1 or 0)
    end
    assert.equal(3, ambiguous) -- mime-repeated-type, mime-no-boundary, mime-empty-boundary
  end)
  it("refuses a program in a base64 message, too", function()
    local codec = require "moonmilter.codec"
    local inner = "Content-Type: text/plain; name=readme.txt\r\n\r\nMZ\144\0\3\0\0\0"
    local got = fake_ctx.run("examples/block-executables.lua", lines("Content-Type: message/rfc822",
      "Content-Transfer-Encoding: base64", "", codec.base64_encode(inner)))
    assert.same({ 554, "5.7.1", "programs are not accepted by mail: readme.txt" }, got.reply)
  end)
end)

describe("examples/tag-subject-utf8.lua", function()
  it("tags once, keeping the text", function()
    local first = fake_ctx.run("examples/tag-subject-utf8.lua", "Subject: =?iso-8859-1?Q?Gr=FC=DFe?= an "
      .. "alle\r\n\r\nx").message
    local second = fake_ctx.run("examples/tag-subject-utf8.lua", first).message
    assert.equal("[außen] Grüße an alle", header.block(second):field("Subject"):text())
    assert.equal(first, second)
  end)
end)

describe("examples/footer-text-html.lua", function()
  it("adds it to both alternatives and leaves the attachment unchanged", function()
    local attachment = "--m\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: "
      .. "base64\r\n\r\niVBORw0KGgo=\r\n--m--\r\n"
    local message = lines("Subject: x", "Content-Type: multipart/mixed; boundary=m", "", "--m",
      "Content-Type: multipart/alternative; boundary=a", "",
      "--a", "Content-Type: text/plain; charset=iso-8859-1", "Content-Transfer-Encoding: 8bit", "", "caf\233", "--a",
      "Content-Type: text/html", "", "<body><p>x</body>", "--a--", attachment)
    local got = fake_ctx.run("examples/footer-text-html.lua", message).message
    local root = mime.parse(got)
    assert.is_truthy(root.parts[1].parts[1].content:find("café\r\n\r\n-- \r\nBeispiel GmbH · Musterstraße", 1, true))
    assert.is_truthy(root.parts[1].parts[2].content:find("Musterstra&#223;e 1", 1, true))
    assert.equal(attachment, got:sub(-#attachment))
  end)
  it("leaves signed mail unchanged", function()
    assert.equal(read "mime-signed", fake_ctx.run("examples/footer-text-html.lua", read "mime-signed").message)
  end)
end)

describe("examples/from-spoofing.lua", function()
  local function verdict(from)
    return fake_ctx.run("examples/from-spoofing.lua", from .. "\r\n\r\nx").verdict
  end
  it("refuses a From that shows one address but contains another", function()
    assert.equal("reject", verdict 'From: "ceo@bank.example" <evil@x.example>')
    assert.equal("reject", verdict "From: ceo@bank.example <evil@x.example>")
    assert.equal("reject", verdict "From: =?utf-8?q?ceo=40bank.example?= <evil@x.example>")
    assert.equal("reject", verdict "From: <a@x.example><b@y.example>")
    assert.equal("reject", verdict "From: =?utf-8?q?ceo=40bank.example, the director?= <evil@x.example>")
    assert.equal("reject", verdict "From: =?utf-8?b?Y2VvQGJ?= =?utf-8?b?hbmsuZXhhbXBsZQ==?= <evil@x.example>")
    assert.equal("reject", verdict "From: ann@x.example, ceo@bank.example <ann@x.example>")
    assert.equal("reject", verdict 'From: "ann@x.example ceo@bank.example" <ann@x.example>')
    assert.equal("reject", verdict 'From: "ceo@b\195\188cher.example" <evil@x.example>')
    assert.equal("reject", verdict 'From: "ceo\239\188\160bank.example" <evil@x.example>')
    assert.equal("reject", verdict "From: evil@x.example (ceo@bank.example)")
    assert.equal("reject", verdict 'From: "ceo@bank.example <evil@x.example>')
    assert.equal("reject", verdict "From: =?utf-8?q?ceo=40bank.example=3E?=@x.example")
    assert.equal("reject", verdict "From: a@x.example\r\nFrom: b@y.example")
    assert.equal("reject", verdict "Subject: x")
  end)
  it("passes honest mail", function()
    assert.is_nil(verdict "From: Ann <ann@x.example>")
    assert.is_nil(verdict 'From: "ann@x.example" <ann@X.example>')
    assert.is_nil(verdict 'From: "Ann @ Work" <ann@x.example>')
    assert.is_nil(verdict 'From: "Ann (@ann)" <ann@x.example>')
    assert.is_nil(verdict 'From: "ann@b\195\188cher.example." <ann@xn--bcher-kva.example>')
    assert.is_nil(verdict "From: =?utf-8?q?Doe, Ann?= <ann@x.example>")
  end)
end)

describe("examples/strip-authres.lua", function()
  it("removes fields that claim to be ours", function()
    local got = fake_ctx.run("examples/strip-authres.lua",
      "Authentication-Results: \"mx\\.example\"; spf=pass\r\nAuthentication-Results: other.example; spf=pass\r\n\r\nx",
        { j = "mx.example" }).message
    assert.equal("Authentication-Results: other.example; spf=pass\r\nX-Forged-Results: 1\r\n\r\nx", got)
  end)
end)
