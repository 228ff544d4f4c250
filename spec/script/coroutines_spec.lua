--- Waiting from anywhere in a script: through pcall, metamethods, iterators and coroutines of the script's own.
local fake_mta = require "spec.support.fake_mta"

-- The result of a function body that runs in on_helo.
local function value(body, options)
  local mta = fake_mta.start(("local milter = require 'moonmilter'\nlocal function run(ctx)\n%s\nend\n"
    .. "function on_helo(ctx) return ctx:reject('is ' .. tostring(run(ctx))) end"):format(body), options)
  local reply = mta:helo()
  local errors = mta:log_lines "script_error"
  assert.same({}, errors)
  mta:close()
  return reply.text:match "^550 5.7.1 is (.*)$"
end

describe("a wait", function()
  local ways = {
    ["at once"] = "milter.sleep(0.001) return 'ok'",
    ["of no time"] = "for _ = 1, 20 do milter.sleep(0) end return 'ok'",
    ["inside pcall"] = "local ok = pcall(milter.sleep, 0) return ok and 'ok'",
    ["inside xpcall"] = "return select(2, xpcall(function() milter.sleep(0) return 'ok' end, print))",
    ["that an error follows inside pcall"] = "local ok, err = pcall(function() milter.sleep(0) error 'ok' end) return "
      .. "err:match 'ok$'",
    ["inside a metamethod"] = "return setmetatable({}, { __index = function() milter.sleep(0) return 'ok' end }).x",
    ["inside __add, __call and __concat"] = [[
      local t = setmetatable({}, { __add = function() milter.sleep(0) return 'o' end, __call = function() milter.sleep(0) return 'k' end })
      return (t + 1) .. t()]],
    ["inside a for iterator"] = "local s = '' for v in coroutine.wrap(function() for i = 1, 3 do milter.sleep(0) "
      .. "coroutine.yield(i) end end) do s = s .. v end return s == '123' and 'ok'",
    ["inside coroutine.wrap"] = "return coroutine.wrap(function() milter.sleep(0) return 'ok' end)()",
    ["inside coroutine.resume"] = "return select(2, coroutine.resume(coroutine.create(function() milter.sleep(0) "
      .. "return 'ok' end)))",
    ["inside coroutines inside coroutines"] = [[
      local function deep(n) if n == 0 then milter.sleep(0) return 'ok' end return coroutine.wrap(function() return deep(n - 1) end)() end
      return deep(8)]],
    ["inside a generator that yields values around it"] = [[
      local gen = coroutine.wrap(function(a) milter.sleep(0) local b = coroutine.yield(a + 1) milter.sleep(0) local c = coroutine.yield(b + 1) return c end)
      return gen(1) == 2 and gen(5) == 6 and gen('ok')]],
    ["inside __tostring comes back or raises, and"] = "pcall(tostring, setmetatable({}, { __tostring = function() "
      .. "milter.sleep(0) end })) return 'ok'",
    ["inside xpcall's handler comes back or raises, and"] = "xpcall(error, function() pcall(milter.sleep, 0) "
      .. "end) return 'ok'",
  }
  for where, body in pairs(ways) do
    it(where .. " comes back", function()
      assert.equal("ok", value(body))
    end)
  end

  it("leaves coroutine.status, running and wrap's errors unchanged", function()
    assert.equal("suspended dead", value [[
      local co = coroutine.create(function() milter.sleep(0) coroutine.yield() end)
      coroutine.resume(co)
      local first = coroutine.status(co)
      coroutine.resume(co)
      return first .. " " .. coroutine.status(co)
    ]])
    assert.equal("false inner", value [[
      local ok, err = pcall(coroutine.wrap(function() milter.sleep(0) error("inner", 0) end))
      return tostring(ok) .. " " .. err
    ]])
    assert.equal("false 7", value [[
      local ok, err = pcall(coroutine.wrap(function() error { code = 7 } end))
      return tostring(ok) .. " " .. err.code
    ]])
    assert.equal("false cannot resume dead coroutine", value [[
      local co = coroutine.create(function() end)
      coroutine.resume(co)
      local ok, err = coroutine.resume(co)
      return tostring(ok) .. " " .. err
    ]])
  end)

  for name, body in pairs {
    ["a table.sort comparator"] = "table.sort({ 3, 1, 2 }, function(a, b) milter.sleep(0) return a < b end)",
    ["a gsub replacement"] = "string.gsub('abc', '%w', function() milter.sleep(0) end)",
    ["a coroutine inside a gsub replacement"] = "string.gsub('abc', '%w', function() coroutine.wrap(function() "
      .. "milter.sleep(0) end)() end)",
  } do
    it(("in %s is an error that says what to do instead"):format(name), function()
      local text = value(("local ok, err = pcall(function() %s end) return err"):format(body))
      assert.truthy(text:find("cannot wait inside a function that C code calls back", 1, true), text)
      assert.truthy(text:find("wait afterwards", 1, true), text)
    end)
  end

  it("accepts 0 seconds or more", function()
    for _, wrong in ipairs { "-1", "0/0", "1e300", "'x'", "nil", "{}" } do
      assert.equal("false", value(("return (pcall(milter.sleep, %s))"):format(wrong)))
    end
  end)

  it("lasts for the given time", function()
    local taken = tonumber(value "local before = milter.now() milter.sleep(0.2) return milter.now() - before")
    assert.is_true(taken >= 0.19 and taken < 1, taken)
  end)
end)

describe("a coroutine that outlives its session", function()
  it("affects no other session", function()
    local host = assert(fake_mta.host { script = [[
      local milter = require "moonmilter"
      local kept
      function on_helo(ctx, name)
        if name == "first" then
          kept = coroutine.create(function() milter.sleep(0) coroutine.yield "one" milter.sleep(0) return "two" end)
          coroutine.resume(kept)
        elseif name == "sleeper" then
          kept = coroutine.create(function() milter.sleep(30) return "late" end)
          coroutine.resume(kept)
        else
          local ok, v = coroutine.resume(kept)
          return ctx:reject(("%s %s"):format(tostring(ok), tostring(v)))
        end
      end
    ]] })
    local one = fake_mta.start { host = host }
    one:helo "first"
    one:close()
    local two = fake_mta.start { host = host }
    assert.equal("550 5.7.1 true two", two:helo("second").text)
    two:close()
    local three = fake_mta.start { host = host }
    three:feed(fake_mta.packet("H", "sleeper\0"))
    three:close() -- cancelled inside the coroutine, which ends it
    local four = fake_mta.start { host = host }
    assert.equal("550 5.7.1 false cannot resume dead coroutine", four:helo("second").text)
    four:close()
    host:close()
  end)
end)

describe("a thousand handlers that wait at once", function()
  it("are all answered, and a thousand more reuse their coroutines", function()
    local host = assert(fake_mta.host { script = [[
      local milter = require "moonmilter"
      function on_helo(ctx, name) milter.sleep(math.random() / 20) return ctx:reject(name) end
    ]] })
    for _ = 1, 2 do
      local all = {}
      for i = 1, 1000 do
        all[i] = fake_mta.start { host = host }
        all[i]:feed(fake_mta.packet("H", "h" .. i .. "\0"))
      end
      for i = 1, 1000 do
        assert.equal("550 5.7.1 h" .. i, all[i]:reply().text)
        all[i]:close()
      end
    end
    host:close()
  end)
end)
