-- header.decode read encoded words with blanks and "?" inside, the address parser did not: the name stayed raw, or a
-- list was torn at a comma inside a word. Words cut inside a base64 group or a Q triplet became U+FFFD, and words in
-- RFC 2231 pieces stayed as they were: a program's name did not show. Since 0.1.0.
local address = require "moonmilter.address"
local header = require "moonmilter.header"

describe("an encoded word", function()
  it("is one in an address as it is in text", function()
    for word, name in pairs {
      ["=?utf-8?Q?J=C3=B6rg M=C3=BCller?="] = "Jörg Müller", ["=?utf-8?Q?Doe, John?="] = "Doe, John",
      ["=?utf-8?Q?Who is it?_Me?="] = "Who is it? Me", ["=?UTF-8*de?q?J=C3=B6rg?="] = "Jörg",
      ["=?utf-8?Q?J=C3=B6rg\n M=C3=BCller?="] = "Jörg Müller", ["=?utf-8?B?SsO2 cmc=?="] = "Jörg",
      ["=?\"utf-8\"?B?SsO2cmc=?="] = "Jörg", ["Dr.=?utf-8?q?_J=C3=B6rg, PhD?="] = "Dr. Jörg, PhD",
      ["=?utf-8?q?Doe (John) [x] \"J\"?="] = "Doe (John) [x] \"J\"", ["=?utf-8?q?5\" disk?="] = "5\" disk",
      ["=?utf-8?q?:) <3?="] = ":) <3",
    } do
      assert.equal(name, header.decode(word))
      local list = address.mailboxes("a@x.example, " .. word .. " <j@x.example>, b@x.example")
      assert.same({ 3, 0, name }, { #list, #list.errors, list[2].name }, word)
      assert.equal(name, address.parse(word .. " <j@x.example>").name)
    end
  end)

  it("that holds an address for who decodes later hides none", function()
    for _, text in ipairs { "=?utf-8?Q?<b@x.example>?= <c@y.example>", "=?utf-8?Q?b@x.example, c?= <c@y.example>",
      "=?utf-8?Q?a\"?= \"<b@x.example>\" <c@y.example>", "=?utf-8?Q?a(?= \") <b@x.example> (\" <c@y.example>",
      "=?utf-8?Q?a\"?= <c@y.example> (\" <b@x.example>)" } do
      assert.is_nil((address.parse(text)), text)
    end
  end)

  it("is none in an address itself: who decodes it there sees another one", function()
    for _, text in ipairs { "=?utf-8?q?ceo=40bank.example,?=@x.example",
      "\"=?utf-8?q?ceo=40bank.example=3E?=\"@x.example",
      "<a=?utf-8?q?=40bank.example=00?=@x.example>", "a@=?utf-8?q?x?=.example" } do
      assert.is_nil((address.parse(text)), text)
      assert.is_nil((address.parse(text, { mode = "strict" })), text)
    end
    assert.equal("=?utf-8?q?a?=", address.path("<=?utf-8?q?a?=@x.example>").local_part) -- the envelope knows no words
  end)

  it("is cut anywhere", function()
    for value, text in pairs {
      ["=?utf-8?B?5pel5p?= =?utf-8?B?ys6Kqe?="] = "日本語",
      ["=?utf-8?B?aW52b2l?=\n =?utf-8?B?jZS5leGU=?="] = "invoice.exe",
      ["=?utf-8?Q?caf=C3=A?= =?utf-8?Q?9?="] = "café", ["=?utf-8?Q?caf=?= =?utf8?Q?C3=A9?="] = "café",
      ["=?utf-8?B?b2LD?= =?utf-8?Q?=A4r?="] = "obär", ["=?utf-8?B?YQ==?= =?utf-8?B?Yg==?="] = "ab",
      ["=?utf-8?B?YQ?= =?utf-8?B?Yg?="] = "ab", -- each without its padding
      ["=?utf-8?B?5pel5p?= =?iso-8859-1?B?ys6Kqe?="] = header.decode "=?utf-8?B?5pel5p?=" .. "ÊÎŠ©",
    } do
      assert.equal(text, header.decode(value), value)
    end
  end)

  it("in the pieces of a parameter shows a name", function()
    for _, pieces in ipairs { 'filename*0="=?utf-8?B?aW52b2l"; filename*1="jZS5leGU=?="',
      'filename*0="=?utf-8?B?aW52b2l?="; filename*1="=?utf-8?B?jZS5leGU=?="', "filename==?utf-8?Q?invoice=2Eexe?=",
      'filename="=?utf-8?Q?invoice.e?=\n =?utf-8?Q?xe?="', "filename*=utf-8''=?utf-8?Q?invoice=2Eexe?=" } do
      assert.equal("invoice.exe", header.params("attachment; " .. pieces).params.filename, pieces)
    end
    assert.equal("=?utf-8?q?a?=", header.params("a; b*=utf-8''%3D%3Futf-8%3Fq%3Fa%3F%3D").params.b) -- meant as it is
  end)
end)

it("unencoded ISO-2022-JP, whose bytes hold quotes and parentheses, is read", function()
  local list = address.mailboxes "\27$B$\"$$\27(B <a@x.example>, \27$B$\"\27(B <b@x.example>"
  assert.same({ 2, 0, "あい", "あ" }, { #list, #list.errors, list[1].name, list[2].name })
end)
