--- Helper modules from LuaRocks: a small rock, built here, used by scripts from a user's tree
--- and from a system-like one.
local process = require "spec.support.process"
local fake_mta = require "spec.support.fake_mta"

local has_luarocks = os.execute "command -v luarocks >/dev/null 2>&1" == 0
local spec = has_luarocks and it or pending

local ffi = require "ffi"
ffi.cdef "int setenv(const char *, const char *, int);"

local function shell(command, ...)
  local output = assert(io.popen(command:format(...) .. " 2>&1; echo status $?"))
  local text = output:read "*a"
  output:close()
  assert(text:find "status 0%s*$", text)
end

describe("a rock", function()
  local work, home
  setup(function()
    work = os.tmpname()
    os.remove(work)
    shell("mkdir -p %s/rock/greeting %s/home", work, work)
    home = os.getenv "HOME"
    if not has_luarocks then
      return
    end
    process.write_file(work .. "/rock/greeting/init.lua", [[
      local inner = require "greeting.inner"
      local milter = pcall(require, "moonmilter") and require "moonmilter"
      return { say = function(name) if milter then milter.sleep(0) end return inner .. ", " .. name end }
    ]])
    process.write_file(work .. "/rock/greeting/inner.lua", "return 'hello'")
    process.write_file(work .. "/rock/greeting/c.c", [[
      #include <lua.h>
      #include <lauxlib.h>
      int luaopen_greeting_c(lua_State *L) { lua_pushinteger(L, 42); return 1; }
    ]])
    process.write_file(work .. "/rock/greeting-1.0-1.rockspec", [[
      package = "greeting"
      version = "1.0-1"
      source = { url = "file://." }
      build = { type = "builtin", modules = {
        greeting = "greeting/init.lua", ["greeting.inner"] = "greeting/inner.lua", ["greeting.c"] = { sources = { "greeting/c.c" } },
      } }
    ]])
    shell("cd %s/rock && HOME=%s luarocks --lua-version=5.1 make --tree=%s/home/.luarocks LUA_INCDIR=$(pkg-config "
      .. "--variable=includedir luajit) CFLAGS=\"$(pkg-config --cflags luajit) -O1 -fPIC\" greeting-1.0-1.rockspec",
      work, work, work)
  end)
  teardown(function()
    ffi.C.setenv("HOME", home or "/", 1)
    os.execute("rm -rf " .. work)
  end)

  local script = [[
    local greeting = require "greeting"
    function on_helo(ctx, name) return ctx:reject(greeting.say(name) .. " " .. require "greeting.c") end
  ]]

  spec("in the user's tree is found through HOME, including its C part, and may wait", function()
    ffi.C.setenv("HOME", work .. "/home", 1)
    local mta = fake_mta.start(script)
    assert.equal("550 5.7.1 hello, ann 42", mta:helo("ann").text)
    mta:close()
  end)

  spec("is not found through a foreign LUA_PATH, nor in the current directory", function()
    ffi.C.setenv("HOME", "/nonexistent", 1)
    ffi.C.setenv("LUA_PATH", work .. "/home/.luarocks/share/lua/5.1/?.lua;;", 1)
    local _, err = fake_mta.host { script = script }
    assert.truthy(err:find("module 'greeting' not found", 1, true), err)
    process.write_file("greeting_here.lua", "return 1")
    _, err = fake_mta.host { script = "require 'greeting_here'" }
    os.remove "greeting_here.lua"
    assert.truthy(err:find("module 'greeting_here' not found", 1, true), err)
  end)

  spec("copied into lib/ beside the scripts is found there", function()
    ffi.C.setenv("HOME", "/nonexistent", 1)
    local host = assert(fake_mta.host { files = { ["a.lua"] = "", ["lib/.keep"] = "" } })
    shell("cp -r %s/home/.luarocks/share/lua/5.1/. %s/lib/", work, host.directory)
    host:write("a.lua", 'local g = require "greeting" function on_helo(ctx, name) return ctx:reject(g.say(name)) end')
    host:reload()
    local mta = fake_mta.start { host = host }
    assert.equal("550 5.7.1 hello, bob", mta:helo("bob").text)
    mta:close()
    host:close()
  end)
end)
