-- moonmilter.store in the test kit: what a script sees of it.
local host = require "spec.support.host"
local testing = require "moonmilter.testing"

-- Runs a script's on_load with the lines, and gives what it noted.
local function run(lines, options)
  local notes = {}
  local mta = testing.start { now = 1700000000, script = ([[
    local store = require "moonmilter.store"
    local milter = require "moonmilter"
    local first
    local function note(...)
      local words = {}
      for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
      milter.log.info("%%s", table.concat(words, " "))
    end
    local function lines() %s end
    function on_mail() lines() end]]):format(lines) }
  finally(function() mta:close() end)
  for _ = 1, options and options.messages or 1 do
    assert.same("accept", mta:message().verdict, table.concat(mta:complaints(), "\n"))
    if options and options.pass then mta:pass(options.pass) end
  end
  for _, line in ipairs(mta:log "script") do
    notes[#notes + 1] = line:match 'text="(.*)"' or line:match "text=(%S+)"
  end
  return notes
end

describe("moonmilter.store", function()
  it("keeps strings, numbers, booleans and tables of them, byte for byte", function()
    assert.same({ "true", "a\\x00b", "-0.1", "false", "2 y nil 5", "9007199254740992" }, run [[
      local s = store.open "t"
      note(s:set("string", "a\0b"))
      note((s:get "string"))
      s:set("number", -0.1) note((s:get "number"))
      s:set("boolean", false) note((s:get "boolean"))
      s:set("table", { 1, 2, x = { [true] = "y" }, [2.5] = 5 })
      local t = s:get "table"
      note(#t, t.x[true], t.y, t[2.5])
      s:set("large", 2^53) note(("%d"):format(s:get "large")) ]])
  end)

  it("refuses what has no value as bytes, at the script's line", function()
    local notes = run [[
      local s = store.open "t"
      local circle = {} circle.self = circle
      for _, value in ipairs { print, circle, coroutine.create(print), { key = print }, { [{}] = 1 } } do
        note(select(2, pcall(s.set, s, "k", value)))
      end
      note(select(2, pcall(s.set, s, "k", nil)))
      note(select(2, pcall(s.set, s, 5, "v")))
      note(select(2, pcall(s.set, s, "k", "v", -1)))
      note(select(2, pcall(store.open, "../x")))
      note(select(2, pcall(store.open, "x", { tll = 5 })))
      note((s:get "k")) ]]
    for i, words in ipairs { "a function", "contains itself", "a coroutine", "a function", "a table as a key",
      "use delete", "the key is a number", "ttl is %-1", "letters, digits", 'did you mean .*ttl', "nil" } do
      assert.matches(words, notes[i])
    end
  end)

  it("has keys of any length", function()
    assert.same({ "1 2 nil", "2 511" }, run [[
      local s = store.open "t"
      local long = ("k"):rep(3000)
      s:set(long .. "a", 1) s:set(long .. "b", 2)
      note((s:get(long .. "a")), (s:get(long .. "b")), (s:get(long)))
      local count, size = 0, 0
      for key in s:each() do count, size = count + 1, #key end
      note(count, size) ]])
  end)

  it("ends lives by the clock, which a test moves", function()
    assert.same({ "one", "nil nil true" }, run([[
      local s = store.open("t", { ttl = 60 })
      if not first then
        first = true
        s:set("short", "one") s:set("long", "two", 1000)
        note((s:get "short"))
      else
        note((s:get "short"), s:incr("none", 0) == 0 and nil, (s:get "long") == "two")
      end ]], { messages = 2, pass = 61 }))
  end)

  it("adds once, counts, and swaps in one piece", function()
    assert.same({ "true", "false one", "1 6 nil the value is not a number type", "12 12", "nil nil", "true false" }, run [[
      local s = store.open "t"
      note(s:add("a", "one"))
      note(s:add("a", "two"), (s:get "a"))
      note(s:incr "n", s:incr("n", 5), s:incr "a")
      note(s:update("n", function(v) return v * 2 end), (s:get "n"))
      note(s:update("n", function() return nil end), (s:get "n"))
      note(s:delete "a", s:delete "a") ]])
  end)

  it("keeps the life of what it changes, and begins one for what it makes", function()
    assert.same({ "50 50 7 100" }, run [[
      local s = store.open("t", { ttl = 100 })
      s:set("old", 1, 50) s:incr "old" s:update("old2", function() return 1 end)
      s:set("u", 1, 50) s:update("u", function() return 2 end)
      s:set("w", 1, 50) s:update("w", function() return 2 end, 7)
      local function life(key) return math.floor(select(2, s:get(key)) + 0.5) end
      note(life "old", life "u", life "w", life "old2") ]])
  end)

  it("iterates in order, by prefix, and clears", function()
    assert.same({ "a/1 a/2 b/1", "a/1 a/2", "3", "true 1 b/1", "true 0" }, run [[
      local s = store.open "t"
      for _, key in ipairs { "b/1", "a/2", "a/1" } do s:set(key, key) end
      local function keys(prefix) local list = {} for key in s:each(prefix) do list[#list + 1] = key end
        return table.concat(list, " ") end
      note(keys()) note(keys "a/") note(s:count())
      note(s:clear "a/", s:count(), keys())
      note(s:clear(), s:count()) ]])
  end)

  it("refuses a prefix that keys are not kept with", function()
    local found = run [[
      local s = store.open "t"
      s:set("k", 1)
      note(select(2, pcall(s.clear, s, ("k"):rep(480))))
      note(select(2, pcall(s.each, s, ("k"):rep(2000))))
      note(s:clear(("k"):rep(479)), s:count()) ]]
    assert.matches("a prefix of 480 bytes; it may have 479", found[1])
    assert.matches("a prefix of 2000 bytes", found[2])
    assert.equal("true 1", found[3])
  end)

  it("clears many keys", function()
    assert.same({ "1000", "true 500", "true 0" }, run [[
      local s = store.open "t"
      for i = 1, 500 do s:set("a" .. i, i) s:set("b" .. i, ("x"):rep(200)) end
      note(s:count()) note(s:clear "a", s:count()) note(s:clear "b", s:count()) ]])
  end)

  it("that is full refuses new keys and still changes old ones; or drops what ends first", function()
    local notes = run [[
      local s = store.open("full", { max = 65536 })
      local n, text, code = 0
      repeat n = n + 1 local ok ok, text, code = s:set("key" .. n, ("x"):rep(500)) until not ok
      note(n > 50 and n < 150, text, code, s:set("key1", "new"), s:delete "key2")
      local e = store.open("evict", { max = 65536, when_full = "evict" })
      for i = 1, 2000 do assert(e:set("key" .. i, ("x"):rep(500), i == 1000 and 1e6 or 1000 + i)) end
      note(e:count() < 150, (e:get "key2000") ~= nil) ]]
    assert.same({ "true the store is full full true true", "true true" }, notes)
  end)

  it("removes what has ended without a pass over all", function()
    assert.same({ "2000", "true" }, run([[
      local s = store.open("t", { ttl = 10 })
      if not first then
        first = true
        for i = 1, 2000 do s:set("old" .. i, i) end
        note(s:count())
      else
        for i = 1, 1100 do s:set("new" .. i, i) end
        note(s:count() <= 1200)
      end ]], { messages = 2, pass = 11 }))
  end)

  it("is private to its milter and name", function()
    assert.same({ "nil 1" }, run [[ local a, b = store.open "a", store.open "b" a:set("k", 1) note((b:get "k"), (a:get "k")) ]])
  end)

  -- What runs beside a call of many keys, and whether it had a turn before the call was over.
  local BESIDE = [[
    local s = store.open("t", { max = 2^24 })
    for i = 1, 3000 do s:set(("key %%04d"):format(i), i) end
    local turns = 0
    local task = milter.spawn(function() for _ = 1, 4 do milter.sleep(0) turns = turns + 1 end end)
    %s
    note(turns, s:count())
    task:wait() ]]

  it("lets others have a turn while it clears many keys, or goes over them", function()
    assert.same({ "4 0" }, run(BESIDE:format "s:clear()"))
    assert.same({ "3000", "4 3000" }, run(BESIDE:format [[
      local sum = 0
      for _, value in s:each() do sum = sum + (value > 0 and 1 or 0) end
      note(sum) ]]))
  end)

  it("goes over many keys where nobody can wait", function()
    assert.same({ "3000", "0" }, run [[
      local s = store.open "t"
      for i = 1, 3000 do s:set("key " .. i, i) end
      local count = 0
      table.sort({ 1, 2 }, function(a, b)
        if count == 0 then for _ in s:each() do count = count + 1 end end
        return a < b
      end)
      note(count)
      milter.at_end(function() s:clear() note(s:count()) end) ]])
  end)

  it("lets other sessions go on while it clears", function()
    local h = host.start { workers = 0, scripts = { ["10-clear.lua"] = [[
      local store = require "moonmilter.store"
      local log = require "moonmilter.log"
      local s = store.open "t"
      local has_come = false
      function on_mail(ctx, sender)
        if sender:find "^other" then has_come = true return end
        local tries = 0
        log.info "NOTE begins"
        repeat -- the other's bytes may still be on their way
          for i = 1, 2000 do s:set("key " .. i, i) end
          s:clear()
          tries = tries + 1
        until has_come or tries == 300
        log.info("NOTE other=%s", tostring(has_come))
      end ]] } }
    finally(function() h:stop() end)
    local first, second = h:connect(20), h:connect(20)
    first:envelope "helo"
    second:envelope "helo"
    first:send("M", "<ann@one.example>\0")
    assert.truthy(h:wait_log("NOTE begins", 5))
    second:send("M", "<other@one.example>\0")
    assert.equal("continue", second:reply().kind)
    assert.equal("continue", first:reply().kind)
    assert.truthy(h:wait_log("NOTE other=true", 5))
    first:close()
    second:close()
  end)
end)
