-- Servers of databases that accept connections and say nothing: the threads that begin connections end in time, are
-- bounded, and hold up neither the loop nor the end of the process.
local host = require "spec.support.host"
local inside = require "spec.map.inside"
local lfs = require "lfs"
local process = require "spec.support.process"
local socket = require "socket"

local KINDS = {
  { "pgsql", module = "sql", parameters = [[ hosts = "127.0.0.1:" .. P.port, query = "SELECT '%s'", ]] },
  { "mysql", module = "sql", parameters = [[ hosts = "127.0.0.1:" .. P.port, query = "SELECT '%s'", tls = "yes", ]] },
  { "ldap", module = "ldap", parameters = [[ server_host = "127.0.0.1:" .. P.port, query_filter = "(uid=%s)", ]] },
  { "ldap with start_tls", kind = "ldap", module = "ldap",
    parameters = [[ server_host = "127.0.0.1:" .. P.port, query_filter = "(uid=%s)", start_tls = "yes", ]] },
  { "ldaps", kind = "ldap", module = "ldap",
    parameters = [[ server_host = "ldaps://127.0.0.1:" .. P.port, query_filter = "(uid=%s)", ]] },
}

local MAPS, THREADS_MAX = 100, 64 -- MM_HANDSHAKES_MAX

local function threads()
  local count = 0
  for name in lfs.dir "/proc/self/task" do
    count = count + (name:find "^%d" and 1 or 0)
  end
  return count
end

for _, row in ipairs(KINDS) do
  describe("a server of " .. row[1] .. " that says nothing", function()
    local listener, port
    setup(function()
      port = process.free_port()
      listener = assert(socket.bind("127.0.0.1", port, 200)) -- the kernel takes connections, nobody reads them
    end)
    teardown(function() listener:close() end)

    local function start(steps)
      return inside.start(inside.script(row.module, row.kind or row[1], { port = port }, row.parameters, steps))
    end

    it("is given up in time, and so is its thread", function()
      local before = threads()
      local mta = start { get = inside.LAG:format [[
        local map = open({}, { timeout = 0.3 })
        local began = milter.now()
        local _, text, code = map:get "x"
        assert(code == "timeout" or code == "down", text)
        assert(milter.now() - began < 5)
      ]] }
      inside.check_lag(mta:step "get")
      assert(process.wait_until(30, function() return threads() <= before end, "the end of threads"))
      mta:close()
    end)

    it("is left when a map is closed, a task is cancelled, and the scripts end", function()
      local before = threads()
      local mta = start { get = [[
        local first = milter.spawn(function() return open({}, { timeout = 60 }):get "x" end)
        local closed = open({}, { timeout = 60 })
        milter.spawn(function() return closed:get "x" end)
        kept = open({}, { timeout = 60 })
        milter.spawn(function() return kept:get "x" end)
        milter.sleep(0.1)
        first:cancel()
        closed:close()
        return "begun"
      ]] }
      assert.equal("begun", mta:step "get")
      mta:close()
      assert(process.wait_until(30, function() return threads() <= before end, "the end of threads"))
    end)
  end)
end

describe("connections that begin", function()
  local listener, port
  setup(function()
    port = process.free_port()
    listener = assert(socket.bind("127.0.0.1", port, 200))
  end)
  teardown(function() listener:close() end)

  it("have at most so many threads, and the others are down until some have ended", function()
    local before = threads()
    local mta = inside.start(inside.script("sql", "pgsql", { port = port }, KINDS[1].parameters, {
      get = ([[
        local codes, list = {}, {}
        for i = 1, %d do
          list[i] = function()
            local _, text, code = open({}, { timeout = 2 }):get "x"
            if code == "down" and not text:find "too many connections begin" then code = text end
            codes[code] = (codes[code] or 0) + 1
          end
        end
        milter.all(list)
        return ("%%s timeout, %%s down"):format(codes.timeout, codes.down)
      ]]):format(MAPS), look = [[ return "done" ]] }))
    local text = mta:step "get"
    assert.equal(("%d timeout, %d down"):format(THREADS_MAX, MAPS - THREADS_MAX), text)
    assert(process.wait_until(30, function() return threads() <= before end, "the end of threads"))
    mta:close()
  end)

  it("do not keep a host from its end", function()
    local h = host.start { workers = 1, scripts = { ["10-map.lua"] = ([[
      local map = require "moonmilter.map"
      local maps = {
        map.open("pgsql:", { timeout = 60, parameters = { hosts = "127.0.0.1:%d", query = "SELECT '%%s'" } }),
        map.open("mysql:", { timeout = 60, parameters = { hosts = "127.0.0.1:%d", query = "SELECT '%%s'", tls = "yes" } }),
        map.open("ldap:", { timeout = 60, parameters = { server_host = "ldaps://127.0.0.1:%d", query_filter = "(a=%%s)" } }),
      }
      function on_mail()
        for _, one in ipairs(maps) do
          milter.spawn(function() one:get "x" end)
        end
      end
    ]]):format(port, port, port) } }
    finally(function() h:stop() end)
    local mta = assert(h:connect())
    mta:envelope "mail"
    host.sleep(0.3)
    mta:quit()
    local began = host.now()
    h:signal "SIGTERM"
    assert(process.wait_until(10, function() return not h.child:running() end, "the end of the host"))
    assert.is_true(host.now() - began < 5)
    assert.is_nil(h:log():find "signal")
  end)
end)
