local databases = require "spec.map.databases"
local inside = require "spec.map.inside"
local process = require "spec.support.process"
local server_faults = require "spec.map.server_faults"

local db

-- Without TLS, which takes long on a busy machine: some specs are in a hurry.
local PARAMETERS = [[ hosts = "127.0.0.1:" .. P.port, user = "reader", password = "reader's \\secret",
  dbname = "mail", sslmode = "disable", ]]

--- A script with a function for each step; open(parameters, options) opens a map at the server.
local function script(steps)
  return inside.script("sql", "pgsql", { port = db.port, directory = db.directory }, PARAMETERS, steps)
end

local function start(steps) return inside.start(script(steps)) end

local function run(body) return inside.run(script { test = body }) end

describe("pgsql:", function()
  setup(function()
    db = databases.pgsql()
    db:psql [[
      CREATE TABLE users (name text, value text, other text);
      INSERT INTO users VALUES ('ann@example.com', 'OK', NULL), ('bob@example.com', 'one', 'two'),
        ('bob@example.com', NULL, ''), ('bob@example.com', 'three@x.example', 'four'), ('empty', '', NULL),
        ('o''brien\', 'quoted', NULL), ('a"b`c$$d', 'signs', NULL), ('%s', 'percent', NULL),
        ('zoë@example.com', 'Zoë', NULL);
      CREATE TABLE many AS SELECT 'key' || n AS name, 'value' || n AS value FROM generate_series(1, 2000) AS n;
      CREATE INDEX ON many (name);
      CREATE FUNCTION kind_of(text) RETURNS text LANGUAGE sql AS $$ SELECT 'kind of ' || $1 $$;
      CREATE TABLE secrets (value text);
      INSERT INTO secrets VALUES ('hidden');
      GRANT SELECT ON users, many TO reader;
    ]]
  end)
  teardown(function() db:close() end)

  describe("a lookup", function()
    it("gives rows and columns joined by commas, without NULL and empty ones", function()
      assert.equal("OK|one,two,three@x.example,four|nil|nil", run [[
        local m = open { query = "SELECT value, other FROM users WHERE name = '%s'" }
        return show(m:get "ann@example.com", m:get "bob@example.com", m:get "empty", m:get "none@example.com")
      ]])
    end)

    it("fills in the parts of the key and of the value", function()
      assert.equal("bob at example.com, com.example: one|nil|nil / x.example|nil", run [[
        local m = open { query = "SELECT '%u at %d, %1.%2: ' || value FROM users WHERE name = '%u@%d' AND other = 'two'" }
        local n = open { query = "SELECT value FROM users WHERE name = '%s'", result_format = "%d" }
        return show(m:get "bob@example.com", m:get "bob", m:get "bob@com") .. " / "
          .. show(n:get "bob@example.com", n:get "ann@example.com")
      ]])
    end)

    it("is not made for other domains, and not for parts of addresses, when there is a domain list", function()
      assert.equal("OK|nil|nil|nil|nil", run [[
        local m = open { query = "SELECT 'OK' WHERE '%s' <> ''", domain = "!sub.example.com, example.com other.example" }
        return show(m:get "any@EXAMPLE.com", m:get "any@sub.example.com", m:get "@example.com", m:get "example.com",
          m:get "any")
      ]])
    end)

    it("fails when there are more results than expansion_limit", function()
      assert.equal("OK|nil / nil|more than 3 results (expansion_limit)|bad_answer", run [[
        local m = open { query = "SELECT value, other FROM users WHERE name = '%s'", expansion_limit = 3 }
        return show(m:get "ann@example.com", m:get "none") .. " / " .. show(m:get "bob@example.com")
      ]])
    end)

    it("can be written in the old forms", function()
      assert.equal("OK|kind of ann", run [[
        local m = open { table = "users", select_field = "value", where_field = "name",
          additional_conditions = "AND other IS NULL" }
        return show(m:get "ann@example.com", open({ select_function = "kind_of" }):get "ann")
      ]])
    end)

    it("speaks UTF-8, and finds nothing for a key that is not", function()
      assert.equal("true|nil|nil", run [[
        local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
        return show(m:get "zoë@example.com" == "Zoë", m:get "zo\235@example.com", m:get "ann@example.com\0")
      ]])
    end)

    it("goes to the next server in time when one does not answer", function()
      assert.equal("OK|true", run [[
        local m = open({ query = "SELECT 'OK' WHERE '%s' <> ''", hosts = "192.0.2.1 127.0.0.1:" .. P.port }, { timeout = 1.5 })
        local began = milter.now()
        return show(m:get "x", milter.now() - began < 1.4)
      ]])
    end)

    it("works over a unix socket, over a name, and goes to the next server when one is dead", function()
      assert.equal("OK|OK|OK|nil", run [[
        local query = "SELECT value FROM users WHERE name = '%s'"
        local a = open { query = query, hosts = "unix:" .. DIR .. ":" .. P.port }
        local b = open { query = query, hosts = "localhost:" .. P.port }
        local c = open { query = query, hosts = { "127.0.0.1:1", DIR .. ":1", "inet:127.0.0.1:" .. P.port } }
        return show(a:get "ann@example.com", b:get "ann@example.com", c:get "ann@example.com", c:get "none")
      ]])
    end)
  end)

  describe("quoting", function()
    it("takes every key as a value", function()
      assert.equal("quoted|signs|percent|0", run [[
        local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
        local found = 0
        for _, key in ipairs { "' OR '1'='1", "x'; DELETE FROM users; --", "\\' OR 1=1 --", "x\\", "'", "''", "$1", "$$",
            "x' UNION SELECT value FROM secrets --", "%s' OR ''='", "\\'; SELECT value FROM secrets --", "/*", "*/ OR '" } do
          local value, text = m:get(key)
          found = found + ((value or text) and 1 or 0)
        end
        return show(m:get "o'brien\\", m:get 'a"b`c$$d', m:get "%s", found)
      ]])
    end)

    it("does so where backslashes escape, too", function()
      db:psql "ALTER ROLE reader SET standard_conforming_strings = off; ALTER ROLE reader SET backslash_quote = on;"
      finally(function() db:psql "ALTER ROLE reader RESET ALL" end)
      assert.equal("off|quoted|nil|nil|nil", run [[
        local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
        local setting = open({ query = "SELECT setting FROM pg_settings WHERE name = '%s'" }):get "standard_conforming_strings"
        return show(setting, m:get "o'brien\\", m:get "\\' OR 1=1 --", m:get "x\\", m:get "\\\\' OR 1=1 --")
      ]])
    end)

    it("is required: a query with a template outside of single quotes is refused", function()
      assert.equal("", run [[
        local wrong = {}
        for _, query in ipairs { "SELECT a FROM t WHERE a = %s", "SELECT a FROM t WHERE a = $$%s$$", "SELECT E'%s'",
            "SELECT U&'%s'", 'SELECT "%s" FROM t', "SELECT '%s' FROM t -- %s", "SELECT /* '%s' */ 1", "SELECT '%s",
            "SELECT 'a''' || %s || ''", "SELECT a FROM %u WHERE a = '%s'", "SELECT $a$'$a$, %s" } do
          local ok, text = pcall(open, { query = query })
          if ok or not text:find "query" then wrong[#wrong + 1] = query end
        end
        for _, query in ipairs { "SELECT '%s'", "SELECT 'a''%s'", "SELECT '%% %s', 5 %% 3", "SELECT name'%s'" ,
            "SELECT \"a'b\" FROM t WHERE a = '%u'", "SELECT $$'$$, '%s'", "SELECT 1 -- it's\n, '%s'" } do
          if not pcall(open, { query = query }) then wrong[#wrong + 1] = query end
        end
        return table.concat(wrong, " and ")
      ]]:gsub("^%(empty%)$", ""))
    end)

    it("sends one statement for each key", function()
      assert.equal("nil|cannot insert multiple commands into a prepared statement|bad_answer", run [[
        return show(open({ query = "SELECT '%s'; SELECT 2" }):get "x")
      ]])
    end)
  end)

  describe("a failure", function()
    it("of the query has the server's words, and the connection goes on", function()
      assert.equal("nil|permission denied for table secrets|bad_answer / nil|invalid input syntax for type integer: \"x\""
        .. "|bad_answer / nil|the query gives no rows; write a SELECT|bad_answer / 7|1", run [[
        local m = open({ query = "SELECT value FROM secrets WHERE value = '%s'" })
        local n = open({ query = "SELECT '%s'::integer" })
        return show(m:get "x") .. " / " .. show(n:get "x") .. " / " .. show(open({ query = "SET search_path = '%s'" }):get "x")
          .. " / " .. show(n:get "7", n:info().connections)
      ]])
    end)

    it("is an answer of more than 1 MiB, of one row or of endless ones", function()
      assert.equal("nil|the answer is larger than 1 MiB|bad_answer / nil|the answer is larger than 1 MiB|bad_answer / 1000000",
        run [[
        local m = open({ query = "SELECT repeat('x', '%s'::integer)" }, { timeout = 8 })
        local n = open({ query = "SELECT generate_series(1, 1000000000) WHERE '%s' <> ''" }, { timeout = 8 })
        return show(m:get "2000000") .. " / " .. show(n:get "x") .. " / " .. #m:get "1000000"
      ]])
    end)

    it("of the password is down, and no secret is in texts", function()
      local text = run [[
        local m = open { query = "SELECT '%s'", password = "wrong-secret" }
        local a, b = show(m:get "x"), show(m:get "y")
        return a .. " / " .. b .. " / " .. m:info().error
      ]]
      assert.matches("^nil|.*password authentication failed.*|down / nil|.*the next try is in .*|down / ", text)
      assert.is_nil(text:find("wrong-secret", 1, true))
    end)
  end)

  describe("a file of parameters", function()
    local directory

    before_each(function() directory = process.directory() end)
    after_each(function() process.run("rm -rf " .. directory) end)

    local function file(text, mode)
      process.write_file(directory .. "/map.cf", text)
      process.run("chmod " .. (mode or "600") .. " " .. directory .. "/map.cf")
      return directory .. "/map.cf"
    end

    local function get(path)
      return inside.run(inside.script("sql", "pgsql", {}, "", { test = ([[
        local ok, m = pcall(load_map, %q)
        return ok and show(m:get "ann@example.com") or m
      ]]):format(path) }))
    end

    it("is as Postfix has it: comments, continued lines", function()
      assert.equal("a:OK,b:OK", get(file(([[
# a comment
hosts = 127.0.0.1:%d
user=reader
password = reader's \secret

dbname   =  mail
query = SELECT 'a:' || value, 'b:' || value
# in between
  FROM users
	WHERE name = '%%s'
]]):format(db.port))))
    end)

    it("is refused with its line when it is wrong, and without its contents", function()
      assert.matches("map%.cf:2: not of the form name = value$", get(file "user = x\npassword my-secret\n"))
      assert.matches("map%.cf:1: a line that continues nothing", get(file " user = my-secret\n"))
      assert.matches("map%.cf: query is missing$", get(file "user = x\n"))
      assert.matches("hosts: number 1 is no server",
        get(file "hosts = postgresql://u:my-secret@h/d\nquery = SELECT '%s'\n"))
      assert.matches("there is no %%x", get(file "query = SELECT '%s%x'\n"))
      assert.matches("expansion_limit: give a whole number", get(file "query = SELECT '%s'\nexpansion_limit = x\n"))
      assert.matches("No such file", get(directory .. "/none.cf"))
      assert.matches("is not a file", get(directory))
    end)

    local function log_of(path)
      local mta = inside.start(inside.script("sql", "pgsql", {}, "", { test = "return 'loaded'" },
        ("load_map(%q)"):format(path)))
      local log = mta.owner:log()
      mta:close()
      return log
    end

    it("with a password that everybody may read is in the log", function()
      local text = "password = my-secret\nquery = SELECT '%s'\n"
      assert.matches("map%.cf has a password %(password%), and everybody may read or change it: chmod o%-rw",
        log_of(file(text, "644")))
      assert.is_nil(log_of(file(text, "644")):find("my-secret", 1, true))
      assert.is_nil(log_of(file(text, "640")):find("everybody", 1, true))
      assert.is_nil(log_of(file("query = SELECT '%s'\n", "644")):find("everybody", 1, true))
    end)

    it("with an unknown name is in the log with the name that was meant", function()
      assert.matches('unknown parameter \\"pasword\\"; did you mean \\"password\\"%?',
        log_of(file "pasword = s\nquery = SELECT '%s'\n"))
      assert.is_nil(log_of(file "encoding = UTF8\nquery = SELECT '%s'\n"):find("unknown", 1, true))
    end)
  end)

  it("uses TLS, and verifies the server, as sslmode says", function()
    assert.matches("^is_encrypted f is_encrypted t is_encrypted t nil|.*certificate verify failed.*|down$", run [[
      local function ask(mode, ca)
        return open { sslmode = mode, sslrootcert = ca and DIR .. "/tls/" .. ca, hosts = "127.0.0.1:" .. P.port,
          query = "SELECT '%s ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" }:get "is_encrypted"
      end
      return table.concat({ ask "disable", ask "require", ask("verify-full", "ca.pem") }, " "):gsub("true", "t"):gsub(
        "false", "f") .. " " .. show(ask("verify-full", "other/ca.pem"))
    ]])
  end)

  describe("connections", function()
    it("are as many as pool_size at most, and are used again", function()
      assert.equal("3|3|200", run [[
        local m = open({ query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND pg_sleep(0.001) IS NOT "
          .. "NULL AND '%s' <> ''" }, { pool_size = 3 })
        local list, most, count = {}, 0, 0
        for i = 1, 200 do list[i] = function() return m:get("k" .. i) end end
        for _, value in pairs(milter.all(list)) do
          most, count = math.max(most, tonumber(value)), count + 1
        end
        return show(most, m:info().connections, count)
      ]])
    end)

    it("end with the scripts that made them", function()
      local function others()
        return tonumber(db:psql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'":match "%d+")
      end
      local mta = start { open = [[
        local m = open { query = "SELECT '%s'" }
        kept = m
        return show(m:get "x")
      ]] }
      assert.equal("x", mta:step "open")
      assert.equal(1, others())
      mta:close()
      assert(process.wait_until(5, function() return others() == 0 end, "the end of the connection"))
    end)

    it("end when the map is closed; a lookup that waits fails, and later ones do, too", function()
      assert.equal("nil|closed|down / nil|closed|down", run [[
        local m = open { query = "SELECT pg_sleep(5), '%s'" }
        local task = milter.spawn(function() return show(m:get "x") end)
        milter.sleep(0.2)
        m:close()
        return task:wait() .. " / " .. show(m:get "y")
      ]])
    end)

    it("end when they have been idle for too long", function()
      assert.equal("1 1 0", run [[
        local core = require "moonmilter.core"
        local ask = require("moonmilter.runtime.wait").wrap(core.database.ask)
        local d = core.database.open("pgsql", { "user", "reader", "password", "reader's \\secret", "dbname", "mail" }, 1, 5, 0.3)
        core.database.servers(d, { "127.0.0.1", "127.0.0.1", tostring(P.port) })
        local rows = ask(d, { "SELECT 1" }, 5)
        local before = core.database.state(d).connections
        milter.sleep(0.6)
        return rows[1][1] .. " " .. before .. " " .. core.database.state(d).connections
      ]])
    end)

    it("end when the server has closed them while they were idle", function()
      local mta = start { get = [[
        kept = kept or open({ query = "SELECT '%s'" }, { pool_size = 1 })
        return show(kept:get "x")
      ]], look = [[
        milter.sleep(0.1)
        return show(kept:info().connections)
      ]] }
      finally(function() mta:close() end)
      assert.equal("x", mta:step "get")
      assert.equal("1", mta:step "look")
      db:psql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'"
      assert.equal("0", mta:step "look")
      assert.equal("x", mta:step "get")
    end)
  end)

  describe("a slow query", function()
    it("ends in time, and its answer reaches no other", function()
      assert.equal("nil|no answer within 0.3 s|timeout / quick|quick|quick", run [[
        local m = open({ query = "SELECT '%s' FROM pg_sleep(CASE '%s' WHEN 'slow' THEN 1 ELSE 0 END)" },
          { timeout = 0.3, pool_size = 1 })
        local first = show(m:get "slow")
        local second = m:get "quick"
        milter.sleep(1)
        return first .. " / " .. show(second, m:get "quick", m:get "quick")
      ]])
    end)

    it("never has another's answer: 1,000 at once, some cancelled, some late", function()
      assert.equal("0 wrong, 0 failed, true", run(server_faults.crowd(
        [[{ query = "SELECT value FROM many WHERE name = '%s' AND pg_sleep(random() / 500) IS NOT NULL" }]], 990)))
    end)
  end)

  describe("a server", function()
    local steps = server_faults.steps { key = "x",
      parameters = [[{ query = "SELECT '%s' || substr(pg_sleep(0)::text, 1, 0)" }]],
      slow = [[{ query = "SELECT '%s' FROM pg_sleep(0.6)" }]] }

    it("that stands still gives time-outs, then down at once, and is used again when it goes on", function()
      local mta = start(steps)
      finally(function() db:go_on() mta:close() end)
      server_faults.stand_still(mta, db, "x")
    end)

    it("that is killed is down at once, and is used again when it is back", function()
      local mta = start(steps)
      finally(function() mta:close() end)
      server_faults.kill(mta, db, "x")
    end)

    it("that is killed during a query is down; one that restarts answers after all or is down", function()
      local mta = start(steps)
      finally(function() mta:close() end)
      os.execute(("sh -c '(sleep 0.2; kill -9 %d) &'"):format(db.child:pid()))
      assert.matches("^nil|.*|down$", mta:step "slow")
      db.child:stop(true)
      db:start()
      assert.equal("x", mta:step "again")
      os.execute(("sh -c '(sleep 0.2; kill -2 %d) &'"):format(db.child:pid()))
      assert.matches("^nil|.*|down$", mta:step "slow")
      db.child:stop(true)
      db:start()
      assert.equal("x", mta:step "again")
    end)

    it("never holds up the loop", function()
      local mta = start { lag = inside.LAG:format [[
        local fast = open({ query = "SELECT value FROM many WHERE name = '%s'" }, { pool_size = 8 })
        local late = open({ query = "SELECT pg_sleep(5), '%s'" }, { timeout = 0.2 })
        local wide = open({ query = "SELECT value FROM many WHERE '%s' <> ''" })
        local dead = open({ query = "SELECT '%s'", hosts = "127.0.0.1:1 192.0.2.1" }, { timeout = 0.3 })
        local list = {}
        for i = 1, 100 do list[#list + 1] = function() return fast:get("key" .. i) end end
        for i = 1, 20 do list[#list + 1] = function() return late:get("key" .. i) end end
        for i = 1, 5 do list[#list + 1] = function() return wide:get("key" .. i) end end
        for i = 1, 20 do list[#list + 1] = function() return dead:get("key" .. i) end end
        milter.all(list)
      ]] }
      finally(function() mta:close() end)
      inside.check_lag(mta:step "lag")
    end)
  end)
end)
