--- Parameters whose spelling leaves a choice, and those that only look so.
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"

local function part_of(content_type)
  return mime.parse("Content-Type: " .. content_type .. "\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
end

local function is_ambiguous(part)
  for defect in pairs(part.defects) do
    if mime.ambiguous_defects[defect] then
      return defect
    end
  end
end

describe("words of a protocol", function()
  it("are the bytes of the field: 8 bit stays, words are not decoded", function()
    local t = header.params 'multipart/mixed; boundary="b\233"; charset="=?us-ascii?q?utf-8?="; name="=?us-ascii?q?n?="'
    assert.same({ boundary = "b\233", charset = "=?us-ascii?q?utf-8?=", name = "n" }, t.params)
    assert.equal("b\233", header.params("multipart/mixed; boundary*=iso-8859-1''b%E9").params.boundary)
  end)
  it("never have a line end or a NUL", function()
    assert.is_nil(header.params("a/b; boundary*=us-ascii''a%0D%0Ab%00c").params.boundary:find "[%z\r\n]")
  end)
end)

describe("a boundary", function()
  local ordinary = { 'multipart/mixed; boundary="----=_NextPart_000_0000_01D0A1B2.C3D4E5F0"',
    "multipart/alternative; boundary=001a11c34f2a; charset=UTF-8", "multipart/mixed;boundary=----=_Part_1_2.3",
    'multipart/related; boundary="x"; type="text/html"; start="<a@b.example>"',
    'multipart/report; report-type=delivery-status;\r\n\tboundary="a/b.1/mx.example"',
    'multipart/mixed; boundary="Apple-Mail=_3B2A"', "multipart/mixed; boundary=Apple-Mail-1--2",
    [[multipart/mixed; boundary="gc0pJq0M:08jU534c0p'()+_,-./:=? x"]], "multipart/report; boundary=1700-eximdsn-5",
    "multipart/mixed; boundary=_----abc===_1/2-3", 'multipart/mixed; boundary="=_abc"; charset="utf-8";',
    "Multipart/Mixed; Boundary=\"b\"", "multipart/mixed; boundary=\"b\" ;", "multipart/mixed; boundary=a@b:c",
    "multipart/signed; micalg=pgp-sha256; protocol=\"application/pgp-signature\"; boundary=\"b\"",
    "multipart/mixed; boundary=\"b\" ; x-note=(x)y", "multipart/mixed (a comment); boundary=b" }
  for _, content_type in ipairs(ordinary) do
    it("is one for every reader in " .. content_type, function()
      local part = part_of(content_type)
      assert.equal("multipart", part.type:match "^%a+")
      assert.is_nil(is_ambiguous(part))
    end)
  end

  local odd = { "multipart/mixed\r\n\tboundary=b", "multipart/mixed boundary=b", 'multipart/mixed, boundary="b"',
    "multipart/mixed; boundary=c; boundary=b", "multipart/mixed; boundary=b (x)", "multipart/mixed; boundary=(x)b",
    "multipart/mixed; boundary*=us-ascii''c; boundary=b", 'multipart/mixed; boundary="b" charset=x',
    'multipart/mixed; boundary="b', "multipart/mixed; boundary='b'", '"multipart/mixed"; boundary=b',
    "(x) multipart/mixed; boundary=b", "multipart; boundary=b", "multipart/mixed; boundary=b d",
    'multipart/mixed; boundary="\\b"', "=?us-ascii?q?multipart/mixed?=; boundary=b", 'multipart/mixed; boundary="<b>"',
    'multipart/mix"ed; boundary="b"', "multipart/mixed; boun(x)dary=b", "multipart/mixed; foo boundary=b",
    "text/plain\r\nContent-Type: multipart/mixed; boundary=b", "multipart/mixed; boundary=b\0c" }
  for _, content_type in ipairs(odd) do
    it(("delimits parts although it is spelled oddly, and that is a defect: %q"):format(content_type), function()
      local part = part_of(content_type)
      assert.equal(1, #part.parts)
      assert.equal("x", part.parts[1].content)
      assert.is_truthy(next(part.defects))
    end)
  end

  it("has every reading in `boundaries`", function()
    assert.same({ b = true, ["b (x)"] = true }, part_of("multipart/mixed; boundary=b (x)").boundaries)
    assert.same({ b = true, c = true }, part_of("multipart/mixed; boundary=c; boundary=b").boundaries)
  end)
end)

describe("a parameter without its semicolon", function()
  it("is read, and that is a defect", function()
    local t = header.params "attachment filename=x.exe"
    assert.same({ "attachment", "x.exe", true }, { t.value, t.params.filename, t.defects["no-semicolon"] })
    t = header.params 'message/external-body; access-type=mail-server\n server="list@x.example"; expiration="x"'
    assert.same({ ["access-type"] = "mail-server", server = "list@x.example", expiration = "x" }, t.params)
  end)
  it("does not cut an unquoted file name with a blank and a \"=\"", function()
    assert.equal("a b=c.exe", header.params("attachment; filename=a b=c.exe").params.filename)
    assert.equal("a,b=c.exe", header.params("attachment; filename=a,b=c.exe").params.filename)
  end)
end)

describe("defects", function()
  it("name everything that is wrong with a part", function()
    local part = mime.parse("Content-Type: text/plain charset=x; name=\"a; b\r\nContent-Type: text/html\r\n"
      .. "Content-Transfer-Encoding: base64 (x)\r\nContent-Disposition: attachment filename=c\r\n\r\nYQ")
    for _, defect in ipairs { "no-semicolon", "unclosed", "ambiguous-parameter", "repeated-field", "conflicting-field",
      "conflicting-name", "odd-encoding", "truncated" } do
      assert.is_true(part.defects[defect], defect)
    end
  end)
end)

describe("an oddly spelled transfer encoding", function()
  for spelled, name in pairs { ["base64 (x)"] = "base64", ["(x) base64"] = "base64", ['"base64"'] = "base64",
    ["7bit base64"] = "base64", ["base64;"] = "base64", ["base-64"] = "base64", quoted_printable = "quoted-printable",
    ["8-bit"] = "8bit", ["binary (x)"] = "binary", ["x-odd (x)"] = "x-odd" } do
    it(("is a defect, and %q is read as %s"):format(spelled, name), function()
      local part = mime.parse("Content-Transfer-Encoding: " .. spelled .. "\r\n\r\nx")
      assert.equal(name, part.encoding)
      assert.is_true(part.defects["odd-encoding"])
    end)
  end
  for _, spelled in ipairs { "base64", " BASE64 ", "7bit", "\r\n quoted-printable", "x-uuencode" } do
    it(("is none in %q"):format(spelled), function()
      assert.is_nil(mime.parse("Content-Transfer-Encoding: " .. spelled .. "\r\n\r\nx").defects["odd-encoding"])
    end)
  end
end)
