-- `moonmilter send` towards a filter on libmilter, over a real socket.
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
local build = os.getenv "MOONMILTER_BUILD" or "build"

local function run(command)
  local pipe = assert(io.popen(command .. "; echo \"status $?\"", "r"))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)status (%d+)\n$"
  return text, tonumber(status)
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local fixture = build .. "/test/editing_filter"
local function build_fixture()
  os.execute("mkdir -p " .. build .. "/test")
  local command = "%s -O1 -g spec/fixtures/editing_filter.c -lmilter -lpthread -o %s 2>/dev/null"
  return os.execute(command:format(os.getenv "CC" or "cc", fixture)) == 0
end

local message = "From: Ann <ann@example.org>\nTo: bob@example.org, eve@example.net\nSubject: hello\nX-Remove: "
  .. "1\nX-Remove: 2\n\nHello.\n"

describe("moonmilter send", function()
  if not exists(program) then
    pending("needs " .. program)
    return
  end
  if not build_fixture() then
    pending "needs libmilter-dev for spec/fixtures/editing_filter.c"
    return
  end

  local directory, socket, file, pid

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert.equal(0, os.execute("mkdir " .. directory))
    socket = directory .. "/s"
  end)

  before_each(function()
    os.remove(socket)
    pid = run(("%s unix:%s >/dev/null 2>&1 & echo $!"):format(fixture, socket)):match "%d+"
    run(("for i in 1 2 3 4 5 6 7 8 9 10; do test -S %s && break; sleep 0.1; done"):format(socket))
    file = write(directory .. "/m.eml", message)
  end)

  after_each(function() run("kill -9 " .. pid .. " 2>/dev/null") end)

  teardown(function() os.execute("rm -rf " .. directory) end)

  local function send(arguments)
    return run(("%s send --to unix:%s %s %s 2>&1"):format(program, socket, arguments, file))
  end

  local function edit(header)
    write(file, (message:gsub("\n\n", "\n" .. header .. "\n\n", 1)))
  end

  it("shows what was negotiated, every reply and edit, the verdict and the message", function()
    edit "X-Edit: all"
    local text, status = send ""
    assert.equal(0, status)
    assert.matches("version 6; actions: add_header", text)
    assert.matches("accept at eom: 250 2.0.0 Ok", text)
    assert.matches("  rcpt: continue, 2 times", text)
    assert.matches("  eom: progress", text)
    assert.matches("  eom: change_header 1 Subject: changed\\n and folded", text)
    assert.matches("  eom: change_from <bounce@example.org> RET=HDRS", text)
    assert.matches("\n\nX%-Top: first\nFrom: .*Subject: changed\n and folded\nX%-Remove: 1\nX%-Edit: all\n", text)
    assert.matches("X%-Rcpt%-Count: 2\n\nnew body\n$", text)
  end)

  it("shows the difference instead of the message", function()
    edit "X-Edit: all"
    local text = send "--diff"
    assert.matches("\n%-%-%- .*m.eml\n%+%+%+ .*m.eml %(edited%)\n@@ ", text)
    assert.matches("\n%-X%-Remove: 2\n", text)
    assert.matches("\n%+new body\n", text)
  end)

  it("shows a refusal with its text", function()
    local text = send "--from reject@example.org"
    assert.matches("reject at mail: 550 5.7.1 no thanks, 100%% sure\n", text)
    text = send "--from later@example.org"
    assert.matches("tempfail at mail: 451%-4.7.1 come back\n    451 4.7.1 in an hour\n", text)
    text = send "--helo bye"
    assert.matches("reject at helo: 550 5.7.1 Command rejected", text)
  end)

  it("goes on with the remaining recipients", function()
    assert.matches("accept at eom: 250 2.0.0 Ok %(1 recipient refused%)",
      (send "--rcpt refuse@example.org --rcpt bob@example.org"))
    assert.matches("reject at rcpt", (send "--rcpt refuse@example.org"))
  end)

  it("has an exit status for expected verdicts", function()
    local function status(arguments) return (select(2, send(arguments .. " --quiet"))) end
    assert.equal(0, status "--expect accept")
    assert.equal(0, status "--expect accept:250")
    assert.equal(1, status "--expect reject")
    assert.equal(0, status "--from reject@x --expect reject:550")
    assert.equal(1, status "--from reject@x --expect reject:551")
    assert.equal(0, status "--from discard@x --expect discard")
    assert.equal(0, status "--from accept@x --expect accept")
    assert.equal(0, status "--abort-after data --repeat 3 --expect abort")
    local missed = send "--expect reject --repeat 2 --quiet"
    assert.matches("moonmilter send: %S+%.eml: expected reject, got accept:250\n", missed)
    edit "X-Quarantine: yes"
    assert.equal(0, status "--expect quarantine")
    edit "X-Close: yes"
    assert.equal(0, status "--expect failed")
  end)

  it("sends many messages over one connection, and the macros of each", function()
    local text, status = send "--repeat 3 --auth ann"
    assert.equal(0, status)
    assert.equal(3, select(2, text:gsub("accept at eom", "")))
    for n = 1, 3 do assert.matches(("X%%-Macros: 4MoonM00000%dz mail.example.org eve@example.net ann"):format(n),
      text) end
  end)

  it("behaves as Sendmail on request", function()
    local text = send "--mta sendmail --trace --macro i=QQ"
    assert.matches("> macros of eom\n> eom", text)
    assert.is_nil(text:find("> abort", 1, true))
    assert.matches("X%-Macros: QQ ", text)
  end)

  it("speaks old versions", function()
    local text, status = send "--protocol 2 --trace"
    assert.equal(0, status)
    assert.matches("< negotiate version 2;", text)
    assert.is_nil(text:find("> data", 1, true))
  end)

  it("writes JSON, one object per line", function()
    local text = send "--json --repeat 2"
    local ok, json = pcall(require, "cjson")
    for line in text:gmatch "[^\n]+" do
      if ok then
        local result = json.decode(line)
        assert.equal("accept", result.verdict)
        assert.equal(250, result.code)
        assert.equal("X-Macros", result.edits[1].name)
        assert.equal("ann@example.org", result.envelope.sender)
        assert.matches("\nX%-Rcpt%-Count: 2\n", result.message)
      end
      assert.equal("{", line:sub(1, 1))
    end
    assert.equal(2, select(2, text:gsub("\n", "\n")))
  end)

  it("writes the message to a file", function()
    local _, status = send("--output " .. directory .. "/out.eml --quiet")
    assert.equal(0, status)
    local out = assert(io.open(directory .. "/out.eml", "rb"))
    assert.matches("^From: .*X%-Rcpt%-Count: 2\n\nHello.\n$", (out:read "*a"))
    out:close()
  end)

  it("reports errors", function()
    local function fails(status, pattern, command)
      local text, got = run(program .. " send " .. command .. " 2>&1")
      assert.matches(pattern, text)
      assert.equal(status, got)
    end
    fails(64, "%-%-to SPEC is missing", file)
    fails(64, "no message is given", "--to unix:" .. socket)
    fails(64, "did you mean %-%-expect", "--expects x")
    fails(64, "use accept reject", "--expect maybe --to unix:" .. socket .. " " .. file)
    fails(65, "this is not a message", "--to unix:" .. socket .. " " .. write(directory .. "/x.lua", "return 1\n"))
    fails(66, "No such file", "--to unix:" .. socket .. " " .. directory .. "/none.eml")
    fails(69, "is the milter running", "--to unix:" .. directory .. "/none " .. file)
    edit "X-Close: yes"
    fails(76, "in answer to eom: the filter closed the connection", "--to unix:" .. socket .. " " .. file)
  end)
end)

describe("moonmilter send towards what is no milter", function()
  local directory, file
  setup(function()
    directory = process.directory()
    file = write(directory .. "/m.eml", message)
  end)
  teardown(function() os.execute("rm -rf " .. directory) end)

  for greeting, service in pairs { ["220 mx.example.org ESMTP Postfix\\r\\n"] = "an SMTP server",
    ["220-mx.example.org\\r\\n"] = "an SMTP server", ["* OK IMAP4rev1 ready\\r\\n"] = "an IMAP server",
    ["SSH-2.0-OpenSSH_9.2p1\\r\\n"] = "an SSH server", ["HTTP/1.1 400 Bad Request\\r\\n"] = "a web server" } do
    it("says so: " .. service .. " with " .. greeting:match "^%S+", function()
      local port = process.free_port()
      local server = process.start({ "python3", "-c", ([[
import socket
s = socket.create_server(("127.0.0.1", %d))
c = s.accept()[0]
c.sendall(b"%s")
while c.recv(1000): pass]]):format(port, greeting) }, { output = directory .. "/server" })
      assert(process.wait_until(5, function()
        local pipe = io.popen(("grep -c ':%04X 00000000:0000 0A' /proc/net/tcp"):format(port))
        local n = tonumber(pipe:read "*l")
        pipe:close()
        return n and n > 0
      end, "a listener"))
      local text, status = run(("%s send --to inet:%d %s 2>&1"):format(program, port, file))
      server:stop(true)
      assert.equal(76, status)
      assert.truthy(text:find(service .. ' answers there ("' .. greeting:match "^[^ \\]+", 1, true), text)
      assert.matches("not a milter; give the address that smtpd_milters or INPUT_MAIL_FILTER name", text)
    end)
  end
end)
