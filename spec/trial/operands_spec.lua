-- What `moonmilter try` takes: messages in every form that people keep them in, and scripts, in any order.
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
program = program:match "^/" and program or (os.getenv "PWD" .. "/" .. program)

local function message(subject, body)
  return ("From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: %s\n\n%s\n"):format(subject, body or "Hello.")
end

local TAG = 'function on_eom(ctx) ctx:add_header("X-Saw", (ctx.headers:get "Subject" or "nothing")) end'

describe("moonmilter try", function()
  local directory
  before_each(function() directory = process.directory() end)
  after_each(function() process.run("rm -rf " .. directory) end)

  local function write(name, text) return process.write_file(directory .. "/" .. name, text) end

  local function try(arguments)
    local pipe = assert(io.popen(("cd %s; %s try %s 2>&1; echo \"status $?\""):format(directory, program, arguments)))
    local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return text, tonumber(status)
  end

  -- The subjects of the messages that the script saw, in order.
  local function seen(arguments)
    local text, status = try(arguments)
    assert.equal(0, status, text)
    local list = {}
    for subject in text:gmatch "  add_header X%-Saw: ([^\n]*)" do list[#list + 1] = subject end
    return table.concat(list, " "), text
  end

  it("tells messages and scripts apart in any order", function()
    write("m.eml", message "one")
    write("n.txt", message "two")
    write("tag.lua", TAG)
    process.run("mkdir " .. directory .. "/scripts")
    write("scripts/10-tag.lua", TAG)
    write("plain", TAG)
    write("bang", "#!/usr/bin/env moonmilter\n" .. TAG)
    for _, arguments in ipairs { "m.eml tag.lua", "tag.lua m.eml", "m.eml scripts", "scripts m.eml", "m.eml plain",
      "bang m.eml",
      "m.eml ./scripts/", "- tag.lua <m.eml", "tag.lua - <m.eml", "tag.lua /dev/stdin <m.eml" } do
      assert.equal("one", (seen(arguments)), arguments)
    end
    assert.equal("one two", (seen "m.eml tag.lua n.txt"))
    assert.equal("two one", (seen "n.txt m.eml tag.lua"))
  end)

  it("tries each message of an mbox", function()
    local from = "From ann@example.org  Sat Jan  3 01:05:34 1996\n"
    write("tag.lua", TAG)
    write("in.mbox", from .. message("one", "a\n\nFrom here it goes on\nFrom nowhere\n") .. "\n" .. from
      .. message "two" .. "\n"
      .. "From - Thu, 05 Feb 2026 11:22:33 +0100\n" .. message "three")
    local subjects, text = seen "in.mbox tag.lua"
    assert.equal("one two three", subjects)
    assert.matches("in.mbox, message 2: accept at eom", text)
    assert.matches("\n3 messages: 3 accept\n$", text)
    write("crlf.mbox", (from .. message "one" .. "\n" .. from .. message "two"):gsub("\n", "\r\n"))
    assert.equal("one two", (seen "crlf.mbox tag.lua"))
    assert.equal("one two three", (seen "- tag.lua <in.mbox"))
  end)

  it("does not add a byte to a message of an mbox, nor take one", function()
    local from = "From ann@example.org  Sat Jan  3 01:05:34 1996\n"
    write("pass.lua", "function on_eom() end")
    local one, two = message("one", "a\n\n\n"), message("two", "\n>From b")
    write("in.mbox", from .. one .. "\n" .. from .. two .. "\n" .. from .. message "three" .. "\n")
    local text = try "in.mbox pass.lua -o -"
    assert.equal(one .. two .. message "three" .. "\n", text)
    write("single", from .. one)
    assert.equal(one, (try "single pass.lua -o -"))
  end)

  it("tries each message of a maildir and of a directory", function()
    write("tag.lua", TAG)
    process.run(("cd %s; mkdir -p box/cur box/new box/tmp box/.Sent/cur mails/sub"):format(directory))
    write("box/new/1700000003.x", message "three")
    write("box/cur/1700000001.x:2,S", message "one")
    write("box/cur/1700000002.x:2,", message "two")
    write("box/tmp/half", message "half")
    write("mails/a.eml", message "a")
    write("mails/b", message "b")
    write("mails/.hidden", message "hidden")
    assert.equal("three one two", (seen "box tag.lua"))
    assert.equal("a b", (seen "tag.lua mails"))
  end)

  it("says what is missing, and what is empty", function()
    write("m.eml", message "one")
    write("empty.eml", "")
    write("blank.eml", "\n\n")
    write("tag.lua", TAG)
    process.run(("mkdir %s/none"):format(directory))
    local function fails(status, pattern, arguments)
      local text, got = try(arguments)
      assert.matches(pattern, text)
      assert.equal(status, got, text)
    end
    fails(64, "no message is given: name a file", "tag.lua")
    fails(64, "no scripts are given: name a file that ends with .lua", "m.eml")
    fails(65, "empty.eml: the file is empty: there is no message in it", "empty.eml tag.lua")
    fails(65, "blank.eml: the file is empty", "blank.eml tag.lua")
    fails(65, "standard input is empty: name a message file, or pipe one", "- tag.lua </dev/null")
    fails(66, "none: this directory holds no message and no script", "none tag.lua")
    fails(66, "nosuch.eml: No such file", "nosuch.eml tag.lua")
    fails(78, "nosuch.lua: no such script", "m.eml nosuch.lua")
    fails(64, "--output FILE takes one message", "m.eml m.eml tag.lua -o out")
  end)

  it("goes on with a new session after a message that failed", function()
    write("m.eml", message "one")
    write("slow.eml", message "slow")
    write("slow.lua", [[
      local milter = require "moonmilter"
      function on_eom(ctx) if ctx.headers:get "Subject" == "slow" then milter.sleep(9) end ctx:add_header("X-Saw", "it") end]])
    local text, status = try "--timeout 0.3 m.eml slow.eml m.eml slow.lua"
    assert.equal(76, status)
    assert.matches("3 messages: 2 accept, 1 failed\n", text)
    assert.equal(2, select(2, text:gsub("X%-Saw: it", "")))
  end)
end)
