-- `make install` installs all that embedding a host needs: header, pkg-config file, shared and static library.
local function run(command)
  local pipe = io.popen("exec 2>&1; " .. command)
  local output = pipe:read "*a"
  pipe:close()
  return output
end

describe("an installed moonmilter", function()
  local root, build

  setup(function()
    build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
    root = os.tmpname()
    os.remove(root)
    run(("make -s BUILD=%s DESTDIR=%s PREFIX=/opt/mm install"):format(build, root))
  end)
  teardown(function() os.execute("rm -rf " .. root) end)

  -- The files are below DESTDIR: pkg-config derives the prefix from the location of its file.
  local function libraries(words)
    return run(("PKG_CONFIG_PATH=%s/opt/mm/lib/pkgconfig pkg-config --define-prefix %s moonmilter"):format(root,
      words)):gsub("\n", " ")
  end

  local function embed(name, flags)
    if build:find "asan" then pending "a sanitized library needs a sanitized program" return end
    local compile = ("cc -std=c11 -Wall -Wextra -Werror -o %s/%s %s/opt/mm/share/doc/moonmilter/examples/embed.c %s "
      .. "$(pkg-config --cflags --libs luajit)"):format(root, name, root, flags)
    assert.equal("", run(compile))
    local output = run(("LD_LIBRARY_PATH=%s/opt/mm/lib %s/%s spec/examples/rate.lua"):format(root, root, name))
    assert.truthy(output:find("M -> y 550-5.7.1 rated\r\n550 5.7.1 out", 1, true), output)
    assert.truthy(output:find("finished: yes", 1, true), output)
    return run(("LD_LIBRARY_PATH=%s/opt/mm/lib ldd %s/%s"):format(root, root, name))
  end

  it("names its final place, not the staging directory", function()
    local file = run(("cat %s/opt/mm/lib/pkgconfig/moonmilter.pc"):format(root))
    assert.matches("^prefix=/opt/mm\n", file)
    assert.is_nil(file:find(root, 1, true))
  end)

  it("can be embedded with its shared library", function()
    local needs = embed("shared", libraries "--cflags --libs")
    if needs then assert.matches("libmoonmilter%.so%.0 => " .. root:gsub("%p", "%%%0"), needs) end
  end)

  it("can be embedded with its static library", function()
    local flags = libraries "--static --cflags --libs"
    assert.matches("%-lmoonmilter ", flags)
    local needs = embed("static", (flags:gsub("%-lmoonmilter ", "-l:libmoonmilter.a ")))
    if needs then
      assert.is_nil(needs:find("libmoonmilter", 1, true))
      assert.is_nil(needs:find("libev", 1, true))
    end
  end)

  it("tests filters without the source tree", function()
    if build:find "asan" then pending "a sanitized library needs a sanitized program" return end
    local file = assert(io.open(root .. "/hello_spec.lua", "w"))
    finally(function() os.remove(root .. "/hello_spec.lua") end)
    file:write [[
      local testing = require "moonmilter.testing"
      it("says hello", function()
        local mta = testing.start { script = "local dns = require 'moonmilter.dns' function on_eom(ctx) ctx:add_header('X', dns.a('x.example')[1]) end",
          dns = { ["x.example"] = { A = { "192.0.2.9" } } } }
        assert.equal("192.0.2.9", mta:message().message:get "X")
        mta:close()
      end)
    ]]
    file:close()
    local output = run(("cd / && env -u LUA_PATH -u LUA_CPATH -u MOONMILTER_LIBRARY "
      .. "%s/opt/mm/bin/moonmilter test %s"):format(root, root))
    assert.matches("1 success / 0 failures / 0 errors", output)
  end)

  it("has a header that needs no other include, in C and in C++", function()
    for _, compiler in ipairs { "cc -std=c11 -pedantic -x c", "c++ -std=c++17 -pedantic -x c++" } do
      if run("command -v " .. compiler:match "%S+") ~= "" then
        assert.equal("", run(("echo '#include <moonmilter.h>' | %s -Wall -Wextra -Werror -I%s/opt/mm/include "
          .. "-fsyntax-only -"):format(
          compiler, root)))
      end
    end
  end)

  it("is removed by make uninstall, except for its configuration", function()
    run(("make -s BUILD=%s DESTDIR=%s PREFIX=/opt/mm uninstall"):format(build, root))
    local left = run(("cd %s && find . -type f -o -type l"):format(root))
    left = left:gsub("%./shared\n", ""):gsub("%./static\n", ""):gsub("%./etc/[^\n]*\n", "")
    assert.equal("", left)
  end)
end)
