--- docs/ARCHITECTURE.md is the plan of the house: the lint compares it with the tree, with
--- includes and with the linker.
local planted = require "spec.lint.planted"

local write = planted.write

local function finds(expected) planted.finds(expected, "rooms") end

before_each(function()
  planted.make()
  write("docs/ARCHITECTURE.md", [[
| folder | what it is | files, in order | may include |
|---|---|---|---|
| `base/` | bytes | `text` `buffer` | |
| `io/` | sockets | `connection` | `base/` |
| `lua/moonmilter/` | public | `dns` `http` | |
]])
  write("host/moonmilter.h", "")
  write("host/base/text.h", "#define TEXT\n")
  write("host/base/buffer.h", '#include "base/text.h"\n')
  write("host/io/connection.h", '#include "base/buffer.h"\n')
  write("host/io/connection.c", '#include "io/connection.h"\n\n#include <ev.h>\n')
  write("lua/moonmilter/dns.lua", "return {}\n")
  write("lua/moonmilter/http.lua", 'local dns = require "moonmilter.dns"\nreturn { dns }\n')
end)

after_each(planted.remove)

describe("the lint of rooms", function()
  it("passes a tree that matches its table", function() finds "" end)

  it("reports an include of a folder above", function()
    write("host/base/buffer.c", '#include "io/connection.h"\n')
    finds "host/base/buffer.c:1: includes io/connection.h, but base/ may not include io/ (docs/ARCHITECTURE.md)\n"
  end)

  it("reports an include of a later file of the same folder", function()
    write("host/base/text.c", '#include "base/buffer.h"\n')
    finds "host/base/text.c:1: includes base/buffer.h, which stands after it in base/ (docs/ARCHITECTURE.md)\n"
  end)

  it("reports a row that lets a folder include one below it", function()
    write("docs/ARCHITECTURE.md", "| `base/` | bytes | `text` `buffer` | `io/` |\n| `io/` | | `connection` "
      .. "| `base/` |\n| `lua/moonmilter/` | | `dns` `http` | |\n")
    finds "docs/ARCHITECTURE.md:1: lets base/ include io/, which does not stand above it\n"
  end)

  it("reports a file without a room", function()
    write("host/base/drawer.h", "#define DRAWER\n")
    write("lua/moonmilter/drawer.lua", "return {}\n")
    finds("host/base/drawer.h:1: has no room in the table of docs/ARCHITECTURE.md: find its room\n"
      .. "lua/moonmilter/drawer.lua:1: has no room in the table of docs/ARCHITECTURE.md: find its room\n")
  end)

  it("reports a room without its file", function()
    os.remove(planted.root .. "/lua/moonmilter/http.lua")
    finds "docs/ARCHITECTURE.md:5: names lua/moonmilter/http, which is not in the tree\n"
  end)

  it("reports libev and Lua where they do not belong", function()
    write("host/base/buffer.c", "#include <ev.h>\n#include <lua.h>\n")
    finds("host/base/buffer.c:1: includes ev.h, which is for the loop and its sockets and for no header\n"
      .. "host/base/buffer.c:2: includes lua.h; Lua is for task/, bind/, script/, codec/codec and seal/seal, and "
      .. "for no header\n")
  end)

  it("reports a call that the linker resolves in a later file", function()
    write("build/obj/base/text.c", "void mm_later(void);\nvoid mm_early(void) { mm_later(); }\n")
    write("build/obj/io/connection.c", "void mm_later(void) {}\n")
    for _, stem in ipairs { "base/text", "io/connection" } do
      local object = ("%s/build/obj/%s"):format(planted.root, stem)
      assert(os.execute(("cc -c -o %s.o %s.c"):format(object, object)) == 0)
    end
    finds "host/base/text.c:1: uses mm_later of io/connection.c, which stands after it (docs/ARCHITECTURE.md)\n"
  end)

  it("reports Lua modules that require each other", function()
    write("lua/moonmilter/dns.lua", 'return { http = function() return require "moonmilter.http" end }\n')
    finds "lua/moonmilter/dns.lua:1: requires itself: moonmilter.dns > moonmilter.http > moonmilter.dns\n"
  end)
end)
