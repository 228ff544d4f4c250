-- A log line that was too long was cut where it was full: in the middle of a key, or after a value without quotes, and
-- then still closed with a quote. Such a JSON line could not be read, and in a text line the rest of a value could look
-- like another key. Found by host/fuzz/log.c. Now a pair keeps at least its key, and only an open quote is closed.
-- Since 0.1.0.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "base/log.h"

local function line_of(is_json, first_size, second)
  local log, line, got = ffi.new "struct mm_log", ffi.new "struct mm_log_line", nil
  lib.mm_log_init(log, -1)
  local sink = ffi.cast("void (*)(void *, enum mm_level, const char *, size_t)", function(_, _, bytes, size)
    got = ffi.string(bytes, size)
  end)
  log.sink, log.is_json, log.is_terminal = sink, is_json, false
  lib.mm_log_begin(line, log, 1, "event")
  lib.mm_log_string(line, "first", ("x"):rep(first_size))
  lib.mm_log_string(line, "second_key", second)
  lib.mm_log_number(line, "third_key", 12345)
  lib.mm_log_end(line)
  sink:free()
  return got
end
jit.off(line_of, true)

describe("a log line that is too long", function()
  it("is valid JSON, wherever it is cut", function()
    local cjson = require "cjson"
    local longest = #line_of(true, 100000, "y")
    for size = longest - 200, longest + 10 do
      local text = line_of(true, size, 'with "quotes" and blanks')
      local ok, value = pcall(cjson.decode, text)
      assert.is_true(ok, text:sub(-120))
      assert.truthy(value.is_cut or value.third_key == 12345)
    end
  end)

  it("has no superfluous quote as text", function()
    local longest = #line_of(false, 100000, "y")
    for size = longest - 200, longest + 10 do
      local text = line_of(false, size, "with blanks")
      assert.equal(0, select(2, text:gsub('"', "")) % 2, text:sub(-120))
      assert.matches(" third_key=12345$", text:gsub(" is_cut=true$", " third_key=12345"))
    end
  end)
end)
