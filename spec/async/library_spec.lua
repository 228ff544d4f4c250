local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "async/library.h"

describe("a library that is loaded when it is needed", function()
  local function load(file, name)
    local files = ffi.new "const char *[2]"
    files[0] = file
    local functions, to = ffi.new "struct mm_library_function[1]", ffi.new "void *[1]"
    local why = ffi.new "struct mm_fault"
    functions[0].name, functions[0].to = name, to
    local ok = lib.mm_library_load(files, "libnone9", functions, 1, why)
    return ok and to[0] ~= nil, ffi.string(why.text)
  end

  it("is named with its package when it is missing", function()
    local ok, text = load("libnone.so.9", "none")
    assert.is_false(ok)
    assert.equal("libnone.so.9 is missing; install the package libnone9", text)
  end)

  it("is named with the function that it lacks, and gives the others", function()
    local ok, text = load("libc.so.6", "no_such_function")
    assert.is_false(ok)
    assert.equal("libc.so.6 has no no_such_function: it is another version than that of the package libnone9", text)
    assert.is_true((load("libc.so.6", "strlen")))
  end)
end)
