-- What the log records about mail, and what happens when a line cannot be written.
local cjson = require "cjson"
local posix_socket = require "posix.sys.socket"
local posix_poll = require "posix.poll"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

local IS_ROOT = posix_unistd.geteuid() == 0
local PASS = { ["10-pass.lua"] = "function on_eom() end" }

-- The keys of a line of text.
local function keys_of(line)
  local keys = {}
  for key, value in line:gmatch ' ([%w_]+)=(".-[^\\]")' do keys[key] = value:sub(2, -2) end
  for key, value in line:gmatch ' ([%w_]+)=([^"%s]%S*)' do keys[key] = keys[key] or value end
  return keys
end

local function lines_of(text, event)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    if line:match("^%S+ %l+ " .. event .. " ") then list[#list + 1] = line end
  end
  return list
end

local function wait_lines(h, event, count)
  assert.truthy(process.wait_until(5, function() return #lines_of(h:log(), event) >= count end,
    count .. " lines of " .. event .. " in\n" .. h:log()))
  return lines_of(h:log(), event)
end

describe("the log", function()
  local h

  after_each(function() h:stop() end)

  it("has one line per message: client, deciding script, total, waiting and computing time", function()
    h = host.start { scripts = { ["10-slow.lua"] = [[
      local milter = require "moonmilter"
      function on_mail(ctx) milter.sleep(0.2) end
      function on_eom(ctx)
        local until_ = os.clock() + 0.3
        while os.clock() < until_ do end
        ctx:add_header("X", "y")
        return ctx:accept()
      end]] } }
    local mta = assert(h:connect())
    mta:message "4Qone"
    mta:quit()
    local list = wait_lines(h, "message", 1)
    assert.equal(1, #list)
    local keys = keys_of(list[1])
    assert.is_nil(keys.milter) -- there is only one
    assert.same({ "4Qone", "accept", "eom", "192.0.2.1", "1", "<ann@one.example>", "1" },
      { keys.queue_id, keys.verdict, keys.stage, keys.client, keys.message, keys.from, keys.edits })
    assert.matches("^10%-slow", keys.decided_by)
    assert.is_true(tonumber(keys.seconds) >= 0.5, list[1])
    assert.is_true(tonumber(keys.waited) >= 0.19 and tonumber(keys.waited) < tonumber(keys.seconds), list[1])
    assert.is_true(tonumber(keys.computed) >= 0.29 and tonumber(keys.computed) < tonumber(keys.seconds), list[1])
  end)

  it("omits waited when no handler has waited", function()
    h = host.start { scripts = PASS }
    local mta = assert(h:connect())
    mta:message()
    mta:quit()
    local keys = keys_of(wait_lines(h, "message", 1)[1])
    assert.truthy(keys.seconds)
    assert.is_nil(keys.waited)
  end)

  it("has a line for each refused recipient, and the message goes on", function()
    h = host.start { scripts = { ["10-rcpt.lua"] = [[
      function on_rcpt(ctx, recipient)
        if recipient:find "^bob" then return ctx:reject(550, "5.1.1", "no bobs here") end
      end
      function on_eom() end]] } }
    local mta = assert(h:connect())
    mta:envelope("mail", "4Qtwo")
    mta:rcpt "bob@two.example"
    mta:rcpt "eve@two.example"
    mta:rcpt "bobby\nrecipient verdict=accept@two.example"
    assert.equal("continue", mta:data().kind)
    mta:eoh()
    mta:eom()
    mta:quit()
    local list = wait_lines(h, "recipient", 2)
    assert.equal(2, #list)
    local keys = keys_of(list[1])
    assert.same({ "reject", "rcpt", "<bob@two.example>", "<ann@one.example>", "192.0.2.1", "4Qtwo", "client.example" },
      { keys.verdict, keys.stage, keys.to, keys.from, keys.client, keys.queue_id, keys.helo })
    assert.matches("no bobs here", list[1])
    assert.matches("10%-rcpt", keys.decided_by)
    assert.truthy(list[2]:find([[to="<bobby\nrecipient verdict=accept@two.example>"]], 1, true), list[2])
    keys = keys_of(wait_lines(h, "message", 1)[1])
    assert.same({ "3", "2", "continue" }, { keys.recipients, keys.refused, keys.verdict })
  end)

  for stage, step in pairs { connect = "greet", helo = "helo" } do
    it("has a line for a verdict on a client at " .. stage, function()
      h = host.start { scripts = { ["10-client.lua"] = ("function on_%s(ctx) return ctx:reject(550, '5.7.1', "
        .. "'go away') end")
        :format(stage) } }
      local mta = assert(h:connect())
      mta:envelope(step)
      mta:quit()
      local keys = keys_of(wait_lines(h, "client", 1)[1])
      assert.same({ "reject", stage, "192.0.2.1" }, { keys.verdict, keys.stage, keys.client })
      assert.is_nil(keys.message)
    end)
  end

  it("contains the same as JSON", function()
    h = host.start { arguments = { "--log_format=json" }, scripts = { ["10-rcpt.lua"] = [[
      function on_rcpt(ctx, recipient) return ctx:tempfail("later \"maybe\" \1") end]] } }
    local mta = assert(h:connect())
    mta:envelope "rcpt"
    mta:abort()
    mta:quit()
    assert.truthy(h:wait_log '"event":"message"')
    local seen = {}
    for line in h:log():gmatch "[^\n]+" do
      if line:sub(1, 1) == "{" then
        local object = cjson.decode(line)
        seen[object.event] = object
      end
    end
    assert.equal("<bob@two.example>", seen.recipient.to)
    assert.equal("tempfail", seen.recipient.verdict)
    assert.equal("none", seen.message.verdict)
    assert.is_number(seen.message.seconds)
  end)

  it("suppresses repeated errors, counts them, and keeps each message's line", function()
    h = host.start { workers = 1, scripts = { ["10-bad.lua"] = [[
      function on_mail(ctx) error("this one: " .. ctx.id) end]] } }
    local mta = assert(h:connect())
    for _ = 1, 100 do mta:envelope "mail" end
    mta:quit()
    wait_lines(h, "message", 100)
    assert.equal(20, #lines_of(h:log(), "script_error"))
    assert.truthy(h:wait_log("held_back=80", 20))
    assert.truthy(h:log():find("like=\"script_error ", 1, true))
  end)
end)

describe("a log that cannot be written", function()
  -- Messages get their verdicts, whatever happens to the log.
  local function assert_serves(h, count)
    local mta = assert(process.wait_until(5, function() return h:connect() end, "a connection"))
    local longest = 0
    for _ = 1, count do
      local began = host.now()
      assert.equal("continue", mta:message().kind)
      longest = math.max(longest, host.now() - began)
    end
    mta:quit()
    assert.is_true(longest < 5, "a message took " .. longest) -- otherwise it would hang forever
  end

  local function lost(h)
    local count = 0
    for _, row in ipairs(h:status()) do count = count + row.log_lost end
    return count
  end

  it("because the disk is full: counts lost lines, reports them when there is room again, splits no line", function()
    if not IS_ROOT then pending "needs root" return end
    local disk = process.directory()
    local h = host.start { workers = 1, scripts = PASS, arguments = { "--log=" .. disk .. "/log" },
      through = { "unshare", "-m", "sh", "-c",
        ('mount -t tmpfs -o size=64k,mode=777 tmpfs %s && head -c 49152 /dev/zero >%s/filler && exec '
          .. '"$0" "$@"'):format(disk, disk) } }
    finally(function()
      h:stop()
      os.execute("rm -r " .. disk)
    end)
    assert_serves(h, 200)
    assert.truthy(process.wait_until(3, function() return lost(h) > 0 end, "lost lines in\n" .. h:ctl "status"))
    local seen = "/proc/" .. h:pid() .. "/root" .. disk
    assert(os.remove(seen .. "/filler"))
    assert_serves(h, 2)
    local text = process.read_file(seen .. "/log")
    assert.matches("\n%S+ warn log dropped=%d+\n", text)
    for line in text:gmatch "[^\n]+" do
      assert.truthy(line:match "^%d%d%d%d%-%d%d%-%d%dT" or line:match "^%S*$" or #line < 400, line)
    end
    assert.matches("message session=[^\n]*seconds=[%d.]+\n$", text)
  end)

  it("because it is /dev/full", function()
    local h = host.start { workers = 1, scripts = PASS, arguments = { "--log=/dev/full" } }
    assert_serves(h, 5)
    assert.truthy(process.wait_until(3, function() return lost(h) >= 5 end, "lost lines"))
    h:stop()
  end)

  -- The Python line decides what stderr is.
  local function with_stderr(python, workers)
    return host.start { workers = workers, scripts = PASS, unready = true,
      through = { "python3", "-c", python .. "\nimport os, sys; os.execvp(sys.argv[1], sys.argv[1:])" } }
  end

  it("because the journal has stopped reading its socket", function()
    local directory = process.directory()
    finally(function() os.execute("rm -r " .. directory) end)
    local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
    assert(posix_socket.bind(fd, { family = posix_socket.AF_UNIX, path = directory .. "/journal" }))
    assert(posix_socket.listen(fd, 5))
    local h = with_stderr(("import socket, os; s = socket.socket(socket.AF_UNIX); s.connect(%q); "
      .. "os.dup2(s.fileno(), 2)")
      :format(directory .. "/journal"), 2)
    local journal = posix_socket.accept(fd)
    assert_serves(h, 3000)
    assert.truthy(process.wait_until(3, function() return lost(h) > 0 end, "lost lines in\n" .. h:ctl "status"))
    local text = "" -- it reads again
    while posix_poll.rpoll(journal, 200) == 1 do
      local piece = posix_socket.recv(journal, 65536)
      if #piece == 0 then break end
      text = text .. piece
    end
    local open = {} -- at both workers: each has lost lines
    for i = 1, 6 do open[i] = assert(h:connect()) end
    for _, mta in ipairs(open) do assert.equal("continue", mta:message().kind) end
    for _, mta in ipairs(open) do mta:quit() end
    posix_unistd.sleep(1)
    while posix_poll.rpoll(journal, 200) == 1 do text = text .. posix_socket.recv(journal, 65536) end
    h:stop()
    assert.truthy(text:find("warn log dropped=%d+\n"))
    posix_unistd.close(journal)
    posix_unistd.close(fd)
  end)

  it("because its reader has gone", function()
    local h = with_stderr("import os; r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.close(r)", 2)
    assert_serves(h, 50)
    h:stop()
  end)

  it("because two workers write into a pipe that no process reads", function()
    local h = with_stderr("import os; r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.set_inheritable(r, True)", 2)
    for _ = 1, 4 do assert_serves(h, 500) end
    assert.truthy(process.wait_until(3, function() return lost(h) > 0 end, "lost lines"))
    h:stop()
  end)

  for _, fds in ipairs { "2", "0, 1, 2" } do
    it("because it was started with descriptors closed: " .. fds, function()
      local h = with_stderr(("import os\nfor fd in (%s,): os.close(fd)"):format(fds), 1)
      assert_serves(h, 20)
      h:stop()
    end)
  end
end)

describe("syslog", function()
  if not IS_ROOT then return pending "needs root" end
  -- A private /dev, with our own /dev/log.
  local directory, fd, h

  before_each(function()
    directory = process.directory()
    fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_DGRAM, 0))
    process.run(("mkdir %s/dev && cp -a /dev/null /dev/zero /dev/urandom /dev/random %s/dev"):format(directory,
      directory))
    assert(posix_socket.bind(fd, { family = posix_socket.AF_UNIX, path = directory .. "/dev/log" }))
    os.execute("chmod 666 " .. directory .. "/dev/log")
    local through = { "unshare", "-m", "sh", "-c", ('mount --bind %s/dev /dev && exec "$0" "$@"'):format(directory) }
    h = host.start { workers = 1, scripts = PASS, arguments = { "--log=syslog" }, through = through }
    h.through = through
  end)
  after_each(function()
    h:stop()
    posix_unistd.close(fd)
    os.execute("rm -r " .. directory)
  end)

  local function read_all()
    local list = {}
    while posix_poll.rpoll(fd, 200) == 1 do list[#list + 1] = posix_socket.recv(fd, 8192) end
    return list
  end

  it("gets lines with facility, name and process", function()
    local mta = assert(h:connect())
    mta:message "4Qsys"
    mta:quit()
    local text = table.concat(read_all(), "\n")
    assert.matches("<22>%u%l%l [ %d]%d %d%d:%d%d:%d%d moonmilter%[%d+%]: %S+ info message session=%S+ message=1 "
      .. "queue_id=4Qsys", text)
  end)

  it("gets the facility and the name that the configuration gives", function()
    h:stop()
    h = host.start { workers = 1, scripts = PASS, arguments = { "--log=syslog", "--syslog-facility=local3",
      "--syslog-ident=postfix/moon" }, through = h.through }
    read_all()
    local mta = assert(h:connect())
    mta:message "4Qsys"
    mta:quit()
    -- (19 << 3) | 6
    assert.matches("<158>%u%l%l [ %d]%d %d%d:%d%d:%d%d postfix/moon%[%d+%]: %S+ info message ",
      table.concat(read_all(), "\n"))
  end)

  it("that does not read delays no session, and later receives the number of lost lines", function()
    local mta = assert(h:connect())
    for _ = 1, 100 do assert.equal("continue", mta:message().kind) end
    local first = read_all()
    assert.is_true(#first < 90, #first .. " lines")
    mta:message()
    mta:quit()
    assert.matches("warn log dropped=%d+", table.concat(read_all(), "\n"))
  end)
end)

describe("the log of a host with several milters", function()
  it("names the milter in every line when there are several", function()
    local directory = process.directory()
    process.run("chown nobody " .. directory .. " 2>/dev/null || true")
    process.write_file(directory .. "/10-a.lua", [[
      local milter = require "moonmilter"
      print "loaded"
      function on_rcpt(ctx, r)
        print "mine"
        if r:find "bob" then return "reject" end
        milter.spawn(function() error "in task" end)
        error "oops"
      end
      function on_eom() end]])
    local port = process.free_port()
    process.write_file(directory .. "/moonmilter.conf", ([[
      listen = "inet:%d@127.0.0.1"
      scripts = "10-a.lua"
      milter.outbound = { listen = "inet:%d@127.0.0.1" }]]):format(process.free_port(), port))
    local child = process.start({ host.program(), "run", "-c", directory .. "/moonmilter.conf", "--owners=nobody" },
      { output = directory .. "/output", remove = directory })
    assert(child:wait_text("moonmilter: ready", 10))
    local mta = assert(require("spec.support.mta_client").connect(port, 10))
    mta:envelope "mail"
    mta:rcpt "bob@two.example"
    mta:rcpt "ann@two.example"
    mta:send("E", "")
    mta:send("Q", "")
    assert(child:wait_text("in task", 5))
    assert(child:wait_text(" info message ", 5))
    local text = child:text()
    child:stop()
    local seen = {}
    for line in text:gmatch "[^\n]+" do
      local event = line:match "^%S+ %l+ ([%l_]+) "
      if event and line:find "session=" then
        seen[event] = true
        assert.matches(" milter=outbound session=", line)
      end
    end
    assert.same({ script = true, script_error = true, recipient = true, message = true }, seen, text)
    assert.truthy(text:find("script milter=default script=10-a text=loaded", 1, true), text)
  end)
end)
