-- SIGHUP and ctl reload over all workers: all take the new scripts or none.
local socket = require "socket"

local host = require "spec.support.host"
local process = require "spec.support.process"
local mta_client = require "spec.support.mta_client"

local function marked(mark)
  return { ["10-mark.lua"] = ("function on_rcpt(ctx) ctx:reject(550, '5.7.1', '%s') end"):format(mark) }
end

local function mark_of(mta)
  local reply = mta:envelope "rcpt"
  return reply.text and reply.text:match "550 5%.7%.1 (%w+)" or reply.kind
end

for _, workers in ipairs { 0, 2 } do
  describe(("a reload, workers=%d,"):format(workers), function()
    local h

    before_each(function() h = host.start { workers = workers, scripts = marked "one",
      arguments = { "--cpu_session=1.5" } } end)
    after_each(function() h:stop() end)

    local function new_mark()
      local mta = assert(h:connect())
      local mark = mark_of(mta)
      mta:quit()
      return mark
    end

    it("gives new sessions the new scripts and keeps the old scripts for old sessions", function()
      local old = assert(h:connect())
      assert.equal("one", mark_of(old))
      h:write(marked "two")
      h:signal "SIGHUP"
      assert.truthy(h:wait_log "generation=2")
      for _ = 1, 6 do assert.equal("two", new_mark()) end
      assert.equal("one", mark_of(old))
      local output = h:ctl "generations"
      assert.matches("generation=1 milter=default scripts=1 sessions=1", output)
      old:quit()
      assert.truthy(host.wait_until(2, function() return not h:ctl("generations"):find "generation=1 " end,
        "the old one's end"))
    end)

    it("lets ctl answer when it is done", function()
      h:write(marked "two")
      local output, status = h:ctl "reload"
      assert.equal(0, status)
      assert.matches("generation 2 serves", output)
      for _ = 1, 4 do assert.equal("two", new_mark()) end
    end)

    local broken = {
      ["a syntax error"] = { source = "function on_rcpt(", names = "20%-broken%.lua:1" },
      ["an error at the top level"] = { source = "local x = nil\nx.y = 1", names = "20%-broken%.lua:2" },
      ["an error in on_load"] = { source = "function on_load()\n  error 'no list'\nend",
        names = "20%-broken%.lua:2.*no list" },
      ["an endless loop"] = { source = "while true do end", names = "20%-broken%.lua:1: cpu_" },
      ["an endless loop in on_load"] = { source = "function on_load()\n  while true do pcall(error) end end",
        names = "20%-broken%.lua:2: cpu_" },
      ["an endless loop that catches its end"] = { source = "local function f() while true do end end\nwhile true do "
        .. "pcall(f) end", names = "20%-broken%.lua:%d: cpu_" },
      ["an unknown handler"] = { source = "function on_rctp() end", names = "20%-broken%.lua:1.*on_rctp.*on_rcpt" },
      ["a module that is missing"] = { source = "\nrequire 'not_there'", names = "20%-broken%.lua:2: .*not_there" },
      ["a table as its error"] = { source = "\nerror {}", names = "20%-broken%.lua:2: %(error object is a "
        .. "table value%)" },
      ["an error without a place"] = { source = "function on_load()\n  error('no list', 0)\nend",
        names = "20%-broken%.lua:2: no list" },
    }
    for what, case in pairs(broken) do
      it("is refused for " .. what .. ", and the old scripts serve on", function()
        h:write { ["20-broken.lua"] = case.source }
        local output, status = h:ctl "reload"
        assert.equal(78, status)
        assert.matches(case.names, output)
        assert.matches("last failure: [^\n]*" .. case.names:gsub("^20", "20"), (h:ctl "status"))
        assert.equal(1, h:generation())
        for _ = 1, 4 do assert.equal("one", new_mark()) end
        os.remove(h.scripts .. "/20-broken.lua")
        assert.equal(0, select(2, h:ctl "reload"))
        assert.is_nil(h:ctl("status"):find "last failure")
      end)
    end

    it("is refused for a module cycle and for files that are gone or unreadable", function()
      assert(os.execute("mkdir " .. h.scripts .. "/lib"))
      h:write { ["lib/a.lua"] = "return require 'b'", ["lib/b.lua"] = "return require 'a'",
        ["20-broken.lua"] = "require 'a'" }
      local output, status = h:ctl "reload"
      assert.equal(78, status)
      assert.matches("%.lua:1: module cycle: a %-> b %-> a", output)
      assert(os.rename(h.scripts, h.scripts .. "-away"))
      output, status = h:ctl "reload"
      assert.equal(78, status)
      assert.matches("no such script or directory", output)
      assert(os.rename(h.scripts .. "-away", h.scripts))
      assert(os.execute("chown root " .. h.scripts .. " && chmod 700 " .. h.scripts))
      output, status = h:ctl "reload"
      assert.equal(78, status)
      assert.matches("may not read it", output)
      assert.equal("one", new_mark())
    end)

    it("that finds no scripts is logged once", function()
      assert(os.remove(h.scripts .. "/10-mark.lua"))
      assert.equal(0, select(2, h:ctl "reload"))
      assert.truthy(h:wait_log("milter default has no scripts", 3))
      local _, said = h:log():gsub("has no scripts", "")
      assert.equal(1, said)
    end)

    it("merges many simultaneous requests into few, and answers each", function()
      h:write(marked "two")
      local began = socket.gettime()
      for _ = 1, 50 do
        h:signal "SIGHUP"
        host.sleep(0.01)
      end
      -- a machine under load takes longer, and may then reload more often
      local seconds = socket.gettime() - began
      assert.truthy(h:wait_log "generation=2")
      host.sleep(1)
      -- MM_RELOAD_EVERY
      assert.is_true(h:generation() <= 4 + seconds / 0.5,
        ("generation %d after %.1f s"):format(h:generation(), seconds))
      assert.equal("two", new_mark())
    end)

    it("keeps the settings of the command line", function()
      h:signal "SIGHUP"
      assert.truthy(h:wait_log "generation=2")
      assert.equal("one", new_mark()) -- the listener and the scripts came from the command line
    end)
  end)
end

describe("a reload of scripts that kill or block the loading process", function()
  local h

  before_each(function()
    h = host.start { workers = 2, scripts = marked "one", arguments = { "--hang_timeout=2" } }
  end)
  after_each(function() h:stop() end)

  it("costs no session: a crash while loading", function()
    local mta = assert(h:connect())
    mta:envelope "mail"
    local workers = h:workers()
    h:write { ["20-crash.lua"] = "local ffi = require 'ffi'; ffi.cast('int *', 8)[0] = 1" }
    local output, status = h:ctl "reload"
    assert.equal(78, status)
    assert.matches("20%-crash%.lua: the process that loaded it died: Segmentation fault", output)
    assert.same(workers, h:workers())
    assert.equal("reply", mta:rcpt().kind)
    mta:quit()
  end)

  it("costs no session: a loop in C while loading", function()
    local mta = assert(h:connect())
    h:write { ["20-hang.lua"] = "local t = ('a.'):rep(2000); t:find '.-.-.-.-.-.-b'" }
    local output, status = h:ctl "reload"
    assert.equal(78, status)
    assert.matches("20%-hang%.lua: hangs in a C function while it loads", output)
    assert.matches("last failure: %S+20%-hang%.lua: hangs", (h:ctl "status"))
    assert.equal("one", mark_of(mta))
    mta:quit()
  end)
end)

describe("watch = true", function()
  for _, workers in ipairs { 0, 1 } do
    it("reloads automatically when a script changes, workers=" .. workers, function()
      local h = host.start { workers = workers, scripts = marked "one", arguments = { "--watch=true" } }
      host.sleep(1.2)
      h:write(marked "two")
      assert.truthy(h:wait_log("generation=2", 4))
      h:stop()
    end)
  end
end)

describe("a start with scripts that do not load", function()
  for _, workers in ipairs { 0, 2 } do
    it("fails with status 78, says why once and leaves no socket, workers=" .. workers, function()
      local h = host.start { workers = workers, unix = true, unready = true,
        scripts = { ["10-bad.lua"] = "function on_rcpt(" } }
      assert.truthy(host.wait_until(5, function() return not h.child:running() end, "the end"))
      assert.equal(1, select(2, h:log():gsub("10%-bad%.lua:1", "")), h:log())
      assert.is_nil(io.open(h.path))
      h:stop()
    end)
  end
end)

-- A directory for a configuration, its scripts and its control socket.
local function configured()
  local directory = process.directory()
  process.run("chown nobody " .. directory .. " 2>/dev/null || true")
  return directory, process.free_port()
end

local function run_configured(directory, ...)
  local child = process.start({ host.program(), "run", "-c", directory .. "/moonmilter.conf", "--owners=nobody", ... },
    { output = directory .. "/output", remove = directory })
  assert(child:wait_text("moonmilter: ready", 10))
  return child
end

local function reload_configured(directory)
  return process.run(("%s ctl --control %s/control.sock reload"):format(host.program(), directory))
end

describe("the command line", function()
  it("overrides the configuration even after a reload", function()
    local directory, port = configured()
    local function refusing(text) return ("function on_rcpt(ctx) ctx:reject(550, '5.7.1', '%s') end"):format(text) end
    process.write_file(directory .. "/10-file.lua", refusing "file")
    process.write_file(directory .. "/10-line.lua", refusing "line")
    local function configure(max_sessions)
      process.write_file(directory .. "/moonmilter.conf", ([[
        listen = "inet:%d@127.0.0.1"
        scripts = "10-file.lua"
        workers = 1
        max_sessions = %d
        control = "control.sock"]]):format(process.free_port(), max_sessions))
    end
    configure(5)
    local child = run_configured(directory, "-s", ("inet:%d@127.0.0.1"):format(port), "--max-sessions=2",
      directory .. "/10-line.lua")
    configure(7)
    assert.matches("generation 2 serves", reload_configured(directory))
    local first, second = assert(mta_client.connect(port, 5)), assert(mta_client.connect(port, 5))
    assert.equal("550 5.7.1 line", first:envelope("rcpt").text)
    assert.truthy(child:wait_text("2 sessions are open (max_sessions)", 5))
    first:close()
    second:close()
    child:stop()
  end)
end)

describe("a reload takes from the configuration", function()
  it("times and limits of connections, including open ones", function()
    local directory, port = configured()
    process.write_file(directory .. "/10-pass.lua", "function on_eom() end")
    local function configure(idle_timeout, max_sessions)
      process.write_file(directory .. "/moonmilter.conf", ([[
        listen = "inet:%d@127.0.0.1"
        scripts = "10-pass.lua"
        workers = 1
        idle_timeout = %d
        max_sessions = %d
        control = "control.sock"]]):format(port, idle_timeout, max_sessions))
    end
    configure(100, 5)
    local child = run_configured(directory)
    local silent = assert(mta_client.connect(port, 10))
    configure(1, 2)
    reload_configured(directory)
    assert.is_nil((silent:read()))
    assert.truthy(child:wait_text("idle_timeout", 2))
    local first, second = assert(mta_client.connect(port, 5)), assert(mta_client.connect(port, 5))
    assert.truthy(child:wait_text("2 sessions are open (max_sessions)", 5))
    first:close()
    second:close()
    child:stop()
  end)
end)
