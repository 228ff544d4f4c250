-- A user other than root owns a directory on the way to what root opens, creates, gives away or removes, and plants a
-- link there.
local process = require "spec.support.process"
local host = require "spec.support.host"

local is_root = process.run("id -u"):match "^0%s"

describe("a link in a directory of another user", function()
  if not is_root then
    pending "needs root"
    return
  end

  local directory
  before_each(function()
    directory = process.directory()
    process.run(([[cd %s; mkdir victim theirs roots; chmod 755 victim theirs roots
      echo 'root:secret' >victim/shadow; chmod 600 victim/shadow; chown nobody theirs
      ln -s ../victim theirs/link; chown -h nobody theirs/link
      echo 'function on_eom() end' >10.lua]]):format(directory))
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  --- What root's files look like: owner, mode, content.
  local function victim() return process.run(("cd %s/victim; ls -lAn; cat shadow"):format(directory)) end

  local function run(arguments) return host.until_ready(directory, arguments) end

  --- argument -> the way that is refused
  for argument, wrong in pairs {
    ["run -s unix:DIR/roots/s --user=nobody --log=DIR/theirs/link/shadow 10.lua"] = "log: ",
    ["run -s unix:DIR/roots/s --user=nobody --log=DIR/theirs/link/new 10.lua"] = "log: ",
    ["check --user=nobody --log=DIR/theirs/link/shadow 10.lua"] = "log: ",
    ["run -s unix:DIR/theirs/link/s --user=nobody 10.lua"] = "unix:",
    ["run -s unix:DIR/roots/s --control=DIR/theirs/link/c --user=nobody 10.lua"] = "unix:",
  } do
    it("ends the start: " .. argument, function()
      local before = victim()
      local text, status = run((argument:gsub("DIR", directory)))
      assert.equal(wrong == "unix:" and 69 or 78, status, text)
      assert.matches(wrong, text, 1, true)
      assert.matches(directory .. '/theirs/link: is a symbolic link of user "nobody", which root does not follow', text,
        1, true)
      assert.equal(before, victim())
      assert.equal("", process.run(("ls %s/roots"):format(directory)))
    end)
  end

  it("does not lead `try --output` elsewhere", function()
    process.write_file(directory .. "/m.eml", "Subject: x\r\n\r\nx\r\n")
    local before = victim()
    local text, status = run(("try --output %s/theirs/link/shadow m.eml 10.lua"):format(directory))
    assert.are_not.equal(0, status)
    assert.matches("is a symbolic link of user", text, 1, true)
    assert.equal(before, victim())
  end)

  it("does not make root remove a dead socket elsewhere", function()
    process.run(([[cd %s/victim; luajit -e 'local s = require "socket.unix"(); s:bind "dead"']]):format(directory))
    local before = victim()
    assert.matches("dead", before, 1, true)
    local _, status = run(("run -s unix:%s/theirs/link/dead --user=nobody 10.lua"):format(directory))
    assert.equal(69, status)
    assert.equal(before, victim())
  end)

  it("a hard link to root's file is neither written nor given away", function()
    process.run(("cd %s; ln victim/shadow theirs/log"):format(directory))
    local before = victim()
    local text, status = run(("run -s unix:%s/roots/s --user=nobody --log=%s/theirs/log 10.lua"):format(directory,
      directory))
    assert.equal(78, status, text)
    assert.matches("log: .*/theirs/log cannot be opened: user 0 owns it and it has a second name", text)
    assert.equal(before, victim())
  end)

  it("a file of root in such a directory is written but not given away", function()
    process.run(("cd %s; mv victim/shadow theirs/log"):format(directory))
    run(("run -s unix:%s/roots/s --user=nobody --log=%s/theirs/log 10.lua"):format(directory, directory))
    assert.equal("root 600\n", process.run(("stat -c '%%U %%a' %s/theirs/log"):format(directory)))
    assert.matches("root:secret\n.* info stop ", process.read_file(directory .. "/theirs/log"))
  end)

  it("that is swapped all the time never makes root touch what it leads to", function()
    process.run(("mkdir %s/theirs/real; chown nobody %s/theirs/real; rm %s/theirs/link"):format(directory, directory,
      directory))
    local before = victim()
    local swapper = process.start({ "setpriv", "--reuid=nobody", "--clear-groups", "sh", "-c", ([[cd %s/theirs
      while :; do mv -T real x; ln -s ../victim real; rm real; mv -T x real; done]]):format(directory) },
      { output = directory .. "/swapper", life = 60 })
    finally(function() swapper:stop() end)
    local opened, refused = 0, 0
    for i = 1, 25 do
      local _, status = run(("check --user=nobody --log=%s/theirs/real/log%d 10.lua"):format(directory, i))
      opened, refused = opened + (status == 0 and 1 or 0), refused + (status == 78 and 1 or 0)
    end
    assert.equal(25, opened + refused)
    assert.equal(before, victim())
  end)
end)

describe("what root sets up for the user that serves", function()
  if not is_root then
    pending "needs root"
    return
  end

  local h
  after_each(function() if h then h:stop() end end)
  local function owner_of(path) return (process.run(("stat -c '%%U %%F' %s"):format(path)):gsub("%s+$", "")) end

  it("is its own in its own directory, through links of root too", function()
    local directory = process.directory()
    finally(function() process.run("rm -rf " .. directory) end)
    process.run(("cd %s; mkdir theirs; chown nobody theirs; ln -s theirs link"):format(directory))
    h = host.start { scripts = { ["10.lua"] = "function on_eom() end" }, arguments = { "--user=nobody",
      ("--log=%s/link/log"):format(directory), ("--listen=unix:%s/link/socket"):format(directory) } }
    assert.matches("^nobody regular", owner_of(directory .. "/theirs/log"))
    assert.equal("nobody socket", owner_of(directory .. "/theirs/socket"))
    assert.equal("nobody socket", owner_of(h.control))
    -- a new file after a rotation, opened by the user itself
    process.run(("mv %s/theirs/log %s/theirs/log.1"):format(directory, directory))
    h:signal "SIGUSR1"
    assert.truthy(process.wait_until(5, function() return process.read_file(directory .. "/theirs/log") end, "a log"))
    h:stop()
    assert.is_nil(process.read_file(directory .. "/theirs/socket"))
    assert.not_matches("socket", process.run("ls " .. directory .. "/theirs"))
  end)

  it("an existing log of root below directories of root is handed over", function()
    local directory = process.directory()
    finally(function() process.run("rm -rf " .. directory) end)
    process.write_file(directory .. "/log", "")
    h = host.start { scripts = { ["10.lua"] = "function on_eom() end" },
      arguments = { "--user=nobody", ("--log=%s/log"):format(directory) } }
    assert.matches("^nobody regular", owner_of(directory .. "/log"))
  end)
end)
