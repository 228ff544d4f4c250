--- The host's C, for specs: declarations read from its own headers, functions from the test build of its objects.
-- Headers go through the C preprocessor with our own includes only; LuaJIT knows the names that they take from the
-- system (bool, size_t, uint8_t, …), and FILE from here.
local ffi = require "ffi"

if not pcall(ffi.typeof, "FILE") then ffi.cdef "typedef struct _IO_FILE FILE;" end

local testlib = {}

local library_path = os.getenv "MOONMILTER_TESTLIB" or "build/test/libmoonmilter_test.so"
local compiler = os.getenv "CC" or "cc"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- Busted forgets loaded modules between spec files, LuaJIT keeps declarations: so a type records what is declared.
local function marker(name)
  return "testlib_has_" .. name:gsub("%W", "_")
end

--- The headers that `name` includes, each once, in the order in which they must be declared. Those that LuaJIT already
--- knows go into `known`.
local function gather(name, new, known)
  if new[name] or known[name] then return end
  local is_known = pcall(ffi.typeof, marker(name))
  local list = is_known and known or new
  list[name] = true
  local text = read("host/" .. name)
  for included in ("\n" .. text):gmatch '\n#include "([^"]+)"' do gather(included, new, known) end
  list[#list + 1] = name
end

local function preprocess(text)
  local source, result = os.tmpname(), os.tmpname()
  local file = assert(io.open(source, "wb"))
  file:write(text)
  file:close()
  local status = os.execute(("%s -w -E -P -x c %s -o %s"):format(compiler, source, result))
  assert(status == 0 or status == true, "the C preprocessor failed")
  local declarations = read(result)
  os.remove(source)
  os.remove(result)
  return declarations
end

--- The #define lines of a header, including those over several lines, without its guard.
local function macros_of(name)
  local found, continues = {}, false
  for line in read("host/" .. name):gmatch "[^\n]*\n" do
    if continues or line:match "^#define [%w_]+%S* +%S" then
      found[#found + 1] = line
      continues = line:match "\\\n$" ~= nil
    end
  end
  return table.concat(found)
end

--- Declares what a header of host/ declares and returns the library.
---@param header string  "config.h"
function testlib.load(header)
  local new, known, parts = {}, {}, {}
  gather(header, new, known)
  for _, name in ipairs(known) do parts[#parts + 1] = macros_of(name) end
  for _, name in ipairs(new) do
    parts[#parts + 1] = read("host/" .. name):gsub("#include[^\n]*", "")
    parts[#parts + 1] = ("typedef int %s;\n"):format(marker(name))
  end
  local declarations = preprocess(table.concat(parts))
  -- LuaJIT knows "inline", but not before "bool"
  ffi.cdef((declarations:gsub("static inline[^;{}]*%b{}", ""):gsub("\ninline ([^;{}]*)%b{}", "\n%1;")
    :gsub("_Static_assert%b();", "")))
  return ffi.load(library_path)
end

return testlib
