-- Stores whose files are made by many at once, cut off, damaged, or on a file system that is full.
local ffi = require "ffi"
local process = require "spec.support.process"
local testlib = require "spec.support.testlib"

testlib.load "state/store.h"
local C = testlib.load "state/mirror.h"
pcall(ffi.cdef, "int usleep(unsigned);")

-- Opens a store as soon as a file is there, sets a key of its own and says how that went.
local OPENER = [[
  local ffi = require "ffi"
  local testlib = require "spec.support.testlib"
  local C = testlib.load "state/store.h"
  local memory, key, go = arg[1], arg[2], arg[3]
  local why = ffi.new "struct mm_fault"
  local decide = ffi.cast("mm_store_decide *", function(_, _, next)
    next.bytes.bytes, next.bytes.size = "v", 1
    return C.MM_CHANGE_PUT
  end)
  local options = ffi.new("struct mm_store_options", { 2 ^ 20, "MM_FULL_REFUSE", false })
  io.write("ready\n") io.flush()
  local file
  repeat file = io.open(go) until file
  local store = C.mm_store_open(memory, "s", options, why)
  assert(store ~= nil, ffi.string(why.text))
  local r = C.mm_store_change(store, ffi.new("struct mm_text", { key, #key }), 1000, decide, nil)
  assert(r == C.MM_STORE_DONE, tonumber(r))
  io.write("done\n")
]]

describe("the file of a store", function()
  local directory, memory, disk, stores

  before_each(function()
    directory, stores = process.directory(), {}
    memory, disk = ("/dev/shm/moonmilter-spec-%s"):format(directory:match "[^/]+$"), directory .. "/disk"
    process.run(("mkdir -m 700 %s %s"):format(memory, disk))
  end)
  after_each(function()
    for _, store in ipairs(stores) do C.mm_store_close(store) end
    process.run(("rm -rf %s %s"):format(memory, directory))
  end)

  local function open(options)
    local why = ffi.new "struct mm_fault"
    options = ffi.new("struct mm_store_options", options or { 2 ^ 20, "MM_FULL_REFUSE", false })
    local store = C.mm_store_open(memory, "s", options, why)
    if store == nil then return nil, ffi.string(why.text) end
    stores[#stores + 1] = store
    return store
  end

  local function close(store)
    C.mm_store_close(store)
    table.remove(stores)
  end

  local value, what = "", "MM_CHANGE_PUT"
  local decide = ffi.cast("mm_store_decide *", function(_, _, next)
    next.bytes.bytes, next.bytes.size = value, #value
    return what
  end)
  local function text(s) return ffi.new("struct mm_text", { s, #s }) end

  local function set(store, key, bytes)
    value, what = bytes, "MM_CHANGE_PUT"
    return tonumber(C.mm_store_change(store, text(key), 1000, decide, nil))
  end
  jit.off(set)

  local function remove(store, key)
    what = "MM_CHANGE_DELETE"
    return tonumber(C.mm_store_change(store, text(key), 1000, decide, nil))
  end
  jit.off(remove)

  local DONE, FULL = tonumber(C.MM_STORE_DONE), tonumber(C.MM_STORE_FULL)

  local function keys(store)
    local list, key, record, after = {}, ffi.new "struct mm_text", ffi.new "struct mm_record", ""
    while C.mm_store_next(store, text(after), text "", 1000, key, record) == C.MM_STORE_DONE do
      after = ffi.string(key.bytes, key.size)
      list[#list + 1] = after
    end
    return list
  end

  local function figures(store)
    local f = ffi.new "struct mm_store_figures"
    assert.equal(DONE, tonumber(C.mm_store_measure(store, f)))
    return f
  end

  it("is made once when many processes open it at the same time", function()
    process.write_file(directory .. "/opener.lua", OPENER)
    for round = 1, os.getenv "SLOW" and 100 or 8 do
      local openers, go = {}, ("%s/go%d"):format(directory, round)
      process.run(("rm -rf %s; mkdir -m 700 %s"):format(memory, memory))
      for i = 1, 6 do
        openers[i] = process.start({ "luajit", directory .. "/opener.lua", memory, "k" .. i, go },
          { output = ("%s/o%d.%d"):format(directory, round, i), life = 60 })
      end
      for _, opener in ipairs(openers) do opener:wait_text("ready", 10) end
      process.write_file(go, "")
      for _, opener in ipairs(openers) do opener:wait_text("done", 20) opener:stop() end
      local store = assert(open())
      assert.same({ "k1", "k2", "k3", "k4", "k5", "k6" }, keys(store))
      close(store)
    end
  end)

  it("is made again when it never became whole", function()
    for _, size in ipairs { 0, 1, 100, 4096, 5000 } do
      process.run(("rm -f %s/*; truncate -s %d %s/s.mdb"):format(memory, size, memory))
      local store = assert(open())
      assert.equal(DONE, set(store, "a", "1"))
      close(store)
    end
  end)

  local function news_of(store)
    local news = ffi.new "char[640]"
    return C.mm_store_has_news(store, news, 640) and ffi.string(news) or nil
  end

  -- A store with a tree of some levels, large values, and pages that are free again.
  local function fill(store)
    for i = 1, 2000 do
      assert.equal(DONE, set(store, ("key %05d"):format(i), ("x"):rep(i % 100 == 0 and 9000 or i % 90)))
    end
    for i = 1, 2000, 3 do assert.equal(DONE, remove(store, ("key %05d"):format(i))) end
  end

  -- Whatever was read from the file, the table works.
  local function use(store)
    local seen = #keys(store)
    for i = 1, 2000, 50 do
      assert.equal(DONE, set(store, ("key %05d"):format(i), ("y"):rep(i)))
      assert.equal(DONE, remove(store, ("key %05d"):format(i + 1)))
    end
    assert.is_true(#keys(store) >= 40)
    return seen
  end

  it("that was cut off is made again", function()
    local store = assert(open())
    fill(store)
    local full = #keys(store)
    close(store)
    local whole = process.read_file(memory .. "/s.mdb")
    for _, size in ipairs { 8192, 8193, 12288, 20000, 40960, #whole / 2, #whole - 4096, #whole } do
      process.write_file(memory .. "/s.mdb", whole:sub(1, size))
      store = assert(open())
      local news = news_of(store)
      assert.equal(news and 0 or full, use(store))
      assert.is_true(news == nil or news:find("made again, empty", 1, true) ~= nil, news)
      assert.is_true((news ~= nil) == (size < #whole - 4096), size) -- the last page may be a free one
      close(store)
    end
  end)

  local function flip(bytes, count, first, last)
    local list, at = {}, 1
    local places = {}
    for i = 1, count do places[i] = math.random(first, last) end
    table.sort(places)
    for _, place in ipairs(places) do
      if place >= at then
        list[#list + 1] = bytes:sub(at, place - 1)
        list[#list + 1] = string.char(bit.bxor(bytes:byte(place), 2 ^ math.random(0, 7)))
        at = place + 1
      end
    end
    return table.concat(list) .. bytes:sub(at)
  end

  -- A bit of a record's own bytes is not seen: it may even have ended.
  local function is_kept(news, seen, full)
    assert.is_true(news and seen == 0 or not news and seen <= full and seen > full - 300, ("%d keys"):format(seen))
  end

  local FLIPS = os.getenv "SLOW" and 3000 or 150

  -- Bits anywhere, and in the heads of pages, where they do most harm.
  local function flipped(whole, i)
    if i % 2 == 0 then return flip(whole, 2 ^ math.random(0, 8), 1, #whole) end
    local page = (math.random(1, #whole / 4096) - 1) * 4096
    return flip(whole, math.random(1, 4), page + 1, page + 80)
  end

  it("with bits flipped anywhere works, or is made again and says so", function()
    local store = assert(open())
    fill(store)
    local full = #keys(store)
    close(store)
    local whole, again, kept = process.read_file(memory .. "/s.mdb"), 0, 0
    math.randomseed(1)
    for i = 1, FLIPS do
      process.write_file(memory .. "/s.mdb", flipped(whole, i))
      store = assert(open())
      local news, seen = news_of(store), use(store)
      is_kept(news, seen, full)
      again, kept = again + (news and 1 or 0), kept + (news and 0 or 1)
      close(store)
      store = assert(open())
      assert.is_nil(news_of(store))
      close(store)
    end
    assert.is_true(again > FLIPS / 3 and kept > FLIPS / 50, ("%d made again, %d kept"):format(again, kept))
  end)

  it("is whole after any operations", function()
    math.randomseed(2)
    for round = 1, 40 do
      local store = assert(open { 2 ^ 20, round % 2 == 0 and "MM_FULL_EVICT" or "MM_FULL_REFUSE", round % 3 == 0 })
      for _ = 1, 400 do
        local key = ("%s%d"):format(("k"):rep(math.random(1, 500)), math.random(1, 50))
        if math.random(4) == 1 then remove(store, key)
        else set(store, key, ("v"):rep(2 ^ math.random(0, 15))) end
      end
      if round % 8 == 0 then for _, key in ipairs(keys(store)) do remove(store, key) end end
      close(store)
      store = assert(open()) -- the first process that opens it, so it is checked
      assert.is_nil(news_of(store))
      close(store)
    end
  end)

  it("with a mirror that does not run has room for records all the same", function()
    local store = assert(open { 2 ^ 20, "MM_FULL_EVICT", true })
    for i = 1, 60000 do
      assert.equal(DONE, set(store, ("key %d of many that are never the same %s"):format(i, ("p"):rep(200)), "v"), i)
    end
    assert.equal(DONE, remove(store, keys(store)[1]))
  end)

  it("stays below an eighth more than its size, however records grow", function()
    for _, rule in ipairs { "MM_FULL_REFUSE", "MM_FULL_EVICT" } do
      local store = assert(open { 2 ^ 20, rule, false })
      local refused = 0
      for i = 1, 3000 do set(store, "small " .. i, ("x"):rep(50)) end
      for i = 1, 3000 do
        local result = set(store, "small " .. i, ("x"):rep(i % 7 == 0 and 100000 or 1500))
        assert.is_true(result == DONE or result == FULL)
        refused = refused + (result == FULL and 1 or 0)
        assert.is_true(tonumber(figures(store).size) <= 2 ^ 20 * 9 / 8 + 8192)
      end
      assert.is_true(rule == "MM_FULL_EVICT" or refused > 0)
      assert.equal(DONE, set(store, "small 1", "x")) -- an existing one can change
      close(store)
      process.run(("rm -f %s/*"):format(memory))
    end
  end)

  local OPTIONS = ffi.new("struct mm_store_options", { 2 ^ 20, "MM_FULL_EVICT", true })

  local function mirror()
    local why = ffi.new "struct mm_fault"
    local m = C.mm_mirror_start(disk, memory, "s", OPTIONS, why)
    assert(m ~= nil, ffi.string(why.text))
    return m
  end

  local COPY = { 2 ^ 20, "MM_FULL_EVICT", true }

  -- The keys of a store that begins with its copy, and what it says of it.
  local function restored()
    process.run(("rm -f %s/*"):format(memory))
    COPY[4] = disk .. "/s.mdb"
    local store = assert(open(COPY))
    local found, news = keys(store), ffi.new "char[640]"
    local has_news = C.mm_store_has_news(store, news, 640)
    close(store)
    return found, has_news and ffi.string(news) or nil
  end

  it("is copied as a whole when the copies are new, or more has changed than was noted", function()
    local store = assert(open()) -- not durable yet
    set(store, "before", "1")
    local m = mirror()
    set(store, "after", "1")
    C.mm_mirror_stop(m)
    for i = 1, 20000 do
      local key = ("gone %d %s"):format(i, ("p"):rep(200))
      set(store, key, "v")
      remove(store, key)
    end
    set(store, "much later", "1")
    remove(store, "before")
    C.mm_mirror_stop(mirror())
    close(store)
    assert.same({ "after", "much later" }, restored())
  end)

  it("whose copies had no room is copied when there is room", function()
    if process.run(("mount -t tmpfs -o size=64k tmpfs %s 2>/dev/null && echo yes; true"):format(disk)):find "yes" then
      finally(function() process.run("umount " .. disk) end)
    end
    local is_mounted = process.run("mountpoint -q " .. disk .. " && echo yes; true"):find "yes"
    local filler = is_mounted and "truncate -s 0 " or "rm -rf "
    if not is_mounted then process.run(("rm -rf %s; ln -s /dev/full %s"):format(disk .. "/s.mdb", disk .. "/s.mdb")) end
    process.run(is_mounted and ("head -c 60000 /dev/zero > %s/filler; true"):format(disk) or "true")
    local store = assert(open { 2 ^ 20, "MM_FULL_EVICT", true })
    local m = mirror()
    set(store, "a", "1")
    local news = ffi.new "char[256]"
    process.wait_until(10, function() return C.mm_mirror_has_news(m, news, 256) end, "a failure of the copies")
    assert.is_true(ffi.string(news) ~= "")
    process.run(is_mounted and filler .. disk .. "/filler" or filler .. disk .. "/s.mdb")
    process.wait_until(10, function() return C.mm_mirror_has_news(m, news, 256) end, "copies that work again")
    assert.equal("", ffi.string(news))
    C.mm_mirror_stop(m)
    close(store)
    assert.same({ "a" }, restored())
  end)

  it("a damaged copy is set aside, and the store begins empty", function()
    local store = assert(open { 2 ^ 20, "MM_FULL_EVICT", true })
    fill(store)
    local full = #keys(store)
    C.mm_mirror_stop(mirror())
    close(store)
    local path = disk .. "/s.mdb"
    local whole, aside, kept = process.read_file(path), 0, 0
    assert.equal(full, #restored())
    math.randomseed(3)
    local function try(bytes)
      process.run(("rm -f %s/*"):format(disk))
      process.write_file(path, bytes)
      local found, news = restored()
      is_kept(news, #found, full)
      if news then
        aside = aside + 1
        assert.matches("its copy " .. path:gsub("%p", "%%%0") .. " is damaged", news)
        assert.equal(bytes, process.read_file(path .. ".damaged"))
        assert.is_nil((process.read_file(path)))
      else
        kept = kept + 1
      end
    end
    for _, size in ipairs { 8192, 20000, #whole / 2 } do try(whole:sub(1, size)) end
    for i = 1, FLIPS do try(flipped(whole, i)) end
    assert.is_true(aside > FLIPS / 3 and kept > FLIPS / 50, ("%d set aside, %d kept"):format(aside, kept))
  end)

  it("that is damaged begins again with its copy", function()
    local store = assert(open { 2 ^ 20, "MM_FULL_EVICT", true })
    fill(store)
    local full = #keys(store)
    C.mm_mirror_stop(mirror())
    close(store)
    local whole = process.read_file(memory .. "/s.mdb")
    process.write_file(memory .. "/s.mdb", whole:sub(1, 8192) .. ("\255"):rep(#whole - 8192))
    COPY[4] = disk .. "/s.mdb"
    store = assert(open(COPY))
    assert.matches("made again from its copy", news_of(store))
    assert.equal(full, #keys(store))
    close(store)
  end)

  it("the last changes of each process are copied when all end at the same time", function()
    local store = assert(open { 2 ^ 20, "MM_FULL_EVICT", true })
    local first = mirror()
    ffi.C.usleep(700000) -- the first is the copyist
    local second = mirror()
    C.mm_mirror_stop(first)
    set(store, "last", "1")
    C.mm_mirror_stop(second)
    close(store)
    assert.same({ "last" }, restored())
  end)
end)
