--- What a build is: hardened, the same bytes wherever it runs, with a known set of exported symbols; and what is built
--- from it for others: packages, completions, a release.
local process = require "spec.support.process"

local read = process.read_file

local function output(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo :$?"))
  local text, status = pipe:read("*a"):match "^(.*):(%d+)\n$"
  pipe:close()
  return text, tonumber(status)
end

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  table.sort(list)
  return list
end

local BUILD = os.getenv "MOONMILTER_BUILD" or "build"
local BINARIES = { BUILD .. "/moonmilter", BUILD .. "/libmoonmilter.so", BUILD .. "/lua/moonmilter/codec.so",
  BUILD .. "/lua/moonmilter/seal.so" }

describe("each binary", function()
  for _, binary in ipairs(BINARIES) do
    it("has read-only relocations and resolves symbols at its start: " .. binary, function()
      local segments, dynamic = output("readelf -lW " .. binary), output("readelf -dW " .. binary)
      assert.truthy(segments:find "GNU_RELRO")
      assert.truthy(dynamic:find "BIND_NOW" or dynamic:find "NOW")
      assert.falsy(segments:find "GNU_STACK%s[^\n]* RWE", "an executable stack")
    end)

    it("calls the checked functions of libc and has stack protectors: " .. binary, function()
      local symbols = output("readelf -sW --dyn-syms " .. binary)
      assert.truthy(symbols:find "__stack_chk_fail")
      if not binary:find "lua/" then assert.truthy(symbols:find "__[%w]+_chk") end
    end)
  end

  it("is position independent", function()
    assert.truthy(output("readelf -hW " .. BUILD .. "/moonmilter"):find "Type:%s+DYN")
    assert.truthy(output("readelf -dW " .. BUILD .. "/moonmilter"):find "PIE")
  end)

  it("is compiled for control-flow enforcement where the compiler has it", function()
    if select(2, output "gcc -fcf-protection -c -x c -o /dev/null /dev/null") ~= 0 then
      return pending "this compiler has no -fcf-protection: asks the outside world"
    end
    for _, object in ipairs { "base/buffer.o", "milter/engine.o", "process/master.o" } do
      assert.truthy(output(("readelf -nW %s/obj/%s"):format(BUILD, object)):find "IBT, SHSTK", object)
    end
  end)
end)

describe("libmoonmilter", function()
  it("has its soname, and exports what the list of symbols says", function()
    local library = BUILD .. "/libmoonmilter.so"
    assert.truthy(output("readelf -dW " .. library):find "soname: %[libmoonmilter.so.0%]")
    local listed = {}
    for name in read("debian/libmoonmilter0.symbols"):gmatch "\n ([%w_]+)@MOONMILTER_0 " do
      listed[#listed + 1] = name
    end
    table.sort(listed)
    local exported = lines((output("nm -D --defined-only " .. library .. " | sed 's/.* //; s/@.*//'")))
    assert.same(listed, exported)
  end)
end)

describe("the library of a Lua that ends", function()
  it("stays, because threads of a host that a test has not closed still run in it", function()
    for _, name in ipairs { "libmoonmilter.so", "test/libmoonmilter_test.so" } do
      assert.truthy(output(("readelf -dW %s/%s"):format(BUILD, name)):find "NODELETE", name)
    end
  end)
end)

describe("a build", function()
  it("of the same sources in another directory gives the same bytes", function()
    local directory = process.directory()
    assert.equal(0, select(2, output(("cp -r Makefile host lua spec docs %s/"):format(directory))))
    local text, status = output(("env -u MAKEFLAGS -u MFLAGS make -s -j2 -C %s product"):format(directory))
    assert.equal(0, status, text)
    for _, binary in ipairs { "moonmilter", "libmoonmilter.so", "libmoonmilter.a", "lua/moonmilter/codec.so",
      "lua/moonmilter/seal.so" } do
      assert.equal("", (output(("cmp build/%s %s/build/%s"):format(binary, directory, binary))), binary)
    end
  end)

  it("without packages says in one line what is missing and what installs it", function()
    local text, status = output "env -u MAKEFLAGS make -s present HEADERS='ev.h=libev-dev nowhere.h=libnowhere-dev'"
    assert.equal(2, status)
    assert.equal("moonmilter: missing: libnowhere-dev; install them with: make packages-build", text:match "^[^\n]*")
  end)
end)

describe("a make that installs packages", function()
  -- On a new machine: no package is installed, and pkg-config knows nothing until apt-get has installed something.
  local function new_machine()
    local directory = process.directory()
    for name, text in pairs {
      ["dpkg-query"] = "exit 1",
      ["sudo"] = 'exec "$@"',
      ["apt-get"] = ('case "$*" in *install*) sleep 0.3; touch %s/installed;; esac'):format(directory),
      ["pkg-config"] = ('echo "$@" >>%s/asked; [ -e %s/installed ] && exec %s "$@"'):format(directory, directory,
        process.which "pkg-config"),
    } do
      process.write_file(directory .. "/" .. name, "#!/bin/sh\n" .. text .. "\n")
      assert.equal(0, select(2, output("chmod +x " .. directory .. "/" .. name)))
    end
    return directory
  end

  for _, flags in ipairs { "-j1", "-j4" } do
    it("builds with them in the same run, asks once for each library, and not before: " .. flags, function()
      local directory = new_machine()
      local text, status = output(("D=%s; O=$D/build/obj; env -u MAKEFLAGS PATH=$D:$PATH make %s V=1 BUILD=$D/build "
        .. "packages-build $O/base/buffer.o $O/base/heap.o $O/lua_sources.o"):format(directory, flags))
      assert.equal(0, status, text)
      local commands = 0
      for command in text:gmatch "[^\n]+ %-c %-o [^\n]+" do
        commands = commands + 1
        assert.truthy(command:find("luajit-2.1", 1, true), command)
        assert.truthy(command:find("-fstack-protector-strong", 1, true), command)
      end
      assert.equal(3, commands, text)
      assert.same({ "--cflags luajit", "--libs libsystemd" }, lines(read(directory .. "/asked")))
    end)
  end
end)

describe("the package lua-moonmilter", function()
  it("has the modules of the rockspec", function()
    local listed = lines(read("debian/lua-moonmilter.install"):gsub("usr/lib/%*/lua/5.1/moonmilter/%w+.so\n", ""))
    local modules = {}
    for path in read("rockspec/moonmilter-scm-1.rockspec"):gmatch '= "lua/(moonmilter/[^"]+)"' do
      modules[#modules + 1] = "usr/share/lua/5.1/" .. path
    end
    table.sort(modules)
    assert.same(modules, listed)
  end)

  it("leaves out the modules of the host by name, because debhelper stops at one that is in no list", function()
    local text = read "debian/lua-moonmilter.install" .. read "debian/not-installed"
    local forgotten = {}
    for path in output("find lua/moonmilter -name '*.lua' -not -path '*/testing/*'"):gmatch "%S+" do
      local installed = "usr/share/lua/5.1/" .. path:gsub("^lua/", "")
      if not text:find(installed .. "\n", 1, true) and not text:find(installed:gsub("[^/]+$", "*\n"), 1, true) then
        forgotten[#forgotten + 1] = path
      end
    end
    assert.same({}, forgotten)
  end)
end)

describe("completion for bash", function()
  local function complete(words)
    local script = ([[source debian/completions/moonmilter.bash; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));
      _moonmilter; printf '%%s\n' "${COMPREPLY[@]}"]]):format(words)
    local file = os.tmpname()
    process.write_file(file, script)
    local text = output("bash " .. file)
    os.remove(file)
    local set = {}
    for word in text:gmatch "[^\n]+" do set[word] = true end
    return set
  end
  local program = BUILD .. "/moonmilter"

  it("offers the commands", function()
    local words = complete(program .. " ''")
    for _, command in ipairs { "run", "check", "ctl", "try", "doctor", "help" } do assert.is_true(words[command]) end
  end)

  it("offers the requests of ctl and the options of a command", function()
    assert.is_true(complete(program .. " ctl re")["reload"])
    assert.is_true(complete(program .. " try --fr")["--from"])
    assert.is_true(complete(program .. " --stage")["--stage_deadline"])
    assert.is_nil(complete(program .. " try --stage")["--stage_deadline"])
  end)
end)

describe("make dist", function()
  it("gives the same bytes each time, with a bill of materials", function()
    if select(2, output "git rev-parse HEAD") ~= 0 then return pending "needs a checkout of git" end
    local directory = process.directory()
    local first = output(("env -u MAKEFLAGS make -s dist DIST=%s/1"):format(directory))
    local second = output(("env -u MAKEFLAGS make -s dist DIST=%s/2"):format(directory))
    assert.equal(first, second)
    local document = require("cjson").decode(read(output(("ls %s/1/*.spdx.json"):format(directory)):match "[^\n]+"))
    assert.equal("SPDX-2.3", document.spdxVersion)
    assert.equal("moonmilter", document.packages[1].name)
    assert.is_true(#document.packages > 5)
  end)
end)
