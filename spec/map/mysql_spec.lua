local databases = require "spec.map.databases"
local inside = require "spec.map.inside"
local process = require "spec.support.process"
local server_faults = require "spec.map.server_faults"

local db

local PARAMETERS = [[ hosts = "127.0.0.1:" .. P.port, user = "reader", password = "reader's \\secret", dbname = "mail", ]]

-- A server of MySQL's protocol whose greeting does not offer TLS; it takes any password, and no question.
local PLAIN_SERVER = [[
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
greeting = (b"\x0a10.11.0-MariaDB\0" + b"\1\0\0\0" + b"saltsalt\0" + b"\xff\xf7" + b"\x2d\2\0" + b"\xff\x81" + b"\x15"
  + b"\0" * 10 + b"saltsaltsalt\0" + b"mysql_native_password\0")
while True:
  client, _ = listener.accept()
  client.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
  client.recv(1000)
  client.sendall(b"\7\0\0\2\0\0\0\2\0\0\0")
  client.recv(1000)
  client.close()
]]

local function script(steps)
  return inside.script("sql", "mysql", { port = db.port, directory = db.directory }, PARAMETERS, steps)
end

local function start(steps) return inside.start(script(steps)) end

local function run(body) return inside.run(script { test = body }) end

describe("mysql:", function()
  setup(function()
    db = databases.mysql()
    db:mysql [[
      CREATE TABLE users (name varchar(100), value varchar(100), other varchar(100));
      INSERT INTO users VALUES ('ann@example.com', 'OK', NULL), ('bob@example.com', 'one', 'two'),
        ('bob@example.com', NULL, ''), ('bob@example.com', 'three@x.example', 'four'), ('empty', '', NULL),
        ('o''brien\\', 'quoted', NULL), ('a"b`c$$d', 'signs', NULL), ('%s', 'percent', NULL),
        ('zoë@example.com', 'Zoë', NULL);
      CREATE TABLE many (name varchar(20) PRIMARY KEY, value varchar(20));
      INSERT INTO many SELECT concat('key', seq), concat('value', seq) FROM seq_1_to_2000;
      CREATE TABLE secrets (value text);
      INSERT INTO secrets VALUES ('hidden');
      GRANT SELECT ON mail.users TO 'reader'@'%';
      GRANT SELECT ON mail.many TO 'reader'@'%';
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

    it("fills in the parts of the key, and can be written in the old form", function()
      assert.equal("bob at example.com, com.example: one|nil|OK", run [[
        local m = open { query = "SELECT concat('%u at %d, %1.%2: ', value) FROM users WHERE name = '%u@%d' AND other = 'two'" }
        local n = open { table = "users", select_field = "value", where_field = "name" }
        return show(m:get "bob@example.com", m:get "bob", n:get "ann@example.com")
      ]])
    end)

    it("speaks UTF-8, and finds nothing for a key that is not", function()
      assert.equal("true|nil|nil", run [[
        local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
        return show(m:get "zoë@example.com" == "Zoë", m:get "zo\235@example.com", m:get "ann@example.com\0")
      ]])
    end)

    it("works over a unix socket, and goes to the next server when one is dead", function()
      assert.equal("OK|OK|nil", run [[
        local query = "SELECT value FROM users WHERE name = '%s'"
        local a = open { query = query, hosts = "unix:" .. DIR .. "/sock" }
        local b = open { query = query, hosts = { "127.0.0.1:1", "unix:" .. DIR .. "/none", "inet:127.0.0.1:" .. P.port } }
        return show(a:get "ann@example.com", b:get "ann@example.com", b:get "none")
      ]])
    end)
  end)

  describe("quoting", function()
    local ATTACKS = [[
      local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
      local found = 0
      for _, key in ipairs { "' OR '1'='1", "x'; DELETE FROM users; --", "\\' OR 1=1 -- ", "x\\", "'", "''", '" OR 1=1 #',
          "x' UNION SELECT value FROM secrets -- ", "\\'; SELECT value FROM secrets -- ", "/*", "*/ OR '", "\\\\' OR 1=1 -- ",
          "\n' OR 1=1 #", "\26'", "`" } do
        local value, text = m:get(key)
        found = found + ((value or text) and 1 or 0)
      end
      return show(m:get "o'brien\\", m:get 'a"b`c$$d', m:get "%s", found)
    ]]

    it("takes every key as a value", function()
      assert.equal("quoted|signs|percent|0", run(ATTACKS))
    end)

    it("does so where backslashes do not escape, too", function()
      db:mysql "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'"
      finally(function() db:mysql "SET GLOBAL sql_mode = DEFAULT" end)
      assert.equal("quoted|signs|percent|0", run(ATTACKS))
    end)

    it("is required: a query with a template outside of single quotes is refused", function()
      assert.equal("", run [[
        local wrong = {}
        for _, query in ipairs { "SELECT a FROM t WHERE a = %s", 'SELECT "%s"', "SELECT `%s`", "SELECT '%s' # %s",
            "SELECT '%s' -- %s", "SELECT /* '%s' */ 1", "SELECT '%s", "SELECT '\\'%s", "SELECT 'a\\\\' %s ''" } do
          local ok, text = pcall(open, { query = query })
          if ok or not text:find "query" then wrong[#wrong + 1] = query end
        end
        for _, query in ipairs { "SELECT '%s'", "SELECT 'a''%s'", "SELECT 'it\\'s %s'", "SELECT \"it's\", '%s'" } do
          if not pcall(open, { query = query }) then wrong[#wrong + 1] = query end
        end
        return table.concat(wrong, " and ")
      ]]:gsub("^%(empty%)$", ""))
    end)

    it("sends one statement for each key", function()
      assert.matches("^nil|You have an error in your SQL syntax.*|bad_answer$", run [[
        return show(open({ query = "SELECT '%s'; SELECT 2" }):get "x")
      ]])
    end)
  end)

  describe("a failure", function()
    it("of the query has the server's words, and the connection goes on", function()
      assert.matches("^nil|SELECT command denied to user .*|bad_answer / nil|the query gives no rows; write a SELECT|bad_answer"
        .. " / nil|.*Subquery returns more than 1 row|bad_answer / x|1$", run [[
        local m = open({ query = "SELECT value FROM secrets WHERE value = '%s'" })
        local n = open({ query = "SELECT IF('%s' = 'many', (SELECT value FROM many), 'x')" })
        return show(m:get "x") .. " / " .. show(open({ query = "SET @a = '%s'" }):get "x") .. " / " .. show(n:get "many")
          .. " / " .. show(n:get "x", n:info().connections)
      ]])
    end)

    it("is an answer of more than 1 MiB, of one row or of endless ones", function()
      assert.equal("nil|the answer is larger than 1 MiB|bad_answer / nil|the answer is larger than 1 MiB|bad_answer / 1000000",
        run [[
        local m = open({ query = "SELECT repeat('x', '%s')" }, { timeout = 8 })
        local n = open({ query = "SELECT a.value FROM many a, many b, many c WHERE '%s' <> ''" }, { timeout = 8 })
        return show(m:get "2000000") .. " / " .. show(n:get "x") .. " / " .. #m:get "1000000"
      ]])
    end)

    it("of the password is down, and no secret is in texts", function()
      local text = run [[
        local m = open { query = "SELECT '%s'", password = "wrong-secret" }
        local a, b = show(m:get "x"), show(m:get "y")
        return a .. " / " .. b .. " / " .. m:info().error
      ]]
      assert.matches("^nil|.*Access denied for user.*|down / nil|.*the next try is in .*|down / ", text)
      assert.is_nil(text:find("wrong-secret", 1, true))
    end)

    it("is a switch of TLS that is neither yes nor no", function()
      assert.equal("mysql:: tls_verify_cert: give yes or no / mysql:: tls: give yes or no", run [[
        local _, first = pcall(open, { query = "SELECT '%s'", tls_verify_cert = "maybe" })
        local _, second = pcall(open, { query = "SELECT '%s'", tls = "1" })
        return first .. " / " .. second
      ]])
    end)
  end)

  describe("TLS", function()
    local ASK = [[
      local tls = DIR .. "/tls/"
      local function ask(parameters)
        parameters.query = "SELECT concat('%s ', variable_value <> '') FROM information_schema.session_status "
          .. "WHERE variable_name = 'Ssl_cipher'"
        local value, text, code = open(parameters):get "is_encrypted"
        return value or code .. ": " .. text
      end
    ]]

    it("is used when a parameter asks for it, and never else", function()
      assert.equal("is_encrypted 0, is_encrypted 1, is_encrypted 1, is_encrypted 0", run(ASK .. [[
        return table.concat({ ask {}, ask { tls = "yes" }, ask { tls_CAfile = tls .. "ca.pem" },
          ask { tls_verify_cert = "no" } }, ", ")
      ]]))
    end)

    it("verifies the server's name and who signed it, with tls_verify_cert", function()
      assert.matches("^is_encrypted 1 / down: .*SSL.* / down: .*SSL", run(ASK .. [[
        local function verified(ca, name)
          return ask { hosts = name .. ":" .. P.port, tls_verify_cert = "yes", tls_CAfile = tls .. ca }
        end
        return verified("ca.pem", "localhost") .. " / " .. verified("other/ca.pem", "localhost") .. " / "
          .. verified("ca.pem", "127.0.0.2")
      ]]))
    end)

    it("is down with a file that is missing, and with a server that offers none", function()
      local port, path = process.free_port(), db.directory .. "/plain.log"
      local server = process.start({ "python3", "-c", PLAIN_SERVER, tostring(port) }, { output = path })
      finally(function() server:stop() end)
      server:wait_text("listens", 10)
      assert.matches("^down: .*SSL.* / down: .*offers no TLS.* / down: .*SSL is required.* / down: .*Lost", run(ASK .. ([[
        local hosts = "127.0.0.1:%d"
        return ask { tls_CAfile = "/nonexistent.pem" } .. " / " .. ask { tls = "yes", hosts = hosts } .. " / "
          .. ask { tls_verify_cert = "yes", hosts = hosts } .. " / " .. ask { hosts = hosts }
      ]]):format(port)))
    end)
  end)

  describe("connections", function()
    it("are as many as pool_size at most, and are used again", function()
      assert.equal("3|200", run [[
        local m = open({ query = "SELECT '%s' FROM many WHERE name = 'key1' AND sleep(0.001) = 0" }, { pool_size = 3 })
        local list, count = {}, 0
        for i = 1, 200 do list[i] = function() return m:get("k" .. i) end end
        for i, value in pairs(milter.all(list)) do count = count + (value == "k" .. i and 1 or 0) end
        return show(m:info().connections, count)
      ]])
    end)

    it("end with the scripts that made them, and when the map is closed", function()
      local function others()
        return db:mysql "SELECT id, command, time, info FROM information_schema.processlist WHERE user = 'reader'"
      end
      local mta = start { open = [[
        kept = open { query = "SELECT '%s'" }
        local m = open { query = "SELECT concat(sleep(5), '%s')" }
        local task = milter.spawn(function() return show(m:get "x") end)
        milter.sleep(0.2)
        m:close()
        return show(kept:get "x") .. " / " .. task:wait()
      ]] }
      assert.equal("x / nil|closed|down", mta:step "open")
      mta:close()
      process.wait_until(30, function() return others() == "" end, function() -- one sleeps for 5 s
        return "the end of the connections: " .. others()
      end)
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
      db:mysql "KILL USER reader"
      assert.equal("0", mta:step "look")
      assert.equal("x", mta:step "get")
    end)
  end)

  describe("a slow query", function()
    it("ends in time, and its answer reaches no other", function()
      assert.equal("nil|no answer within 0.3 s|timeout / quick|quick|quick", run [[
        local m = open({ query = "SELECT '%s' FROM many WHERE name = 'key1' AND sleep(IF('%s' = 'slow', 1, 0)) = 0" },
          { timeout = 0.3, pool_size = 1 })
        local first = show(m:get "slow")
        local second = m:get "quick"
        milter.sleep(1)
        return first .. " / " .. show(second, m:get "quick", m:get "quick")
      ]])
    end)

    it("never has another's answer: 1,000 at once, some cancelled, some late", function()
      assert.equal("0 wrong, 0 failed, true", run(server_faults.crowd(
        [[{ query = "SELECT value FROM many WHERE name = '%s' AND sleep(rand() / 500) = 0" }]], 990)))
    end)
  end)

  describe("a server", function()
    local steps = server_faults.steps { parameters = [[{ query = "SELECT '%s'" }]], key = "x",
      slow = [[{ query = "SELECT IF(sleep(0.6) = 0, '%s', '')" }]] }

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

    it("that is killed, or restarts, during a query is down, and is used again", function()
      local mta = start(steps)
      finally(function() mta:close() end)
      for _, signal in ipairs { "KILL", "TERM" } do
        os.execute(("sh -c '(sleep 0.2; kill -%s %d) &'"):format(signal, db.child:pid()))
        assert.matches("^nil|.*|down$", mta:step "slow")
        db.child:stop(true)
        db:start()
        assert.equal("x", mta:step "again")
      end
    end)

    it("never holds up the loop", function()
      local mta = start { lag = inside.LAG:format [[
        local fast = open({ query = "SELECT value FROM many WHERE name = '%s'" }, { pool_size = 8 })
        local late = open({ query = "SELECT sleep(5), '%s'" }, { timeout = 0.2 })
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
