-- `moonmilter init`: the project that it writes loads, passes its spec and serves as it stands.
local cjson = require "cjson"
local lfs = require "lfs"
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
program = program:match "^/" and program or (os.getenv "PWD" .. "/" .. program)

describe("moonmilter init", function()
  local directory, project
  before_each(function()
    directory = process.directory()
    project = directory .. "/a/b/project"
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  local function run(arguments, where)
    local pipe = assert(io.popen(("cd %s; %s %s 2>&1; echo \"status $?\""):format(where or directory, program,
      arguments)))
    local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return text, tonumber(status)
  end

  it("writes a project that runs, tries and passes its spec at once", function()
    local text, status = run "init a/b/project/"
    assert.equal(0, status, text)
    for file in text:gmatch "\n  (a/b/project/%S+)" do assert.truthy(lfs.attributes(directory .. "/" .. file), file) end
    assert.equal(0, (select(2, run("check", project))))
    text, status = run("try -c moonmilter.conf messages/hello.eml", project)
    assert.equal(0, status, text)
    assert.matches("refused <closed@example.com>: 550 5.1.1 This mailbox is closed", text)
    assert.matches("\nX%-Filtered: yes\n", text)
    text, status = run("test", project)
    assert.equal(0, status, text)
    assert.matches("3 successes / 0 failures / 0 errors / 0 pending", text)
  end)

  it("writes a configuration with which `moonmilter run` serves, and loads what is saved", function()
    run("init " .. project)
    local port = process.free_port()
    process.write_file(project .. "/moonmilter.conf", (process.read_file(project .. "/moonmilter.conf"):gsub("10025",
      port)))
    process.run("chmod -R a+rX " .. directory)
    local child = process.start({ "sh", "-c", ("cd %s && exec %s run"):format(project, program) },
      { output = directory .. "/output" })
    assert(child:wait_text("moonmilter: ready", 10))
    assert.matches("reads moonmilter.conf\n", child:text())
    assert.matches("smtpd_milters = inet:127.0.0.1:" .. port, child:text())
    process.write_file(project .. "/scripts/20-second.lua", "function on_mail() end")
    assert(child:wait_text("reload result=ok", 10))
    child:stop(true)
  end)

  it("writes settings for editors, with the stubs of this moonmilter", function()
    run("init " .. project)
    local settings = cjson.decode(process.read_file(project .. "/.luarc.json"))
    assert.truthy(lfs.attributes(settings["workspace.library"][1] .. "/ctx.lua"))
    assert.equal("LuaJIT", settings["runtime.version"])
  end)

  it("overwrites nothing", function()
    process.run("mkdir -p " .. project .. "/scripts")
    process.write_file(project .. "/scripts/10-first.lua", "mine")
    local text, status = run("init " .. project)
    assert.equal(73, status)
    assert.matches("scripts/10%-first.lua: exists already; nothing was written", text)
    assert.equal("mine", process.read_file(project .. "/scripts/10-first.lua"))
    assert.is_nil(lfs.attributes(project .. "/moonmilter.conf"))
    assert.equal(0, (select(2, run("init .", directory .. "/a"))))
    for _, arguments in ipairs { "init", "init a b", "init --frob" } do assert.equal(64, (select(2,
      run(arguments)))) end
  end)

  it("is not followed by a configuration that others could have put there", function()
    if require "posix.unistd".geteuid() ~= 0 then return pending "needs root" end
    run("init " .. project)
    process.run("chmod 777 " .. project)
    assert.is_nil(run("check", project):find("10-first.lua", 1, true))
    process.run(("chmod 755 %s; chown nobody %s/moonmilter.conf"):format(project, project))
    assert.is_nil(run("check", project):find("10-first.lua", 1, true))
    process.run(("chown root %s/moonmilter.conf"):format(project))
    assert.truthy(run("check", project):find("10-first.lua", 1, true))
  end)
end)
