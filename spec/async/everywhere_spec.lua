-- Waiting works wherever a script may run; where LuaJIT cannot yield, the error says why and what to do.
local fake_mta = require "spec.support.fake_mta"

local mta

local HEAD = 'local milter = require "moonmilter"\n'

local function answer_of(body)
  mta = fake_mta.start { script = HEAD .. "function on_mail(ctx)\n" .. body .. "\nend" }
  mta:begin()
  local reply = mta:mail()
  return reply.text and reply.text:sub(11) or reply.kind
end

describe("a wait", function()
  after_each(function()
    if mta then
      mta:close()
      mta = nil
    end
  end)

  it("works in every handler of a session", function()
    mta = fake_mta.start { script = HEAD .. [[
      local names = { "negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom", "unknown", "done",
        "abort", "close" }
      local handlers = {}
      for _, name in ipairs(names) do
        handlers["on_" .. name] = function(ctx) milter.sleep(0.002) milter.log.info("%s", name) end
      end
      return handlers
    ]] }
    mta:begin()
    mta:unknown("XYZZY")
    assert.equal("continue", mta:message().kind)
    mta:settle()
    mta:mail()
    mta:abort()
    mta:settle()
    mta:quit()
    mta:settle()
    local seen = {}
    for _, line in ipairs(mta:log_lines "script") do
      seen[line:match "text=(%a+)"] = true
    end
    for _, name in ipairs { "negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body",
      "eom", "unknown", "done", "abort", "close" } do
      assert.is_true(seen[name], name)
    end
  end)

  it("works at the top level, in on_load and inside a module that is being required", function()
    mta = fake_mta.start { files = {
      ["10-a.lua"] = HEAD .. [[
        milter.sleep(0.002)
        local slow = require "slow"
        local loaded = "no"
        function on_load() milter.sleep(0.002) loaded = "loaded" end
        function on_mail(ctx) return ctx:reject(slow.word .. " " .. loaded .. " " .. require("slow").word) end
      ]],
      ["lib/slow.lua"] = HEAD .. [[
        milter.sleep(0.002)
        local inner = require "slow_inner"
        return { word = inner }
      ]],
      ["lib/slow_inner.lua"] = HEAD .. "milter.sleep(0.002) return 'inner'",
    } }
    mta:begin()
    assert.equal("550 5.7.1 inner loaded inner", mta:mail().text)
  end)

  it("lets several sessions require C modules", function()
    mta = fake_mta.start { files = {
      ["10-a.lua"] = "local inner = require 'inner' local lpeg = require 'lpeg' assert(lpeg.P) assert(inner == lpeg)",
      ["20-b.lua"] = "assert(require('lpeg').P)",
      ["lib/inner.lua"] = "return require 'lpeg'",
    } }
  end)

  it("crosses pcall, xpcall and error handlers", function()
    assert.equal("true|false|caught oh", answer_of [[
      local a = pcall(function() milter.sleep(0.001) end)
      local b, err = xpcall(function(x) milter.sleep(0.001) error(x, 0) end, function(e) return "caught " .. e end, "oh")
      return ctx:reject(tostring(a) .. "|" .. tostring(b) .. "|" .. err)
    ]])
  end)

  it("crosses metamethods", function()
    assert.equal("key set 3 ab true true called text", answer_of [[
      local said = {}
      local meta = {}
      local function slow(value) return function(...) milter.sleep(0.001) return value end end
      meta.__index = function(_, key) milter.sleep(0.001) return key end
      meta.__newindex = function(t, key, value) milter.sleep(0.001) said[key] = value end
      meta.__add, meta.__concat, meta.__lt, meta.__eq = slow(3), slow("ab"), slow(true), slow(true)
      meta.__call, meta.__tostring = slow("called"), slow("text")
      local a, b = setmetatable({}, meta), setmetatable({}, meta)
      a.x = "set"
      return ctx:reject(table.concat({ a.key, said.x, a + b, a .. b, tostring(a < b), tostring(a == b), a(), tostring(a) }, " "))
    ]])
  end)

  it("crosses iterators of for, and recursion", function()
    assert.equal("6 7", answer_of [[
      local sum = 0
      for i in function(_, last) milter.sleep(0.001) local n = (last or 0) + 1 if n < 4 then return n end end do sum = sum + i end
      local function depth(n) if n == 0 then milter.sleep(0.001) return 0 end return 1 + depth(n - 1) end
      return ctx:reject(sum .. " " .. depth(7))
    ]])
  end)

  it("inside coroutine.wrap and coroutine.resume reaches the host, and generators still work", function()
    assert.equal("1,2,3 true x y dead", answer_of [[
      local gen = coroutine.wrap(function()
        for i = 1, 3 do
          milter.sleep(0.001)
          coroutine.yield(i)
          milter.sleep(0.001)
        end
      end)
      local list = {}
      for i in gen do list[#list + 1] = i end
      local co = coroutine.create(function(a)
        local inner = coroutine.wrap(function(b) milter.sleep(0.001) local c = coroutine.yield(b) milter.sleep(0.001) return c end)
        local first = inner(a)
        local got = coroutine.yield(first)
        return inner(got)
      end)
      local ok, x = coroutine.resume(co, "x")
      local _, y = coroutine.resume(co, "y")
      return ctx:reject(table.concat(list, ",") .. " " .. tostring(ok) .. " " .. x .. " " .. y .. " " .. coroutine.status(co))
    ]])
  end)

  it("inside a coroutine can be cancelled, and wrap passes errors on", function()
    assert.equal("timeout inner failed", answer_of [[
      local co = coroutine.wrap(function() return select(3, milter.timeout(0.005, milter.sleep, 60)) end)
      local bad = coroutine.wrap(function() milter.sleep(0.001) error("inner failed", 0) end)
      local ok, err = pcall(bad)
      return ctx:reject(co() .. " " .. err:match("^[^\n]*"))
    ]])
  end)

  for what, code in pairs {
    ["a table.sort comparator"] = "table.sort({ 3, 2, 1 }, function(a, b) milter.sleep(0) return a < b end)",
    ["a string.gsub replacement"] = 'string.gsub("abc", "%a", function() milter.sleep(0) end)',
  } do
    it("in " .. what .. " raises an error that names the reason and the remedy", function()
      local text = answer_of("local ok, err = pcall(function() " .. code .. " end)\n"
        .. "return ctx:reject((tostring(ok) .. ' ' .. err:gsub('^[^ ]* ', '')))")
      assert.matches("^false sleep: cannot wait inside a function that C code calls back", text)
      assert.matches("collect the inputs there and wait afterwards", text)
    end)
  end

  it("in on_unload is refused, and the scripts unload", function()
    local host = fake_mta.host { script = HEAD .. [[
      function on_unload()
        local ok, err = pcall(milter.sleep, 1)
        milter.log.info("unload %s", tostring(err))
      end
    ]] }
    host:reload()
    assert.matches("unload", host:log())
    host:close()
  end)

  it("of a thousand sessions costs a session that does not wait only its share of the loop", function()
    local host = fake_mta.host { script = HEAD .. [[
      function on_mail(ctx, sender) if sender == "slow@x" then milter.sleep(0.3) end return ctx:reject(sender) end
    ]] }
    local sleepers = {}
    for i = 1, 1000 do
      sleepers[i] = fake_mta.start { host = host }
      sleepers[i]:begin()
      sleepers[i]:feed(fake_mta.packet("M", "<slow@x>\0"))
    end
    mta = fake_mta.start { host = host }
    mta:begin()
    assert.equal("550 5.7.1 quick@x", mta:mail("<quick@x>").text)
    local awake = 0
    for i = 1, 1000 do
      local reply = sleepers[i]:reply()
      awake = awake + (reply.text == "550 5.7.1 slow@x" and 1 or 0)
      sleepers[i]:close()
    end
    assert.equal(1000, awake)
    mta:close()
    host:close()
    mta = nil
  end)
end)
