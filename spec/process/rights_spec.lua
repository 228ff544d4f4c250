-- The user that serves mail, and the owner of the sockets.
local host = require "spec.support.host"
local process = require "spec.support.process"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }

local is_root = process.run("id -u"):match "^0%s"

local function status_of(pid)
  local text, fields = process.read_file(("/proc/%d/status"):format(pid)), {}
  for key, value in text:gmatch "(%w+):%s*([^\n]*)" do fields[key] = value end
  return fields
end

local function identity(name) return tonumber(process.run(("id -%s %s"):format(name, "daemon")):match "%d+") end

describe("started by root, a host", function()
  if not is_root then
    pending "needs root"
    return
  end

  local h
  after_each(function() if h then h:stop() end end)

  for _, workers in ipairs { 0, 2 } do
    it("runs each process as the configured user, without groups, capabilities and the means to gain new ones, workers="
      .. workers, function()
      h = host.start { workers = workers, scripts = PASS, arguments = { "--user=daemon" } }
      local user, group = identity "u", identity "g"
      local pids = h:workers()
      pids[#pids + 1] = h:pid()
      assert.equal(workers + 1, #pids)
      for _, pid in ipairs(pids) do
        local is = status_of(pid)
        assert.equal(("%d\t%d\t%d\t%d"):format(user, user, user, user), is.Uid)
        assert.equal(("%d\t%d\t%d\t%d"):format(group, group, group, group), is.Gid)
        assert.equal(tostring(group), (is.Groups:gsub("%s+$", "")))
        assert.matches("^0+$", is.CapEff)
        assert.matches("^0+$", is.CapPrm)
        assert.equal("1", is.NoNewPrivs)
      end
    end)
  end

  local function owner_of(path) return (process.run(("stat -c '%%U:%%G %%a' %s"):format(path)):gsub("%s+$", "")) end

  it("gives its sockets to that user, unless other owners are named", function()
    h = host.start { unix = true, scripts = PASS, arguments = { "--user=daemon" } }
    assert.equal("daemon:daemon 660", owner_of(h.path))
    assert.equal("daemon:daemon 600", owner_of(h.control))
    h:stop()
    h = host.start { unix = true, scripts = PASS,
      arguments = { "--user=daemon", "--group=mail", "--socket_owner=nobody", "--socket_mode=0666" } }
    assert.equal("nobody:mail 666", owner_of(h.path))
    h:stop()
    h = host.start { unix = true, scripts = PASS,
      arguments = { "--user=daemon", "--group=mail", "--socket_group=daemon" } }
    assert.equal("daemon:daemon 660", owner_of(h.path))
  end)

  it("knows users and groups by number, also those without an entry", function()
    h = host.start { unix = true, scripts = PASS, arguments = { "--user=64999", "--group=64998", "--socket_owner=1",
      "--socket_group=64997" } }
    local is = status_of(h:pid())
    assert.equal(("64999\t"):rep(3) .. "64999", is.Uid)
    assert.equal(("64998\t"):rep(3) .. "64998", is.Gid)
    assert.equal("64998", (is.Groups:gsub("%s+$", "")))
    assert.equal("1:64997\n", process.run("stat -c %u:%g " .. h.path))
    h:stop()
    h = host.start { unix = true, scripts = PASS, arguments = { "--user=" .. identity "u" } }
    is = status_of(h:pid())
    assert.equal(tostring(identity "g"), (is.Groups:gsub("%s+$", "")))
    assert.equal("daemon:daemon 660", owner_of(h.path))
  end)

  for arguments, why in pairs {
    ["--user=64999"] = "user: 64999 is a number without an entry among the users, so it has no group; set group, too",
    ["--user=0"] = "user: mail is not served as root; name another user",
    ["--user=daemon --group=0"] = "group: mail is not served with root's group; name another group",
    ["--user=root"] = "user: mail is not served as root; name another user",
    ["--user=nosuchuser"] = 'user: there is no user "nosuchuser"',
    ["--user=daemon --group=root"] = "group: mail is not served with root's group; name another group",
    ["--user=daemon --group=nosuchgroup"] = 'group: there is no group "nosuchgroup"',
  } do
    it("does not start with " .. arguments, function()
      local list = {}
      for word in arguments:gmatch "%S+" do list[#list + 1] = word end
      h = host.start { unix = true, unready = true, scripts = PASS, arguments = list }
      assert.truthy(host.wait_until(5, function() return not h.child:running() end, "the end"))
      assert.matches("moonmilter: " .. why:gsub("%p", "%%%0"), h:log())
      assert.is_nil(process.read_file(h.path))
    end)
  end
end)
