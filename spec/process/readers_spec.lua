--- control_readers: a group whose members may look at a running host, and change nothing.
local host = require "spec.support.host"
local process = require "spec.support.process"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }

local is_root = process.run("id -u"):match "^0%s"

describe("a host with control_readers", function()
  if not is_root then
    pending "needs root"
    return
  end

  local h
  after_each(function() if h then h:stop() end h = nil end)

  local function start(workers)
    h = host.start { workers = workers, scripts = PASS,
      arguments = { "--user=daemon", "--control_readers=games", "--history=10" } }
  end

  --- ctl as another user: output and status.
  local function ctl_as(rights, words)
    local pipe = assert(io.popen(("setpriv %s --inh-caps=-all %s ctl --control %s %s 2>&1; echo \"status $?\"")
      :format(rights, host.program(), h.control, words)))
    local output, status = pipe:read "*a":match "^(.*)status (%d+)\n$"
    pipe:close()
    return output, tonumber(status)
  end
  local MEMBER = "--reuid=games --regid=games --clear-groups"

  for _, workers in ipairs { 0, 1 } do
    it("answers what changes nothing to the group's members, workers=" .. workers, function()
      start(workers)
      assert.equal("daemon:games 660\n", process.run("stat -c '%U:%G %a' " .. h.control))
      for _, words in ipairs { "status", "sessions", "generations", "maps", "metrics", "history", "top --every 0.2" } do
        local output, status = ctl_as(MEMBER, words)
        assert.equal(0, status, words .. ": " .. output)
      end
      assert.equal(0, (select(2, ctl_as("--reuid=nobody --regid=nogroup --groups=nogroup,games", "status"))))
    end)

    it("refuses them what changes something, workers=" .. workers, function()
      start(workers)
      local generation = h:generation()
      for _, words in ipairs { "reload", "stop", "loglevel debug", "forget", "store clear x", "store delete x y",
        "store get x y", "store dump x", "limit reset x y", "profile --reset", "profile --seconds 1" } do
        local output, status = ctl_as(MEMBER, words)
        assert.equal(77, status, words .. ": " .. output)
        assert.truthy(output:find("may only look", 1, true), output)
      end
      assert.equal(generation, h:generation())
      assert.equal("continue", h:connect():message().kind)
      assert.equal(0, (select(2, h:ctl "reload")))
    end)
  end

  it("answers no other user", function()
    start(0)
    local output, status = ctl_as("--reuid=nobody --regid=nogroup --clear-groups", "status")
    assert.equal(69, status, output)
    assert.truthy(output:find("ask as root", 1, true), output)
  end)

  it("has places left for root and its own user when members take all theirs", function()
    start(0)
    local script = ([[exec luajit -e 'local unix, list = require "socket.unix", {}
      for i = 1, 40 do list[i] = unix.stream and unix.stream() or unix() list[i]:connect(%q) end
      io.write "ready\n" io.flush() io.read "*l"']]):format(h.control)
    local flood = process.start({ "setpriv", "--reuid=games", "--regid=games", "--clear-groups", "sh", "-c", script },
      { output = h.directory .. "/flood", life = 60 })
    local ok, why = pcall(function()
      assert(flood:wait_text("ready", 10))
      local output, status = h:ctl "status"
      assert.equal(0, status, output)
      output, status = ctl_as("--reuid=daemon --regid=daemon --clear-groups", "status")
      assert.equal(0, status, output)
    end)
    flood:stop()
    assert(ok, why)
  end)

  for value, why in pairs { nosuchgroup = 'control_readers: there is no group "nosuchgroup"',
    root = "control_readers: name another group than root's" } do
    it("does not start when the group is " .. value, function()
      h = host.start { scripts = PASS, unready = true, arguments = { "--user=daemon", "--control_readers=" .. value } }
      assert(h:wait_log(why, 10))
    end)
  end
end)
