local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local datetime = require "moonmilter.datetime"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"

local FIELD_MAX, LINE_MAX = 128 * 1024, 998

-- `before`, then "a" as often as makes `size` bytes, then `after`.
local function padded(size, before, after)
  return before .. ("a"):rep(size - #before - #after) .. after
end

describe("a value that is longer than a parser reads", function()
  for name, parse in pairs {
    ["address.parse"] = address.parse, ["address.list"] = address.list, ["address.mailboxes"] = address.mailboxes,
    ["authres.parse"] = authres.parse, ["header.message_id"] = header.message_id, ["header.list_id"] = header.list_id,
    ["header.parse of To"] = function(text) return header.parse("To", text) end,
    ["header.parse of Message-ID"] = function(text) return header.parse("Message-ID", text) end,
    ["header.parse of List-Id"] = function(text) return header.parse("List-Id", text) end,
    ["header.parse of Authentication-Results"] = function(text)
      return header.parse("Authentication-Results", text)
    end,
  } do
    it(("is an error of %s, and one byte less is read"):format(name), function()
      local shapes = { "(", ") <x@y.example>" }
      if name:find "uth" then
        shapes = { "(", ") mx.example; none" }
      elseif name:find "ist.id" or name:find "List.Id" then
        shapes = { "", " <x.y.example>" }
      end
      assert.is_table({ parse(padded(FIELD_MAX, shapes[1], shapes[2])) })
      assert.is_truthy((parse(padded(FIELD_MAX, shapes[1], shapes[2]))))
      local value, text, position, code = parse(padded(FIELD_MAX + 1, shapes[1], shapes[2]))
      assert.same({ nil, FIELD_MAX + 1, "length" }, { value, position, code })
      assert.matches("131073 bytes; at most 131072 are read", text, 1, true)
    end)
  end

  for name, parse in pairs {
    ["address.path"] = { address.path, "<", "@x.example>" },
    ["datetime.parse"] = { datetime.parse, "(", ") Fri, 21 Nov 1997 09:55:06 -0600" },
    ["header.parse of Date"] = { function(text) return header.parse("Date", text) end, "(",
      ") Fri, 21 Nov 1997 09:55:06 -0600" },
  } do
    it(("is an error of %s from 999 bytes on"):format(name), function()
      assert.is_truthy((parse[1](padded(LINE_MAX, parse[2], parse[3]))))
      local value, _, position, code = parse[1](padded(LINE_MAX + 1, parse[2], parse[3]))
      assert.same({ nil, LINE_MAX + 1, "length" }, { value, position, code })
    end)
  end

  for name, parse in pairs {
    ["header.params"] = header.params, ["header.content_type"] = header.content_type,
    ["header.received"] = header.received, ["header.list_urls"] = header.list_urls,
    ["header.references"] = header.references,
  } do
    it(("is a defect in what %s gives"):format(name), function()
      assert.is_nil((parse(padded(FIELD_MAX, "a/b; c=", "; a=b")).defects or {})["over-length"])
      assert.is_true(parse(padded(FIELD_MAX + 1, "a/b; c=", "; a=b")).defects["over-length"])
    end)
  end

  it("comes back unchanged from header.format", function()
    for _, name in ipairs { "Content-Type", "Received", "List-Post", "References" } do
      local value = padded(FIELD_MAX + 100, "text/plain; a=", "; b=c")
      assert.equal(value, header.format(name, header.parse(name, value)))
    end
  end)
end)

describe("an id", function()
  it("has 998 bytes at most", function()
    local id = padded(LINE_MAX, "", "@x.example")
    assert.equal(id, header.message_id("(seen) <" .. id .. ">"))
    assert.equal(id, header.message_id(id))
    local value, text, position, code = header.message_id("(seen) <a" .. id .. ">")
    assert.same({ nil, 8, "length" }, { value, position, code })
    assert.matches("an id of 999 bytes; at most 998", text, 1, true)
    assert.equal("length", select(4, header.message_id("< a" .. id .. " >")))
    assert.equal("length", select(4, header.message_id("a" .. id)))
    assert.equal("syntax", select(4, header.message_id "none"))
  end)

  it("that is longer is left out of References, which says so", function()
    local long = ("a"):rep(LINE_MAX + 1)
    local list = header.references("<a@x> <" .. long .. "> <b@x>")
    assert.same({ "a@x", "b@x", defects = { ["over-length"] = true } }, list)
  end)

  it("that is longer is no part's id, which is a defect", function()
    local root = mime.parse("Content-ID: <" .. ("a"):rep(60000) .. ">\n\n")
    assert.is_nil(root.id)
    assert.same({ ["over-length"] = true }, root.defects)
    root = mime.parse "Content-ID: <a@b>\n\n"
    assert.equal("a@b", root.id)
    assert.same({}, root.defects)
  end)
end)

describe("Authentication-Results of more than 128 KiB", function()
  it("may be this host's, so strip deletes it", function()
    local block = header.block("Authentication-Results: (" .. ("a"):rep(FIELD_MAX) .. ") mx.example; spf=pass\n"
      .. "Authentication-Results: other.example; spf=pass\n\n")
    assert.equal(1, authres.strip(block, "mx.example"))
    assert.equal("other.example; spf=pass", block:get "Authentication-Results")
  end)
end)
