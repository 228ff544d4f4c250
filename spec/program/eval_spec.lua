-- moonmilter eval: one piece of code, code from a pipe, and the prompt at a terminal.
local socket = require "socket"

local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
local directory

setup(function() directory = process.directory() end)

-- Standard output, standard error and exit status of `moonmilter eval` and words of a shell.
local function eval(words, input)
  local path = process.write_file(directory .. "/input", input or "")
  local pipe = assert(io.popen(("%s eval %s <%s 2>%s/errors; echo \"status $?\""):format(program, words, path,
    directory)))
  local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, process.read_file(directory .. "/errors"), tonumber(status)
end

local function quoted(code) return "'" .. code:gsub("'", "'\\''") .. "'" end

describe("moonmilter eval", function()
  it("prints the values of an expression, readably", function()
    for code, printed in pairs {
      ["1 + 1"] = "2",
      ["nil, false, 1.5"] = "nil, false, 1.5",
      ['"a\\n\\"b\\0"'] = '"a\\n\\"b\\000"',
      ["{ 1, 2, x = { y = true }, [7] = 0, ['a b'] = {} }"] = '{ 1, 2, [7] = 0, ["a b"] = {}, x = { y = true } }',
      ["(function() end)()"] = "",
      ["1 -- a comment"] = "1",
      ["local t = {} t.t = t return t"] = "{ t = (a table above) }",
      [""] = "",
    } do
      local text, errors, status = eval(quoted(code))
      assert.equal(0, status, errors)
      assert.equal(printed == "" and "" or printed .. "\n", text, code)
    end
  end)

  it("bounds what it prints of a table", function()
    local text = eval(quoted "local t = {} for i = 1, 1e5 do t[i] = i end return t")
    assert.is_true(#text < 4000)
    assert.matches("…", text)
    text = eval(quoted "local t = {} local s = t for i = 1, 100 do s.x = {} s = s.x end return t")
    assert.is_true(#text < 4000)
  end)

  it("runs statements, and prints what they print", function()
    assert.equal("1\t2\nx\n", (eval(quoted [[print(1, 2) io.write "x\n"]])))
  end)

  it("gives the code its arguments", function()
    assert.equal('"two words", "one", ""\n', (eval("'local a, b, c = ... return b, a, c' one 'two words' ''")))
  end)

  it("waits as in a handler: for time, for a server, for a task", function()
    local server = assert(socket.bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    local pipe = assert(io.popen(("%s eval %s 2>&1"):format(program, quoted(([[
      local c = assert(socket.connect { host = "127.0.0.1", port = %d })
      local task = milter.spawn(function() milter.sleep(0.01) return "rested" end)
      return (c:receive()), task:wait()]]):format(port)))))
    server:settimeout(10)
    local client = assert(server:accept())
    client:send "hello\r\n"
    assert.equal('"hello", "rested"\n', pipe:read "*a")
    pipe:close()
    client:close()
    server:close()
  end)

  it("knows the modules by their names, and failures are values", function()
    assert.equal('"example.org"\n', (eval(quoted 'address.parse("Ann <ann@example.org>").domain')))
    assert.matches('^nil, "[^\n]+", "refused"\n$', (eval(quoted 'http.get("http://127.0.0.1:1/")')))
    assert.equal('"v", nil\n', (eval(quoted 'local s = store.open "x" s:set("k", "v") return s:get "k"')))
    assert.equal("true\n", (eval(quoted 'cidr.contains("192.0.2.0/24", "192.0.2.9")')))
  end)

  it("opens maps of files", function()
    local path = process.write_file(directory .. "/table", "a b\n")
    assert.equal('"b"\n', (eval(quoted(('map.open("texthash:%s"):get "a"'):format(path)))))
  end)

  it("reports an error with its place and its callers, and exits with 1", function()
    local text, errors, status = eval(quoted 'error "no"')
    assert.same({ "", "moonmilter eval: eval:1: no\n", 1 }, { text, errors, status })
    text, errors, status = eval("", "local function f()\n  error { code = 7 }\nend\nprint 'first'\nf()\n")
    assert.same({ "first\n", 1 }, { text, status })
    assert.equal("moonmilter eval: { code = 7 }\n    stdin:2: in function 'f'\n    stdin:5: in main chunk\n", errors)
    errors, status = select(2, eval(quoted "x = = 1"))
    assert.equal(1, status)
    assert.matches("^moonmilter eval: eval:1: unexpected symbol near '='\n$", errors)
    errors, status = select(2, eval("", "for i = 1, 2 do\n"))
    assert.equal(1, status)
    assert.matches("stdin:2: 'end' expected", errors)
  end)

  it("ends code that computes without end, as in a handler", function()
    local errors, status = select(2, eval("-s cpu_slice=0.1 " .. quoted "while true do end"))
    assert.equal(1, status)
    assert.matches("cpu_slice", errors)
  end)

  it("reads code from a pipe, of several lines, and refuses what is too long", function()
    assert.equal("6\n", (eval("", "local sum = 0\nfor i = 1, 3 do sum = sum + i end\nreturn sum\n")))
    local errors, status = select(2, eval("", "-- " .. ("x"):rep(70000)))
    assert.equal(1, status)
    assert.matches("longer than 64 KB", errors)
    assert.matches("NUL byte", (select(2, eval("", "return '\0'"))))
  end)

  it("shows a verdict that the code gives", function()
    assert.equal("verdict: 550 5.7.1 no\n", (eval(quoted 'ctx:reject(550, "5.7.1", "no")')))
  end)

  it("takes settings from a configuration, but no scripts", function()
    local path = process.write_file(directory .. "/moonmilter.conf",
      'scripts = "nowhere"\nlisten = { "inet:1@127.0.0.1" }\nsettings = { colour = "blue" }\n')
    assert.equal('"blue"\n', (eval("-c " .. path .. " " .. quoted "ctx.host.settings.colour")))
    process.write_file(path, "scripts = \n")
    assert.equal(78, (select(3, eval("-c " .. path .. " 1"))))
    assert.equal(64, (select(3, eval "--nonsense")))
  end)

  it("leaves no file in /tmp, not even while it runs", function()
    local there = eval(quoted [[
      for name in io.popen "ls -d /tmp/moonmilter-eval-* 2>/dev/null":lines() do print(name) end]])
    assert.equal("", there)
  end)
end)

-- What a terminal shows of the prompt when these keys are typed: {what to wait for, what to type}…
local function at_prompt(keys, before)
  local lines = {}
  for i, pair in ipairs(keys) do lines[i] = pair[1] .. "\t" .. pair[2] end
  local path = process.write_file(directory .. "/keys", table.concat(lines, "\n") .. "\n")
  local pipe = assert(io.popen(("TERM=xterm python3 spec/support/terminal.py 80 24 %s %s %s eval 2>&1"):format(path,
    before or "", program)))
  local text, status, modes = pipe:read("*a"):match "^(.*)\nexit (%-?%d+) modes (%l+)\n$"
  pipe:close()
  return text:gsub("\r", ""), tonumber(status), modes
end

describe("the prompt of moonmilter eval", function()
  it("keeps globals, takes statements of several lines, and goes on after errors", function()
    local text, status, modes = at_prompt {
      { "> ", "x = 5\\n" },
      { "\\n> ", "x + 1\\n" },
      { "\\n6\\r.*> ", "for i = 7, 8 do\\n" },
      { ">> ", "print(i) end\\n" },
      { "\\n8\\r.*> ", "error(\"no\" .. x)\\n" },
      { "line:1: no5.*> ", "\\x04" },
    }
    assert.equal(0, status, text)
    assert.equal("same", modes)
    assert.matches("\n7\n8\n", text)
    assert.is_nil(text:find("package", 1, true))
  end)

  it("ends what runs with Ctrl-C, and goes on", function()
    local text, status = at_prompt {
      { "> ", 'x = 5 print("g" .. "o") milter.sleep(60)\\n' },
      { "\\ngo\\r", "\\x03" },
      { "> ", "x\\n" },
      { "\\n5\\r.*> ", "\\x04" },
    }
    assert.equal(0, status, text)
  end)

  it("has history", function()
    local text, status = at_prompt {
      { "> ", "6 * 7\\n" },
      { "\\n42\\r.*> ", "\\x1b[A\\n" },
      { "\\n42\\r.*> ", "\\x04" },
    }
    assert.equal(0, status, text)
  end)

  it("lets tasks go on while the user types", function()
    local text, status = at_prompt {
      { "> ", 'milter.spawn(function() milter.sleep(0.1) print("la" .. "ter") end) print "begun"\\n' },
      { "later", "\\x04" },
    }
    assert.equal(0, status, text)
  end)

  it("works without libedit, and names the package", function()
    local source = process.write_file(directory .. "/without.c", [[
      #define _GNU_SOURCE
      #include <dlfcn.h>
      #include <string.h>
      void *dlopen(const char *name, int how)
      {
        void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
        return name != NULL && strstr(name, "libedit") != NULL ? NULL : real(name, how);
      }
    ]])
    process.run(("cc -shared -fPIC -o %s/without.so %s -ldl"):format(directory, source))
    local text, status = at_prompt({
      { "> ", "6 * 7\\n" },
      { "\\n42\\r.*> ", "\\x04" },
    }, ("env LD_PRELOAD=%s/without.so"):format(directory))
    assert.equal(0, status, text)
    assert.matches("history and editing need the package libedit2", text)
  end)
end)
