-- Another user may change what a service loads: its configuration, its scripts, its modules.
local process = require "spec.support.process"
local host = require "spec.support.host"

local is_root = process.run("id -u"):match "^0%s"

describe("a service that root starts", function()
  if not is_root then
    pending "needs root"
    return
  end

  local directory
  before_each(function()
    directory = process.directory()
    process.run(([[cd %s; mkdir etc etc/scripts etc/scripts/lib
      echo 'return 1' >etc/scripts/lib/one.lua
      echo 'require "one" function on_eom() end' >etc/scripts/10.lua
      echo 'user = "nobody" listen = "unix:%s/s" scripts = "scripts"' >etc/conf
      chmod -R u=rwX,go=rX etc]]):format(directory, directory))
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  local function run(arguments, before) return host.until_ready(directory, arguments, before) end

  --- what an administrator did -> the path named, what is said of it
  for did, says in pairs {
    ["chown daemon etc/conf"] = { "etc/conf", 'belongs to user "daemon"' },
    ["chown nobody etc/conf"] = { "etc/conf", 'belongs to user "nobody"' },     -- who serves may not say who serves
    ["chmod 666 etc/conf"] = { "etc/conf", "every user of this machine may write there" },
    ["chown daemon etc"] = { "etc", 'belongs to user "daemon"' },
    ["chmod 777 etc"] = { "etc", "every user" },
    ["chown daemon etc/scripts"] = { "etc/scripts", 'belongs to user "daemon"' },
    ["chmod 777 etc/scripts"] = { "etc/scripts", "every user" },
    ["chown daemon etc/scripts/10.lua"] = { "etc/scripts/10.lua", 'belongs to user "daemon"' },
    ["chown 54321 etc/scripts/10.lua"] = { "etc/scripts/10.lua", "belongs to user 54321" },
    ["chmod 666 etc/scripts/10.lua"] = { "etc/scripts/10.lua", "every user" },
    ["chown daemon etc/scripts/lib"] = { "etc/scripts/lib", 'belongs to user "daemon"' },
    ["chmod 666 etc/scripts/lib/one.lua"] = { "etc/scripts/lib/one.lua", "every user" },
    ["mkdir -p etc/scripts/lib/a/b; chown daemon etc/scripts/lib/a/b"] = { "etc/scripts/lib/a/b", '"daemon"' },
    ["chmod 777 etc/scripts/lib"] = { "etc/scripts/lib", "every user" },
    ["mkdir home; chown daemon home; mv etc/scripts/10.lua home; ln -s ../../home/10.lua etc/scripts/"]
      = { "home", 'belongs to user "daemon"' },
  } do
    for _, command in ipairs(os.getenv "SLOW" and { "run", "check" } or { "run" }) do
      it(("does not %s after `%s`"):format(command, did), function()
        process.run(("cd %s; %s"):format(directory, did))
        local text, status = run(command .. " -c etc/conf")
        assert.equal(78, status, text)
        assert.matches(says[1] .. "[: ]", text)
        assert.matches(says[2], text, 1, true)
        assert.equal("", process.run(("ls %s | grep -x s || true"):format(directory)))
      end)
    end
  end

  for did, says in pairs {
    ["true"] = false,
    ["chown nobody etc/scripts etc/scripts/10.lua"] = false,                      -- the user who serves
    ["chmod 1777 etc"] = false,                                                 -- the sticky bit guards what is there
    ["chgrp daemon etc/scripts/10.lua; chmod g+w etc/scripts/10.lua"] = "the members of group daemon may write there",
    ["chgrp daemon etc; chmod g+w etc"] = "the members of group daemon may write there; chmod g%-w [^\n]*/etc\"?\n",
    ["mkdir open; chmod 777 open; sed -i s,/s,/open/s, etc/conf"] = "/open: every user of this machine may write",
  } do
    it("starts after `" .. did .. "`" .. (says and " and warns" or ""), function()
      process.run(("cd %s; %s"):format(directory, did))
      local text, status = run "check -c etc/conf"
      assert.equal(0, status, text)
      if not says then
        assert.not_matches("owners: ", text)
        return
      end
      assert.matches("moonmilter: owners: .*" .. says, text)
      assert.matches("may write", (run "doctor -c etc/conf"))
      text, status = run "run -c etc/conf"
      assert.equal(124, status, text)
      assert.matches("moonmilter: ready", text)
      assert.matches("warn owners .*" .. says, text)
    end)
  end

  it("trusts the users that `owners` names", function()
    process.run(("cd %s; chown -R daemon etc/scripts"):format(directory))
    assert.equal(78, select(2, run "check -c etc/conf"))
    process.run(("cd %s; echo 'owners = { \"daemon\", \"54321\" }' >>etc/conf"):format(directory))
    local text, status = run "check -c etc/conf"
    assert.equal(0, status, text)
    -- not for the file that says so
    process.run(("cd %s; chown daemon etc/conf"):format(directory))
    assert.equal(78, select(2, run "check -c etc/conf"))
    text, status = run "check -c etc/conf --owners=daemon"
    assert.equal(0, status, text)
  end)

  it("trusts the account from which sudo started it", function()
    process.run(("cd %s; chown -R daemon etc"):format(directory))
    local id = process.run("id -u daemon"):match "%d+"
    local text, status = run("check -c etc/conf", "SUDO_UID=" .. id)
    assert.equal(0, status, text)
  end)

  it("keeps its scripts when a foreign one appears, and says why", function()
    local h = host.start { scripts = { ["10.lua"] = "function on_eom() end" }, workers = 1,
      arguments = { "--user=nobody" } }
    finally(function() h:stop() end)
    h:write { ["20.lua"] = "function on_eom(ctx) return ctx:reject() end" }
    process.run(("chown daemon %s/20.lua"):format(h.scripts))
    local text, status = h:ctl "reload"
    assert.equal(78, status, text)
    assert.matches('20.lua belongs to user "daemon"', text, 1, true)
    process.run(("chown nobody %s/20.lua"):format(h.scripts))
    assert.equal(0, select(2, h:ctl "reload"))
  end)

  it("does not load modules from the home of the user who serves", function()
    process.run(([[cd %s; mkdir -p home/.luarocks/share/lua/5.1; chmod -R go=rX home
      echo 'return "mine"' >home/.luarocks/share/lua/5.1/planted.lua
      echo 'local found = pcall(require, "planted") print(found and "planted" or "clean")
        function on_eom() end' >etc/scripts/10.lua]]):format(directory))
    local text = run("check -c etc/conf", ("HOME=%s/home"):format(directory))
    assert.matches("clean", text)
    text = run("try -v m.eml etc/scripts/10.lua", ("echo 'A: b' >m.eml; HOME=%s/home"):format(directory))
    assert.matches("planted", text)
  end)
end)

describe("a person's own files", function()
  if not is_root then
    pending "needs root to become another user"
    return
  end

  it("are served, even if everybody may write them, with a warning", function()
    local directory = process.directory()
    finally(function() process.run("rm -rf " .. directory) end)
    process.run(("cd %s; echo 'function on_eom() end' >10.lua; chmod 666 10.lua; chown -R daemon ."):format(directory))
    local text = host.until_ready(directory, ("run -s unix:%s/s 10.lua"):format(directory),
      "setpriv --reuid=daemon --regid=daemon --clear-groups")
    assert.matches("moonmilter: ready", text)
    assert.matches("warn owners .*10.lua: every user of this machine may write there", text)
  end)
end)
