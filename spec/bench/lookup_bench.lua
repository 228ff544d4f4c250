-- Look-ups a second by kind of map, beside `postmap -q -` through the same library and the same file, and beside a Lua
-- table: a row each, also in build/bench/maps.md. make bench runs it; alone, after make all:
-- luajit spec/bench/lookup_bench.lua [--quick]
package.path = "./?.lua;" .. package.path
local ffi = require "ffi"
local process = require "spec.support.process"
local socket = require "socket"
local tables = require "spec.support.tables"

local QUICK = arg and arg[1] == "--quick"
local ENTRIES, RULES = QUICK and 20000 or 200000, 200
local SECONDS = QUICK and 0.2 or 1 -- of each measurement

local lib = tables.lib
local directory = process.directory()
process.write_file(directory .. "/main.cf", "compatibility_level = 3.6\nsmtputf8_enable = no\n")

-- ---- tables, and keys of which every second one is there ----

local function user(i) return ("user%d@example%d.org"):format(i, i % 1000) end
local function network(i)
  return ("%d.%d.%d.0"):format(1 + math.floor(i / 65536), math.floor(i / 256) % 256, i % 256)
end

local function lines(count, line)
  local list = {}
  for i = 1, count do list[i] = line(i) end
  return table.concat(list)
end

local function pairs_of_users() return lines(ENTRIES, function(i) return user(i) .. (" value%d\n"):format(i) end) end
local function rules() return lines(RULES, function(i) return ("/^user%d0*@/ value%d\n"):format(i, i) end) end

-- In the order of the table that is printed.
local KINDS = {
  { "texthash", text = pairs_of_users, key = user },
  { "hash", text = pairs_of_users, key = user, built = true },
  { "btree", text = pairs_of_users, key = user, built = true },
  { "cdb", text = pairs_of_users, key = user, built = true },
  { "lmdb", text = pairs_of_users, key = user, built = true },
  { "cidr", text = function() return lines(ENTRIES, function(i) return network(i) .. "/24 value\n" end) end,
    key = function(i) return (network(i):gsub("0$", "7")) end },
  { "regexp", text = rules, key = function(i) return user(i % (2 * RULES) + 1) end, entries = RULES },
  { "pcre", text = rules, key = function(i) return user(i % (2 * RULES) + 1) end, entries = RULES },
  { "list", text = function() return lines(ENTRIES, function(i) return user(i) .. "\n" end) end, key = user },
  { "csv", text = function() return lines(ENTRIES, function(i) return user(i) .. ",value\n" end) end, key = user },
}

local function keys_of(row)
  math.randomseed(1)
  local keys = {}
  for i = 1, 10000 do keys[i] = row.key(math.random(2 * ENTRIES)) end
  return keys
end

-- ---- measuring ----

-- Calls one(i) for a while; how often a second.
local function rate(one)
  local count, began = 0, os.clock()
  local spent
  repeat
    for i = 1, 100 do one(count + i) end
    count = count + 100
    spent = os.clock() - began
  until spent >= SECONDS
  return count / spent
end

local function ours(kind, path, keys)
  local t = assert(tables.open(kind, path))
  local texts, value, why = {}, ffi.new "struct mm_buffer", ffi.new "struct mm_fault"
  for i, key in ipairs(keys) do texts[i] = ffi.new("struct mm_text", key, #key) end
  local opened, get, found = t.t, t.t.format.get, 0
  local result = rate(function(i)
    value.size = 0
    if get(opened, texts[i % #keys + 1], value, why) == lib.MM_TABLE_FOUND then found = found + 1 end
  end)
  assert(found > 0, kind .. ": no key was found")
  lib.mm_buffer_free(value)
  t:close()
  return result
end

-- What starting it costs, reading texts included, is taken off: it is run with one key and with many.
local function postmap(kind, path, keys)
  local list = directory .. "/keys"
  local function run(count)
    local text = {}
    for i = 1, count do text[i] = keys[i % #keys + 1] end
    process.write_file(list, table.concat(text, "\n") .. "\n")
    local began = socket.gettime()
    os.execute(("postmap -c %s -q - %s:%s <%s >/dev/null 2>&1"):format(directory, kind, path, list))
    return socket.gettime() - began
  end
  run(1)
  local start, count, spent = run(1), 100, 0
  while spent < SECONDS / 2 and count < 1000000 do
    count = count * 4
    spent = run(count) - start
  end
  return (count - 1) / spent
end

local function lua_table(keys)
  local t, found = {}, 0
  for i = 1, ENTRIES do t[user(i)] = "value" end
  local result = rate(function(i) if t[keys[i % #keys + 1]] then found = found + 1 end end)
  assert(found > 0)
  return result
end

local function thousands(n)
  local text = ("%.0f"):format(n)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

-- ---- the table ----

local TITLE = "Look-ups a second, %d entries (regexp, pcre: %d rules), half of the keys are there, one process, %s"
local out = { TITLE:format(ENTRIES, RULES, jit.version), "", "| kind | moonmilter | `postmap -q -` | ratio |",
  "|---|---:|---:|---:|" }

local has_postmap = process.which "postmap"
for _, row in ipairs(KINDS) do
  local kind, keys = row[1], keys_of(row)
  local path = process.write_file(directory .. "/" .. kind, row.text())
  if row.built and has_postmap then process.run(("postmap -c %s %s:%s"):format(directory, kind, path)) end
  if not row.built or has_postmap then
    local own = ours(kind, path, keys)
    local theirs = has_postmap and kind ~= "list" and kind ~= "csv" and postmap(kind, path, keys)
    out[#out + 1] = ("| `%s:` | %s | %s | %s |"):format(kind, thousands(own), theirs and thousands(theirs) or "",
      theirs and ("%.1f"):format(own / theirs) or "")
    print(out[#out])
  end
end
out[#out + 1] = ("| a Lua table | %s | | |"):format(thousands(lua_table(keys_of(KINDS[1]))))
print(out[#out])

process.run "mkdir -p build/bench"
process.write_file("build/bench/maps.md", table.concat(out, "\n") .. "\n")
process.run("rm -rf " .. directory)
