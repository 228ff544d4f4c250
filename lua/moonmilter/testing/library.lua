--- libmoonmilter through LuaJIT's ffi: the part of moonmilter.h that tests need.
-- The declarations have names of their own (moonmilter_test_…), tied to the library's symbols by __asm__: a process
-- that has declared moonmilter.h itself is not disturbed. spec/testing/library_spec.lua compares them with the header.
local ffi = require "ffi"

local library = {}

if not pcall(ffi.sizeof, "struct moonmilter_test_error") then
  ffi.cdef [[
    struct moonmilter_test_error { int code; char text[1024]; };
    struct moonmilter_test_module { const char *name; int (*open)(void *); };
    struct moonmilter_test_options {
      size_t size;
      const char *config_file;
      const char *const *listen, *const *scripts, *const *set;
      bool no_sockets, drop_rights, handle_signals;
      void *loop;
      const struct moonmilter_test_module *modules;
      void (*log)(void *self, int level, const char *line, size_t size);
      void *log_self;
    };
    const char *moonmilter_test_version(void) __asm__("mm_version");
    void *moonmilter_test_host_new(const struct moonmilter_test_options *, struct moonmilter_test_error *) __asm__("mm_host_new");
    void *moonmilter_test_testing_host_new(const struct moonmilter_test_options *, double,
      struct moonmilter_test_error *) __asm__("mm_testing_host_new");
    bool moonmilter_test_host_start(void *, struct moonmilter_test_error *) __asm__("mm_host_start");
    void moonmilter_test_host_turn(void *, double) __asm__("mm_host_turn");
    void moonmilter_test_host_reload(void *, void (*)(void *, bool, const void *), void *) __asm__("mm_host_reload");
    unsigned long moonmilter_test_host_generation(const void *) __asm__("mm_host_generation");
    void moonmilter_test_host_free(void *) __asm__("mm_host_free");
    void *moonmilter_test_feed_open(void *, const char *, struct moonmilter_test_error *) __asm__("mm_feed_open");
    bool moonmilter_test_feed_bytes(void *, const void *, size_t, struct moonmilter_test_error *) __asm__("mm_feed_bytes");
    const void *moonmilter_test_feed_output(const void *, size_t *) __asm__("mm_feed_output");
    void moonmilter_test_feed_consume(void *, size_t) __asm__("mm_feed_consume");
    bool moonmilter_test_feed_is_waiting(const void *) __asm__("mm_feed_is_waiting");
    bool moonmilter_test_feed_is_finished(const void *) __asm__("mm_feed_is_finished");
    void moonmilter_test_feed_hang_up(void *) __asm__("mm_feed_hang_up");
    void moonmilter_test_feed_close(void *) __asm__("mm_feed_close");
    void *moonmilter_test_ear_open(const char *, unsigned, unsigned, unsigned, struct moonmilter_test_error *) __asm__("mm_ear_open");
    bool moonmilter_test_ear_hear(void *, char, char, const void *, size_t, struct moonmilter_test_error *) __asm__("mm_ear_hear");
    bool moonmilter_test_ear_message(void *, const void *, size_t, struct moonmilter_test_error *) __asm__("mm_ear_message");
    bool moonmilter_test_ear_edit(void *, char, const void *, size_t, struct moonmilter_test_error *) __asm__("mm_ear_edit");
    const void *moonmilter_test_ear_result(void *, size_t *) __asm__("mm_ear_result");
    void moonmilter_test_ear_close(void *) __asm__("mm_ear_close");

    int moonmilter_test_loadbuffer(void *, const char *, size_t, const char *) __asm__("luaL_loadbuffer");
    int moonmilter_test_pcall(void *, int, int, int) __asm__("lua_pcall");
    const char *moonmilter_test_tolstring(void *, int, size_t *) __asm__("lua_tolstring");
    void moonmilter_test_pushlstring(void *, const char *, size_t) __asm__("lua_pushlstring");
    void moonmilter_test_pushcclosure(void *, int (*)(void *), int) __asm__("lua_pushcclosure");
  ]]
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- Where the library may be: MOONMILTER_LIBRARY; the build tree this file belongs to; where both were installed.
local function places()
  local here = debug.getinfo(1, "S").source:match "^@(.*)lua/moonmilter/testing/[^/]*$"
  local installed = debug.getinfo(1, "S").source:match "^@(.*)share/lua/5.1/moonmilter/testing/[^/]*$"
  local list = {}
  if here then
    list[#list + 1] = here .. "build/libmoonmilter.so"
  end
  if installed then
    list[#list + 1] = installed .. "lib/libmoonmilter.so.0"
  end
  list[#list + 1] = "build/libmoonmilter.so"
  return list
end

local function load()
  local named = os.getenv "MOONMILTER_LIBRARY"
  if named then
    return ffi.load(named)
  end
  local list = places()
  for _, path in ipairs(list) do
    if exists(path) then
      return ffi.load(path:find "^/" and path or "./" .. path)
    end
  end
  local ok, found = pcall(ffi.load, "libmoonmilter.so.0")
  if ok then
    return found
  end
  error(("libmoonmilter is not found: not at %s, and not where the linker looks (%s). Build it with make, or set "
    .. "MOONMILTER_LIBRARY to its path"):format(table.concat(list, ", "), found), 0)
end

local loaded = load()

--- library.host_new, library.feed_bytes, …: the functions by their names in moonmilter.h without "mm_".
setmetatable(library, {
  __index = function(self, name)
    local fn = loaded["moonmilter_test_" .. name]
    rawset(self, name, fn)
    return fn
  end,
})

--- A struct mm_error to be filled.
function library.new_error()
  return ffi.new "struct moonmilter_test_error"
end

function library.text(err)
  return ffi.string(err.text)
end

--- NULL-ended array of strings. The list must be kept as long as the array.
function library.strings(list)
  local array = ffi.new("const char *[?]", #list + 1)
  for i, s in ipairs(list) do
    array[i - 1] = s
  end
  array[#list] = nil
  return array
end

return library
