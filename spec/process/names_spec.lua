--- Words of the configuration that name a user, a group, a host or a file which does not exist: each is an error that
--- quotes the name, at start and at reload, whoever starts the host, also where the name is not needed this time.
local host = require "spec.support.host"
local process = require "spec.support.process"

local is_root = process.run("id -u"):match "^0%s"

-- What a configuration says -> what is said of it.
local USERS = {
  ['user = "nosuch"'] = 'user: there is no user "nosuch"',
  ['user = "4294967295"'] = 'user: there is no user "4294967295"', -- the id that means "none"
  ['user = "12x" group = "nogroup"'] = 'user: there is no user "12x"',
  ['user = "nobody" group = "nosuch"'] = 'group: there is no group "nosuch"',
  ['owners = "nosuch"'] = 'owners: there is no user "nosuch"',
  ['owners = { "daemon", "nosuch" }'] = 'owners: there is no user "nosuch"',
  ['owners = "-1"'] = 'owners: there is no user "-1"',
  ['owners = "12x"'] = 'owners: there is no user "12x"',
  ['owners = " 1"'] = 'owners: there is no user " 1"',
  ['owners = "4294967295"'] = 'owners: there is no user "4294967295"', -- the id that means "none"
  ['owners = "4294967297"'] = 'owners: there is no user "4294967297"', -- cut to 32 bits it would be daemon's
  [('owners = "%s"'):format(("daemon"):rep(20))] = 'owners: there is no user "daemondaemon',
  ['socket_owner = "nosuch"'] = 'socket_owner: there is no user "nosuch"', -- though no socket has a file
  ['socket_group = "nosuch"'] = 'socket_group: there is no group "nosuch"',
  ['milter.two = { listen = "inet:7@127.0.0.1", scripts = "scripts", socket_owner = "nosuch" }']
    = 'socket_owner: there is no user "nosuch"',
  ['milter.two = { listen = "inet:7@127.0.0.1", scripts = "scripts", socket_group = "nosuch" }']
    = 'socket_group: there is no group "nosuch"',
}
local OTHERS = {
  ['dns_servers = "nosuch.invalid"'] = 'dns_servers: "nosuch.invalid"',
  ['dns_servers = { "127.0.0.1", "localhost" }'] = 'dns_servers: "localhost"',
  ['allow = "nosuch.invalid"'] = 'allow: "nosuch.invalid"',
  ['log = "/nosuch/log"'] = "log: /nosuch/log",
  ['log = "nosuch"'] = 'log: "nosuch"',
  ['milter.two = { listen = "inet:25@nosuch.invalid", scripts = "scripts" }'] = '"nosuch.invalid" is not a numeric',
  ['milter.two = { listen = "inet:7@127.0.0.1", scripts = "nosuch" }'] = "nosuch: no such script or directory; "
    .. "check the name",
}
local AT_START = { -- `check` leaves these to the start: a service manager may make them
  ['control = "/nosuch/control.sock"'] = "/nosuch/control.sock cannot be bound",
  ['record = "/nosuch/records"'] = "record: /nosuch/records",
  ['milter.two = { listen = "unix:/nosuch/milter.sock", scripts = "scripts" }'] = "/nosuch/milter.sock cannot be bound",
}

local function many(count)
  local list = {}
  for i = 1, count do list[i] = ('"%d"'):format(50000 + i) end
  return ("owners = { %s }"):format(table.concat(list, ", "))
end
USERS[many(65)] = "owners: 65 users; at most 64"

describe("a name in the configuration that does not exist", function()
  local directory
  before_each(function()
    directory = process.directory()
    process.run(("cd %s; mkdir scripts; echo 'function on_eom() end' >scripts/10.lua; chmod -R a+rX ."):format(directory))
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  local function write(line)
    process.write_file(directory .. "/conf", ('listen = "inet:%d@127.0.0.1" scripts = "scripts" %s\n'):format(
      process.free_port(), line))
  end

  --- A user or group, a socket, or anything else of the configuration.
  local function status_of(says)
    return (says:find("there is no user", 1, true) or says:find("there is no group", 1, true)
      or says:find("served", 1, true)) and 67 or says:find("cannot be bound", 1, true) and 69 or 78
  end

  local function assert_refused(command, line, says, before)
    write(line)
    local text, status = host.until_ready(directory, command .. " -c conf", before)
    assert.equal(status_of(says), status, text)
    assert.truthy(text:find(says, 1, true), text)
  end

  for _, list in ipairs { USERS, OTHERS } do
    for line, says in pairs(list) do
      it(("is refused by run and check: %s"):format(line:sub(1, 90)), function()
        assert_refused("run", line, says)
        assert_refused("check", line, says)
      end)
    end
  end

  for line, says in pairs(AT_START) do
    it(("is refused by run: %s"):format(line:sub(1, 90)), function() assert_refused("run", line, says) end)
  end

  it("is refused when a user other than root starts the host, too", function()
    if not is_root then return end -- then all of the above have shown it
    for line, says in pairs(USERS) do
      assert_refused("run", line, says, "setpriv --reuid=daemon --regid=daemon --clear-groups")
    end
  end)

  it("is refused on the command line", function()
    write ""
    for option, says in pairs { ["--owners=nosuch"] = 'owners: there is no user "nosuch"',
      ["--owners=daemon,bin"] = 'owners: there is no user "daemon,bin"', -- a list is written as two options
      ["--socket-owner=nosuch"] = 'socket_owner: there is no user "nosuch"' } do
      local text, status = host.until_ready(directory, "run -c conf " .. option)
      assert.equal(67, status, text)
      assert.truthy(text:find(says, 1, true), text)
    end
  end)

  it("is refused by a reload, and the old configuration serves on", function()
    write(is_root and 'user = "nobody"' or "")
    local path = directory .. "/conf"
    local good = process.read_file(path)
    local h = host.start { workers = 1, arguments = { "-c", path } }
    finally(function() h:stop() end)
    for line, says in pairs { ['owners = "nosuch"'] = 'owners: there is no user "nosuch"',
      ['socket_group = "nosuch"'] = 'socket_group: there is no group "nosuch"' } do
      process.write_file(path, good .. line .. "\n")
      local text, status = h:ctl "reload"
      assert.equal(78, status, text)
      assert.truthy(text:find(says, 1, true), text)
    end
    process.write_file(path, good .. 'owners = { "daemon", "54321" }\n')
    assert.same({ "generation 2 serves\n", 0 }, { h:ctl "reload" })
  end)

  it("that exists is accepted: names, numbers without a name, as many as fit", function()
    local owned = 'socket_owner = "daemon" socket_group = "daemon"'
    for _, line in ipairs { 'owners = { "daemon", "54321" }', many(64), owned } do
      write(line)
      local text, status = host.until_ready(directory, "run -c conf")
      assert.equal(124, status, text)
    end
  end)
end)
