-- ctl store and ctl limit, in one process and with workers.
local cjson = require "cjson"
local host = require "spec.support.host"

local SCRIPT = [[
  local store = require "moonmilter.store"
  local limit = require "moonmilter.limit"
  local s = store.open "known"
  local out = limit.new { name = "account", rate = "10/h" }
  function on_load()
    s:set("a b", { 1, x = "y\n" }, 100)
    s:set("plain", "text")
    s:add("number", 5.5)
    s:set(("long"):rep(150), "found")
    out:take(("long"):rep(50))
    limit.new { name = "shared", rate = "10/h", shared = "hosts", mode = "soon" }:take "ann"
    if not store.open("once"):add("taken", true) then return end -- each worker loads
    for i = 1, 30 do
      for _ = 1, i % 12 do out:take("user" .. i) end
    end
  end
  function on_mail() end ]]

for _, workers in ipairs { 0, 2 } do
  describe(("with %d workers, ctl"):format(workers), function()
    local h

    setup(function() h = host.start { workers = workers, scripts = { ["10-a.lua"] = SCRIPT } } end)
    teardown(function() h:stop() end)

    local function ctl(...)
      local output, status = h:ctl(...)
      return (output:gsub("\n$", "")), status
    end

    it("lists the stores", function()
      local text, status = ctl("store", "list")
      assert.matches("store=known keys=4 bytes=4096 changes=", text)
      assert.matches("store=once keys=1 ", text)
      assert.equal(0, status)
      assert.equal(64, select(2, ctl("store", "list", "known")))
      local rows = cjson.decode((ctl("store", "list", "--json"))).store
      assert.same({ "known", 4, 4096 }, { rows[1].store, rows[1].keys, rows[1].bytes })
    end)

    it("shows what is in a store", function()
      assert.matches("^keys=4 bytes=4096 ", (ctl("store", "stat", "known")))
      assert.equal('key=plain ttl=never value="text"', (ctl("store", "get", "known", "plain")))
      local dump = ctl("store", "dump", "known")
      assert.matches('^key="a b" ttl=%d+ value={ %[1%] = 1, %["x"%] = "y\\x0a" }\nkey=long.-\nkey=number ttl=never value=5.5\n'
        .. 'key=plain ', dump)
      assert.equal('key=plain ttl=never value="text"', (ctl("store", "dump", "known", "pl")))
    end)

    it("finds keys that are too long to be kept whole", function()
      assert.matches(' value="found"$', (ctl("store", "get", "known", ("long"):rep(150))))
      assert.equal(69, select(2, ctl("store", "get", "known", ("long"):rep(149))))
      assert.equal(0, select(2, ctl("limit", "reset", "account", ("long"):rep(50))))
      assert.equal(69, select(2, ctl("limit", "reset", "account", ("long"):rep(50))))
    end)

    it("removes from it", function()
      assert.equal(0, select(2, ctl("store", "delete", "known", "number")))
      assert.equal(69, select(2, ctl("store", "get", "known", "number")))
      assert.equal(69, select(2, ctl("store", "delete", "known", "number")))
      assert.equal(0, select(2, ctl("store", "clear", "known")))
      assert.matches("^keys=0 ", (ctl("store", "stat", "known")))
    end)

    it("lists the limits", function()
      local text, status = ctl("limit", "list")
      local keys, crossed = text:match("^limit=account shared=host keys=(%d+) crossed=(%d+)\n"
        .. "limit=shared shared=hosts keys=1 crossed=0$")
      assert.equal(0, status)
      assert.is_true(tonumber(keys) >= 28, text) -- 28 users have taken something
      assert.equal("2", crossed) -- and two of them too much
      local rows = cjson.decode((ctl("limit", "list", "--json"))).limit
      assert.same({ { limit = "account", shared = "host", keys = tonumber(keys), crossed = 2 },
        { limit = "shared", shared = "hosts", keys = 1, crossed = 0 } }, rows)
      assert.equal(64, select(2, ctl("limit", "list", "account")))
    end)

    it("shows the buckets of a limit, and fills one", function()
      local top = ctl("limit", "top", "account")
      assert.equal(20, select(2, top:gsub("key=account:", "")))
      assert.matches("^key=account:user%d+ full_in=3%d%d%d crossed=yes", top)
      assert.matches("key=account:user11 full_in=%d+ crossed=yes", (ctl("limit", "show", "account", "user11")))
      assert.equal(0, select(2, ctl("limit", "reset", "account", "user11")))
      assert.equal("", (ctl("limit", "show", "account", "user11")))
    end)

    it("says what of a limit is on a server that all hosts share", function()
      local text = ctl("limit", "show", "shared")
      assert.matches("^key=shared/own:ann full_in=%d+ crossed=no\nshared/own is what this host has let pass; ", text)
      assert.matches("moonmilter:limit:shared:KEY", text)
      local said, status = ctl("limit", "reset", "shared", "ann")
      assert.equal(69, status)
      assert.matches("all hosts share this limit", said)
      assert.matches("engine = \"redis\" is on its server", (ctl("store", "stat", "nosuch")))
    end)

    it("says what is wrong with a request", function()
      local function failure(...)
        local output, status = ctl(...)
        return status, output
      end
      assert.equal(69, (failure("store", "dump", "nosuch")))
      assert.equal(69, (failure("store", "dump", "../../etc/passwd")))
      assert.equal(64, (failure("store", "frob", "known")))
      assert.equal(64, (failure("store", "get", "known")))
      assert.equal(64, (failure("limit", "top")))
      assert.equal(64, (failure "store"))
    end)
  end)
end
