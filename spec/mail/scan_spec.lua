local lpeg = require "lpeg"
local scan = require "moonmilter.scan"

local function names(matches)
  local out = {}
  for i, m in ipairs(matches) do
    out[i] = ("%s %d-%d"):format(tostring(m.name), m.first, m.last)
  end
  return out
end

describe("a scanner", function()
  it("finds all overlapping literals", function()
    local s = scan.new { he = "he", she = "she", hers = "hers", his = "his" }
    assert.same({ "she 2-4", "he 3-4", "hers 3-6" }, names(s:find_all "ushers"))
  end)
  it("takes literals of any bytes, even all 256 of them", function()
    local literals, all = {}, {}
    for b = 0, 255 do
      literals[b + 1] = string.char(b, (b + 1) % 256, b)
      all[b + 1] = string.char(b)
    end
    assert.equal(256, #scan.new(literals):find_all(table.concat(literals, "\0\0")))
    assert.equal(0, #scan.new(literals):find_all(table.concat(all)))
  end)
  it("ignores the case of ASCII letters when asked", function()
    local s = scan.new({ "ViAgRa" }, { ignore_case = true })
    assert.same({ "1 3-8" }, names(s:find_all "a VIAGRA"))
    assert.same({}, names(scan.new({ "viagra" }):find_all "VIAGRA"))
  end)
  it("finds LPeg patterns of at most a window", function()
    local digits = lpeg.R "09" ^ 4
    assert.same({ "card 3-8" }, names(scan.new({ card = digits }):find_all "a 123456 12"))
    assert.same({ "x 2-4" }, names(scan.new({ x = lpeg.P "a" ^ 1 * "b" }, { window = 3 }):find_all "aaab"))
  end)
  it("gives the same matches wherever the stream is cut", function()
    math.randomseed(9)
    local piece = { "he", "she", "r", "s", "12", "345", " ", "h" }
    local text = {}
    for i = 1, 30000 do text[i] = piece[math.random(#piece)] end
    text = table.concat(text)
    local s = scan.new({ he = "he", she = "she", hers = "hers", num = lpeg.R "09" ^ 3 },
      { window = 64, max_matches = 1e6 })
    local function run(size)
      local out = {}
      local stream = s:stream(function(name, first, last) out[#out + 1] = name .. first .. "-" .. last end)
      local at = 1
      while at <= #text do
        local n = size or math.random(1, 9000)
        assert(stream:feed(text:sub(at, at + n - 1)))
        at = at + n
      end
      stream:finish()
      table.sort(out)
      return table.concat(out, " ")
    end
    local whole = run(#text)
    assert.is_true(#whole > 10000)
    for _, size in ipairs { 1, 13, 4096, 4097, 65535 } do
      assert.equal(whole, run(size))
    end
    for _ = 1, 5 do
      assert.equal(whole, run(nil))
    end
  end)
  it("stops at its limits with a name, and when on_match returns true", function()
    local function refused(limit, _, text, code)
      assert.matches(limit, text)
      assert.equal("limit", code)
    end
    refused("max_matches", scan.new({ "a" }, { max_matches = 5 }):find_all(("a"):rep(10)))
    refused("max_bytes", scan.new({ "a" }, { max_bytes = 5 }):find_all "bbbbbba")
    local count = 0
    local stream = scan.new({ "a" }):stream(function() count = count + 1 return true end)
    stream:feed "aaa"
    stream:feed "aaa"
    assert.equal(1, count)
  end)
  it("refuses empty literals, invalid patterns, and too many literals", function()
    assert.has_error(function() scan.new { "" } end)
    assert.has_error(function() scan.new { 5 } end)
    assert.has_error(function() scan.new({ "a" }, { windw = 1 }) end)
    local every_byte = {}
    for b = 1, 255 do every_byte[b] = string.char(b) end
    assert.is_nil((scan.new { table.concat(every_byte):rep(300) }))
  end)
end)
