local header = require "moonmilter.header"
local datetime = require "moonmilter.datetime"

describe("folding", function()
  it("breaks before blanks, never after the name, never into a blank line", function()
    local value = ("word "):rep(60) .. "end"
    local folded = header.fold("Subject", value)
    assert.is_nil(folded:find("^\n"))
    for line in (folded .. "\n"):gmatch("(.-)\n") do
      assert.is_true(#line <= 78)
      assert.is_truthy(line:find("[^ \t]"))
    end
    assert.equal(value, header.unfold(folded))
  end)
  it("reports when a word is too long for any line", function()
    assert.is_false(select(2, header.fold("X", ("a"):rep(1200))))
  end)
  it("encodes unstructured text so that no line exceeds 78 characters", function()
    for _, text in ipairs { ("Grüße aus Köln, "):rep(20), ("日本語"):rep(60), ("ü"):rep(300), ("é1234567890"):rep(20) } do
      local value = header.encode(text, "X-Some-Header")
      for line in ("X-Some-Header: " .. value .. "\n"):gmatch("(.-)\n") do
        assert.is_true(#line <= 78, line)
      end
      assert.equal(text, header.decode(value))
    end
    assert.has_error(function() header.encode "a\nBcc: x" end)
  end)
end)

describe("parameters", function()
  it("join continuations in any order, with charsets, RFC 2231 4.1", function()
    local t = header.params "attachment; filename*1=\" b\"; filename*0*=iso-8859-1'en'%A3; filename*2*=%20%A5"
    assert.equal("£ b ¥", t.params.filename)
  end)
  it("prefer the extended form over the plain one", function()
    assert.equal("ü", header.params("a; filename=u; filename*=utf-8''%C3%BC").params.filename)
  end)
  it("keep the first of two, and report the second", function()
    local t = header.params "a; x=1; X=2"
    assert.equal("1", t.params.x)
    assert.is_true(t.defects["duplicate-parameter"])
  end)
  it("are written as read: tokens, quoted, RFC 2231, continued", function()
    for _, value in ipairs { "a", "", "a b", 'q"\\', "ü", ("lang "):rep(40), ("ü"):rep(60), "=?x?=", "a;b=c" } do
      local written = header.format_params { value = "attachment", params = { filename = value, size = "3" } }
      assert.equal(value, header.params(written).params.filename)
      for line in (written .. "\n"):gmatch("(.-)\n") do
        assert.is_true(#line <= 78, line)
      end
    end
  end)
  it("never allow the injection of a second header", function()
    assert.has_error(function() header.format_params { value = "a", params = { x = "1\r\nBcc: y" } } end)
    assert.has_error(function() header.format_params { value = "a", params = { ["x y"] = "1" } } end)
    assert.is_nil(header.params("a; x*=utf-8''a%0D%0Ab").params.x:find("[\r\n]"))
  end)
end)

describe("structured fields", function()
  local untouched = {
    ["Content-Type"] = "TEXT/Plain;\n\tCharset = \"utf-8\" ; format=flowed",
    ["Content-Disposition"] = "attachment; filename*0=a; filename*1=b",
    To = "Ann  <ann@x.example>,\n\tbob@y.example (Bob)", Date = "Fri,  21 Nov 97 09:55:06 GMT",
    ["Message-ID"] = " <a@b> (x)",
    References = "<a@b>\n\t<c@d>", ["List-Unsubscribe"] = "<mailto:a@b>,\n <https://x.example/u>",
      ["List-Id"] = "\"My  list\" <l.x.example>",
    Received = "from a (b [192.0.2.1])\n\tby c with SMTP id 1; Fri, 21 Nov 1997 09:55:06 -0600",
    ["Authentication-Results"] = "mx.example ;\n\tspf=pass  smtp.mailfrom=x.example",
  }
  for name, value in pairs(untouched) do
    it("return an untouched " .. name .. " byte for byte", function()
      assert.equal(value, header.format(name, assert(header.parse(name, value))))
    end)
  end
  it("rewrite changed fields, and keep the spelling of unchanged parameters", function()
    local t = header.parse("Content-Type", 'Multipart/Mixed; BOUNDARY="a b"; x=1')
    t.params.x = "2"
    assert.equal('multipart/mixed; BOUNDARY="a b"; x=2', header.format("Content-Type", t))
    local refs = header.parse("References", "<a@b>")
    refs[2] = "c@d"
    assert.equal("<a@b> <c@d>", header.format("References", refs))
    local id = header.parse("List-Id", "<l.x.example>")
    id.name = "Möbel, alt"
    assert.equal("Möbel, alt", header.parse("List-Id", header.format("List-Id", id)).name)
  end)
  it("read Received as both MTAs write it", function()
    local r = header.received("from mail.x.example (mail.x.example [192.0.2.1])\n\t(using TLSv1.3)\n\tby "
      .. "mx.y.example (Postfix) with ESMTPS id 4A\n\tfor <u@y.example>; Fri, 21 Nov 1997 09:55:06 -0600 (CST)")
    assert.same({ "mail.x.example", "mx.y.example", "ESMTPS", "4A", "<u@y.example>", 880127706 }, { r.from, r.by,
      r.with, r.id, r.for_, r.date.epoch })
    assert.equal("mail.x.example [192.0.2.1]", r.comments.from)
    r = header.received("(from root@localhost)\n\tby x.example (8.17.1/8.17.1/Submit) id 0A;\n\tFri, 21 Nov 1997 "
      .. "09:55:06 GMT")
    assert.same({ "x.example", "0A" }, { r.by, r.id })
  end)
  it("report fields without a structure", function()
    assert.equal("unstructured", select(4, header.parse("Subject", "x")))
  end)
end)

describe("dates", function()
  it("survive format and parse", function()
    math.randomseed(5)
    for _ = 1, 2000 do
      local epoch, offset = math.random(-2208000000, 4102444800), math.random(-720, 840)
      local date = assert(datetime.parse(datetime.format(epoch, offset)))
      assert.same({ epoch, offset }, { date.epoch, date.offset })
    end
  end)
  it("are refused with the word that does not fit", function()
    for _, text in ipairs { "", "Fri", "32 Jan 2020 00:00 +0000", "29 Feb 2021 00:00 +0000", "1 Foo 2020 00:00 +0000",
      "1 Jan 2020 24:00 +0000", "1 Jan 2020 00:00 +9", "1 Jan 2020 <x>" } do
      local date, why, position = datetime.parse(text)
      assert.is_nil(date, text)
      assert.is_string(why)
      assert.is_number(position)
    end
    assert.is_true(datetime.parse("1 Jan 2020 00:00 -0000").is_unknown_zone)
  end)
end)

describe("a field", function()
  local calls
  local function field(name, value)
    calls = {}
    local function note(what) return function(f, ...) calls[#calls + 1] = { what, f.name, ... } end end
    return header.field { name = name, value = value, edit = { set = note "set", delete = note "delete",
      insert_before = note "insert_before" } }
  end

  it("decodes, parses and dates itself", function()
    assert.equal("Grüße", field("Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="):text())
    assert.equal("a@x.example", field("To", "A <a@x.example>"):addresses()[1].address)
    assert.equal(880127706, field("Received", "by x; Fri, 21 Nov 1997 09:55:06 -0600"):date().epoch)
    assert.equal("html", field("Content-Type", "text/html; charset=x"):params().subtype)
  end)
  it("passes its edits to the host, without an index", function()
    local f = field("Subject", "x")
    f:set "y"
    f:insert_before("X-Before", "1")
    f:delete()
    assert.same({ { "set", "Subject", "y" }, { "insert_before", "Subject", "X-Before", "1" }, { "delete", "Subject" } },
      calls)
    assert.has_error(function() f:set "z" end, "set: Subject is already deleted")
  end)
  it("refuses values that are not a single header", function()
    local f = field("Subject", "x")
    for _, value in ipairs { "a\nBcc: b", "a\r\n b", "a\n", "a\n \n b", "\n a", "a\0" } do
      assert.has_error(function() f:set(value) end)
    end
    assert.has_error(function() f:insert_before("X Y", "1") end)
    assert.same({}, calls)
    f:set "a\n\tfolded"
    assert.equal("a\n\tfolded", f.value)
  end)
  it("accepts tables, which go through header.format", function()
    local f = field("References", "<a@b>")
    local refs = f:parsed()
    refs[2] = "c@d"
    f:set(refs)
    assert.equal("<a@b> <c@d>", f.value)
  end)
end)

describe("a header block", function()
  local text = "From: a@x.example\r\nReceived: one\r\n\tfolded\r\nreceived : two\r\nX-Empty:\r\n\r\nbody"
  it("is written as it was read, and edits change only their field", function()
    local block, after = header.block(text)
    assert.equal("body", text:sub(after))
    assert.equal(text:sub(1, -7), block:bytes())
    assert.equal("one\n\tfolded", block:field("Received").value)
    assert.equal("two", block:field("received", -1).value)
    assert.equal("", block:field("X-Empty").value)
    block:field("RECEIVED", 2):set "three"
    block:field("Received"):insert_before("X-New", "1")
    assert.equal("From: a@x.example\r\nX-New: 1\r\nReceived: one\r\n\tfolded\r\nreceived: three\r\nX-Empty:\r\n",
      block:bytes())
  end)
end)
