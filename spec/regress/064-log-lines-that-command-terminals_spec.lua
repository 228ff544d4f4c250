-- U+0080 to U+009F are control characters, and were written to the log unchanged: U+009B begins a command to a terminal
-- that shows the log, U+0085 ends a line for some readers. Characters that change the text direction are as harmful.
-- Since 0.1.0.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "base/log.h"

local function shown(value, is_json)
  local log, line, got = ffi.new "struct mm_log", ffi.new "struct mm_log_line", nil
  lib.mm_log_init(log, -1)
  local sink = ffi.cast("void (*)(void *, enum mm_level, const char *, size_t)", function(_, _, bytes, size)
    got = ffi.string(bytes, size)
  end)
  log.sink, log.is_json, log.is_terminal = sink, is_json == true, false
  lib.mm_log_begin(line, log, 1, "event")
  lib.mm_log_string(line, "key", value)
  lib.mm_log_end(line)
  sink:free()
  return got:match(is_json == true and '"key":(".*")' or "key=(.*)$")
end
jit.off(shown, true)

describe("a log line", function()
  it("shows the bytes of characters that would command a terminal or end a line", function()
    assert.equal([["a\xc2\x9b2Jb"]], shown("a\194\1552Jb"))
    assert.equal([["a\xc2\x85b"]], shown "a\194\133b")
    assert.equal([["a\u00c2\u009b2Jb"]], shown("a\194\1552Jb", true))
    assert.equal([["\xe2\x80\xaeb"]], shown "\226\128\174b")
    assert.equal([["\xe2\x81\xa6b"]], shown "\226\129\166b")
  end)

  it("shows letters unchanged", function()
    for _, text in ipairs { "\194\160", "\194\174", "gr\195\188n", "\226\128\166", "\226\130\172",
      "\240\159\152\128" } do
      assert.equal('"' .. text .. '"', shown(text))
    end
  end)
end)
