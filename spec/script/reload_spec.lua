--- A new generation of scripts: complete or not at all, and sessions keep the one they began with.
local fake_mta = require "spec.support.fake_mta"

local function script(word)
  return ("function on_helo(ctx) return ctx:reject('%s ' .. ctx.host.generation) end"):format(word)
end

local function helo(host)
  local mta = fake_mta.start { host = host }
  local text = mta:helo().text
  mta:close()
  return (text:match "^550 5.7.1 (.*)$")
end

describe("a reload", function()
  local host
  before_each(function() host = assert(fake_mta.host { files = { ["a.lua"] = script "old" } }) end)
  after_each(function() host:close() end)

  it("serves new sessions with the new scripts, including added and removed files", function()
    assert.equal("old 1", helo(host))
    host:write("a.lua", script "new")
    assert.equal(2, host:reload())
    assert.equal("new 2", helo(host))
    host:write("0.lua", script "first")
    host:reload()
    assert.equal("first 3", helo(host))
  end)

  it("keeps the old scripts for open sessions, including waiting handlers and later messages", function()
    host:write("a.lua", "function on_helo(ctx) require 'moonmilter'.sleep(0.05) return ctx:reject('waited ' .. "
      .. "ctx.host.generation) end")
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:feed(fake_mta.packet("H", "x\0"))
    assert.is_true(mta:is_waiting())
    host:write("a.lua", script "new")
    host:reload()
    assert.equal("new 3", helo(host))
    assert.equal("550 5.7.1 waited 2", mta:reply().text)
    assert.equal("550 5.7.1 waited 2", mta:helo().text)
    mta:close()
  end)

  for name, source in pairs { ["a syntax error"] = "x = = 1", ["an error at the top level"] = "error 'no'",
    ["an unknown handler"] = "function on_foo() end",
    ["an error in on_load"] = "function on_load() error 'no' end",
    ["an error after a wait"] = "require 'moonmilter'.sleep(0) error 'no'" } do
    it(("with %s in one of two scripts changes nothing and says why"):format(name), function()
      host:write("a.lua", script "new")
      host:write("b.lua", source)
      assert.equal(1, host:reload())
      assert.equal("old 1", helo(host))
      local lines = host:log_lines "reload"
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("result=failed", 1, true) and lines[1]:find("b.lua", 1, true), lines[1])
      host:write("b.lua", "")
      assert.is_true(host:reload() > 1)
      assert.truthy(helo(host):find "^new")
    end)
  end

  it("gives each generation its own globals and modules", function()
    host:write("a.lua", "n = 0 function on_helo(ctx) n = n + 1 return ctx:reject(n .. require 'counter'()) end")
    os.execute("mkdir -p " .. host.directory .. "/lib")
    host:write("lib/counter.lua", "local n = 0 return function() n = n + 1 return n end")
    host:reload()
    assert.equal("11", helo(host))
    assert.equal("22", helo(host))
    host:reload()
    assert.equal("11", helo(host))
  end)

  it("negotiates the new scripts' needs with a new session's MTA", function()
    local before = fake_mta.start { host = host }
    host:write("a.lua", "function on_data() end")
    host:reload()
    local after = fake_mta.start { host = host }
    assert.equal(0x200, bit.band(before.steps, 0x200))
    assert.equal(0, bit.band(after.steps, 0x200))
    before:close()
    after:close()
  end)

  it("runs on_unload of a generation when its last session is over", function()
    host:write("a.lua", "function on_helo() end function on_unload(h) require 'moonmilter'.log.info('unload %d', "
      .. "h.generation) end")
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:helo()
    host:reload()
    assert.falsy(host:log():find("unload 2", 1, true))
    mta:close()
    host:turn(0)
    assert.truthy(host:log():find("unload 2", 1, true))
  end)

  -- AddressSanitizer and valgrind keep freed memory on purpose
  local preload = os.getenv "LD_PRELOAD" or ""
  local counts_memory = (preload:find "asan" or preload:find "vgpreload") and pending or it
  counts_memory("repeated a hundred times leaves no session unserved and no memory of old generations", function()
    local function resident()
      local file = assert(io.open "/proc/self/statm")
      local pages = tonumber(file:read("*a"):match "^%d+ (%d+)")
      file:close()
      return pages * 4
    end
    for i = 1, 30 do
      host:reload()
      assert.truthy(helo(host))
      if i == 10 then
        collectgarbage()
      end
    end
    local before = resident()
    for _ = 1, 70 do
      host:reload()
      assert.truthy(helo(host))
    end
    assert.is_true(resident() - before < 4000, ("grew by %d KiB"):format(resident() - before))
  end)
end)
