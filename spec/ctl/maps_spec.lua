-- moonmilter ctl maps: the tables of files that a host has open, how old they are, and what is wrong with them.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPT = [[
local map = require "moonmilter.map"
local access = map.open("texthash:../a table", { settle = 0.05 })
local words = map.open "regexp:../words"
function on_mail(ctx, sender) access:get(sender) words:get(sender) end
]]

local function json(h)
  local output, status = h:ctl("--json", "maps")
  return cjson.decode(output).maps, status
end

-- The maps of a kind, one for each process.
local function of_kind(h, kind)
  local list = {}
  for _, one in ipairs((json(h))) do
    if one.kind == kind then list[#list + 1] = one end
  end
  return list
end

for _, workers in ipairs { 0, 2 } do
  describe(("ctl maps, workers=%d,"):format(workers), function()
    local h, path

    setup(function()
      local directory = process.directory()
      path = directory .. "/a table"
      process.write_file(path, "a 1\nb 2\n")
      process.write_file(directory .. "/words", "/x/ y\n")
      process.run(("touch -d '3 hours ago' '%s'"):format(path))
      h = host.start { workers = workers, arguments = { "--log_level=error" },
        scripts = { ["10-maps.lua"] = (SCRIPT:gsub("%.%./", directory .. "/")) } }
    end)
    teardown(function() h:stop() end)

    it("prints a line for each: kind, file, entries, age, versions", function()
      local output, status = h:ctl "maps"
      assert.equal(0, status)
      local count = 0
      for line in output:gmatch "[^\n]*kind=texthash[^\n]*" do
        assert.matches("^kind=texthash path=/%S+/a%?table entries=2 age=10[89]%d%d versions=1 taken=%d+$", line)
        count = count + 1
      end
      assert.equal(math.max(1, workers), count)
      assert.matches("kind=regexp path=/%S+/words entries=1 age=%d+ versions=1 taken=%d+\n", output)
    end)

    it("gives them as JSON, with the worker", function()
      local list, status = json(h)
      assert.equal(0, status)
      assert.equal(2 * math.max(1, workers), #list)
      local one = of_kind(h, "texthash")[1]
      assert.equal(2, one.entries)
      assert.is_true(one.age >= 10800 and one.age < 10900)
      assert.equal("number", type(one.versions))
      assert.equal("number", type(one.taken))
      assert.equal(workers > 0 and "number" or "nil", type(one.pid))
    end)

    it("prints a table on a terminal", function()
      local keys = process.write_file(h.directory .. "/keys", "\n")
      local pipe = assert(io.popen(("env NO_COLOR=1 TERM=xterm python3 spec/support/terminal.py 160 24 %s %s ctl "
        .. "--control %s maps 2>&1"):format(keys, host.program(), h.control)))
      local text = pipe:read("*a"):gsub("\r", "")
      pipe:close()
      assert.matches("KIND +FILE +ENTRIES +AGE", text)
      assert.matches("texthash +/%S+/a%?table +2 +[^\n]*h", text)
      assert.is_nil(text:find("kind=", 1, true))
    end)

    it("shows a new version, what is wrong with a file, and that it is well again", function()
      local function all(check)
        local list = of_kind(h, "texthash")
        for _, one in ipairs(list) do
          if not check(one) then return false end
        end
        return #list > 0
      end
      process.write_file(path, "a 1\nb 2\nc 3\n")
      host.wait_until(10, function() return all(function(one) return one.entries == 3 and one.versions == 2 end) end,
        "the new version")
      process.write_file(path, "# nothing\n")
      host.wait_until(10, function() return all(function(one) return one.error end) end, "the failure")
      assert.is_true(all(function(one) return one.entries == 3 and one.versions == 2 and not one.where end))
      assert.matches("\n    error: [^\n]+", (h:ctl "maps"))
      process.write_file(path, "a 1\nb 2\nc 3\nd 4\n")
      host.wait_until(10, function() return all(function(one) return one.entries == 4 and not one.error end) end,
        "the end of the failure")
    end)
  end)
end

describe("ctl maps of a host whose scripts open none", function()
  it("prints nothing", function()
    local h = host.start { workers = 0, scripts = { ["10.lua"] = "function on_mail() end" } }
    local output, status = h:ctl "maps"
    assert.same({ "", 0 }, { output, status })
    assert.same({}, (json(h)))
    h:stop()
  end)
end)

local SERVICES = [[
local map = require "moonmilter.map"
local maps = {
  kept = map.open("tcp:127.0.0.1:PORT", { ttl = 60 }),
  dead = map.open "socketmap:unix:DIRECTORY/none:name",
  sql = map.open("pgsql:", { parameters = { hosts = "unix:DIRECTORY", dbname = "d", user = "u", password = "secret",
    query = "SELECT '%s'" } }),
  idle = map.open "dns:txt:zone.example",
}
function on_mail(ctx, sender)
  local name, key = sender:match "^(%w+)%.(%w+)@"
  if name then maps[name]:get(key) end
end
]]

for _, workers in ipairs { 0, 2 } do
  describe(("ctl maps of services, workers=%d,"):format(workers), function()
    local h, server, directory, mta

    setup(function()
      directory = process.directory()
      server = process.start({ "python3", "spec/map/map_servers.py", directory }, { output = directory .. "/ports",
        life = 300 })
      local port = host.wait_until(20, function()
        return (process.read_file(directory .. "/ports") or ""):match "tcp=(%d+)[^\n]*\n"
      end, "the service")
      h = host.start { workers = workers, arguments = { "--log_level=error" },
        scripts = { ["10-maps.lua"] = (SERVICES:gsub("PORT", port):gsub("DIRECTORY", directory)) } }
      mta = h:connect()
      mta:envelope "helo"
    end)
    teardown(function()
      mta:close()
      h:stop()
      server:stop()
      process.run("rm -rf " .. directory)
    end)

    local function ask(...)
      for _, key in ipairs { ... } do
        mta:mail(key .. "@one.example")
        mta:abort()
      end
    end

    -- What the worker that was asked says; without one, any worker.
    local function of(kind)
      local list = of_kind(h, kind)
      table.sort(list, function(a, b) return a.answers + a.failures > b.answers + b.failures end)
      return list[1], #list
    end

    it("shows one that was never asked", function()
      local one, count = of "dns"
      assert.equal(math.max(1, workers), count)
      assert.same({ "unasked", "txt:zone.example", 0, 0 }, { one.state, one.service, one.answers, one.failures })
      assert.is_nil(one.latency_us or one.longest_us or one.asked or one.error)
    end)

    it("counts answers and what was found, without what the cache answers, and how long they took", function()
      ask("kept.a", "kept.a", "kept.a", "kept.b", "kept.none1")
      local one = of "tcp"
      assert.same({ "answers", 3, 2, 0 }, { one.state, one.answers, one.found, one.failures })
      assert.is_true(one.latency_us > 0 and one.latency_us <= one.longest_us and one.longest_us < 60e6)
      assert.is_true(one.asked >= 0 and one.asked < 60)
      assert.matches("\nkind=tcp service=127.0.0.1:%d+ state=answers answers=3 found=2 failures=0 latency_us=%d+ "
        .. "longest_us=%d+ asked=%d+\n", "\n" .. h:ctl "maps")
    end)

    it("counts failures and says the last", function()
      ask("dead.a", "dead.b")
      local one = of "socketmap"
      assert.same({ "fails", 0, 2 }, { one.state, one.answers, one.failures })
      assert.matches("No such file", one.error)
      assert.matches("\nkind=socketmap service=unix:%S+/none:name state=fails [^\n]+\n    error: [^\n]+\n",
        "\n" .. h:ctl "maps")
    end)

    it("shows no password, and names a service without a file by its server", function()
      ask "sql.a"
      local one = of "pgsql"
      assert.same({ "fails", "unix:" .. directory, 1 }, { one.state, one.service, one.failures })
      assert.is_nil((h:ctl "maps"):find("secret", 1, true))
    end)

    it("goes on counting in the scripts of a reload", function()
      local _, status = h:ctl "reload"
      assert.equal(0, status)
      ask "dead.c"
      assert.equal(3, of("socketmap").failures)
    end)
  end)
end

describe("ctl maps of a service that fails for a while", function()
  it("says that it answers again, and what was wrong", function()
    local directory = process.directory()
    local h = host.start { workers = 0, scripts = { ["10.lua"] = ([[
      local map = require "moonmilter.map"
      local m = map.open "socketmap:unix:%s/map.sock:name"
      function on_mail() m:get "a" end ]]):format(directory) } }
    local mta = h:connect()
    mta:envelope "mail"
    assert.equal("fails", of_kind(h, "socketmap")[1].state)
    local server = process.start({ "python3", "spec/map/map_servers.py", directory }, { output = directory .. "/ports",
      life = 300 })
    host.wait_until(20, function() return (process.read_file(directory .. "/ports") or ""):find "\n" end, "the service")
    process.run("chmod -R a+rwX " .. directory) -- the host may serve as another user
    mta:abort()
    mta:mail "b@one.example"
    local one = of_kind(h, "socketmap")[1]
    assert.same({ "answers", 1, 1 }, { one.state, one.answers, one.failures })
    assert.matches("%S", one.last_error)
    assert.is_nil(one.error)
    mta:close()
    h:stop()
    server:stop()
    process.run("rm -rf " .. directory)
  end)
end)
