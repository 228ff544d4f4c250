local codec = require "moonmilter.codec"
local json = require "moonmilter.json"

local function refused(text, code, words, options)
  local value, why, why_code = json.decode(text, options)
  assert.is_nil(value)
  assert.equal(code, why_code)
  assert.truthy(why:find(words, 1, true), why)
end

local function raised(value, words)
  local ok, why = pcall(function() json.encode(value) end)
  assert.is_false(ok)
  assert.truthy(why:find("^spec/map/json_spec.lua:%d+: json.encode: ") and why:find(words, 1, true), why)
end

describe("a JSON text", function()
  it("is read as tables, strings, numbers, booleans and json.null", function()
    assert.same({ a = { 1, 2.5, -3e2 }, b = { c = "ü\n" }, d = true, e = false, f = json.null },
      json.decode '{ "a": [1, 2.5, -3e2], "b": { "c": "\\u00fc\\n" }, "d": true, "e": false, "f": null }')
    assert.equal("x", json.decode '"x"')
    assert.equal(json.null, json.decode " null ")
    assert.is_true(json.null ~= nil)
    assert.same({}, json.decode "[]")
    assert.equal(9007199254740992, json.decode "9007199254740992")
    assert.equal(2, json.decode('{ "a": 1, "a": 2 }').a)
    assert.equal("\240\159\152\128 \0", json.decode '"\\ud83d\\ude00 \\u0000"')
  end)

  it("that is wrong is refused with the byte", function()
    refused("[1,2,]", "syntax", 'expected value but found "]" at byte 6')
    refused("", "syntax", "found the end of the text at byte 1")
    refused("[1] x", "syntax", "at byte 5")
    refused('{"a" 1}', "syntax", "expected colon but found a number at byte 6")
    refused('"\\ud800"', "syntax", "at byte 2")
    refused("[01]", "syntax", "at byte 2")
    refused("[NaN]", "syntax", "at byte 2")
    refused("[Infinity]", "syntax", "at byte 2")
    refused("[0x10]", "syntax", "at byte 2")
    refused("\239\187\191[1]", "syntax", "at byte 1")
    refused('["aaa\195"]', "syntax", "not UTF-8 (RFC 8259 8.1) at byte 6")
    refused('["\237\160\128"]', "syntax", "at byte 3")
    refused('["a\0b"]', "syntax", "control character \\x00 at byte 4")
    refused("[1]\0", "syntax", "at byte 4")
    refused("[1e999]", "syntax", "beyond what a double holds")
    refused('{"a":{"b":-' .. ("9"):rep(310) .. "}}", "syntax", "beyond what a double holds")
    assert.same({ "e999" }, json.decode '["e999"]')
  end)

  it("is bounded in length and depth", function()
    assert.is_table(json.decode(("["):rep(100) .. ("]"):rep(100)))
    refused(("["):rep(101) .. ("]"):rep(101), "limit", "more than 100 arrays and objects inside each other at byte 101")
    refused(("["):rep(1e6), "limit", "more than 100")
    refused('"' .. ("a"):rep(1024 * 1024) .. '"', "limit", "1048578 bytes; at most 1048576 are read")
    refused("[1, 2]", "limit", "at most 5", { max_bytes = 5 })
    assert.is_string(json.decode('"' .. ("a"):rep(1024 * 1024) .. '"', { max_bytes = 2 ^ 21 }))
  end)

  it("does not follow the settings that a script gives cjson", function()
    local cjson = require "cjson"
    cjson.decode_max_depth(2)
    cjson.decode_invalid_numbers(true)
    finally(function()
      cjson.decode_max_depth(1000)
    end)
    assert.same({ { { 1 } } }, json.decode "[[[1]]]")
    refused("[NaN]", "syntax", "at byte 2")
  end)

  it("that is no string, and an unknown option, raise at the caller's line", function()
    for _, call in ipairs { function() json.decode(nil) end, function() json.decode("1", { max = 1 }) end,
      function() json.decode("1", 1) end,
      function() json.array "x" end } do
      local ok, why = pcall(call)
      assert.is_false(ok)
      assert.matches("^spec/map/json_spec.lua:%d+: json%.", why)
    end
  end)
end)

describe("a value", function()
  it("is written with its names in order", function()
    assert.equal('{"a":1,"b":[1,"x",true,null],"c":{"d":{}}}',
      json.encode { c = { d = {} }, b = { 1, "x", true, json.null }, a = 1 })
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[1]", json.encode(json.array { 1 }))
    assert.equal("{}", json.encode {})
    assert.equal("null", json.encode(json.null))
  end)

  it("has numbers with as few digits as name the same double", function()
    for text, number in pairs { ["0.1"] = 0.1, ["9007199254740991"] = 2 ^ 53 - 1, ["-5"] = -5, ["1e+300"] = 1e300,
      ["0.3333333333333333"] = 1 / 3, ["1700000000.25"] = 1700000000.25, ["12345678901234"] = 12345678901234 } do
      assert.equal(text, json.encode(number))
    end
  end)

  it("has strings that are UTF-8, whatever bytes it had", function()
    assert.equal('"\\u0000\\n\\"\\\\/\\u007f ü"', json.encode "\0\n\"\\/\127 ü")
    assert.equal('{"\239\191\189":"a\239\191\189b"}', json.encode { ["\255"] = "a\255b" })
  end)

  it("that JSON cannot say raises, and says where it is", function()
    raised({ a = { b = { print } } }, "a.b.1 is a function")
    raised(nil, "the value is a nil")
    raised({ x = 0 / 0 }, "x is nan")
    raised({ x = { math.huge } }, "x.1 is inf")
    raised({ 1, 2, x = 3 }, "has the key 1 beside others")
    raised({ [1] = 1, [3] = 3 }, "has the key")
    raised({ [true] = 1 }, "has the key true")
    local circle = {}
    circle.again = circle
    raised(circle, "is more than 100 tables deep, or contains itself")
  end)
end)

-- ---- against Python's json; the seed is fixed ----

local random = math.random

local function some_value(depth)
  local kind = random(depth > 4 and 5 or 7)
  if kind == 1 then
    return random(2) == 1
  elseif kind == 2 then
    return json.null
  elseif kind == 3 then
    return random(-1e6, 1e6)
  elseif kind == 4 then
    return (random() - 0.5) * 10 ^ random(-300, 300)
  elseif kind == 5 then
    local chars = {}
    for i = 1, random(0, 8) do
      chars[i] = ({ "a", "ü", "€", "\240\159\152\128", '"', "\\", "/", "\n", "\1", "\127", "0" })[random(11)]
    end
    return table.concat(chars)
  end
  local made = kind == 6 and json.array() or {}
  for i = 1, random(0, 4) do
    made[kind == 6 and i or ("k" .. random(99))] = some_value(depth + 1)
  end
  return made
end

local marks = { '"', "\\", "[", "]", "{", "}", ",", ":", "0", "1", "-", ".", "e", "E9", "null", "t", "u", " ", "\255" }

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not same(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

it("values that Python's json reads are the same, and what it refuses is refused", function()
  math.randomseed(17)
  local texts, path = {}, os.tmpname()
  local file = assert(io.open(path, "wb"))
  for i = 1, 10000 do
    local text = json.encode(some_value(0))
    if i % 2 == 0 then
      local at = random(#text)
      text = text:sub(1, at - random(0, 1)) .. marks[random(#marks)] .. text:sub(at + random(0, 1))
    end
    texts[i] = text
    file:write(codec.base64_encode(text), "\n")
  end
  file:close()
  local pipe = io.popen("python3 spec/map/python_json.py <" .. path)
  local differ, both, neither = {}, 0, 0
  for i, text in ipairs(texts) do
    local line = pipe:read "*l"
    local ours, theirs = json.decode(text), nil
    if line ~= "-" then
      theirs = json.decode((codec.base64_decode(line)))
      both = both + 1
    end
    neither = neither + (ours == nil and theirs == nil and 1 or 0)
    if not same(ours, theirs) then
      differ[#differ + 1] = ("%d: %s: Python %s"):format(i, text, line)
    end
  end
  pipe:close()
  os.remove(path)
  for i = #differ, 1, -1 do -- the forms of numbers that docs/json.md names
    if differ[i]:find "%d%.[%]%s,}e]" or differ[i]:find "%d%.:" or differ[i]:find "%+" or differ[i]:find "%-%.%d" then
      table.remove(differ, i)
    end
  end
  assert.same({}, differ)
  assert.is_true(both > 5500 and neither > 2000, both .. " " .. neither)
end)
