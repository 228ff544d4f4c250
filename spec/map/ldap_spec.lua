local databases = require "spec.map.databases"
local inside = require "spec.map.inside"
local process = require "spec.support.process"
local server_faults = require "spec.map.server_faults"

local db

local PARAMETERS = [[ server_host = "ldap://127.0.0.1:" .. P.port, bind_dn = "cn=reader,dc=example",
  bind_pw = "reader-secret", search_base = "ou=people,dc=example", result_attribute = "description", ]]

local function script(steps)
  return inside.script("ldap", "ldap", { port = db.port, tls_port = db.tls_port, directory = db.directory },
    PARAMETERS, steps)
end

local function start(steps) return inside.start(script(steps)) end

local function run(body) return inside.run(script { test = body }) end

local function person(uid, lines)
  return ("dn: uid=%s,ou=people,dc=example\nobjectClass: inetOrgPerson\nuid: %s\ncn: x\nsn: x\n%s\n"):format(uid, uid,
    lines)
end

describe("ldap:", function()
  setup(function()
    db = databases.ldap()
    local entries = { [[
dn: ou=people,dc=example
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example
objectClass: organizationalUnit
ou: groups

dn: cn=all,ou=groups,dc=example
objectClass: groupOfNames
objectClass: labeledURIObject
cn: all
description: the-group
member: uid=ann,ou=people,dc=example
member: uid=bob,ou=people,dc=example
member: uid=gone,ou=people,dc=example
labeledURI: ldap:///ou=people,dc=example?description?one?(uid=star)

dn: cn=loop,ou=groups,dc=example
objectClass: groupOfNames
cn: loop
member: cn=loop,ou=groups,dc=example
]], person("ann", "mail: ann@example.com\ndescription: OK"),
      person("bob", "mail: bob@example.com\ndescription: one\ndescription: two@x.example\nstreet: extra"),
      person("star", "mail: s*r(x)\\y@example.com\ndescription: quoted"),
      person("none", "mail: none@example.com"),
      person("zoe", "street: zoë\ndescription: Zoë") }
    for i = 1, 500 do
      entries[#entries + 1] = person("key" .. i, "description: value" .. i)
    end
    db:add(table.concat(entries, "\n"))
  end)
  teardown(function() db:close() end)

  describe("a lookup", function()
    it("gives the values of the attributes joined by commas", function()
      assert.equal("OK|one,two@x.example|nil|nil / one,two@x.example,extra|x.example", run [[
        local m = open { query_filter = "(mail=%s)" }
        local n = open { query_filter = "(mail=%s)", result_attribute = "description, street" }
        local o = open { query_filter = "(mail=%s)", result_format = "%d" }
        return show(m:get "ann@example.com", m:get "bob@example.com", m:get "none@example.com", m:get "nobody@example.com")
          .. " / " .. show(n:get "bob@example.com", o:get "bob@example.com")
      ]])
    end)

    it("fills in the parts of the key, also into the base, which then may not exist", function()
      assert.equal("OK|nil|OK|nil|nil|No such object|bad_answer", run [[
        local m = open { query_filter = "(uid=%u)", domain = "example.com" }
        local n = open { query_filter = "(uid=ann)", search_base = "ou=%u,dc=%1" }
        local o = open { query_filter = "(uid=%s)", search_base = "ou=none,dc=example" }
        return show(m:get "ann@example.com", m:get "ann@example.org", n:get "people@example", n:get "none@example",
          o:get "ann")
      ]])
    end)

    it("searches a base alone, one level, or all", function()
      assert.equal("nil|nil|OK / nil|OK|OK / OK|nil|OK", run [[
        local results = {}
        for i, base in ipairs { "dc=example", "ou=people,dc=example", "uid=ann,ou=people,dc=example" } do
          local row = {}
          for j, scope in ipairs { "base", "one", "sub" } do
            row[j] = tostring((open({ query_filter = "(uid=%s)", search_base = base, scope = scope }):get "ann"))
          end
          results[i] = table.concat(row, "|")
        end
        return table.concat(results, " / ")
      ]])
    end)

    it("follows DNs and URLs in special attributes, unless an entry has a terminal one", function()
      assert.equal("the-group,OK,one,two@x.example,quoted|OK,one,two@x.example,quoted|all"
        .. "|nil|entries name each other too deeply (recursion_limit)|bad_answer", run [[
        local function group(more)
          more.query_filter, more.search_base = "(cn=%s)", "ou=groups,dc=example"
          more.special_result_attribute = "member, labeledURI"
          return open(more)
        end
        local loop = group { recursion_limit = 20 }
        return show(group({}):get "all", group({ result_attribute = "o", leaf_result_attribute = "description" }):get "all",
          group({ terminal_result_attribute = "cn" }):get "all", loop:get "loop")
      ]])
    end)

    it("fails when there are more results or entries than allowed", function()
      assert.equal("OK|nil|more than 1 results (expansion_limit)|bad_answer / nil|Size limit exceeded|bad_answer", run [[
        local m = open { query_filter = "(mail=%s)", expansion_limit = 1 }
        local n = open { query_filter = "(|(uid=ann)(uid=%s))", size_limit = 1 }
        return show(m:get "ann@example.com", m:get "bob@example.com") .. " / " .. show(n:get "bob")
      ]])
    end)

    it("speaks UTF-8, and finds nothing for a key that is not", function()
      assert.equal("true|nil|nil", run [[
        local m = open { query_filter = "(street=%s)" }
        return show(m:get "zoë" == "Zoë", m:get "zo\235", m:get "ann\0")
      ]])
    end)

    it("works over a unix socket, over a name, and goes to the next server when one is dead", function()
      assert.equal("OK|OK|OK|OK", run [[
        local function get(host, port)
          return (open({ query_filter = "(uid=%s)", server_host = host, server_port = port }):get "ann")
        end
        local path = (DIR .. "/sock"):gsub("/", "%%2F")
        return show(get("ldapi://" .. path), get("localhost:" .. P.port), get("127.0.0.1:1, 127.0.0.1:" .. P.port),
          get("127.0.0.1", P.port))
      ]])
    end)
  end)

  it("takes every key as a value", function()
    assert.equal("quoted|0|nil", run [[
      local m = open { query_filter = "(mail=%s)" }
      local n = open { query_filter = "(uid=ann)", search_base = "ou=%u,dc=example" }
      local found = 0
      for _, key in ipairs { "*", "a*", "*)(uid=*", "ann@example.com)(|(uid=*", ")", "(", "\\2a", "\\", "x)(objectClass=*",
          "*@example.com", "&", "|" } do
        local value, text = m:get(key)
        found = found + ((value or text) and 1 or 0)
      end
      return show(m:get "s*r(x)\\y@example.com", found, n:get "people,dc=example@x" or n:get "x+ou=people@x")
    ]])
  end)

  describe("a failure", function()
    it("of the password is down, and no secret is in texts", function()
      local text = run [[
        local m = open { query_filter = "(mail=%s)", bind_pw = "wrong-secret" }
        local a, b = show(m:get "x"), show(m:get "y")
        return a .. " / " .. b .. " / " .. m:info().error
      ]]
      assert.matches("^nil|down .*Invalid credentials.*|down / nil|.*the next try is in .*|down / ", text)
      assert.is_nil(text:find("wrong-secret", 1, true))
    end)

    it("is a filter that is none, or a base that may not be read; the connection goes on", function()
      assert.equal("nil|query_filter is not a filter (RFC 4515)|bad_answer|1 / nil|Insufficient access|bad_answer", run [[
        local m = open { query_filter = "(mail=%s" }
        local n = open { query_filter = "(uid=%s)", bind = "no" }
        return show(m:get "x") .. "|" .. m:info().connections .. " / " .. show(n:get "ann")
      ]])
    end)

    it("is an answer of more than 1 MiB", function()
      local lines = {}
      for i = 1, 40 do
        lines[i] = person("large" .. i, "title: large\ndescription: " .. ("x"):rep(40000))
      end
      db:add(table.concat(lines, "\n"))
      assert.equal("nil|the answer is larger than 1 MiB|bad_answer / 40000", run [[
        local m = open { query_filter = "(title=%s)" }
        local n = open { query_filter = "(uid=%s)" }
        return show(m:get "large") .. " / " .. #n:get "large7"
      ]])
    end)

    it("is what is not done: SASL, referrals, TLS inside TLS", function()
      assert.equal("SASL is not, referrals are not, write one of both, for all servers", run [[
        local function why(more)
          local _, text = pcall(open, more)
          return text:match "SASL is not" or text:match "referrals are not" or text:match "write one of both"
            or text:match "for all servers"
        end
        return table.concat({ why { bind = "sasl" }, why { chase_referrals = true },
          why { server_host = "ldaps://h", start_tls = "yes" }, why { server_host = "ldaps://a ldap://b" } }, ", ")
      ]])
    end)
  end)

  describe("TLS", function()
    local ASK = [[
      local tls = DIR .. "/tls/"
      local function ask(parameters)
        parameters.query_filter = "(uid=%s)"
        local value, text, code = open(parameters):get "ann"
        return value or code .. ": " .. text
      end
    ]]

    it("begins at once with ldaps://, or with start_tls, with a bind or without one", function()
      assert.equal("OK OK nil|Insufficient access|bad_answer", run(ASK .. [[
        local secured = "ldaps://127.0.0.1:" .. P.tls_port
        return ask { server_host = secured } .. " " .. ask { start_tls = "yes" } .. " "
          .. show(open { query_filter = "(uid=%s)", start_tls = "yes", bind = "no" }:get "ann")
      ]]))
    end)

    it("verifies the server's name and who signed it, with tls_require_cert", function()
      assert.matches("^OK OK down: .*TLS: .* down: .*TLS: .* down: .*TLS: ", run(ASK .. [[
        local function verified(ca, name, start)
          return ask { server_host = start and name .. ":" .. P.port or "ldaps://" .. name .. ":" .. P.tls_port,
            start_tls = start, tls_require_cert = "yes", tls_ca_cert_file = tls .. ca }
        end
        return table.concat({ verified("ca.pem", "127.0.0.1"), verified("ca.pem", "127.0.0.1", "yes"),
          verified("other/ca.pem", "127.0.0.1"), verified("other/ca.pem", "127.0.0.1", "yes"),
          verified("ca.pem", "127.0.0.2", "yes") }, " ")
      ]]))
    end)

    it("is down with a file that is missing, and with a port that speaks none", function()
      assert.matches("^down: .*TLS: .* down: .*TLS: ", run(ASK .. [[
        return ask { start_tls = "yes", tls_ca_cert_file = "/nonexistent.pem", tls_require_cert = "yes" } .. " "
          .. ask { server_host = "ldaps://127.0.0.1:" .. P.port }
      ]]))
    end)

    it("gives long answers, whole", function()
      assert.equal("true", run(ASK .. [[
        local wide = { query_filter = "(|(uid=%s)(uid=key*))" }
        local plain = open(wide):get "x"
        wide.start_tls = "yes"
        return show(#plain > 4000 and open(wide):get "x" == plain)
      ]]))
    end)
  end)

  describe("connections", function()
    it("are as many as pool_size at most, are used again, and end with the scripts and with the map", function()
      local function descriptors()
        return #process.run(("ls /proc/%d/fd"):format(db.child:pid())):gsub("[^\n]", "")
      end
      local before = descriptors()
      local mta = start { many = [[
        kept = open({ query_filter = "(uid=%s)" }, { pool_size = 3 })
        local list, count = {}, 0
        for i = 1, 300 do list[i] = function() return kept:get("key" .. i) end end
        for i, value in pairs(milter.all(list)) do count = count + (value == "value" .. i and 1 or 0) end
        return show(kept:info().connections, count)
      ]], close = [[
        kept:close()
        return show(kept:get "ann")
      ]], again = [[
        kept = open { query_filter = "(uid=%s)" }
        return show(kept:get "ann")
      ]] }
      assert.equal("3|300", mta:step "many")
      assert.equal(before + 3, descriptors())
      assert.equal("nil|closed|down", mta:step "close")
      assert.equal("OK", mta:step "again")
      mta:close()
      assert(process.wait_until(5, function() return descriptors() == before end, "the end of the connections"))
    end)
  end)

  it("never gives another's answer: 1,000 at once, some cancelled", function()
    assert.equal("0 wrong, 0 failed, true", run(server_faults.crowd([[{ query_filter = "(uid=%s)" }]], 500)))
  end)

  describe("a server", function()
    local steps = server_faults.steps { parameters = [[{ query_filter = "(uid=%s)" }]], key = "ann" }

    it("that stands still gives time-outs, then down at once, and is used again when it goes on", function()
      local mta = start(steps)
      finally(function() db:go_on() mta:close() end)
      server_faults.stand_still(mta, db, "OK")
    end)

    it("that is killed is down at once, and is used again when it is back", function()
      local mta = start(steps)
      finally(function() mta:close() end)
      server_faults.kill(mta, db, "OK")
    end)

    it("that is killed during a search is down, and is used again when it is back", function()
      local mta = start(steps)
      finally(function() mta:close() end)
      assert.equal("OK", mta:step "slow")
      db:stop()
      os.execute(("sh -c '(sleep 0.3; kill -9 %d) &'"):format(db.child:pid()))
      assert.matches("^nil|.*|down$", mta:step "slow")
      db.child:stop(true)
      db:start()
      assert.equal("OK", mta:step "again")
    end)

    it("never holds up the loop", function()
      local mta = start { lag = inside.LAG:format [[
        local fast = open({ query_filter = "(uid=%s)" }, { pool_size = 8 })
        local wide = open { query_filter = "(|(uid=%s)(uid=key*))" }
        local dead = open({ query_filter = "(uid=%s)", server_host = "127.0.0.1:1 192.0.2.1" }, { timeout = 0.3 })
        local list = {}
        for i = 1, 200 do list[#list + 1] = function() return fast:get("key" .. i) end end
        for i = 1, 5 do list[#list + 1] = function() return wide:get("key" .. i) end end
        for i = 1, 20 do list[#list + 1] = function() return dead:get("key" .. i) end end
        milter.all(list)
      ]] }
      finally(function() mta:close() end)
      inside.check_lag(mta:step "lag")
    end)
  end)
end)
