-- Figures for maps of files: what a look-up costs, by kind, beside a Lua table and beside Postfix's postmap; and what
-- the loop of a worker notices while a list of a million networks is loaded, and how much memory that takes.
-- Run from the top, after make all: luajit spec/bench/map_bench.lua [entries]
package.path = "./?.lua;" .. package.path
local ffi = require "ffi"
local host = require "spec.support.host"
local process = require "spec.support.process"
local socket = require "socket"
local testlib = require "spec.support.testlib"

local ENTRIES = tonumber(arg and arg[1]) or 1000000
local LOOKUPS = 1000000

local C = testlib.load "map/formats.h"
testlib.load "map/image.h"

local directory = process.directory()
process.run("chmod 755 " .. directory)

local function show(what, figure)
  print(("%-62s %s"):format(what, figure))
end

-- ---- tables and keys ----

math.randomseed(1)

local function network(i)
  return ("%d.%d.%d.%d/%d"):format(1 + math.floor(i / 2 ^ 20), math.floor(i / 2 ^ 12) % 256,
    math.floor(i / 2 ^ 4) % 256, i % 16 * 16, 28 + i % 5)
end

local function address()
  return ("%d.%d.%d.%d"):format(math.random(1, 2 + ENTRIES / 2 ^ 20), math.random(0, 255), math.random(0, 255),
    math.random(0, 255))
end

local makers = {
  texthash = function(i) return ("user%d@example%d.org value%d\n"):format(i, i % 1000, i) end,
  csv = function(i) return ("user%d@example%d.org,value%d\n"):format(i, i % 1000, i) end,
  list = function(i) return ("user%d@example%d.org\n"):format(i, i % 1000) end,
  json = function(i)
    return ('%s"user%d@example%d.org":"value%d"%s\n'):format(i == 1 and "{" or "", i, i % 1000, i, i == ENTRIES and "}"
      or ",")
  end,
  cidr = function(i) return ("%s value%d\n"):format(network(i - 1), i % 100) end,
}

local function write_table(kind)
  local path = directory .. "/" .. kind
  local file = assert(io.open(path, "wb"))
  for i = 1, ENTRIES do file:write(makers[kind](i)) end
  file:close()
  return path
end

local function keys_for(kind)
  local keys = {}
  for i = 1, 100000 do
    local n = math.random(2 * ENTRIES)
    keys[i] = kind == "cidr" and address() or ("user%d@example%d.org"):format(n, n % 1000)
  end
  return keys
end

-- ---- look-ups, in C and through postmap ----

local why = ffi.new "struct mm_fault"

local function text_of(s)
  return ffi.new("struct mm_text", { s, #s })
end

local function compile(kind, path)
  local source = process.read_file(path)
  local began = os.clock()
  local writer = C.mm_image_writer_new()
  local options = ffi.new "struct mm_table_options"
  assert(C.mm_table_format_of(kind).compile(text_of(source), options, writer, why), ffi.string(why.text))
  local opened = C.mm_image_keep(writer, ffi.new "struct mm_image_source", why)
  C.mm_image_writer_free(writer)
  return opened, os.clock() - began
end

local function nanoseconds(opened, keys)
  local texts, value, found = {}, ffi.new "struct mm_buffer", 0
  for i = 1, #keys do texts[i] = text_of(keys[i]) end
  local get = opened.format.get
  local began = os.clock()
  for i = 1, LOOKUPS do
    value.size = 0
    if get(opened, texts[i % #keys + 1], value, why) == C.MM_TABLE_FOUND then found = found + 1 end
  end
  local spent = os.clock() - began
  C.mm_buffer_free(value)
  return spent / LOOKUPS * 1e9, found / LOOKUPS
end

local function lua_table(path, keys)
  local t, found = {}, 0
  for key, value in process.read_file(path):gmatch "(%S+) ([^\n]*)" do t[key] = value end
  local began = os.clock()
  for i = 1, LOOKUPS do
    if t[keys[i % #keys + 1]] then found = found + 1 end
  end
  return (os.clock() - began) / LOOKUPS * 1e9
end

-- postmap reads the whole text for each run: so it is run with one key and with all, and the difference counts.
local function postmap(kind, path, keys)
  local config, list = directory .. "/postfix", directory .. "/keys"
  process.run(("mkdir -p %s && touch %s/main.cf"):format(config, config))
  local function run(count)
    process.write_file(list, table.concat(keys, "\n", 1, count) .. "\n")
    local began = socket.gettime()
    os.execute(("postmap -c %s -q - %s:%s <%s >/dev/null 2>&1"):format(config, kind, path, list))
    return socket.gettime() - began
  end
  local count = kind == "cidr" and 50 or #keys
  return (run(count) - run(1)) / (count - 1) * 1e9
end

print(("%d entries, %d look-ups, half of the keys are there; one process, %s"):format(ENTRIES, LOOKUPS, jit.version))
for _, kind in ipairs { "texthash", "list", "csv", "json", "cidr" } do
  local path = write_table(kind)
  local opened, seconds = compile(kind, path)
  local keys = keys_for(kind)
  local ns, share = nanoseconds(opened, keys)
  show(("%s: a look-up in C (%.0f %% found)"):format(kind, 100 * share), ("%8.0f ns"):format(ns))
  show(kind .. ": compiled in", ("%8.2f s of CPU"):format(seconds))
  if kind == "texthash" then
    show("a Lua table with the same entries", ("%8.0f ns"):format(lua_table(path, keys)))
  end
  if process.which "postmap" and (kind == "texthash" or kind == "cidr") then
    show(("postmap -q - %s:"):format(kind), ("%8.0f ns"):format(postmap(kind, path, keys)))
  end
  opened.format.close(opened)
end

-- ---- in a host ----

local SCRIPT = [[
  local core = require "moonmilter.core"
  local milter = require "moonmilter"
  local file = require "moonmilter.maps.file"
  local opened = file.open(%q, { kind = "cidr", settle = 0.2 })
  local worst, keys = 0, {}
  for i = 1, 1000 do keys[i] = ("%%d.%%d.%%d.%%d"):format(i %% 16 + 1, i * 7 %% 256, i * 13 %% 256, i * 29 %% 256) end
  function on_load()
    milter.spawn(function()
      while true do
        local due = milter.now() + 0.001
        milter.sleep(0.001)
        worst = math.max(worst, milter.now() - due)
      end
    end)
  end
  function on_mail(ctx, what)
    if what == "reset" then worst = 0 end
    if what ~= "cost" then
      return ctx:reject(550, "5.7.1", ("lag %%.2f ms, %%d entries"):format(worst * 1000, opened:info().entries))
    end
    local began = os.clock()
    for i = 1, 200000 do opened:get(keys[i %% 1000 + 1]) end
    return ctx:reject(550, "5.7.1", ("cost %%.0f ns"):format((os.clock() - began) / 200000 * 1e9))
  end ]]

local networks = directory .. "/networks"
process.write_file(networks, "192.0.2.0/24 first\n")
local h = host.start { workers = 2, arguments = { "--user=nobody" }, life = 300,
  scripts = { ["10-map.lua"] = SCRIPT:format(networks) } }
h:wait_serving(2, 10)

-- Both workers: the one with fewer sessions takes the next connection.
local function ask(what)
  local one, two = h:connect(), h:connect()
  local answers = {}
  for i, mta in ipairs { one, two } do
    mta:envelope "helo"
    answers[i] = mta:mail(what).text:match "5%.7%.1 (.*)$"
  end
  one:close()
  two:close()
  return answers
end

-- Seconds that the thread of the loop has waited for a processor.
local function queued(pid)
  return tonumber(process.read_file(("/proc/%d/task/%d/schedstat"):format(pid, pid)):match "^%d+ (%d+)") / 1e9
end

local function shared_of(pid)
  local inside, found = false, {}
  for line in (process.read_file(("/proc/%d/smaps"):format(pid)) or ""):gmatch "[^\n]+" do
    if line:find "^%x+%-%x+ " then inside = line:find("map-", 1, true) ~= nil end
    local name, kib = line:match "^(%w+): +(%d+) kB"
    if inside and name then found[name] = (found[name] or 0) + tonumber(kib) end
  end
  return found
end

socket.sleep(1)
ask "reset"
socket.sleep(2)
show("in a host: two workers at rest, worst lag of their loops", table.concat(ask "lag", "; "))
ask "reset"
assert(os.rename(directory .. "/cidr", networks))
local began, before = socket.gettime(), {}
for i, pid in ipairs(h:workers()) do before[i] = queued(pid) end
process.wait_until(120, function()
  local answers = ask "lag"
  return answers[1]:find(ENTRIES .. " entries", 1, true) and answers[2]:find(ENTRIES .. " entries", 1, true)
end, "the large list")
show(("%d networks take the place of one, after"):format(ENTRIES), ("%.2f s"):format(socket.gettime() - began))
show("worst lag of the loops meanwhile", table.concat(ask "lag", "; "))
for i, pid in ipairs(h:workers()) do
  show(("worker %d: its loop waited for a processor meanwhile"):format(i), ("%.3f s"):format(queued(pid) - before[i]))
end
show("a look-up from Lua, in a handler", table.concat(ask "cost", "; "))
socket.sleep(3)
for i, pid in ipairs(h:workers()) do
  local m = shared_of(pid)
  show(("worker %d: its mapping of the image: Rss, Pss, Private"):format(i), ("%d KiB, %d KiB, %d KiB"):format(
    m.Rss or 0, m.Pss or 0, (m.Private_Clean or 0) + (m.Private_Dirty or 0)))
end
h:stop()
process.run("rm -rf " .. directory)
