--- sqlite: maps: questions to a file, asked in a thread. ROUNDS=10000 compares so many keys with postmap -q.
local generate = require "spec.map.postmap_tables"
local inside = require "spec.map.inside"

local ROUNDS = tonumber(os.getenv "ROUNDS" or 200)
local SEED = tonumber(os.getenv "SEED" or 20261130)

local directory

local function execute(command)
  assert(os.execute(command) == 0, command)
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function sql(path, statements)
  write(directory .. "/statements", statements)
  execute(("python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(open(sys.argv[2]).read()); "
    .. "c.commit()' %s %s/statements"):format(path, directory))
end

local function script(steps, load)
  return inside.script("sql", "sqlite", { directory = directory }, ("dbpath = %q,"):format(directory .. "/db"), steps,
    load)
end

local function run(body)
  return inside.run(script { test = body })
end

describe("sqlite:", function()
  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    execute("mkdir " .. directory)
    sql(directory .. "/db", [[
      CREATE TABLE users (name text, value text, other text);
      INSERT INTO users VALUES ('ann@example.com', 'OK', NULL), ('bob@example.com', 'one', 'two'),
        ('bob@example.com', NULL, ''), ('bob@example.com', 'three@x.example', 'four'), ('empty', '', NULL),
        ('o''brien\', 'quoted', NULL), ('a"b`c$$d', 'signs', NULL), ('%s', 'percent', NULL),
        ('zoë@example.com', 'Zoë', NULL), ('seven', 7, NULL);
      CREATE TABLE secrets (value text);
      INSERT INTO secrets VALUES ('hidden');
    ]])
  end)

  teardown(function()
    execute("rm -rf " .. directory)
  end)

  it("gives the first column of all rows joined by commas, without NULL and empty ones", function()
    assert.equal("OK|one,three@x.example|nil|nil|7|true", run [[
      local m = open { query = "SELECT value, other FROM users WHERE name = '%s'" }
      return show(m:get "ann@example.com", m:get "bob@example.com", m:get "empty", m:get "none", m:get "seven",
        m:get "zoë@example.com" == "Zoë")
    ]])
  end)

  it("takes every key as a value", function()
    assert.equal("quoted|signs|percent|0", run [[
      local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
      local found = 0
      for _, key in ipairs { "' OR '1'='1", "x'; DELETE FROM users; --", "\\' OR 1=1 -- ", "x\\", "'", "''", '" OR 1=1 --',
          "x' UNION SELECT value FROM secrets -- ", "/*", "*/ OR '", "\n' OR 1=1 --", "a\0b", "\235" } do
        local value, text = m:get(key)
        found = found + ((value or text) and 1 or 0)
      end
      return show(m:get "o'brien\\", m:get 'a"b`c$$d', m:get "%s", found)
    ]])
  end)

  it("cannot write, and says what the database says", function()
    assert.equal("attempt to write a readonly database bad_answer|near \"SELEC\": syntax error bad_answer|OK", run [[
      local w = open { query = "DELETE FROM users WHERE name = '%s'" }
      local s = open { query = "SELEC '%s'" }
      local m = open { query = "SELECT value FROM users WHERE name = '%s'" }
      local _, text, code = w:get "ann@example.com"
      local _, text2, code2 = s:get "a"
      return show(text .. " " .. code, text2 .. " " .. code2, m:get "ann@example.com")
    ]])
  end)

  it("gives up a query that takes too long, while the loop serves others", function()
    local text = run(inside.LAG:format([[
      local m = open({ query = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r "
        .. "WHERE '%s' = 'x' AND n < 0" }, { timeout = 0.3 })
      for _ = 1, 2 do
        local _, text, code = m:get "x"
        assert(code == "timeout", text)
      end
      local ok = open { query = "SELECT value FROM users WHERE name = '%s'" }
      assert(ok:get "ann@example.com" == "OK")
    ]]))
    inside.check_lag(text)
  end)

  it("sees a file that takes the place of another, and one that is missing", function()
    sql(directory .. "/first", "CREATE TABLE t (k text, v text); INSERT INTO t VALUES ('a', 'old');")
    sql(directory .. "/second", "CREATE TABLE t (k text, v text); INSERT INTO t VALUES ('a', 'new');")
    write(directory .. "/third", ("no database "):rep(1000))
    assert.equal("old|new|file is not a database bad_answer|down|new", run [[
      local m = open { query = "SELECT v FROM t WHERE k = '%s'", dbpath = DIR .. "/first" }
      local first = m:get "a"
      os.rename(DIR .. "/second", DIR .. "/first")
      local second = m:get "a"
      os.rename(DIR .. "/first", DIR .. "/kept")
      os.rename(DIR .. "/third", DIR .. "/first")
      local _, third, code = m:get "a"
      os.remove(DIR .. "/first")
      local _, _, down = m:get "a"
      os.rename(DIR .. "/kept", DIR .. "/first")
      milter.sleep(1)
      return show(first, second, third .. " " .. code, down, m:get "a")
    ]])
  end)

  it("refuses what it cannot use when it is opened", function()
    assert.equal("sqlite:: dbpath is missing; give the absolute path of the database|"
      .. "sqlite:: dbpath is db; give the absolute path of the database", run [[
      local _, a = pcall(module.open, "", { kind = "sqlite", parameters = { query = "SELECT '%s'" } })
      local _, b = pcall(module.open, "", { kind = "sqlite", parameters = { query = "SELECT '%s'", dbpath = "db" } })
      return show(a, b)
    ]])
  end)

  it("agrees with postmap -q", function()
    local r = generate.random.new(SEED)
    local words = { "a", "b", "A", "a@x.example", "b@x.example", "c@sub.x.example", "@x.example", "x.example", "é",
      "a'b", "a%b", "a b", "a@b@x.example", "a@", "@", "1" }
    local rows = {}
    for i = 1, 60 do
      rows[i] = ("('%s', '%s', %d)"):format(r:one_of(words):gsub("'", "''"), r:one_of(words):gsub("'", "''"), i % 5)
    end
    sql(directory .. "/cmp", "CREATE TABLE t (k text, v text, n integer); INSERT INTO t VALUES "
      .. table.concat(rows, ", "))
    local queries = { "SELECT v FROM t WHERE k = '%s'", "SELECT v FROM t WHERE k = '%s' AND n = 1",
      "SELECT n FROM t WHERE k = '%s'", "SELECT v FROM t WHERE k = '%u@%d'", "SELECT v FROM t WHERE k = '%d'",
      "SELECT v FROM t WHERE k LIKE '%u%%' ORDER BY n, v",
      "SELECT '%1-%2' FROM t WHERE k = '%S' LIMIT 1", "SELECT v || '%%' FROM t WHERE k = '%U'" }
    local formats = { "%s", "x:%s", "[%d]", "%u", "%S=%s", "%U %D", "%1.%s", "100%% %s" }
    local count, differences, hits = math.ceil(ROUNDS / #words), {}, 0
    write(directory .. "/main.cf", "compatibility_level = 3.6\nsmtputf8_enable = no\n")
    write(directory .. "/keys", table.concat(words, "\n") .. "\n")
    for i = 1, count do
      -- without expansion_limit: where that is exceeded, postmap ends, whatever keys follow
      write(directory .. "/cf" .. i, ("dbpath = %s/cmp\nquery = %s\nresult_format = %s\n%s"):format(directory,
        r:one_of(queries), r:one_of(formats), r:chance(20) and "domain = x.example\n" or ""))
    end
    local said = run(([[
      local out = assert(io.open(DIR .. "/ours", "wb"))
      for i = 1, %d do
        local m = load_map(DIR .. "/cf" .. i)
        for key in io.lines(DIR .. "/keys") do
          local value = m:get(key:lower())
          if value then out:write(i, " ", key, "\t", value, "\n") end
        end
        m:close()
      end
      out:close()
      return "done"
    ]]):format(count))
    assert.equal("done", said)
    local ours = {}
    for line in io.lines(directory .. "/ours") do
      ours[line] = true
    end
    for i = 1, count do
      local pipe = io.popen(("postmap -c %s -q - sqlite:%s/cf%d <%s/keys 2>/dev/null"):format(directory, directory, i,
        directory))
      for line in pipe:lines() do
        hits = hits + 1
        line = i .. " " .. line
        if not ours[line] then
          differences[#differences + 1] = "Postfix only: " .. line
        end
        ours[line] = nil
      end
      pipe:close()
    end
    for line in pairs(ours) do
      differences[#differences + 1] = "ours only: " .. line
    end
    if os.getenv "ROUNDS" then
      io.stderr:write(("sqlite: %d tables, %d keys, %d of them there; %d differences\n"):format(count, count * #words,
        hits, #differences))
    end
    assert.equal("", table.concat(differences, "\n", 1, math.min(5, #differences)),
      #differences .. " differences")
    assert.truthy(hits > count)
  end)
end)
