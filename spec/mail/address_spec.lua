local address = require "moonmilter.address"

local strict = { mode = "strict" }

describe("one mailbox where one is expected", function()
  it("is refused in both modes when the text names two, or none", function()
    local texts = {
      "<a@x.example><b@y.example>", "a@x.example b@y.example", "<a@x.example> b@y.example", "a@x.example, b@y.example",
      "a@b@x.example", "a@x.example <b@y.example> c@z.example", "<a@x.example", "G: a@x.example, b@y.example;", "",
      "()", "<>", "Ann",
      "a b@x.example", "a@", "@x.example", "a@x..example", "a@x.example\0<b@y.example>", "\"a@x.example", "a@[1.2.3.4",
      "<a@x.example>>",
    }
    for _, text in ipairs(texts) do
      local m, why, position = address.parse(text, strict)
      assert.is_nil(m, text)
      assert.is_string(why)
      assert.is_number(position)
      if text ~= "<a@x.example" then -- lenient closes it
        assert.is_nil((address.parse(text)), text)
      end
    end
  end)

  it("is refused when its address literal holds, escaped, what ends one or an address", function()
    for _, byte in ipairs { "@", "[", "]", "\\", "<", ">", ",", ";", '"' } do
      local parsed, why, _, code = address.parse("a@[b\\" .. byte .. "c]")
      assert.same({ "syntax", true }, { code, parsed == nil and why:find("address literal", 1, true) ~= nil }, byte)
    end
    assert.equal("a@[bc]", address.parse("a@[b\\c]").address)
    assert.is_nil(address.path("<a@[b\\]c]>"))
    assert.equal("[b@c]", address.path("<a@[b@c]>").domain)
  end)

  it("keeps the case of the local part and drops quotes that are not needed", function()
    assert.equal("John.Doe@Example.ORG", address.parse('<"John.Doe"@Example.ORG>').address)
    assert.equal('"a b"@x.example', address.parse('"a b"@x.example').address)
    assert.equal("a b", address.parse('"a b"@x.example').local_part)
  end)

  it("reports what a strict reader rejects, and where", function()
    local cases = {
      { "a . b@x.example", 3, "obsolete" }, { "J. Doe <j@x.example>", 2, "obsolete" },
      { "<@r.example:a@x.example>", 2, "obsolete" },
      { ".a@x.example", 1, "syntax" }, { ("a"):rep(65) .. "@x.example", 1, "length" }, { "a@[300.0.0.1]", 3, "domain" },
      { "a@[IPv6:1::2::3]", 3, "domain" }, { "a\255@x.example", 1, "charset" }, { "a@x.example.", 12, "syntax" },
    }
    for _, case in ipairs(cases) do
      local m, _, position, code = address.parse(case[1], strict)
      assert.is_nil(m, case[1])
      assert.same({ case[2], case[3] }, { position, code }, case[1])
    end
  end)

  it("reads in strict mode all that the RFCs let a writer generate", function()
    for _, text in ipairs { "a@x.example", "<a@x.example>", "Ann B <a@x.example>", '"A. B" <a@x.example> (c (d))',
      "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@[IPv6:::ffff:192.0.2.1]", "jörg@bücher.example",
        "=?utf-8?q?J=C3=B6rg?= <j@x.example>", "a!#$%&'*+/=?^_`{|}~-@x.example" } do
      assert.is_table(address.parse(text, strict), text)
    end
  end)

  it("marks a display name that looks like an address", function()
    assert.is_true(address.parse("ceo@bank.example <evil@x.example>").has_address_in_name)
    assert.is_true(address.parse('"ceo@bank.example" <evil@x.example>').has_address_in_name)
    assert.is_true(address.parse("=?utf-8?q?ceo=40bank.example?= <evil@x.example>").has_address_in_name)
    assert.is_nil(address.parse("CEO <evil@x.example>").has_address_in_name)
  end)

  it("raises at the caller's line for invalid arguments", function()
    assert.has_error(function() address.parse(nil) end)
    assert.has_error(function() address.parse("a@b", { mode = "loose" }) end)
  end)
end)

describe("a list", function()
  it("keeps what can be read and lists what cannot", function()
    local list = address.list "Doe, John <j@x.example>, b@y.example c, <a@x><b@y>, d@z.example"
    assert.equal(2, #list)
    assert.equal(3, #list.errors)
    assert.same({ "Doe", 1 }, { list.errors[1].source, 1 })
    assert.equal("<a@x><b@y>", list.errors[3].source)
  end)
  it("is all or nothing in strict mode", function()
    assert.is_nil((address.list("a@x.example,, b@y.example", strict)))
    assert.is_nil((address.list("a@x.example; b@y.example", strict)))
    assert.is_nil((address.list("", strict)))
  end)
  it("expands groups for mailboxes()", function()
    local list = address.mailboxes "Team: a@x.example, B <b@y.example>;, c@z.example, Nobody:;"
    assert.equal(3, #list)
    assert.same({ "Team", "Team" }, { list[1].group, list[2].group })
    assert.is_nil(list[3].group)
  end)
end)

describe("an envelope path", function()
  it("is read with and without brackets, null, with a source route", function()
    assert.equal("a@x.example", address.path("<a@x.example>").address)
    assert.equal("a@x.example", address.path("a@x.example").address)
    assert.is_true(address.path("<>").is_null)
    assert.is_true(address.path("").is_null)
    assert.same({ "r.example", "s.example" }, address.path("<@r.example,@s.example:a@x.example>").route)
    assert.equal("Postmaster", address.path("<Postmaster>", strict).local_part)
  end)
  it("is exactly one address", function()
    for _, text in ipairs { "<a@x>,<b@y>", "<a@x> SIZE=3", "a@x b@y", "<a@x", "a@x>", "<a@x>>", "Ann <a@x>",
      "<a@x>(c)", "<a@b@x>", "<@x>", "<@r:>" } do
      assert.is_nil((address.path(text)), text)
      assert.is_nil((address.path(text, strict)), text)
    end
  end)
  it("has a host name as its domain in strict mode, RFC 5321 4.1.2", function()
    assert.is_nil((address.path("a@b_c.example", strict)))
    assert.is_nil((address.path("a@-b.example", strict)))
    assert.is_nil((address.path("root", strict)))
    assert.equal("root", address.path("root").address)
  end)
end)

describe("writing addresses", function()
  it("quotes and encodes where necessary", function()
    assert.equal('"Doe, J." <j@x.example>', address.format { name = "Doe, J.", address = "j@x.example" })
    assert.equal("=?UTF-8?B?SsO2cmc=?= <j@x.example>", address.format { name = "Jörg", address = "j@x.example" })
    assert.equal("Jörg <j@x.example>", address.format({ name = "Jörg", address = "j@x.example" }, { utf8 = true }))
    assert.equal('"a b"@x.example', address.format { local_part = "a b", domain = "x.example" })
    assert.equal("Team: a@x.example, b@x.example;", address.format { group = "Team",
      members = { { address = "a@x.example" }, { address = "b@x.example" } } })
  end)
  it("refuses text that would inject a header or a second address", function()
    for _, item in ipairs { { name = "a\nBcc: x@y", address = "a@x" }, { address = "a@x,b@y" },
      { local_part = "a\r\n", domain = "x" },
      { local_part = "a", domain = "x>,<b@y" }, { local_part = "a", domain = "x@y" } } do
      assert.has_error(function() address.format(item) end)
    end
  end)
end)

describe("domains", function()
  it("are equal in any spelling", function()
    assert.is_true(address.same_domain("BÜCHER.example", "xn--bcher-kva.EXAMPLE"))
    assert.is_false(address.same_domain("a.example", "b.example"))
    assert.is_true(address.same(address.parse "a@Bücher.example", address.parse "a@xn--bcher-kva.example"))
    assert.is_false(address.same(address.parse "A@x.example", address.parse "a@x.example"))
  end)
end)
