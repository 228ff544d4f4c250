--- The ten-minute tutorial of docs/TESTING.md, followed as a newcomer would: the files as printed, in an empty
--- directory.
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
program = program:match "^/" and program or "$PWD/" .. program

-- Indented blocks of the tutorial, in order; an empty line belongs to a block that goes on after it.
local function blocks()
  local found, block, is_tutorial = {}, nil, false
  for line in io.lines "docs/TESTING.md" do
    if line:match "^## " then
      is_tutorial = line == "## Ten minutes"
    end
    local code = is_tutorial and line:match "^    (.*)$"
    if code then
      block = (block or "") .. code .. "\n"
    elseif block and line == "" then
      block = block .. "\n"
    elseif block then
      found[#found + 1], block = block, nil
    end
  end
  return found
end

describe("the tutorial of docs/TESTING.md", function()
  it("runs as printed", function()
    local found = blocks()
    assert.equal(4, #found)
    local script, spec, session, more = unpack(found)
    local directory = os.tmpname()
    os.remove(directory)
    finally(function() os.execute("rm -rf " .. directory) end)
    assert.equal(0, os.execute(("mkdir -p %s/scripts %s/spec"):format(directory, directory)))
    process.write_file(directory .. "/scripts/20-partners.lua", script)
    process.write_file(directory .. "/spec/partners_spec.lua",
      (spec:gsub("end%)%s*$", function() return more .. "end)\n" end)))
    local pipe = io.popen(("program=%s; cd %s && $program test 2>&1; echo \"status $?\""):format(program, directory))
    local output = pipe:read "*a"
    pipe:close()
    assert.truthy(output:find("4 successes / 0 failures / 0 errors", 1, true), output)
    assert.truthy(output:find("status 0", 1, true), output)
    assert.truthy(session:find("$ moonmilter test\n+++\n3 successes / 0 failures / 0 errors / 0 pending", 1, true),
      session)
  end)
end)

-- Installing, Postfix and the service are followed by spec/debian/tutorial in a root of their own.
describe("docs/tutorial.md", function()
  local directory, port

  before_each(function()
    directory, port = process.directory(), process.free_port()
    process.run("mkdir " .. directory .. "/bin")
    local full = program:gsub("^%$PWD", os.getenv "PWD")
    process.write_file(directory .. "/bin/moonmilter", ('#!/bin/sh\nexec %s "$@"\n'):format(full))
    process.run("chmod 755 " .. directory .. "/bin/moonmilter")
  end)

  after_each(function() process.run("rm -rf " .. directory) end)

  -- Follows sections 2 to 6; a project's configuration gets a free port, and so does the page.
  local function follow(...)
    local changes = { "10025=" .. port, "moonmilter init filters=moonmilter init filters; sed -i s/10025/" .. port
      .. "/ filters/moonmilter.conf", ... }
    local pipe = io.popen(("env -u LUA_PATH -u LUA_CPATH HOME=%s PATH=%s/bin:$PATH python3 spec/docs/follow "
      .. "docs/tutorial.md source 2 6 '%s' 2>&1; echo \"status $?\""):format(directory, directory,
      table.concat(changes, "' '")))
    local text = pipe:read "*a"
    pipe:close()
    return text, tonumber(text:match "status (%d+)\n$")
  end

  it("can be followed word for word, from a project to a milter that serves", function()
    local text, status = follow()
    assert.equal(0, status, text)
    assert.truthy(text:find("\n10 steps\n", 1, true), text)
  end)

  it("would not pass if the program printed something else", function()
    local text, status = follow "250 2.0.0 Ok (1 recipient refused)=250 2.0.0 Ok (2 recipients refused)"
    assert.equal(1, status, text)
    assert.truthy(text:find("not ok - moonmilter try -c moonmilter.conf", 1, true), text)
  end)
end)
