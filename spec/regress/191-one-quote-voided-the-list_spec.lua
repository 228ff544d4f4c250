-- A quote, parenthesis or bracket without its partner gave nil for a whole list, or hid the address after it:
-- `a@x, "Bob <b@y>`, `(Testing <fran@x>`. And `alice@x(<bob@y>` gave alice, though the text names two (CVE-2023-27043).
-- Since 0.1.0.
local address = require "moonmilter.address"

local function seen(text)
  local out = {}
  local list = assert(address.mailboxes(text))
  for i, m in ipairs(list) do
    out[i] = (m.name and m.name .. " " or "") .. "<" .. m.address .. ">"
  end
  return table.concat(out, " "), #list.errors, list
end

describe("a quote, parenthesis or bracket without its partner", function()
  it("costs no other mailbox, and not its own where it names one address", function()
    for text, want in pairs {
      ['a@x.example, "Bob <b@y.example>'] = "<a@x.example> Bob <b@y.example>",
      ['"Joe <joe@x.example>, Bob <bob@y.example>'] = "Joe <joe@x.example> Bob <bob@y.example>",
      ['"Joe <joe@x.example>, "Bob" <bob@y.example>'] = "Joe <joe@x.example> Bob <bob@y.example>",
      ['"Joe" <joe@x.example>, "Bob <b@y.example>, "Al, C" <a@z.example>'] =
        "Joe <joe@x.example> Bob <b@y.example> Al, C <a@z.example>",
      ['"j <j@x.example>" <j@x.example>, "Bob <b@y.example>'] = "j <j@x.example> <j@x.example> Bob <b@y.example>",
      ['John 5" Doe <j@x.example>, b@y.example'] = "John 5 Doe <j@x.example> <b@y.example>",
      ['John 5" Doe <j@x.example>, Al 6" Roe <a@y.example>'] = "John 5 Doe <j@x.example> Al 6 Roe <a@y.example>",
      ["(Testing <fran@x.example>"] = "Testing <fran@x.example>",
      ["Testing) <fran@x.example>"] = "Testing <fran@x.example>",
      ["fran@x.example (Testing"] = "Testing <fran@x.example>",
      ["a@x.example, (open <b@y.example>, C (c) <c@z.example>"] = "<a@x.example> open <b@y.example> C <c@z.example>",
      ["[EXT] Joe <j@x.example>, [open Al <a@x.example>"] = "[EXT] Joe <j@x.example> open Al <a@x.example>",
      ['Team: a@x.example, "B <b@x.example>; c@x.example'] = "<a@x.example> B <b@x.example> <c@x.example>",
    } do
      local got, errors = seen(text)
      assert.same({ want, 0 }, { got, errors }, text)
    end
  end)

  it("is an error, with its source, where it may name two or none", function()
    for text, want in pairs {
      ['a@x.example, "ceo@bank.example <e@y.example>, b@x.example'] = "<a@x.example> <b@x.example>",
      ["a@x.example(<b@y.example>, c@x.example"] = "<c@x.example>", ['a@x.example, jo"e@y.example'] = "<a@x.example>",
      ["a@[192.0.2.1, b@y.example"] = "<b@y.example>", ["<a@x.example, b@y.example"] = "<b@y.example>",
      ["a@x.example>, b@y.example"] = "<b@y.example>",
    } do
      local got, errors, list = seen(text)
      assert.same({ want, 1 }, { got, errors }, text)
      assert.is_truthy(text:find(list.errors[1].source, 1, true))
    end
  end)

  it("never gives one address from a text that names two", function()
    for _, text in ipairs { "alice@x.example(<bob@y.example>", '"alice@x.example <bob@y.example>',
      '"Joe <joe@x.example>, Bob <bob@y.example>', 'a" <a@x.example>, b" <b@y.example>',
      "(a@x.example <b@y.example>", "[a@x.example <b@y.example>", "a@x.example (b@y.example" } do
      assert.is_nil((address.parse(text)), text)
    end
  end)

  it("is said of the mailbox, and an error in strict mode", function()
    assert.is_true(address.parse('"Joe <joe@x.example>').is_unbalanced)
    assert.is_true(address.parse("joe@x.example (Joe").is_unbalanced)
    assert.is_nil(address.parse('"Joe" <joe@x.example> (x)').is_unbalanced)
    for _, text in ipairs { '"Joe <joe@x.example>', "(Joe <joe@x.example>", "joe@x.example (Joe", "Joe) <j@x.example>",
      "[Joe <j@x.example>", "[Joe] <j@x.example>" } do
      assert.is_nil((address.parse(text, { mode = "strict" })), text)
    end
  end)
end)
