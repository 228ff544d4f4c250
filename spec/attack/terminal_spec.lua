-- Mail holds what a terminal obeys. Each command that prints mail, or what a peer says, runs here on a terminal
-- (python's pty), and what reaches it is looked at.
local process = require "spec.support.process"
local host = require "spec.support.host"

local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local PROGRAM = process.run("readlink -f " .. host.program()):gsub("%s+$", "")

-- title, cursor, answer-back, C1 CSI (as UTF-8 and as a byte), reordering, BEL, DEL, a line overwritten
local EVIL = "\27]0;pwned\7\27[2J\27[6n\194\15531m\15531m\226\128\174\127\rover"

describe("on a terminal", function()
  local directory
  before_each(function()
    directory = process.directory()
    process.write_file(directory .. "/m.eml", "From: " .. EVIL .. "\r\nSubject: " .. EVIL .. "\r\n\r\n" .. EVIL
      .. "\r\nGr\195\188\195\159e \240\159\152\128\r\n")
    process.write_file(directory .. "/10.lua", ([[
      options = { facts = { "headers" } }
      function on_eom(ctx)
        ctx:add_header("X-Evil", (ctx.headers:get "Subject":gsub("\r.*", "")))
        io.write(%q)
      end
      function on_mail(ctx, sender) end]]):format(EVIL))
    process.write_file(directory .. "/spawn.py", [[
import os, pty, sys
output = open(sys.argv[1], "wb")
def read(fd):
    data = os.read(fd, 65536)
    output.write(data)
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))
]])
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  local function on_terminal(arguments, environment)
    -- Our own colours, which mail here does not contain, are not what is looked for.
    process.run(("cd %s; env TERM=xterm %s python3 spawn.py out %s %s || true"):format(directory, environment or "",
      PROGRAM,
      arguments))
    return (process.read_file(directory .. "/out"):gsub("\27%[%d+m", ""))
  end

  local function assert_harmless(text)
    assert.equal("", (text:gsub("[^%c]", ""):gsub("[\r\n\t]", "")))
    assert.is_nil(text:find("\r[^\r\n]"))       -- the terminal's driver makes CR LF of LF
    assert.is_nil(text:find("\194[\128-\159]"))
    assert.is_nil(text:find("\226\128\174", 1, true))
  end

  for _, arguments in ipairs {
    "try m.eml 10.lua", "try --diff m.eml 10.lua", "try --replies m.eml 10.lua", "try -v m.eml 10.lua",
    "try --output - m.eml 10.lua", "try nosuch$(printf '\\033[2J').eml 10.lua",
    "try m.eml nosuch$(printf '\\033[2J').lua",
    "check nosuch$(printf '\\033[2J').lua", "replay nosuch$(printf '\\033[2J') 10.lua", "$(printf '\\033[2J').lua",
    "ctl --control $(printf '/\\033[2J') status",
  } do
    it(("`%s` sends nothing that the terminal obeys"):format(arguments), function()
      local text = on_terminal(arguments)
      assert_harmless(text)
      assert.matches("\\x1b[%[%]]", text)
    end)
  end

  it("text that is not dangerous stays as it is, and shows what was", function()
    local text = on_terminal "try --diff m.eml 10.lua"
    assert.matches(
      "+X-Evil: \\x1b]0;pwned\\x07\\x1b[2J\\x1b[6n\\xc2\\x9b31m\\x9b31m\\xe2\\x80\\xae\\x7f", text, 1, true)
    assert.matches("Gr\195\188\195\159e \240\159\152\128", (on_terminal "try m.eml 10.lua"), 1, true)
  end)

  it("whose charset is not UTF-8, everything beyond ASCII is escaped", function()
    assert.matches("Gr\\xc3\\xbc\\xc3\\x9fe", on_terminal("try m.eml 10.lua", "LC_ALL=de_DE.ISO-8859-1"), 1, true)
  end)

  it("JSON stays JSON", function()
    local text = on_terminal "try --json m.eml 10.lua"
    assert_harmless(text)
    local value, found = require "cjson".decode(text:match "{.*}"), false
    for _, content in pairs(value.edits[1]) do
      found = found or tostring(content):find(EVIL:gsub("\r.*", ""):sub(1, 23), 1, true) ~= nil
    end
    assert.is_true(found)
  end)

  it("`ctl sessions` shows the names that peers gave", function()
    local h = host.start { scripts = { ["10.lua"] = [[
      local moonmilter = require "moonmilter"
      function on_connect() moonmilter.sleep(20) end]] } }
    finally(function() h:stop() end)
    local client = h:connect()
    client:send("C", EVIL:gsub("\r", "") .. "\0" .. "4\0\25" .. "192.0.2.1\0")
    assert.truthy(process.wait_until(5, function() return #h:sessions() == 1 end, "a session"))
    local text = on_terminal(("ctl --control %s sessions"):format(h.control))
    assert.matches("SESSION", text, 1, true)
    assert_harmless(text)
    client:close()
  end)
end)

describe("without a terminal", function()
  it("output is unchanged: a diff applies", function()
    local directory = process.directory()
    finally(function() process.run("rm -rf " .. directory) end)
    process.write_file(directory .. "/m.eml", "Subject: " .. EVIL:gsub("\r", "") .. "\r\n\r\nx\r\n")
    process.write_file(directory .. "/10.lua", "function on_eom(ctx) ctx:add_header('X-A', 'b') end")
    process.run(("cd %s; %s try --diff m.eml 10.lua >diff; %s try --output new.eml m.eml 10.lua"):format(directory,
      PROGRAM, PROGRAM))
    assert.matches(EVIL:gsub("\r", ""), process.read_file(directory .. "/new.eml"), 1, true)
    assert.matches("+X-A: b", process.read_file(directory .. "/diff"), 1, true)
  end)
end)

describe("the escaping of output", function()
  local C = testlib.load "base/terminal.h"
  local function escape(pieces)
    local terminal, out = ffi.new "struct mm_terminal", ffi.new "struct mm_buffer"
    for _, piece in ipairs(pieces) do
      C.mm_terminal_escape(terminal, ffi.new("struct mm_text", { piece, #piece }), out)
    end
    C.mm_terminal_end(terminal, out)
    local text = ffi.string(out.bytes, out.size)
    C.mm_buffer_free(out)
    return text
  end

  it("is the same wherever the text is cut", function()
    local text = EVIL
      .. "\r\n\195\188\240\159\152\128\240\159\152\226\128\195\13\13\10\194\13\226\129\166\237\160\128\255"
    local whole = escape { text }
    for i = 0, #text do
      for j = i, #text do
        assert.equal(whole, escape { text:sub(1, i), text:sub(i + 1, j), text:sub(j + 1) })
      end
    end
    local single = {}
    for i = 1, #text do single[i] = text:sub(i, i) end
    assert.equal(whole, escape(single))
  end)

  it("keeps what shows as itself", function()
    for _, text in ipairs {
      "plain\ttext\r\n", "\195\188", "\226\130\172", "\240\159\152\128", "\194\160", "\226\128\147" } do
      assert.equal(text, escape { text })
    end
  end)
end)
