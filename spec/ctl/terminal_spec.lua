-- moonmilter ctl at a terminal: tables instead of lines, colours, and `ctl top`. A pseudo-terminal stands in for one.
local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = { ["10-slow.lua"] = [[
local milter = require "moonmilter"
function on_mail(ctx) milter.sleep(0.001) end
function on_eom(ctx)
  milter.sleep(20)
  return "accept"
end]] }

-- What the terminal shows of a command, its exit status, and whether it left the terminal's modes as they were.
local function at_terminal(h, options)
  local keys = process.write_file(h.directory .. "/keys", (options.keys or "") .. "\n")
  local pipe = assert(io.popen(("env -u NO_COLOR TERM=xterm %s python3 spec/support/terminal.py %d %d %s %s ctl "
    .. "--control %s %s 2>&1"):format(options.env or "", options.columns or 80, options.rows or 24, keys,
    host.program(), h.control, options.words)))
  local text, status, modes = pipe:read("*a"):match "^(.*)\nexit (%-?%d+) modes (%l+)\n$"
  pipe:close()
  return text:gsub("\r", ""), tonumber(status), modes
end

local function plain(text) return (text:gsub("\27%[[%d;?]*%a", "")) end

for _, workers in ipairs { 0, 2 } do
  describe(("ctl at a terminal, workers=%d,"):format(workers), function()
    local h, mta

    setup(function()
      h = host.start { workers = workers, scripts = SCRIPTS }
      mta = assert(h:connect())
      mta:envelope("body", "4Qnight")
      mta:send "E"
      host.wait_until(3, function() return h:ctl("sessions"):find "waits_for=sleep" end, "a waiting session")
    end)
    teardown(function()
      mta:close()
      h:stop()
    end)

    it("shows the status as names and values, and a table of workers", function()
      local text, status, modes = at_terminal(h, { words = "status", env = "NO_COLOR=1" })
      assert.equal(0, status)
      assert.equal("same", modes)
      assert.matches("^version +0%.", text)
      assert.matches("\nuptime +[%d.]+ s\n", text)
      assert.matches("\nreload +ok\n", text)
      assert.matches("\n *PID  STATE    GEN  SESSIONS  .*MESSAGES", text)
      assert.matches("\n *%d+  serving  ", text)
      assert.is_nil(text:find("=", 1, true))
    end)

    it("shows sessions as a table with the lines of the script below, without columns that are empty", function()
      local text = at_terminal(h, { words = "sessions", env = "NO_COLOR=1" })
      local head, row, place = text:match "^([^\n]+)\n([^\n]+)\n([^\n]+)\n"
      for _, name in ipairs { "SESSION", "ADDRESS", "QUEUE ID", "STAGE", "AGE", "WAITS FOR" } do
        assert.truthy(head:find(name, 1, true), name)
      end
      assert.is_nil(head:find("MTA", 1, true))
      assert.is_true(#head <= 80 and #row <= 80)
      assert.equal("4Qnight", row:sub(head:find "QUEUE ID", -1):match "%S+")
      assert.equal("sleep", row:sub(head:find "WAITS FOR", -1):match "%S+")
      assert.matches("^    %S+/10%-slow%.lua:4: in function 'on_eom'$", place)
    end)

    it("leaves out what is looked at least where the terminal is narrow", function()
      local wide = at_terminal(h, { words = "sessions", env = "NO_COLOR=1", columns = 200 })
      local narrow = at_terminal(h, { words = "sessions", env = "NO_COLOR=1", columns = 70 })
      assert.truthy(wide:match("^[^\n]+"):find("HELD", 1, true))
      assert.is_nil(narrow:match("^[^\n]+"):find("HELD", 1, true))
      assert.truthy(narrow:match("^[^\n]+"):find("WAITS FOR", 1, true))
    end)

    it("gives a pipe the lines of key=value, and JSON where that is asked for", function()
      assert.matches("^version=", (h:ctl "status"))
      assert.matches("^{\"", (at_terminal(h, { words = "--json status" })))
    end)

    it("has colours on a terminal, unless NO_COLOR, TERM or --color says otherwise", function()
      local function has_colour(options)
        options.words = (options.words or "") .. " status"
        return at_terminal(h, options):find("\27[", 1, true) ~= nil
      end
      assert.is_true(has_colour {})
      assert.is_true(has_colour { env = "NO_COLOR=" })
      assert.is_false(has_colour { env = "NO_COLOR=1" })
      assert.is_false(has_colour { env = "TERM=dumb" })
      assert.is_false(has_colour { words = "--color never" })
      assert.is_true(has_colour { words = "--color=always", env = "NO_COLOR=1" })
      assert.equal(64, select(2, h:ctl "--color mauve status"))
    end)

    it("says that there is nothing instead of an empty table", function()
      local idle = host.start { workers = workers, scripts = { ["a.lua"] = "function on_mail() end" } }
      assert.equal("no sessions\n", (at_terminal(idle, { words = "sessions" })))
      idle:stop()
    end)
  end)

  describe(("ctl top, workers=%d,"):format(workers), function()
    local h, mta

    before_each(function()
      h = host.start { workers = workers, scripts = SCRIPTS }
      mta = assert(h:connect())
      mta:envelope("body", "4Qnight")
      mta:send "E"
    end)
    after_each(function()
      mta:close()
      h:stop()
    end)

    local function top(options)
      options.words = "top --every 0.2 " .. (options.words or "")
      local text, status, modes = at_terminal(h, options)
      assert.matches("\27%[%?1049h", text) -- the other page, and back, with a cursor
      assert.matches("\27%[%?25h\27%[0m\27%[%?1049l$", text)
      assert.equal("same", modes)
      return text, status
    end

    it("draws anew until q", function()
      local text, status = top { keys = "HANDLER.*HANDLER.*HANDLER\tq", env = "NO_COLOR=1" }
      assert.equal(0, status)
      local last = plain(text):match ".*(moonmilter %d.*)$"
      assert.matches("^moonmilter %S+  pid " .. h:pid() .. "  up [%d.]+ m?s", last)
      assert.matches("\nmessages [%d.]+/s  sessions 1, [%d.]+/s new  script errors 0/s", last)
      assert.matches("\n +%d+ serving +[01] +[%d.]+ ", last)
      assert.matches("\n10%-slow.lua on_mail +[%d.]+ +[%d.]+%% ", last)
      for line in last:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
    end)

    it("leaves the terminal as it was when a signal ends it", function()
      for _, signal in ipairs { "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT" } do
        assert.equal(0, (select(2, top { keys = "HANDLER\tSIGNAL " .. signal })))
      end
      assert.equal(0, (select(2, top { keys = "HANDLER\t\\x03" })))
    end)

    it("fits a smaller terminal as soon as it is one", function()
      local text = top { keys = "HANDLER\tSIZE 40 6\nPID.*PID\tq", env = "NO_COLOR=1" }
      local last = plain(text:match ".*(\27%[Hmoonmilter.*)$")
      local count = 0
      for line in last:gmatch "[^\n]+" do
        assert.is_true(#line <= 40, line)
        count = count + 1
      end
      assert.is_true(count <= 6)
    end)

    it("says it when the host has gone, and goes on", function()
      local text = top { keys = ("HANDLER\tKILL %d\nNo such file|refused\tq"):format(h:pid()) }
      assert.matches("control.sock: %u", text)
    end)
  end)

  it("ctl top prints one picture into a pipe, workers=" .. workers, function()
    local h = host.start { workers = workers, scripts = SCRIPTS }
    local text, status = h:ctl "top --every 0.2"
    assert.equal(0, status)
    assert.matches("^moonmilter %S+  pid %d+", text)
    assert.is_nil(text:find("\27", 1, true))
    assert.equal(64, (select(2, h:ctl "top --every 0")))
    h:stop()
    text, status = h:ctl "top"
    assert.equal(69, status)
    assert.matches("^moonmilter ctl top: ", text)
  end)
end
