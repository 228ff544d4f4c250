-- The public C API: what moonmilter.h promises an embedder. face.c is built with that header only and linked with the
-- shared library; it plays one situation per run and prints what happened.

local SCRIPTS = {
  ["quiet.lua"] = "function on_mail() end\n",
  ["broken.lua"] = "this is no Lua\n",
  ["wait.lua"] = [[
    function on_mail() end
    function on_eom() require("moonmilter").sleep(60) end
  ]],
  ["ends.lua"] = [[
    local log = require "moonmilter.log"
    function on_mail() end
    function on_abort() log.info "abort" end
    function on_close() log.info "close" end
  ]],
}

local build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
local sanitizer = require "spec.support.embedding".sanitizer

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo status $?"))
  local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return output, tonumber(status)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

describe("the public C API", function()
  local directory

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert.equal(0, select(2, run("mkdir " .. directory)))
    run(("ln -sf libmoonmilter.so %s/libmoonmilter.so.0"):format(build))
    local output, status = run(("cc -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror -g %s -Ihost -o %s/face "
      .. "spec/embed/face.c -L%s -lmoonmilter -Wl,-rpath,$PWD/%s"):format(
      sanitizer, directory, build, build))
    assert.equal(0, status, output)
  end)

  teardown(function() run("rm -rf " .. directory) end)

  --- The lines that face prints in a situation.
  local function face(situation)
    for name, text in pairs(SCRIPTS) do write(directory .. "/" .. name, text) end
    local output, status = run(("env -u LD_PRELOAD timeout 60 %s/face %s %s"):format(directory, situation, directory))
    assert.equal(0, status, output)
    local lines = {}
    for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
  end

  it("has version macros that agree with each other and with the loaded library", function()
    assert.same({ "parts: yes", "library: yes" }, face "version")
  end)

  it("initializes options with only their size set", function()
    assert.same({ "size: yes", "absent: yes" }, face "options")
  end)

  it("gives each error a code for programs: CONFIG for options and scripts, PEER for the bytes of an MTA", function()
    assert.same({
      "bad option: no CONFIG config 78 drain_timeout",
      "no place for the error: no",
      "broken script: no CONFIG line 1",
      "too early: no CONFIG not_found",
      "unknown milter: no CONFIG",
      "error PEER",
      "finished: yes",
    }, face "errors")
  end)

  it("tells apart why a host cannot start, also in the exit status that fits", function()
    assert.same({ "in use: no in_use 69", "no directory: no bind 69", "no user: no user 67",
      "workers: no not_supported 78", "control: no not_supported 78", "value: no config 78" }, face "refusals")
  end)

  it("refuses each key that only the program obeys, with a reason of its own", function()
    local expected = {}
    for key in ([[workers=1 control=/run/x metrics=inet:1@127.0.0.1 watch=true daemon=true pid_file=/run/x
      recycle_sessions=9 hang_timeout=10 poison_time=1 history=5 history_time=5 history_redact=nothing]]):gmatch "%S+" do
      expected[#expected + 1] = ("%s: not_supported %s"):format(key, key:match "^[^=]+")
    end
    assert.same(expected, face "programs_keys")
  end)

  it("refuses to take the signals or the CPU budgets of another host, until that one has ended", function()
    assert.same({ "signals: no in_use 69", "afterwards: yes", "guards: no in_use 69", "afterwards: yes" },
      face "one_of_a_process")
  end)

  for _, language in ipairs { "c -std=c99", "c -std=c11", "c -std=c17", "c++ -std=c++11", "c++ -std=c++17" } do
    it("has headers without a warning in " .. language, function()
      for _, header in ipairs { "moonmilter.h", "moonmilter_testing.h" } do
        local output, status = run(("printf '#include <%s>\\nint main(void) { return 0; }\\n' | cc -x %s -Wall -Wextra "
          .. "-pedantic-errors -Werror -fsyntax-only -Ihost -"):format(header, language))
        assert.equal(0, status, output)
      end
    end)
  end

  it("takes configuration and scripts from memory, at each reload again; counts feeds as sessions", function()
    assert.same({ "reply O", 'log text="a first"', "log text=b", "reply c", "reply O", 'log text="a other"',
      "log text=b", "reply c", "sessions: 2", "sessions: 1", "starts: no config a.lua:1:", "milter: no not_found 78" },
      face "in_memory")
  end)

  it("reloads, and keeps the scripts that serve when new ones do not load", function()
    assert.same({ "reloaded: yes NONE", "generation: 2", "reloaded: no CONFIG", "generation: 2" }, face "reload")
  end)

  it("tells a caller that requests another reload from inside the next one", function()
    assert.same({
      "reloaded: yes, generation: 2", "reloaded: yes, generation: 3", "reloaded: yes, generation: 4",
    }, face "reload_from_inside")
  end)

  it("drains: accepts no more, serves the open session to its end, then is stopped", function()
    assert.same({
      "reply O",
      "accepts: no",
      "reply c",
      "sessions: 1, stopped: no",
      "sessions: 0, stopped: yes",
    }, face "drain")
  end)

  it("stops now: answers the waiting message with a temporary failure and closes its connection", function()
    assert.same({ "reply O", "reply c", "stopped: yes", "reply t", "closed: yes" }, face "now")
  end)

  it("stops now even during a drain", function()
    assert.same({ "reply O", "reply c", "stopped: no", "stopped: yes", "reply t", "closed: yes" },
      face "now_during_a_drain")
  end)

  it("hangs up a feed as a lost connection, once; the feed stays, ignores bytes, and is closed later", function()
    assert.same({ "reply O", "reply c", "log text=abort", "log text=close", "finished: yes", "more bytes: yes",
      "output: 0", "closing" }, face "hang_up")
  end)

  it("closes a feed with its own hang-up, and with the host those that are left open", function()
    assert.same({
      "reply O", "reply c", "closing", "log text=abort", "log text=close",
      "freeing", "reply O", "reply c", "log text=abort", "log text=close",
    }, face "close")
  end)

  it("runs two hosts in one process, each with its own scripts, log and end", function()
    assert.same({
      "reply O", "reply c", "reply O", "reply c",
      "stopped: yes no", "reply c", "second log text=close",
    }, face "two_hosts")
  end)
end)

describe("libmoonmilter.so", function()
  it("exports exactly what the public headers declare", function()
    local declared, exported = {}, {}
    for _, header in ipairs { "moonmilter.h", "moonmilter_testing.h" } do
      for name in read("host/" .. header):gmatch "\nMM_API [^;]-([%w_]+)%(" do declared[#declared + 1] = name end
    end
    local symbols = run(("nm -D --defined-only %s/libmoonmilter.so"):format(build))
    for kind, name in symbols:gmatch "%x+ (%a) ([%w_.]+)" do
      if kind ~= "A" then exported[#exported + 1] = name end -- A: the version node itself
    end
    table.sort(declared)
    table.sort(exported)
    assert.is_true(#declared > 20)
    assert.same(declared, exported)
  end)
end)
