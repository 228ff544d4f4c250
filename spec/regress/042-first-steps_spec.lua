-- A newcomer's obstacles: a checkout below a directory that the mail user may not enter could not be served at all, a
-- directory called x.lua did not load, `check` passed a configuration that `run` refused, a misspelt command was taken
-- for a script, and a script without handlers looked like any other. Since 0.1.0.
local host = require "spec.support.host"
local process = require "spec.support.process"

local program = io.popen('realpath ' .. host.program()):read '*l'

local directory

local function write(name, text)
  local path = directory .. "/" .. name
  os.execute(("mkdir -p '%s'"):format(path:match "^(.*)/"))
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  os.execute("chmod 755 '" .. path:match "^(.*)/" .. "'")
  return path
end

-- Standard output and error together, and the exit status.
local function run(arguments, where)
  local pipe = io.popen(("cd '%s' && timeout 10 '%s' %s 2>&1; echo \"exit $?\""):format(where or directory,
    program, arguments))
  local text = pipe:read "*a"
  pipe:close()
  return text, tonumber(text:match "exit (%d+)\n$")
end

local is_root = os.execute "test $(id -u) = 0"
is_root = is_root == 0 or is_root == true

describe("first steps", function()
  before_each(function() directory = process.directory() end)
  after_each(function() os.execute("rm -rf '" .. directory .. "'") end)

  it("serve a checkout below a closed directory from within, and name the closed directory "
    .. "elsewhere", function()
    if not is_root then pending "needs root" return end
    write("closed/checkout/scripts/10.lua", "function on_eom() end")
    os.execute("chmod 755 " .. directory .. "; chmod 700 " .. directory .. "/closed")
    local text = run("check scripts/", directory .. "/closed/checkout")
    assert.matches("script scripts/10%.lua: on_eom", text)
    local status
    text, status = run("check " .. directory .. "/closed/checkout/scripts", "/")
    assert.equal(78, status)
    assert.matches("user %w+ may not enter " .. directory:gsub("%p", "%%%0") .. "/closed;", text)
  end)

  it("skip a directory called x.lua", function()
    write("scripts/10.lua", "function on_eom() end")
    write("scripts/x.lua/inside.txt", "")
    local text, status = run "check scripts"
    assert.equal(0, status)
    assert.falsy(text:find("x.lua", 1, true))
  end)

  it("check reports that a user or group of the configuration does not exist", function()
    write("10.lua", "function on_eom() end")
    for line, text in pairs {
      ['socket_group = "nosuchgroup"'] = 'socket_group: there is no group "nosuchgroup"',
      ['milter.outbound = { socket_owner = "nosuchuser" }'] = 'socket_owner: there is no user "nosuchuser"',
      ['user = "nosuchuser"'] = 'user: there is no user "nosuchuser"',
      ['user = "nobody" group = "nosuchgroup"'] = 'group: there is no group "nosuchgroup"',
    } do
      line = line:gsub("outbound = {", "%0 listen = \"inet:10027\",")
      write("moonmilter.conf", 'listen = "inet:10026"\nscripts = "10.lua"\n' .. line:gsub('" ', '"\n') .. "\n")
      local output, status = run "check -c moonmilter.conf"
      assert.equal(67, status, output)
      assert.truthy(output:find(text, 1, true), output)
    end
    assert.matches("there is no group", (run "check --socket-group=nosuchgroup 10.lua"))
  end)

  it("report that there is nothing to run", function()
    write("empty/readme.txt", "")
    write("10.lua", "local function on_eom() end")
    assert.matches("no scripts: no directory of `scripts` holds a file named %*%.lua", (run "check empty"))
    assert.matches("10%.lua: no handlers", (run "check 10.lua"))
    assert.matches("asks the MTA for nothing", (run "check 10.lua"))
  end)

  it("check refuses a configuration that run would refuse", function()
    write("10.lua", "function on_eom() end")
    write("a.conf", 'scripts = "10.lua"\n')
    write("b.conf", 'listen = "inet:10025"\n')
    local text, status = run "check -c a.conf"
    assert.equal(78, status)
    assert.matches('milter "default" listens nowhere', text)
    text, status = run "check -c b.conf"
    assert.equal(78, status)
    assert.matches('milter "default" has no scripts', text)
  end)

  it("a misspelt command is not taken for a script", function()
    local text, status = run "chek scripts/"
    assert.equal(64, status)
    assert.matches('there is no command "chek"; did you mean "check"%?', text)
    text, status = run "frobnicate"
    assert.equal(64, status)
    assert.matches('"frobnicate" is neither a command nor a script', text)
  end)

  it("try without scripts is an error, not a message that all filters accept", function()
    write("m.eml", "From: a@example.org\nTo: b@example.org\n\nhello\n")
    local text, status = run "try m.eml"
    assert.equal(64, status)
    assert.matches("no scripts are given", text)
    assert.equal(64, select(2, run "replay m.record"))
  end)

  it("a misspelt option is answered with the right one", function()
    local text, status = run "run --workrs=2 10.lua"
    assert.equal(64, status)
    assert.matches("there is no option %-%-workrs; did you mean %-%-workers%?", text)
    assert.matches("option %-s needs a value", (run "run -s"))
  end)

  it("an end of message is never said to have no reply", function()
    write("10.lua", "function on_mail() end")
    assert.matches("asks the MTA for: mail eom\n", (run "check 10.lua"))
  end)

  it("root does not open a log that is another user's link to a file", function()
    if not is_root then pending "needs root" return end
    write("10.lua", "function on_eom() end")
    write("log/victim", "theirs\n")
    os.execute(("ln -s victim '%s/log/log'; chown -h nobody '%s/log/log'; chmod 755 '%s'"):format(directory,
      directory, directory))
    local text, status = run(("run -s 'unix:%s/s' --log='%s/log/log' 10.lua"):format(directory, directory))
    assert.equal(78, status)
    assert.matches("log: .*/log/log cannot be opened: .*/log/log: is a symbolic link of user \"nobody\"", text)
    local victim = assert(io.open(directory .. "/log/victim"))
    assert.equal("theirs\n", victim:read "*a")
    victim:close()
  end)
end)
