-- What a service manager sees, and sockets that it passes in.
local posix_socket = require "posix.sys.socket"
local posix_poll = require "posix.poll"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }

local has_systemd = os.execute("ldd " .. host.program() .. " 2>/dev/null | grep -q libsystemd")
has_systemd = has_systemd == 0 or has_systemd == true

local function notify_socket()
  local directory = process.directory()
  local path = directory .. "/notify"
  local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_DGRAM, 0))
  assert(posix_socket.bind(fd, { family = posix_socket.AF_UNIX, path = path }))
  os.execute("chmod 777 " .. path)
  local said = ""
  local function wait_for(text, seconds)
    return process.try_until(seconds, function()
      while posix_poll.rpoll(fd, 10) == 1 do said = said .. posix_socket.recv(fd, 4096) .. "\n" end
      return said:find(text, 1, true)
    end)
  end
  local function forget() said = "" end
  local function close()
    posix_unistd.close(fd)
    os.execute("rm -r " .. directory)
  end
  return path, wait_for, forget, close
end

describe("the service manager", function()
  for _, workers in ipairs { 0, 2 } do
    it("is notified of readiness, reloads, the stop and the watchdog, workers=" .. workers, function()
      if not has_systemd then pending "built without libsystemd" return end
      local path, wait_for, forget, close = notify_socket()
      local h = host.start { workers = workers, scripts = PASS,
        env = { NOTIFY_SOCKET = path, WATCHDOG_USEC = "2000000" } }
      assert.truthy(wait_for("READY=1", 2))
      assert.truthy(wait_for("STATUS=generation 1", 2))
      assert.truthy(wait_for("WATCHDOG=1", 3))
      forget()
      h:write { ["20-bad.lua"] = "x=" }
      h:ctl "reload"
      assert.truthy(wait_for("RELOADING=1\nMONOTONIC_USEC=", 2))
      assert.truthy(wait_for("READY=1", 2))
      assert.truthy(wait_for("last reload failed: ", 2))
      forget()
      h:write { ["20-bad.lua"] = "x = 1" }
      h:ctl "reload"
      assert.truthy(wait_for("RELOADING=1", 2))
      assert.truthy(wait_for("READY=1", 2))
      assert.truthy(wait_for("STATUS=generation 2", 2))
      forget()
      h:signal "SIGTERM"
      assert.truthy(wait_for("STOPPING=1", 2))
      h:stop()
      close()
    end)
  end

  it("gets no watchdog notice while the loop of the only process is blocked, workers=0", function()
    if not has_systemd then pending "built without libsystemd" return end
    local path, wait_for, forget, close = notify_socket()
    local h = host.start { workers = 0, arguments = { "--cpu_slice=4", "--cpu_session=5" },
      scripts = { ["10-block.lua"] = "function on_mail() while true do end end" },
      env = { NOTIFY_SOCKET = path, WATCHDOG_USEC = "1000000" } }
    assert.truthy(wait_for("WATCHDOG=1", 3))
    local mta = assert(h:connect())
    mta:envelope "helo"
    mta:send("M", "<a@one.example>\0")
    host.sleep(0.7)
    wait_for("nothing", 0.1) -- earlier notices
    forget()
    assert.is_nil((wait_for("WATCHDOG=1", 2)))
    assert.truthy(wait_for("WATCHDOG=1", 30)) -- cpu_slice has ended the handler
    mta:quit()
    h:stop()
    close()
  end)

  it("still gets watchdog notices when a worker dies", function()
    if not has_systemd then pending "built without libsystemd" return end
    local path, wait_for, forget, close = notify_socket()
    local h = host.start { workers = 1, arguments = { "--hang_timeout=1" }, scripts = PASS,
      env = { NOTIFY_SOCKET = path, WATCHDOG_USEC = "2000000" } }
    assert.truthy(wait_for("WATCHDOG=1", 3))
    host.kill(h:workers()[1], "SIGKILL") -- a dead worker is replaced, and is no reason to restart everything
    forget()
    assert.truthy(wait_for("WATCHDOG=1", 3))
    h:stop()
    close()
  end)
end)

describe("sockets passed by systemd", function()
  for _, workers in ipairs { 0, 2 } do
    it("are served under their name, workers=" .. workers, function()
      if not has_systemd then pending "built without libsystemd" return end
      if not process.which "systemd-socket-activate" then pending "no systemd-socket-activate" return end
      local directory = process.directory()
      local script = process.write_file(directory .. "/10-pass.lua", PASS["10-pass.lua"])
      local port = process.free_port()
      local child = process.start({ "systemd-socket-activate", "-l", "127.0.0.1:" .. port, "--fdname=milter",
        host.program(), "run", "-s", "systemd:milter", "--workers=" .. workers, script },
        { output = directory .. "/output", remove = directory })
      assert.truthy(child:wait_text("Listening on", 5))
      local mta = assert(mta_client.connect(port))
      assert.equal("continue", mta:message().kind)
      mta:quit()
      child:stop()
    end)
  end

  it("must have the requested name", function()
    if not has_systemd then pending "built without libsystemd" return end
    local pipe = io.popen(host.program() .. " run -s systemd:milter scripts 2>&1; echo status $?")
    local text = pipe:read "*a"
    pipe:close()
    assert.matches("no sockets were passed; start moonmilter.socket", text)
    assert.matches("status 78", text)
  end)
end)

describe("make install", function()
  -- into a separate directory, as packagers do
  local directory, root

  setup(function()
    directory = process.directory()
    root = directory .. "/root"
    process.run(("make -s install DESTDIR=%s PREFIX=/usr"):format(root))
  end)
  teardown(function() os.execute("rm -r " .. directory) end)

  it("installs all files, and only the configuration outside PREFIX", function()
    for _, path in ipairs { "/usr/bin/moonmilter", "/usr/include/moonmilter.h", "/usr/lib/libmoonmilter.so",
      "/usr/share/man/man8/moonmilter.8", "/usr/share/doc/moonmilter/operating.md",
      "/usr/share/lua/5.1/moonmilter/header.lua", "/usr/lib/systemd/system/moonmilter.service",
      "/usr/lib/systemd/system/moonmilter.socket", "/usr/lib/sysusers.d/moonmilter.conf",
      "/usr/lib/tmpfiles.d/moonmilter.conf",
      "/etc/moonmilter/moonmilter.conf" } do
      assert.truthy(process.read_file(root .. path), path)
    end
    local strangers = process.run(("find %s -type f ! -path '%s/usr/*' ! -path '%s/etc/moonmilter/*'"):format(root,
      root, root))
    assert.equal("", strangers)
    assert.is_nil(process.read_file(root .. "/usr/lib/systemd/system/moonmilter.service"):find("@PREFIX@", 1, true))
    assert.matches("moonmilter 0", process.run(root .. "/usr/bin/moonmilter --version"))
  end)

  it("leaves an existing configuration unchanged", function()
    process.write_file(root .. "/etc/moonmilter/moonmilter.conf", "-- mine\n")
    process.run(("make -s install-systemd DESTDIR=%s PREFIX=/usr"):format(root))
    assert.equal("-- mine\n", process.read_file(root .. "/etc/moonmilter/moonmilter.conf"))
  end)

  it("installs a configuration that loads", function()
    process.run(("rm %s/etc/moonmilter/moonmilter.conf && make -s install-systemd DESTDIR=%s PREFIX=/usr"):format(root,
      root))
    process.run(("cp scripts/*.lua %s/etc/moonmilter/scripts"):format(root))
    local text = process.read_file(root .. "/etc/moonmilter/moonmilter.conf"):gsub('"/etc/', ('"%s/etc/'):format(root))
    process.write_file(directory .. "/moonmilter.conf", text)
    assert.matches("all scripts load",
      process.run(("%s/usr/bin/moonmilter check -c %s/moonmilter.conf"):format(root, directory)))
  end)

  it("installs a user and directories that systemd creates", function()
    if not process.which "systemd-sysusers"
      or require "posix.unistd".geteuid() ~= 0 then pending "no systemd-sysusers, or not root" return end
    process.run(("systemd-sysusers --root=%s moonmilter.conf"):format(root))
    assert.matches("moonmilter:", process.read_file(root .. "/etc/passwd"))
    process.run(("systemd-tmpfiles --root=%s --create moonmilter.conf"):format(root))
    assert.matches("drwxr%-xr%-x", process.run(("ls -ld %s/run/moonmilter"):format(root)))
    assert.matches("drwxr%-x%-%-%-", process.run(("ls -ld %s/var/lib/moonmilter"):format(root)))
  end)

  it("is undone by uninstall, except for the configuration", function()
    process.run(("make -s uninstall DESTDIR=%s PREFIX=/usr"):format(root))
    assert.equal("", process.run(("find %s/usr -type f -o -type l"):format(root)))
    assert.truthy(process.read_file(root .. "/etc/moonmilter/moonmilter.conf"))
  end)
end)

describe("the units", function()
  it("are valid for systemd and expose little", function()
    if not process.which "systemd-analyze" then pending "no systemd-analyze" return end
    local directory = process.directory()
    finally(function() os.execute("rm -r " .. directory) end)
    os.execute(("mkdir -p %s/bin && cp %s %s/bin/moonmilter"):format(directory, host.program(), directory))
    for _, name in ipairs { "moonmilter.service", "moonmilter.socket" } do
      local text = process.read_file("docs/systemd/" .. name):gsub("@PREFIX@", directory)
      process.write_file(directory .. "/" .. name, text)
    end
    assert.equal("", process.run(("systemd-analyze verify --man=no %s/moonmilter.service "
      .. "%s/moonmilter.socket"):format(directory, directory)))
    local score = process.run(("systemd-analyze security --offline=true %s/moonmilter.service"):format(directory))
    score = tonumber(score:match "exposure level for moonmilter.service: ([%d.]+)")
    assert.is_true(score <= 1.5, score)
  end)
end)
