-- A parser that stops at a bound says so: a defect, an error, or it has no bound.
local authres = require "moonmilter.authres"
local body = require "moonmilter.body"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"

--- Walks a message in pieces of `step` bytes. -> root, the type and the defects of each part, in the order they end
local function walk(message, step)
  local ended = {}
  local walker = mime.walker { with_header = true, on_end = function(part)
    ended[#ended + 1] = { part.type, part.defects }
  end }
  for at = 1, #message, step do
    assert(walker:body(message:sub(at, at + step - 1)))
  end
  return assert(walker:eom()), ended
end

local function hides(part)
  for defect in pairs(part.defects) do
    if mime.hiding_defects[defect] then
      return defect
    end
  end
end

describe("a part that a bound hides is announced:", function()
  local HEAD, PROGRAM = "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n\r\ntext\r\n",
    "Content-Type: image/png\r\n\r\nMZ\0\0\r\n"

  it("after a delimiter with more blanks than a line may have", function()
    for _, blanks in ipairs { 0, 100, 1000, 1121, 1122, 1123, 5000, 70000 } do
      local message = HEAD:format("b", "b") .. "--b" .. (" "):rep(blanks) .. "\r\n" .. PROGRAM .. "--b--\r\n"
      for _, step in ipairs { 1, 997, 65535 } do
        local root, ended = walk(message, step)
        -- either the part is found, or the multipart says that it may have more
        assert.is_true(#ended == 3 ~= (hides(root) == "long-delimiter"), blanks .. " blanks, step " .. step)
        assert.equal(blanks > 1121 and 2 or 3, #ended, blanks .. " blanks, step " .. step)
      end
    end
  end)

  it("but a long line that only begins like a delimiter is text", function()
    for _, line in ipairs { "--b" .. ("x"):rep(5000), "--b" .. (" "):rep(100) .. ("x"):rep(5000),
      "--" .. ("b"):rep(5000), (" "):rep(5000) } do
      local root = walk(HEAD:format("b", "b") .. line .. "\r\n--b--\r\n", 65535)
      assert.is_nil(hides(root))
    end
  end)

  it("in a multipart whose boundary is too long", function()
    local boundary = ("b"):rep(998)
    assert.is_nil(hides((walk(HEAD:format(boundary, boundary) .. "--" .. boundary .. "--\r\n", 65535))))
    boundary = boundary .. "b"
    assert.equal("long-boundary", hides((walk(HEAD:format(boundary, boundary), 65535))))
    assert.is_nil(hides((walk('Content-Type: multipart/mixed; boundary=""\r\n\r\n----\r\n', 65535))))
  end)

  it("in a message of which the walker got a part only", function()
    local walker = mime.walker()
    walker:headers { { name = "Content-Type", value = "text/html" }, truncated = true }
    assert(walker:eoh())
    local root = assert(walker:eom())
    assert.same({ "text/html", "header-truncated" }, { root.type, hides(root) })
    walker = mime.walker()
    walker:headers(header.block "Content-Type: text/html\r\n\r\n")
    assert(walker:eoh())
    root = assert(walker:eom())
    assert.same({ "text/html" }, { root.type, hides(root) })
  end)

  it("in a body that was truncated, or whose header was", function()
    local function parts_of(options, text)
      local kept = body.new(options)
      assert(kept:feed(text))
      assert(kept:finish())
      return assert(kept:parts())
    end
    assert.is_nil(hides(parts_of({ max_size = 4, over = "truncate" }, "1234")[1]))
    assert.equal("body-truncated", hides(parts_of({ max_size = 4, over = "truncate" }, "12345")[1]))
    assert.equal("header-truncated", hides(parts_of({ headers = { truncated = true } }, "1")[1]))
  end)

  it("in a value of which the end is not read", function()
    local function type_with(blocks)
      local atoms = ("a "):rep(blocks)
      return mime.parse("Content-Type: text/" .. atoms .. "\r\n\r\n")
    end
    assert.is_nil(hides(type_with(10)))
    assert.equal("over-length", hides(type_with(1000)))
    assert.equal("over-length", hides(mime.parse("Content-Transfer-Encoding: " .. ("a "):rep(100000) .. "\r\n\r\n")))
  end)
end)

describe("what has no bound is read whole:", function()
  it("a parameter in any number of pieces", function()
    local pieces = {}
    for i = 0, 1500 do
      pieces[#pieces + 1] = ("filename*%d=x"):format(i)
    end
    pieces[#pieces + 1] = "filename*1501=.exe"
    local t = header.params("attachment; " .. table.concat(pieces, ";"))
    assert.equal(("x"):rep(1501) .. ".exe", t.params.filename)
    assert.is_nil(t.defects)
    t = header.params "attachment; filename*0=a; filename*1500=.exe; filename*1e9=b; filename*99999999999999999999=c"
    assert.is_true(t.defects["bad-continuation"])
  end)

  it("an encoded word with a long language", function()
    assert.equal("ü.exe", header.decode("=?utf-8*" .. ("en-"):rep(100) .. "x?Q?=C3=BC.exe?="))
  end)
end)

describe("a body over max_size", function()
  it("is refused for good, if nothing else is said: the sender would meet a temporary failure for days", function()
    local kept = body.new { max_size = 4 }
    assert.same({ nil, "body: over max_size 4", "reject" }, { kept:feed "12345" })
  end)
end)

describe("authres.strip", function()
  it("does not touch a list that is not the whole header", function()
    local list = header.block "Authentication-Results: mx; spf=pass\r\n\r\n"
    list.truncated = true
    assert.has_error(function() authres.strip(list, "mx") end, "strip: the header has more fields than the list shows, "
      .. "so not all that claim to be ours can be deleted")
    list.truncated = nil
    assert.equal(1, authres.strip(list, "mx"))
  end)
end)
