--- The start as a daemon: --daemon, --pid-file, and options from the environment.
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

local IS_ROOT = posix_unistd.geteuid() == 0
local PASS = "function on_eom(ctx) return ctx:reject 'served' end"

describe("a daemon", function()
  local directory, child, port, pid_file, control

  before_each(function()
    directory = process.directory()
    pid_file, control, port = directory .. "/moonmilter.pid", directory .. "/control.sock", process.free_port()
    process.run("mkdir " .. directory .. "/scripts")
    process.write_file(directory .. "/scripts/10-served.lua", PASS)
  end)
  after_each(function()
    if child then child:stop() end
    child = nil
    os.execute("rm -rf " .. directory)
  end)

  local function words(more)
    return ("%s run --daemon --pid-file=%s --control=%s --log=%s/log -s inet:%d@127.0.0.1 %s %s/scripts"):format(
      host.program(), pid_file, control, directory, port, more or "", directory)
  end

  --- Runs the command to its end; the daemons that it leaves are ended with the spec. Returns its output and status.
  local function start(more, before)
    local command = ("%s %s; echo \"status $?\"; exec sleep 300"):format(before or "", words(more))
    local one = process.start({ "sh", "-c", command }, { output = directory .. "/output", grace = 10 })
    if child then child:stop() end
    child = one
    assert(one:wait_text("status %d+\n", 20, true))
    local text, status = one:text():match "^(.*)status (%d+)\n"
    return text, tonumber(status)
  end

  --- Runs a second command beside what start() has left.
  local function run(command)
    local pipe = io.popen(command .. " 2>&1; echo \"status $?\"")
    local text, status = pipe:read "*a":match "^(.*)status (%d+)\n$"
    pipe:close()
    return text, tonumber(status)
  end

  local function number() return tonumber((process.read_file(pid_file))) end

  local function assert_serves()
    local mta = assert(host.wait_until(10, function() return (require "spec.support.mta_client").connect(port) end))
    assert.equal("reply", mta:message().kind)
    mta:quit()
  end

  local function assert_ends(pid)
    assert(host.wait_until(20, function() return not host.exists(pid) end, "the end of " .. pid))
  end

  for _, workers in ipairs { 0, 2 } do
    describe("with workers=" .. workers, function()
      local option = "--workers=" .. workers

      it("opens its sockets with the configured backlog", function()
        assert.equal(0, (select(2, start(option .. " --backlog=7"))))
        -- the column Send-Q of a listening socket
        assert.matches("^LISTEN +0 +7 ", process.run(("ss -ltnH 'sport = :%d'"):format(port)))
      end)

      it("serves in a session of its own when the command ends, without a terminal and the command's descriptors",
        function()
        local text, status = start(option)
        assert.equal(0, status, text)
        assert.matches("moonmilter: ready\n$", text)
        local pid = number()
        assert.matches(("pid %d\n"):format(pid), text)
        assert_serves()
        local list = { pid }
        for child_pid in process.read_file(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
          list[#list + 1] = tonumber(child_pid)
        end
        assert.equal(workers + 1, #list)
        for _, one in ipairs(list) do
          local group, session, terminal = process.read_file(("/proc/%d/stat"):format(one)):match
            "%) %S %d+ (%d+) (%d+) (%-?%d+)"
          assert.same({ tostring(pid), tostring(pid), "0" }, { group, session, terminal })
          for fd = 0, 2 do
            assert.equal("/dev/null\n", process.run(("readlink /proc/%d/fd/%d"):format(one, fd)))
          end
          assert.equal("", process.run(("ls -l /proc/%d/fd | grep pipe: || true"):format(one)))
        end
      end)

      it("prints why it does not serve, and the command has the status of that", function()
        process.write_file(directory .. "/scripts/20-wrong.lua", "wrong(")
        local text, status = start(option)
        assert.equal(78, status)
        assert.matches("20%-wrong.lua:1: unexpected symbol", text)
        assert.is_nil(text:find("ready", 1, true))
        assert.is_nil(process.read_file(control))
        assert.equal("", process.read_file(pid_file) or "")
      end)

      it("ends when nobody waits for it any more", function()
        process.write_file(directory .. "/scripts/20-slow.lua",
          "function on_load() require('moonmilter').sleep(2) end")
        child = process.start({ "sh", "-c", words(option) .. " & echo $! >" .. directory .. "/command; sleep 300" },
          { output = directory .. "/output", grace = 10 })
        local pid = assert(host.wait_until(10, function()
          local command = tonumber((process.read_file(directory .. "/command")))
          local daemon = number()
          return command and daemon and daemon ~= command and daemon
        end))
        host.kill(tonumber((process.read_file(directory .. "/command"))), "SIGKILL")
        assert_ends(pid)
        assert.is_nil(process.read_file(control))
      end)
    end)
  end

  it("does not start a second time while it runs, whatever socket is named", function()
    assert.equal(0, (select(2, start "--workers=1")))
    local pid = number()
    local text, status = run((words(""):gsub("inet:%d+", "inet:" .. process.free_port())))
    assert.equal(69, status)
    assert.matches(("process %d holds it: moonmilter runs already"):format(pid), text)
    assert.equal(pid, number())
    assert_serves()
  end)

  it("starts again after it was killed, and takes the number over", function()
    assert.equal(0, (select(2, start "--workers=1")))
    local pid = number()
    host.kill(pid, "SIGKILL")
    assert_ends(pid)
    assert.equal(pid, number())
    port = process.free_port()
    local text, status = start "--workers=1" -- ended with the spec, as run() would not
    assert.equal(0, status, text)
    assert.are_not.equal(pid, number())
    assert_serves()
  end)

  it("removes its pid file at the end where it may, else empties it", function()
    if IS_ROOT then process.run("chown nobody " .. directory) end
    assert.equal(0, (select(2, start())))
    local pid = number()
    host.kill(pid, "SIGTERM")
    assert_ends(pid)
    assert.is_nil(process.read_file(pid_file))
    if not IS_ROOT then return end
    process.run("chown root " .. directory)
    assert.equal(0, (select(2, start "--user=daemon")))
    pid = number()
    assert.equal("root 644\n", process.run("stat -c '%U %a' " .. pid_file))
    host.kill(pid, "SIGTERM")
    assert_ends(pid)
    assert.equal("", process.read_file(pid_file))
    assert.equal(0, (select(2, start "--user=daemon")))
  end)

  describe("refuses a pid file", function()
    local function assert_refused(why)
      local text, status = run(words())
      assert.equal(69, status)
      assert.matches("moonmilter: pid_file: " .. why, text)
    end

    it("in a directory that does not exist", function()
      pid_file = directory .. "/nosuch/pid"
      assert_refused ".*nosuch: No such file or directory"
    end)

    it("that is a symbolic link, and leaves what it names alone", function()
      process.run("mkdir -m 1777 " .. directory .. "/tmp")
      pid_file = directory .. "/tmp/pid"
      process.write_file(directory .. "/other", "")
      assert(posix_unistd.link(directory .. "/other", pid_file, true))
      assert_refused ".* is a symbolic link"
    end)

    it("that another user may replace with a link, on the way", function()
      if not IS_ROOT then return end
      process.run(("mkdir -m 1777 %s/tmp && mkdir %s/real && ln -s %s/real %s/tmp/way && chown -h nobody %s/tmp/way")
        :format(directory, directory, directory, directory, directory))
      pid_file = directory .. "/tmp/way/pid"
      assert_refused ".* is a symbolic link of user \"nobody\""
    end)

    it("of another user, or with a second name", function()
      if IS_ROOT then
        process.write_file(pid_file, "1\n")
        process.run("chown daemon " .. pid_file)
        assert_refused ".* user %d+ owns it"
        os.remove(pid_file)
      end
      process.write_file(pid_file, "1\n")
      assert(posix_unistd.link(pid_file, directory .. "/second"))
      assert_refused ".* not a plain file with one name"
      assert.equal("1\n", process.read_file(pid_file))
    end)

    it("that holds something else, and leaves it", function()
      process.write_file(pid_file, "root:x:0:0\n")
      assert_refused ".* something else than a number"
      assert.equal("root:x:0:0\n", process.read_file(pid_file))
    end)
  end)

  it("does not serve as root, and does not log to a standard error that nobody reads", function()
    local text, status = run(words "--log=stderr")
    assert.equal(78, status)
    assert.matches('log = "stderr" does not fit daemon', text)
    if not IS_ROOT then return end
    text, status = run(words "--user=root")
    assert.equal(67, status)
    assert.matches("mail is not served as root", text)
  end)

  it("has an OpenRC service that the shell can read", function()
    process.run "sh -n docs/openrc/moonmilter"
  end)

  describe("and the environment", function()
    local function mode() return (process.run("stat -c %a " .. directory .. "/a.sock"):gsub("%s", "")) end

    before_each(function()
      process.write_file(directory .. "/conf", ('listen = "unix:a.sock" scripts = "scripts" socket_mode = "0600" '
        .. 'control = "%s" pid_file = "moonmilter.pid" log = "%s/log" daemon = true'):format(control, directory))
      process.run("chmod a+rX " .. directory .. " " .. directory .. "/conf")
    end)

    local function serve(variables, options)
      local command = ("env %s %s run %s"):format(variables, host.program(), options or "")
      if child then child:stop() end
      child = process.start({ "sh", "-c", command .. "; echo \"status $?\"; exec sleep 300" },
        { output = directory .. "/output", grace = 10 })
      assert(child:wait_text("status %d+\n", 20, true))
      assert.matches("status 0\n", child:text())
    end

    it("comes before the configuration and after options", function()
      local conf = "MOONMILTER_CONFIG=" .. directory .. "/conf"
      serve(conf)
      assert.equal("600", mode())
      serve(conf .. " MOONMILTER_SOCKET_MODE=0640")
      assert.equal("640", mode())
      serve(conf .. " MOONMILTER_SOCKET_MODE=0640", "--socket-mode=0666")
      assert.equal("666", mode())
      serve(conf .. " MOONMILTER_SOCKET_MODE=") -- empty is unset
      assert.equal("600", mode())
    end)

    it("holds lists", function()
      local other = process.free_port()
      serve(("MOONMILTER_CONFIG=%s/conf MOONMILTER_LISTEN='inet:%d@127.0.0.1  inet:%d@127.0.0.1'"):format(directory,
        port, other))
      assert_serves()
      port = other
      assert_serves()
    end)

    it("is named when a value does not fit, and a slip is pointed out", function()
      local check = ("%s check %s/scripts"):format(host.program(), directory)
      local text, status = run("env MOONMILTER_LOG_LEVEL=loud " .. check)
      assert.equal(78, status)
      assert.matches('^moonmilter: MOONMILTER_LOG_LEVEL: log_level: "loud" does not fit', text)
      text, status = run("env MOONMILTER_LOGLEVEL=debug " .. check)
      assert.equal(0, status)
      assert.matches("MOONMILTER_LOGLEVEL is no option; did you mean MOONMILTER_LOG_LEVEL%?", text)
    end)
  end)
end)
