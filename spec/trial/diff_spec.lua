local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "trial/diff.h"

local function text(s)
  return ffi.new("struct mm_text", { ffi.cast("const char *", s), #s })
end

local function diff(old, new)
  local out = ffi.new "struct mm_buffer"
  assert.is_true(C.mm_diff_unified(out, "old", text(old), "new", text(new)))
  local s = ffi.string(out.bytes, out.size)
  C.mm_buffer_free(out)
  return s
end

describe("a unified diff", function()
  it("is empty for equal texts, CRLF or not", function()
    assert.equal("", diff("a\nb\n", "a\nb\n"))
    assert.equal("", diff("a\r\nb\r\n", "a\nb\n"))
    assert.equal("", diff("", ""))
  end)

  it("shows what changed with three lines around it", function()
    assert.equal("--- old\n+++ new\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n",
      diff("a\nb\nc\nd\ne\nf\ng\nh\ni\n", "a\nb\nc\nd\nE\nf\ng\nh\ni\n"))
  end)

  it("counts as diff -u does when a side is empty", function()
    assert.equal("--- old\n+++ new\n@@ -0,0 +1 @@\n+a\n", diff("", "a\n"))
    assert.equal("--- old\n+++ new\n@@ -1,2 +0,0 @@\n-a\n-b\n", diff("a\nb\n", ""))
  end)

  it("marks a last line without a line end", function()
    assert.equal("--- old\n+++ new\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n", diff("a\n", "a"))
  end)

  it("makes one hunk of changes close together, two of those apart", function()
    local lines = {}
    for i = 1, 30 do lines[i] = tostring(i) end
    local function with(...)
      local copy = { unpack(lines) }
      for _, i in ipairs { ... } do copy[i] = "x" end
      return table.concat(copy, "\n") .. "\n"
    end
    local old = with()
    assert.equal(1, select(2, diff(old, with(10, 16)):gsub("@@ %-", "")))
    assert.equal(1, select(2, diff(old, with(10, 17)):gsub("@@ %-", "")))
    assert.equal(2, select(2, diff(old, with(10, 18)):gsub("@@ %-", "")))
  end)

  it("can be applied by patch, on random texts", function()
    if os.execute "patch --version >/dev/null 2>&1" ~= 0 then return pending "patch is not installed" end
    math.randomseed(7)
    local old_file, diff_file = os.tmpname(), os.tmpname()
    for _ = 1, 40 do
      local a, b = {}, {}
      for i = 1, math.random(0, 30) do a[i] = ("abcde"):sub(math.random(5)):sub(1, 1) end
      for _, line in ipairs(a) do
        if math.random() < 0.8 then b[#b + 1] = line end
        if math.random() < 0.2 then b[#b + 1] = "new" end
      end
      local old, new = table.concat(a, "\n") .. "\n", table.concat(b, "\n") .. "\n"
      local d = diff(old, new)
      if d ~= "" then
        local f = assert(io.open(old_file, "wb")); f:write(old); f:close()
        f = assert(io.open(diff_file, "wb")); f:write(d); f:close()
        assert.equal(0, os.execute(("patch -s %s %s"):format(old_file, diff_file)))
        f = assert(io.open(old_file, "rb"))
        assert.equal(new, f:read "*a")
        f:close()
      end
    end
    os.remove(old_file)
    os.remove(diff_file)
  end)
end)
