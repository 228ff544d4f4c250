--- Loading of scripts: order, environments, what is refused and where the error points.
local fake_mta = require "spec.support.fake_mta"

local function refused(options)
  if type(options) == "string" then
    options = { script = options }
  end
  local host, err = fake_mta.host(options)
  if host then
    host:close()
    error("it loaded", 2)
  end
  return err
end

local function host(options)
  return assert(fake_mta.host(type(options) == "string" and { script = options } or options))
end

-- The texts that scripts have logged, in order.
local function told(h)
  local list = {}
  for _, line in ipairs(h:log_lines "script") do
    list[#list + 1] = line:match 'text="(.*)"$' or line:match "text=(%S+)$"
  end
  return list
end

local TELL = "local function tell(what) require 'moonmilter'.log.info('%s', what) end\n"

describe("the scripts of a directory", function()
  it("run in file-name order, whatever other files are there", function()
    local h = host { files = {
      ["20-b.lua"] = TELL .. "tell 'load b' function on_load() tell 'on_load b' end function on_helo() tell 'b' end",
      ["10-a.lua"] = TELL .. "tell 'load a' function on_load() tell 'on_load a' end function on_helo() tell 'a' end",
      ["9-z.lua"] = TELL .. "tell 'load z' function on_helo() tell 'z' end", ["README"] = "not Lua",
      [".hidden.lua"] = "not Lua",
      ["x.lua.bak"] = "not Lua", ["lib/module.lua"] = "error 'not a script'",
    } }
    local mta = fake_mta.start { host = h }
    mta:helo()
    assert.same({ "load a", "load b", "load z", "on_load a", "on_load b", "a", "b", "z" }, told(h))
    mta:close()
    h:close()
  end)

  it("may be none", function()
    local mta = fake_mta.start { files = { ["README"] = "" } }
    assert.truthy(mta.answer)
    mta:connect()
    assert.equal("continue", mta:message().kind)
    mta:close()
  end)

  it("are reported when the directory does not exist", function()
    assert.truthy(refused { paths = { "/nowhere/at/all" } }:find("/nowhere/at/all: no such script or "
      .. "directory", 1, true))
  end)

  it("are at most 64", function()
    local files = {}
    for i = 1, 65 do
      files[i .. ".lua"] = ""
    end
    assert.truthy(refused { files = files }:find("at most 64", 1, true))
    files["65.lua"] = nil
    host { files = files }:close()
  end)
end)

describe("a script's globals", function()
  it("are its own; modules are shared and see none of them", function()
    local h = host { files = {
      ["a.lua"] = "x = 'a' function helper() return x end " .. TELL .. "function on_helo() tell(helper() .. "
        .. "tostring(_G.y)) end",
      ["b.lua"] = "x = 'b' y = 1 function helper() return x end " .. TELL .. "function on_helo() tell(helper() .. "
        .. "require 'seen'()) end",
      ["lib/seen.lua"] = "return function() return tostring(x) .. tostring(helper) end",
    } }
    local mta = fake_mta.start { host = h }
    mta:helo()
    assert.same({ "anil", "bnilnil" }, told(h))
    mta:close()
    h:close()
  end)

  it("include the standard library and a private _G", function()
    host "x = 1 assert(_G.x == 1 and _G == getfenv(1) and string.format and table and math and io and os and bit and require)":close()
  end)

  for source, wanted in pairs {
    ["function on_helo() count = 1 end"] = 'script.lua:1: global "count" is set inside a function',
    ["\nfunction on_helo() return strnig.format('x') end"] = 'script.lua:2: global "strnig" is not defined',
    ["function on_helo() return on_hel end"] = 'global "on_hel" is not defined; did you mean "on_helo"?',
  } do
    it(("used by accident are reported when it loads: %s"):format(wanted), function()
      local h = host(source)
      local lines = h:log_lines "script"
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("^%S+ warn"), lines[1])
      assert.truthy(lines[1]:gsub('\\"', '"'):find(wanted, 1, true), lines[1])
      h:close()
    end)
  end

  it("set while a handler runs are reported once, with the place", function()
    local mta = fake_mta.start "function on_helo() rawset = nil getfenv(1)['dyn' .. 'amic'] = 1 end"
    mta:helo()
    mta:helo()
    local lines = {}
    for _, line in ipairs(mta:log_lines "script") do
      if line:find("dynamic", 1, true) then
        lines[#lines + 1] = line
      end
    end
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("script.lua:1", 1, true))
    mta:close()
  end)

  it("that are plain definitions are not reported", function()
    local h = host "x = 1 function helper() return x end function on_helo() return helper() == 2 and nil end options = {}"
    assert.same({}, told(h))
    h:close()
  end)
end)

describe("a script that does not load", function()
  local cases = {
    { "function on_helo(", "script.lua:1:" }, { "\n\nx = = 1", "script.lua:3:" },
    { "\nerror 'oops'", "script.lua:2: oops" },
    { "local x = nil\nlocal y = x.z", "script.lua:2:" }, { "error { 1 }", "error object is a table" },
    { "error()", "script" },
    { "function on_hello() end", 'unknown handler on_hello; did you mean "on_helo"?' },
    { "\n\nfunction on_hdr() end", "script.lua:3: unknown handler" },
    { "function on_end_of_message() end", "unknown handler on_end_of_message" },
    { "on_rcpt = 5", "on_rcpt is a number; it must be a function" },
    { "on_rcpt = {}", "on_rcpt is a table; it must be a function" },
    { "on_header = 'x'", "or a table of functions by header name" },
    { "on_header = { Subject = 1 }", "on_header.Subject is a number" },
    { "on_header = { ['a b'] = print }", "is not a header name" },
    { "on_header = { [1] = print }", "is not a header name" },
    { "on_header = {\nSubject = function() end,\nSUBJECT = function() end }",
      "script.lua:3: on_header: SUBJECT and Subject are the same header; names are case-blind. Keep one (the other function begins "
        .. "in line 2)" }, { "return 5", "returns a number" }, { "return 'x'", "returns a string" },
    { "return { on_hello = print }", 'did you mean "on_helo"?' }, { "return { helo = print }", "has a key" },
    { "options = 1", "options is a number" },
    { "options = { lockstp = true }", 'unknown option "lockstp"; did you mean "lockstep"?' },
    { "options = { lockstep = 1 }", "options.lockstep is a number; it must be a boolean" },
    { "options = { needs = { 1 } }", "list of words" },
    { "options = { facts = { 'haeders' } }", 'did you mean "headers"?' },
    { "require 'no.such.module'", "module 'no.such.module' not found" },
    { "require 'no.such.module'", "luarocks --lua-version=5.1 install" },
    { "function on_load() error 'in on_load' end", "in on_load" },
    { "coroutine.yield()", "coroutine.yield outside" },
    { "function on_load() coroutine.yield() end", "coroutine.yield outside" },
  }
  for _, case in ipairs(cases) do
    it(("(%s) says: %s"):format(case[1]:gsub("\n", " "), case[2]), function()
      local err = refused(case[1])
      assert.truthy(err:find(case[2], 1, true), err)
    end)
  end

  it("is not run at all when it is bytecode", function()
    assert.truthy(refused(string.dump(loadstring "on_helo = nil")):find("bytecode", 1, true))
    local mta = fake_mta.start [[
      function on_helo(ctx, name)
        local code = string.dump(function() end)
        return ctx:reject(("%s %s %s"):format(tostring((loadstring(code))), tostring((load(code))), tostring((load(code, "x", "t")))))
      end
    ]]
    assert.equal("550 5.7.1 nil nil nil", mta:helo().text)
    mta:close()
  end)

  it("in a module names the module's file and line", function()
    local err = refused { files = { ["a.lua"] = "require 'broken'", ["lib/broken.lua"] = "\n\nx = = 1" } }
    assert.truthy(err:find("lib/broken.lua:3:", 1, true), err)
    err = refused { files = { ["a.lua"] = "require 'broken'", ["lib/broken.lua"] = "\nerror 'at run time'" } }
    assert.truthy(err:find("lib/broken.lua:2: at run time", 1, true), err)
  end)

  it("prevents the others from loading", function()
    assert.truthy(refused { files = { ["a.lua"] = "function on_helo() end", ["b.lua"] = "x = = 1" } }:find("b.lua:1:",
      1, true))
  end)
end)

describe("a returned table", function()
  it("holds the handlers and options", function()
    local mta = fake_mta.start [[
      local filter = { options = { lockstep = true } }
      function filter.on_header(ctx, name) return ctx:reject(name) end
      return filter
    ]]
    mta:connect()
    mta:mail()
    assert.equal("550 5.7.1 Subject", mta:header("Subject", "x").text)
    mta:close()
  end)
  it("causes a warning about global handlers beside it", function()
    local h = host "function on_helo() end return { on_mail = function() end }"
    assert.truthy(told(h)[1]:find("is not used", 1, true))
    h:close()
  end)
end)

describe("on_header as a table", function()
  local function values(script)
    local mta = fake_mta.start(script)
    mta:connect()
    mta:message { headers = { { "Subject", "one" }, { "X-Other", "two" }, { "SUBJECT", "three" },
      { "Message-Id", "four" } } }
    local list = told(mta.owner)
    mta:close()
    return list
  end
  it("is indexed by header name in any case, other headers never enter Lua", function()
    assert.same({ "s one", "s three", "m four" }, values(TELL .. [[
      on_header = { subject = function(ctx, value) tell("s " .. value) end, ["MESSAGE-ID"] = function(ctx, value) tell("m " .. value) end }
    ]]))
  end)
  it("may be returned, and may wait and decide", function()
    local mta = fake_mta.start [[
      return { on_header = { Subject = function(ctx, value)
        require "moonmilter".sleep(0)
        if value == "bad" then return ctx:reject "bad subject" end
      end } }
    ]]
    mta:connect()
    assert.equal("550 5.7.1 bad subject",
      mta:message({ headers = { { "Subject", "good" }, { "Subject", "bad" } } }).text)
    mta:close()
  end)
end)

describe("modules", function()
  it("are found in lib/ beside the scripts, single or with init.lua, and are loaded once", function()
    local h = host { files = {
      ["a.lua"] = TELL .. "tell(require 'one' .. require 'two' .. require 'deep.three' .. require 'one')",
      ["lib/one.lua"] = "n = (n or 0) + 1 return '1' .. n", ["lib/two/init.lua"] = "return '2'",
      ["lib/deep/three.lua"] = "return '3'",
    } }
    assert.same({ "112311" }, told(h))
    h:close()
  end)
  it("that require one another are reported", function()
    local err = refused { files = { ["a.lua"] = "require 'x'", ["lib/x.lua"] = "require 'y'",
      ["lib/y.lua"] = "require 'z'", ["lib/z.lua"] = "require 'x'" } }
    assert.truthy(err:find("module cycle: x -> y -> z -> x", 1, true), err)
  end)
  it("may wait while they are loaded, and so may a script's top level and on_load", function()
    local h = host { files = {
      ["a.lua"] = TELL .. "local milter = require 'moonmilter' milter.sleep(0.01) tell 'top' local m = require "
        .. "'waits' tell(m) function on_load() milter.sleep(0.01) tell 'on_load' end",
      ["lib/waits.lua"] = "require 'moonmilter'.sleep(0.01) return 'module'",
    } }
    assert.same({ "top", "module", "on_load" }, told(h))
    h:close()
  end)
  it("required by two sessions at once while they wait are loaded once", function()
    local h = host { files = {
      ["a.lua"] = "function on_helo(ctx) return ctx:reject(require('late')) end",
      ["lib/late.lua"] = TELL .. "tell 'loading' require 'moonmilter'.sleep(0.05) return 'late'",
    } }
    local one, two = fake_mta.start { host = h }, fake_mta.start { host = h }
    one:feed(fake_mta.packet("H", "x\0"))
    assert.equal("550 5.7.1 late", two:helo().text)
    assert.equal("y", (one:receive()))
    assert.same({ "loading" }, told(h))
    one:close()
    two:close()
    h:close()
  end)
  it("that require one another in two sessions are a cycle, not a deadlock", function()
    local h = host { files = {
      ["a.lua"] = "function on_helo(ctx, name) return ctx:reject(tostring(select(2, pcall(require, name)))) end",
      ["lib/x.lua"] = "require 'moonmilter'.sleep(0.02) require 'y' return 'x'",
      ["lib/y.lua"] = "require 'moonmilter'.sleep(0.02) require 'x' return 'y'",
    } }
    local one, two = fake_mta.start { host = h }, fake_mta.start { host = h }
    one:feed(fake_mta.packet("H", "x\0"))
    two:feed(fake_mta.packet("H", "y\0"))
    local texts = one:reply().text .. two:reply().text
    assert.truthy(texts:find("module cycle", 1, true), texts)
    one:close()
    two:close()
    h:close()
  end)
  it("whose loading was cancelled can be required again", function()
    local h = host { files = {
      ["a.lua"] = "function on_mail(ctx) return ctx:reject(require('late')) end",
      ["lib/late.lua"] = "require 'moonmilter'.sleep(0.05) return 'late'",
    } }
    local mta = fake_mta.start { host = h }
    mta:feed(fake_mta.packet("M", "<a@b>\0"))
    mta:abort()
    assert.equal("550 5.7.1 late", mta:mail().text)
    mta:close()
    h:close()
  end)
  it("that fail are tried again", function()
    local mta = fake_mta.start { files = {
      ["a.lua"] = "tries = 0 function on_helo(ctx) return ctx:reject(tostring(pcall(require, 'twice'))) end",
      ["lib/twice.lua"] = "package.tries = (package.tries or 0) + 1 if package.tries < 2 then error 'not yet' end",
    } }
    assert.equal("550 5.7.1 false", mta:helo().text)
    assert.equal("550 5.7.1 true", mta:helo().text)
    mta:close()
  end)
  it("of Debian with C parts load", function()
    host [[
      assert(require "cjson".decode("[1]")[1] == 1)
      assert(require "lpeg".match(require "lpeg".P "a", "a") == 2)
      assert(require "lfs".currentdir())
      assert(require "posix")
    ]]:close()
  end)
end)

describe("on_load and on_unload", function()
  it("get the host: its name, generation and settings", function()
    local h = host(TELL .. "function on_load(host) tell(host.name .. host.generation .. type(host.settings) .. "
      .. "host.version) end function on_unload(host) tell('unload ' .. host.generation) end")
    assert.truthy(told(h)[1]:find "^default1table%d")
    local log = h.log_path
    local copy = os.tmpname()
    os.remove(copy)
    assert(os.execute(("ln %s %s"):format(log, copy)) == 0)
    h:close()
    local file = assert(io.open(copy))
    assert.truthy(file:read("*a"):find("unload 1", 1, true))
    file:close()
    os.remove(copy)
  end)
end)
