local mime = require "moonmilter.mime"
local codec = require "moonmilter.codec"

local function lines(...)
  return table.concat({ ... }, "\r\n")
end

describe("the walker's limits", function()
  it("are named in the error and stay in force", function()
    local deep = {}
    for i = 1, 40 do
      deep[#deep + 1] = ("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d"):format(i, i)
    end
    local walker = mime.walker { with_header = true }
    local ok, text, code = walker:body(table.concat(deep, "\r\n") .. "\r\n\r\n")
    assert.is_nil(ok)
    assert.equal("limit", code)
    assert.is_truthy(text:find("max_depth 32", 1, true))
    assert.equal("limit", select(3, walker:body "more"))
    assert.equal("limit", select(3, walker:eom()))
  end)
  it("bound the number of parts, including those in encoded messages", function()
    local many = lines("Content-Type: multipart/mixed; boundary=b", "", ("--b\r\n\r\n\r\n"):rep(1100))
    local function refused(_, text, code)
      assert.matches("^mime: more than max_parts ", text)
      assert.equal("limit", code)
    end
    refused(mime.parse(many))
    local inner = "Content-Type: multipart/mixed; boundary=c\r\n\r\n" .. ("--c\r\n\r\n\r\n"):rep(12)
    local outer = lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "",
      codec.base64_encode(inner, 76))
    refused(mime.parse(outer, { max_parts = 10 }))
    assert.is_table(mime.parse(outer, { max_parts = 20 }))
  end)
  it("bound a header, even when its lines come in small pieces", function()
    local walker = mime.walker { with_header = true, max_header_bytes = 1000 }
    local text, code
    for _ = 1, 2000 do
      local ok, said, why = walker:body "x"
      text, code = text or (not ok and said), code or (not ok and why)
    end
    assert.matches("max_header_bytes 1000", text)
    assert.equal("limit", code)
  end)
  it("refuse unknown options", function()
    assert.has_error(function() mime.walker { max_dept = 3 } end)
    assert.has_error(function() mime.walker { max_depth = "3" } end)
  end)
end)

describe("the walker driven by handlers", function()
  it("takes headers as the MTA sends them and the body in chunks", function()
    local seen = {}
    local walker = mime.walker {
      on_part = function(part) seen[#seen + 1] = part.path .. " " .. part.type end,
      on_text = function(_, text) seen[#seen + 1] = text end,
    }
    walker:header("Subject", "x")
    walker:header("Content-Type", "multipart/alternative;\n\tboundary=b")
    assert.is_true(walker:eoh())
    for chunk in lines("--b", "Content-Type: text/plain; charset=iso-8859-1", "", "caf\233", "--b",
      "Content-Type: text/html", "", "<p>", "--b--", ""):gmatch(".") do
      assert.is_true(walker:body(chunk))
    end
    assert.equal("multipart/alternative", walker:eom().type)
    assert.equal("1 multipart/alternative,1.1 text/plain,café,1.2 text/html,<p>",
      table.concat(seen, ","):gsub("caf,é", "café"):gsub(
      "c,a,f,é", "café"):gsub("<,p,>", "<p>"))
  end)
  it("gives only size and kind of a part that on_part refuses, not its content", function()
    local got, last = 0, nil
    local walker = mime.walker {
      on_part = function() return false end, on_data = function() got = got + 1 end,
      on_end = function(part) last = part end,
    }
    walker:header("Content-Transfer-Encoding", "base64")
    walker:body(codec.base64_encode("%PDF-1.4" .. ("x"):rep(5000), 76))
    walker:eom()
    assert.same({ 0, 5008, "pdf" }, { got, last.size, last.kind })
  end)
  it("marks signed parts", function()
    local root = mime.parse(lines("Content-Type: multipart/signed; boundary=b", "", "--b", "", "x", "--b",
      "Content-Type: application/pgp-signature", "", "y", "--b--", ""))
    assert.is_false(root.is_sealed)
    assert.is_true(root.parts[1].is_sealed)
  end)
  it("keeps memory constant for messages of any size", function()
    local walker = mime.walker {}
    walker:header("Content-Type", "multipart/mixed; boundary=b")
    walker:body "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    local chunk = ((("A"):rep(76) .. "\r\n"):rep(800))
    local function run(times)
      for _ = 1, times do
        walker:body(chunk)
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local early = run(20)
    local late = run(800) -- 50 MB more
    assert.is_true(late < early + 512, ("%d KiB, then %d KiB"):format(early, late))
  end)
end)

describe("type by content", function()
  local cases = {
    { "MZ\144\0\3\0\0\0", "exe" }, { "MZ is how this text begins, and it has no zero byte in it at all", nil },
      { "\127ELF\2\1\1", "elf" },
    { "PK\3\4" .. ("\0"):rep(26) .. "[Content_Types].xml", "ooxml" },
    { "PK\3\4" .. ("\0"):rep(26) .. "META-INF/MANIFEST.MF", "jar" },
    { "PK\3\4" .. ("\0"):rep(26) .. "readme.txt", "zip" }, { "\208\207\17\224\161\177\26\225", "ole" },
    { "%PDF-1.7", "pdf" },
    { "#!/bin/sh\n", "script" }, { "L\0\0\0\1\20\2\0", "lnk" }, { "Rar!\26\7\0", "rar" }, { "7z\188\175\39\28",
      "7z" }, { "\31\139\8\0", "gzip" },
    { ("\0"):rep(257) .. "ustar\0", "tar" }, { "  <!DOCTYPE html>", "html" }, { "<?xml version='1.0'?><svg >",
      "svg" }, { "plain", nil }, { "", nil },
    { "\255\216\255\224", "jpeg" }, { "{\\rtf1", "rtf" },
  }
  for _, case in ipairs(cases) do
    it(("is %s for %q"):format(tostring(case[2]), case[1]:sub(1, 8):gsub("[^\32-\126]", ".")), function()
      assert.equal(case[2], mime.kind(case[1]))
    end)
  end
end)
