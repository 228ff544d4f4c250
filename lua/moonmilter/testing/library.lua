--- libmoonmilter through LuaJIT's ffi: the part of moonmilter.h that tests need.
-- The declarations have separate names (moonmilter_test_…), bound to the library's symbols by __asm__: they do not
-- conflict in a process that declares moonmilter.h itself. spec/testing/library_spec.lua compares them with the header.
local ffi = require "ffi"

local library = {}

if not pcall(ffi.sizeof, "struct moonmilter_test_error") then
  ffi.cdef [[
    struct moonmilter_test_error { int code, reason; char text[1024]; };
    struct moonmilter_test_module { const char *name; int (*open)(void *); void *self; };
    struct moonmilter_test_options {
      size_t size;
      const char *config_file;
      const char *const *listen, *const *scripts, *const *set;
      bool no_sockets, drop_rights, handle_signals;
      void *loop;
      const struct moonmilter_test_module *modules;
      void (*log)(void *self, int level, const char *line, size_t size);
      void *log_self;
      bool reads_all_keys;
      const char *config_text;
      const void *sources;
      const void *const *filters;
      void (*woken)(void *self);
      void *woken_self;
    };
    const char *moonmilter_test_version(void) __asm__("mm_version");
    void *moonmilter_test_host_new(const struct moonmilter_test_options *, struct moonmilter_test_error *) __asm__("mm_host_new");
    void *moonmilter_test_testing_host_new(const struct moonmilter_test_options *, double,
      struct moonmilter_test_error *) __asm__("mm_testing_host_new");
    double moonmilter_test_testing_now(void) __asm__("mm_testing_now");
    const char *moonmilter_test_testing_suggest(const char *, const char *const *) __asm__("mm_testing_suggest");
    const char *moonmilter_test_testing_metrics(void *, size_t *) __asm__("mm_testing_metrics");
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

    struct moonmilter_test_player_macro { const char *stage, *name, *value; };
    struct moonmilter_test_player_profile {
      const char *kind, *name;
      unsigned version, actions, steps;
      const struct moonmilter_test_player_macro *macros;
      bool is_bare;
    };
    struct moonmilter_test_player_client {
      const char *family, *host, *address;
      unsigned port;
      const char *auth_user, *tls_version, *cipher, *cipher_bits, *cert_subject, *cert_issuer;
    };
    struct moonmilter_test_player_reply {
      const char *stage, *verdict;
      unsigned code;
      const char *text;
      size_t text_size;
      unsigned edit_count, progress;
      const char *complaint;
      bool ends_message, ends_session;
    };
    struct moonmilter_test_player_edit {
      const char *name;
      bool has_index;
      unsigned index;
      const char *first, *second;
      size_t first_size, second_size;
    };
    void *moonmilter_test_player_open(const struct moonmilter_test_player_profile *,
      struct moonmilter_test_error *) __asm__("mm_player_open");
    void moonmilter_test_player_close(void *) __asm__("mm_player_close");
    void moonmilter_test_player_negotiate(void *) __asm__("mm_player_negotiate");
    void moonmilter_test_player_connect(void *, const struct moonmilter_test_player_client *) __asm__("mm_player_connect");
    void moonmilter_test_player_helo(void *, const char *, size_t) __asm__("mm_player_helo");
    void moonmilter_test_player_unknown(void *, const char *, size_t) __asm__("mm_player_unknown");
    void moonmilter_test_player_mail(void *, const char *, size_t, const char *, size_t) __asm__("mm_player_mail");
    void moonmilter_test_player_rcpt(void *, const char *, size_t, const char *, size_t) __asm__("mm_player_rcpt");
    void moonmilter_test_player_no_recipients(void *) __asm__("mm_player_no_recipients");
    void moonmilter_test_player_data(void *) __asm__("mm_player_data");
    void moonmilter_test_player_header(void *, const char *, size_t, const char *, size_t) __asm__("mm_player_header");
    void moonmilter_test_player_eoh(void *) __asm__("mm_player_eoh");
    void moonmilter_test_player_body(void *, const void *, size_t) __asm__("mm_player_body");
    void moonmilter_test_player_eom(void *) __asm__("mm_player_eom");
    void moonmilter_test_player_abort(void *) __asm__("mm_player_abort");
    void moonmilter_test_player_quit(void *) __asm__("mm_player_quit");
    void moonmilter_test_player_count_from(void *, unsigned) __asm__("mm_player_count_from");
    const void *moonmilter_test_player_output(const void *, size_t *) __asm__("mm_player_output");
    void moonmilter_test_player_consume(void *, size_t) __asm__("mm_player_consume");
    bool moonmilter_test_player_hear(void *, const void *, size_t) __asm__("mm_player_hear");
    bool moonmilter_test_player_is_waiting(const void *) __asm__("mm_player_is_waiting");
    const struct moonmilter_test_error *moonmilter_test_player_error(const void *) __asm__("mm_player_error");
    const struct moonmilter_test_player_reply *moonmilter_test_player_reply(const void *) __asm__("mm_player_reply");
    bool moonmilter_test_player_edit(const void *, unsigned, struct moonmilter_test_player_edit *) __asm__("mm_player_edit");
    const char *moonmilter_test_player_message(void *, size_t *) __asm__("mm_player_message");
    const char *moonmilter_test_player_sender(void *, size_t *) __asm__("mm_player_sender");
    const char *moonmilter_test_player_recipient(void *, unsigned, size_t *) __asm__("mm_player_recipient");
    const char *moonmilter_test_player_quarantine(void *, size_t *) __asm__("mm_player_quarantine");
    void moonmilter_test_player_await(void *, char) __asm__("mm_player_await");
    void moonmilter_test_player_agreed(const void *, unsigned *, unsigned *, unsigned *) __asm__("mm_player_agreed");

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

--- Where the library may be: MOONMILTER_LIBRARY; the build tree of this file; the place where both were installed.
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

--- A struct mm_error to fill.
function library.new_error()
  return ffi.new "struct moonmilter_test_error"
end

function library.text(err)
  return ffi.string(err.text)
end

--- NULL-terminated array of strings. Keep the list as long as the array.
function library.strings(list)
  local array = ffi.new("const char *[?]", #list + 1)
  for i, s in ipairs(list) do
    array[i - 1] = s
  end
  array[#list] = nil
  return array
end

return library
