-- The same files of parameters and keys give what Debian's `postmap -q` gives: pgsql:, mysql: and ldap: against real
-- servers. Where we differ on purpose stands in DIFFERENCES, with its reason.
local databases = require "spec.map.databases"
local inside = require "spec.map.inside"
local process = require "spec.support.process"

local postmap = process.which "postmap"

-- What the servers have: value of a name, or several.
local ROWS = {
  { "ann@example.com", "OK" }, { "bob@example.com", "one" }, { "bob@example.com", "two@x.example" },
  { "user@sub.example.org", "sub" }, { "user", "plain" }, { "example.com", "domain" }, { "@example.com", "any" },
  { "o'brien@example.com", "quoted" }, { 'a"b', "double" }, { "back\\slash", "back" }, { "50%", "percent" },
  { "two words", "blank" }, { "x,y", "comma" }, { "list", "a@l.example" }, { "list", "b@l.example" }, { "list", "c" },
  { "at", "@no.user" }, { "end", "user@" }, { "many@@at.example", "at at" }, { "a.b.c", "labels" }, { "star*", "star" },
  { "(paren)", "paren" }, { "zoë@example.com", "Zoë" },
}

local function keys()
  local list = { "nobody", "nobody@example.com", "@", "a@", "@b", "%s", "'", "''", "\\", "\\'", "' OR '1'='1", "*", ")",
    "a..b", "user@a..b", "user@.example.org", "user@example.org.", "x'; SELECT 1", "*)(uid=*", "ANN@EXAMPLE.COM",
    "Bob@Example.Com", "a@b@example.com", "user@org", "user@b.c.example.org", "%u@%d",
    '"', "`", "#", ";", "$1", "--", "zo\235@x" }
  for _, row in ipairs(ROWS) do
    list[#list + 1] = row[1]
    list[#list + 1] = row[1] .. "x"
    list[#list + 1] = row[1]:match "^[^@]*"
    list[#list + 1] = "user@" .. row[1]:gsub("[@ ,]", ".")
  end
  local kept = {}
  for _, key in ipairs(list) do
    if key ~= "" and not key:find "^%s" then kept[#kept + 1] = key end
  end
  return kept
end

-- Of all kinds; query: how the kind asks for a name.
local VARIANTS = {
  "", "result_format = [%s]", "result_format = %u", "result_format = %d", "result_format = %S:%s",
  "result_format = %U at %D", "result_format = %1.%2 %s", "domain = example.com",
  "domain = !example.com, sub.example.org example.com", "domain = EXAMPLE.com", "expansion_limit = 1",
  "expansion_limit = 2", "result_format = %s%%", "QUERY %u", "QUERY %u@%d",
  "QUERY %d", "QUERY @%d", "QUERY %u@%2.%1", "QUERY %3.%2.%1", "QUERY %S", "QUERY %U@%D", "QUERY %%s",
}

local KINDS = {
  pgsql = {
    module = "sql", open = databases.pgsql,
    fill = function(db, rows)
      db:psql("CREATE TABLE t (name text, value text); GRANT SELECT ON t TO reader; INSERT INTO t VALUES " .. rows)
    end,
    parameters = "hosts = 127.0.0.1:PORT\nuser = reader\npassword = reader's \\secret\ndbname = mail\n",
    query = "query = SELECT value FROM t WHERE name = '%s' ORDER BY value\n",
    more = { "OLD table = t\nselect_field = value\nwhere_field = name", "OLD table = t\nselect_field = value\n"
      .. "where_field = name\nadditional_conditions = AND value <> 'OK' ORDER BY value",
      "OLD query = SELECT value, name, NULL, '' FROM t WHERE name = '%s' ORDER BY value",
      "OLD query = SELECT value\n  FROM t\n# comment\n\n  WHERE name = '%s'  \n ORDER BY value" },
  },
  mysql = {
    module = "sql", open = databases.mysql,
    fill = function(db, rows)
      db:mysql("CREATE TABLE t (name varchar(99), value varchar(99)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; "
        .. "GRANT SELECT ON mail.t TO 'reader'@'%'; INSERT INTO t VALUES " .. rows:gsub("\\", "\\\\"))
    end,
    parameters = "hosts = 127.0.0.1:PORT\nuser = reader\npassword = reader's \\secret\ndbname = mail\noption_group =\n",
    query = "query = SELECT value FROM t WHERE name = '%s' ORDER BY value\n",
    more = { "OLD table = t\nselect_field = value\nwhere_field = name",
      "OLD query = SELECT value, name, NULL, '' FROM t WHERE name = '%s' ORDER BY value" },
  },
  ldap = {
    module = "ldap", open = databases.ldap,
    fill = function(db)
      local entries, of = { "dn: ou=t,dc=example\nobjectClass: organizationalUnit\nou: t\n" }, {}
      for _, row in ipairs(ROWS) do
        of[row[1]] = of[row[1]] or { #entries }
        if #of[row[1]] == 1 then entries[#entries + 1] = "" end
        table.insert(of[row[1]], "description: " .. row[2] .. "\n")
      end
      for name, lines in pairs(of) do
        entries[lines[1] + 1] = ("dn: cn=e%d,ou=t,dc=example\nobjectClass: person\ncn: e%d\nsn: %s\n%s"):format(
          lines[1], lines[1], name, table.concat(lines, "", 2))
      end
      entries[#entries + 1] = "dn: cn=group,ou=t,dc=example\nobjectClass: groupOfNames\nobjectClass: labeledURIObject\n"
        .. "cn: group\nmember: cn=e1,ou=t,dc=example\nmember: cn=e2,ou=t,dc=example\ndescription: group\n"
        .. "labeledURI: ldap:///ou=t,dc=example?description?one?(sn=user)\n"
      db:add(table.concat(entries, "\n"))
    end,
    parameters = "server_host = ldap://127.0.0.1:PORT\nversion = 3\nbind_dn = cn=reader,dc=example\n"
      .. "bind_pw = reader-secret\nresult_attribute = description\nsearch_base = ou=t,dc=example\n",
    query = "query_filter = (sn=%s)\n",
    more = { "OLD query_filter = (|(sn=%s)(cn=%s))", "OLD query_filter = (cn=%s)\nsearch_base = cn=%u,ou=t,dc=example",
      "OLD query_filter = (|(sn=%s)(cn=group))\nspecial_result_attribute = member, labeledURI",
      "OLD query_filter = (|(sn=%s)(cn=group))\nspecial_result_attribute = member\nleaf_result_attribute = description\n"
        .. "result_attribute = cn", "OLD query_filter = (sn=%s)\nscope = one\nresult_attribute = description, cn",
      "OLD query_filter = (|(sn=%s)(cn=group))\nspecial_result_attribute = member\nterminal_result_attribute = cn",
      "OLD query_filter = (sn=%s)\nsearch_base = ou=none,dc=example",
      "OLD query_filter = (|(sn=%s)(cn=e1))\nsize_limit = 1" },
  },
}

-- kind and key -> why we differ
local DIFFERENCES = {
  ["pgsql zoë@example.com"] = "Postfix 3.7 speaks LATIN1 with the server, and we UTF-8, as Postfix does from 3.8 on",
}

-- What postmap says about each key: its value, or "FAILS"; nil: nothing. One run for all keys that do not fail with us,
-- and one for each of three that do: then it sleeps for a second. own: our answers.
local function ask(name, path, directory, list, own)
  local command = ("%s -c %s/empty -q %%s %s:%s.cf >%s.out 2>%s.errors"):format(postmap, directory, name, path, path,
    path)
  local answers, rest, failed = {}, {}, 0
  for i, key in ipairs(list) do
    if own[i] ~= "FAILS" then
      rest[#rest + 1] = key
    elseif failed < 3 then
      failed = failed + 1
      os.execute(command:format("'" .. key:gsub("'", "'\\''") .. "'"))
      answers[key] = process.read_file(path .. ".errors"):find "fatal" and "FAILS" or process.read_file(path .. ".out")
    else
      answers[key] = "SKIPPED"
    end
  end
  process.write_file(path .. ".keys", table.concat(rest, "\n") .. "\n")
  os.execute((command:format "-") .. " <" .. path .. ".keys")
  for line in io.lines(path .. ".out") do
    local key, value = line:match "^([^\t]*)\t(.*)$"
    answers[key] = value
  end
  return answers, process.read_file(path .. ".errors"):match "[^\n]*fatal[^\n]*"
end

local function file_of(kind, variant)
  local own = variant:match "^OLD (.*)$"
  local part = variant:match "^QUERY (.*)$"
  local query = own or (part and kind.query:gsub("%%s", (part:gsub("%%", "%%%%")))) or kind.query
  return kind.parameters .. query .. "\n" .. ((own or part) and "" or variant) .. "\n"
end

describe("postmap -q", function()
  for name, kind in pairs(KINDS) do
    it(("gives the same as %s:"):format(name), function()
      if not postmap then pending "needs Postfix: spec/mta/install" return end
      local db = kind.open()
      finally(function() db:close() end)
      local rows = {}
      for i, row in ipairs(ROWS) do
        rows[i] = ("('%s', '%s')"):format((row[1]:gsub("'", "''")), row[2])
      end
      kind.fill(db, table.concat(rows, ", "))
      local directory = process.directory()
      process.run("mkdir " .. directory .. "/empty && touch " .. directory .. "/empty/main.cf")
      local variants, list, wrong, count, found, failed = {}, keys(), {}, 0, 0, 0
      for _, set in ipairs { VARIANTS, kind.more } do
        for _, variant in ipairs(set) do variants[#variants + 1] = variant end
      end
      process.write_file(directory .. "/keys", table.concat(list, "\n") .. "\n")
      for i, variant in ipairs(variants) do
        process.write_file(("%s/%d.cf"):format(directory, i), (file_of(kind, variant):gsub("PORT", tostring(db.port))))
        process.run("chmod 640 " .. directory .. "/*.cf")
      end
      local text = inside.run(inside.script(kind.module, name, {}, "", { test = ([[
        local keys, count = {}, 0
        for line in io.lines(%q .. "/keys") do keys[#keys + 1] = line end
        for i = 1, %d do
          local m = load_map(%q .. "/" .. i .. ".cf")
          local out = io.open(%q .. "/" .. i .. ".ours", "w")
          for _, key in ipairs(keys) do
            local value, text = m:get(key:lower())
            out:write(value or text and "FAILS" or "NONE", "\n")
            count = count + 1
          end
          out:close()
          m:close()
        end
        return "done " .. count
      ]]):format(directory, #variants, directory, directory) }))
      assert.equal("done " .. #variants * #list, text)
      for i, variant in ipairs(variants) do
        local path = ("%s/%d"):format(directory, i)
        local ours = {}
        for line in process.read_file(path .. ".ours"):gmatch "([^\n]*)\n" do ours[#ours + 1] = line end
        local theirs, fault = ask(name, path, directory, list, ours)
        wrong[#wrong + 1] = fault and ("%s: postmap: %s"):format(variant, fault)
        for at, key in ipairs(list) do
          local own, other = ours[at], theirs[key] or "NONE"
          if other ~= "SKIPPED" then
            count, found = count + 1, found + (own ~= "NONE" and 1 or 0)
            failed = failed + (own == "FAILS" and 1 or 0)
          end
          if own ~= other and other ~= "SKIPPED" and not DIFFERENCES[name .. " " .. key] then
            wrong[#wrong + 1] = ("%s | %q: %s, postmap %s"):format(variant, key, own, other)
          end
        end
      end
      process.run("rm -rf " .. directory)
      if os.getenv "SHOW" then
        print(("%s: %d lookups, %d found, %d failures, %d differences"):format(name, count, found, failed, #wrong))
      end
      assert.equal("", table.concat(wrong, "\n"))
      assert.is_true(found > 200, found .. " found")
    end)
  end
end)
