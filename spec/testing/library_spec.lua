-- moonmilter.testing has its own declarations of the library; they must agree with moonmilter.h.
local ffi = require "ffi"
local library = require "moonmilter.testing.library"
local testlib = require "spec.support.testlib"

testlib.load "moonmilter_testing.h"

describe("moonmilter.testing.library", function()
  it("declares the structs of moonmilter.h", function()
    assert.equal(ffi.sizeof "struct mm_error", ffi.sizeof "struct moonmilter_test_error")
    assert.equal(ffi.sizeof "struct mm_module", ffi.sizeof "struct moonmilter_test_module")
    for _, name in ipairs { "macro", "profile", "client", "reply", "edit" } do
      assert.equal(ffi.sizeof("struct mm_player_" .. name), ffi.sizeof("struct moonmilter_test_player_" .. name), name)
    end
    assert.equal(ffi.sizeof "struct mm_host_options", ffi.sizeof "struct moonmilter_test_options")
    for _, field in ipairs { "config_file", "listen", "scripts", "set", "no_sockets", "drop_rights",
      "handle_signals", "loop", "modules", "log", "log_self", "reads_all_keys", "config_text", "sources", "filters",
      "woken", "woken_self" } do
      assert.equal(ffi.offsetof("struct mm_host_options", field), ffi.offsetof("struct moonmilter_test_options", field),
        field)
    end
  end)

  it("declares functions with the header's number of arguments", function()
    local header = ""
    for _, name in ipairs { "moonmilter.h", "moonmilter_testing.h" } do
      local part = assert(io.open("host/" .. name))
      header = header .. part:read "*a"
      part:close()
    end
    local file = assert(io.open(package.searchpath("moonmilter.testing.library", package.path)))
    local own = file:read "*a"
    file:close()
    local function count(arguments)
      return select(2, arguments:gsub("%b()", ""):gsub(",", ""))
    end
    local checked = 0
    for arguments, name in own:gmatch "moonmilter_test_[%w_]+(%b()) __asm__%(\"(mm_[%w_]+)\"%)" do
      local declared = header:match("MM_API [^;]-%f[%w_]" .. name .. "(%b());")
      assert.is_string(declared, name)
      assert.equal(count(declared:sub(2, -2)), count(arguments:sub(2, -2)), name)
      checked = checked + 1
    end
    assert.is_true(checked > 15)
  end)

  it("finds the library and its version", function()
    assert.matches("^%d+%.%d+%.%d+$", ffi.string(library.version()))
  end)
end)
