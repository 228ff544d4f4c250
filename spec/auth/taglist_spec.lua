local taglist = require "moonmilter.identity.taglist"

describe("a list of tags", function()
  it("is read with blanks and folds around names and values", function()
    local tags = assert(taglist.parse " v = 1;a=rsa-sha256 ;\r\n\th = From :\n To; b=")
    assert.same({ v = "1", a = "rsa-sha256", h = "From :\n To", b = "" }, tags)
  end)
  it("may end with a semicolon, after which only blanks come", function()
    assert.same({ v = "1" }, (taglist.parse "v=1;"))
    assert.same({ v = "1" }, (taglist.parse "v=1; \r\n "))
  end)
  it("has names that differ by case", function()
    assert.same({ a = "1", A = "2" }, (taglist.parse "a=1; A=2"))
  end)
  it("keeps \"=\" and UTF-8 in values", function()
    assert.same({ b = "YQ==", i = "jos\195\169@example.org" }, (taglist.parse "b=YQ==; i=jos\195\169@example.org"))
  end)

  for text, what in pairs {
    [""] = "tag list: an empty tag 1", ["v=1;;a=2"] = "tag list: an empty tag 5",
    [";v=1"] = "tag list: an empty tag 1", ["v=1;;"] = "tag list: an empty tag 5",
    ["v=1; v=1"] = "tag list: v occurs twice 5", ["v=1; rest"] = 'tag list: no name and "=" here 5',
    ["1v=1"] = 'tag list: no name and "=" here 1', ["=1"] = 'tag list: no name and "=" here 1',
    ["v=1\0"] = "tag list: a control character in the value of v 1",
    ["a-b=1"] = 'tag list: no name and "=" here 1',
  } do
    it(("is refused: %q"):format(text), function()
      local tags, why, position = taglist.parse(text)
      assert.is_nil(tags)
      assert.equal(what, ("%s %d"):format(why, position))
    end)
  end

  it("gives its text without one value, and without the blanks around that", function()
    local text = "a=1; b = x\r\n y ; c=3"
    local _, spans = taglist.parse(text)
    assert.equal("a=1; b =; c=3", taglist.remove(text, spans, "b"))
    assert.equal("a=1; b = x\r\n y ; c=", taglist.remove(text, spans, "c"))
    assert.equal(text, taglist.remove(text, spans, "z"))
  end)
  it("has values that are lists, with blanks around their items", function()
    assert.same({ "From", "To", "", "X" }, taglist.items "From : To\r\n ::X")
  end)
end)
