-- The text formats of tables and their images, through the C of the host.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "map/formats.h"
testlib.load "map/image.h"

local why = ffi.new "struct mm_fault"

local function text_of(s)
  return ffi.new("struct mm_text", { s, #s })
end

--- A table of a text; or nil and why not. The third result: what was left out.
local function compile(name, text, options)
  local writer = C.mm_image_writer_new()
  local o = ffi.new("struct mm_table_options", options or {})
  local table_, left_out
  if C.mm_table_format_of(name).compile(text_of(text), o, writer, why) then
    table_ = C.mm_image_keep(writer, ffi.new "struct mm_image_source", why)
  end
  local first = ffi.new "const char *[1]"
  if C.mm_image_ignored(writer, first) > 0 then left_out = ffi.string(first[0]) end
  C.mm_image_writer_free(writer)
  if not table_ or table_ == nil then return nil, ffi.string(why.text) end
  return ffi.gc(table_, function(t) t.format.close(t) end), nil, left_out
end

local function get(t, key)
  local value = ffi.new "struct mm_buffer"
  local result = t.format.get(t, text_of(key), value, why)
  local found = result == C.MM_TABLE_FOUND and ffi.string(value.bytes, value.size) or nil
  C.mm_buffer_free(value)
  assert(result ~= C.MM_TABLE_ERROR, ffi.string(why.text))
  return found
end

local function all(t)
  local found, list = {}, ffi.new "struct mm_buffer"
  assert(C.mm_table_list(t, list, why))
  for entry in ffi.string(list.bytes, list.size):gmatch "(%Z*)%z" do found[#found + 1] = entry end
  C.mm_buffer_free(list)
  return found
end

describe("texthash", function()
  local function check(text, expected)
    local t = assert(compile("texthash", text))
    assert.same(expected, all(t))
  end

  it("has keys and values, comments and continued lines, as postmap reads them", function()
    check("# a comment\nann  first\t\r\n\n  # none\nbob second\n  part\n# inside\n\tthird \neve x",
      { "ann=first", "bob=second  part\tthird", "eve=x" })
  end)

  it("keeps the first of equal keys, whatever their case", function()
    local t, _, left_out = compile("texthash", "Ann one\nann two\n")
    assert.same({ "Ann=one" }, all(t))
    assert.equal("one", get(t, "aNN"))
    assert.equal('line 2: the key is there already: "ann"', left_out)
    t = assert(compile("texthash", "Ann one\nann two\n", { keeps_case = true }))
    assert.equal("two", get(t, "ann"))
    assert.is_nil(get(t, "aNN"))
  end)

  it("leaves out what postmap ignores, and says which line", function()
    local t, _, left_out = compile("texthash", ' lost\nann one\nalone\n"a b" c\nx"y z\na\\ b d\n')
    assert.same({ "ann=one", '"a b"=c', "a\\ b=d" }, all(t))
    assert.equal('line 3: a key without a value: "alone"', left_out)
  end)

  it("finds each of many keys and no other", function()
    local lines = {}
    for i = 1, 5000 do lines[i] = ("key%d value%d"):format(i, i) end
    local t = assert(compile("texthash", table.concat(lines, "\n")))
    assert.equal(5000, tonumber(t.format.count(t)))
    for i = 1, 5000 do assert.equal("value" .. i, get(t, "KEY" .. i)) end
    for i = 5001, 9000 do assert.is_nil(get(t, "key" .. i)) end
  end)
end)

describe("inline", function()
  it("has keys and values, also those with blanks", function()
    assert.same({ "a=b", "k=v, w", "c={x}" }, all(assert(compile("inline", "{a=b,, {k = v, w} c={x} }"))))
    assert.same({ "a=2" }, all(assert(compile("inline", "{ a=1 A=3 b= a=2 }"))))
    assert.is_nil(get(assert(compile("inline", "{ a=1 a= b=2}")), "a"))
  end)

  it("refuses what Postfix refuses", function()
    for text, what in pairs { ["{}"] = "is empty", ["{a}"] = 'no "="', ["{a = b}"] = 'no "="', ["a=b"] = "no pair",
      ["{ =b}"] = "no key", ['{ "a=b }'] = "not closed", ["{{a=1}b}"] = "after the", ["{a=b"] = "no pair",
      [""] = "no pair" } do
      local t, said = compile("inline", text)
      assert.is_nil(t)
      assert.truthy(said:find(what, 1, true), text .. ": " .. said)
    end
  end)
end)

describe("list", function()
  it("has one key a line, whose value is the key as it is written", function()
    local t = assert(compile("list", "# names\nExample.org\r\n  two words  # why\n\nc#d\nexample.ORG"))
    assert.same({ "Example.org=Example.org", "two words=two words", "c#d=c#d" }, all(t))
    assert.equal("Example.org", get(t, "example.org"))
  end)
end)

describe("csv", function()
  it("has the first column as key and the second as value", function()
    assert.same({ "ann=1", "bob=", "c,d=say \"hi\"\nthere", "eve=2" },
      all(assert(compile("csv", 'ann,1,x\r\nbob\n"c,d","say ""hi""\nthere"\n,\n\neve,2'))))
  end)

  it("takes columns by name and by number, and another separator", function()
    local text = "name;id;group\nann;1;staff\nbob;2;guest\n"
    assert.same({ "1=staff", "2=guest" },
      all(assert(compile("csv", text, { key = "id", value = "group", separator = ";" }))))
    assert.same({ "staff=ann", "guest=bob" },
      all(assert(compile("csv", text, { key = "3", value = "1", separator = ";", has_header = true }))))
    local _, said = compile("csv", text, { key = "mail", separator = ";" })
    assert.equal('the first line has no column named "mail"', said)
  end)

  it("refuses quotes that do not end", function()
    local _, said = compile("csv", 'ann,1\n"bob,2\neve,3\n')
    assert.equal("line 2: a quote is not closed", said)
    _, said = compile("csv", '"ann"x,1\n')
    assert.truthy(said:find "text after a closing quote")
  end)
end)

describe("json", function()
  it("has the members of an object, or the items of an array", function()
    assert.same({ 'b=[1, {"x": null}]', "c=-1.5e3", "d=true", "a=\195\169\240\159\152\128\n" },
      all(assert(compile("json", '{"a": "old", "b": [1, {"x": null}], "c": -1.5e3, "d": true, "e": null,'
        .. ' "a": "\\u00e9\\ud83d\\ude00\\n"}'))))
    assert.same({ "ann=ann", "7=7" }, all(assert(compile("json", ' ["ann", 7, null] \n'))))
    assert.same({}, all(assert(compile("json", "{}"))))
  end)

  it("refuses what is cut off at any byte", function()
    local text = '{"ann": "one", "bob": ["x", 1, {"y": "\\u0041"}], "eve": false}'
    assert(compile("json", text))
    for size = 0, #text - 1 do assert.is_nil((compile("json", text:sub(1, size)))) end
    for _, wrong in ipairs { '{"a":01}', '{"a":1,}', '["\\ud800"]', '["\\x"]', '["\1"]', '["\255"]', "[1 2]", "{} x",
      "7", ("["):rep(100) .. ("]"):rep(100), "{1:2}", "[nul]" } do
      assert.is_nil((compile("json", wrong)), wrong)
    end
  end)
end)

describe("cidr", function()
  it("gives the value of the first rule that matches", function()
    local t, _, left_out = compile("cidr", table.concat({ "10.1.0.0/16 inner", "10.0.0.0/8 outer", "10.1.2.3 late",
      "[2001:db8::]/32 six", "!192.0.2.0/24 not", "bad rule", "::/0 rest" }, "\n"))
    for key, value in pairs { ["10.1.2.3"] = "inner", ["10.2.0.1"] = "outer", ["2001:db8::1"] = "six", ["::1"] = "rest",
      ["1.1.1.1"] = "not", ["255.255.255.255"] = "not" } do
      assert.equal(value, get(t, key), key)
    end
    for _, key in ipairs { "192.0.2.9", "10.1", "", "name", "10.1.2.3/32", "10.1.2.3\0" } do
      assert.is_nil(get(t, key), key)
    end
    assert.equal(6, tonumber(t.format.count(t)))
    assert.equal('line 6: not an address: "bad rule"', left_out)
  end)

  it("shows the blocks that are in force", function()
    assert.same({ "10.0.0.0=a", "10.0.0.1=b", "10.0.0.2/31=a", "::/1=z" },
      all(assert(compile("cidr", "10.0.0.1 b\n10.0.0.0/30 a\n!8000::/1 z\n"))))
    assert.same({ "0.0.0.0/0=x", "::/0=y" }, all(assert(compile("cidr", "0.0.0.0/0 x\n::/0 y\n1.1.1.1 z\n"))))
  end)

  -- Rules in turn, as cidr_table(5) says; addresses are numbers of 16 bits, written as 10.0.x.y.
  local function first_match(rules, address)
    local skipped, depth = nil, 0
    for _, r in ipairs(rules) do
      local matches = r.base and (math.floor(address / r.size) == r.base / r.size) ~= r.negated
      if r.kind == "if" then
        depth = depth + 1
        if not skipped and not matches then skipped = depth end
      elseif r.kind == "endif" then
        if skipped == depth then skipped = nil end
        depth = depth - 1
      elseif not skipped and matches then
        return r.value
      end
    end
  end

  it("answers as the rules in turn do", function()
    math.randomseed(7)
    for _ = 1, 200 do
      local rules, lines, open = {}, {}, 0
      for i = 1, math.random(40) do
        local bits = math.random(0, 16)
        local size = 2 ^ bits
        local r = { size = size, base = math.random(0, 2 ^ (16 - bits) - 1) * size, negated = math.random(4) == 1,
          value = "v" .. math.random(5), kind = "rule" }
        local kind = math.random(6)
        local block = ("%s10.0.%d.%d/%d"):format(r.negated and "!" or "", math.floor(r.base / 256), r.base % 256,
          32 - bits)
        if kind == 1 then
          r.kind, open = "if", open + 1
          lines[i] = "if " .. block
        elseif kind == 2 and open > 0 then
          r, open = { kind = "endif" }, open - 1
          lines[i] = "endif"
        else
          lines[i] = block .. " " .. r.value
        end
        rules[i] = r
      end
      local text = table.concat(lines, "\n")
      local t = assert(compile("cidr", text))
      for _ = 1, 200 do
        local address = math.random(0, 65535)
        local key = ("10.0.%d.%d"):format(math.floor(address / 256), address % 256)
        assert.equal(first_match(rules, address), get(t, key), text)
      end
    end
  end)
end)

describe("an image", function()
  local function bytes_of(text)
    local writer = C.mm_image_writer_new()
    assert(C.mm_table_format_of("texthash").compile(text_of(text), ffi.new "struct mm_table_options", writer, why))
    local image = C.mm_image_finish(writer, ffi.new "struct mm_image_source", why)
    local bytes = ffi.string(image.bytes, image.size)
    C.mm_image_writer_free(writer)
    return bytes
  end

  local function open(bytes)
    local block = ffi.new "struct mm_block"
    if C.mm_block_enlarge(block, #bytes) then
      ffi.copy(block.bytes, bytes, #bytes)
      block.size = #bytes
    end
    local t = C.mm_image_of_block(block, why)
    if t ~= nil then return ffi.gc(t, function(it) it.format.close(it) end) end
  end

  it("is refused when any byte has changed, and when it is cut off", function()
    local bytes = bytes_of "ann one\nbob two\n"
    assert.equal("two", get(open(bytes), "bob"))
    for at = 1, #bytes do
      local damaged = bytes:sub(1, at - 1) .. string.char((bytes:byte(at) + 1) % 256) .. bytes:sub(at + 1)
      assert.is_nil(open(damaged), "byte " .. at)
    end
    for size = 0, #bytes - 1 do assert.is_nil(open(bytes:sub(1, size))) end
  end)
end)
