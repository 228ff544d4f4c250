--- The host collects Lua's garbage while it is idle, in small steps.
local fake_mta = require "spec.support.fake_mta"

local script = [[
  local kept = {}
  function on_connect(ctx, name)
    if name == "make" then
      collectgarbage()
      collectgarbage "stop" -- from here on only the host collects
      local all = {}
      for i = 1, 100000 do
        all[i] = { i }
        if i % 100 == 0 then kept[#kept + 1] = all[i] end
      end
    end
    return ctx:reject(("has %d"):format(collectgarbage "count"))
  end
]]

describe("garbage", function()
  it("is freed when the host has been idle, and referenced objects are not", function()
    local mta = fake_mta.start(script)
    local function count(name)
      local reply = mta:connect(name)
      mta:feed(fake_mta.packet("K", ""))
      return tonumber(reply.text:match "(%d+)$")
    end
    local before = count "look"
    local full = count "make"
    assert.is_true(full > before + 8 * 1024, full .. " KiB")
    for _ = 1, 200 do
      mta.owner:turn(0)
    end
    local after = count "look"
    assert.is_true(after < before + 2 * 1024, after .. " KiB, before " .. before)
    mta:close()
  end)

  it("is collected even if a finalizer raises, and the error is logged", function()
    local mta = fake_mta.start([[
      function on_connect(ctx, name)
        if name == "make" then
          collectgarbage()
          collectgarbage "stop"
          getmetatable(newproxy(true)).__gc = function() error "no end" end
          local all = {}
          for i = 1, 100000 do all[i] = { i } end
        end
        return ctx:reject(("has %d"):format(collectgarbage "count"))
      end
    ]])
    local full = tonumber(mta:connect("make").text:match "(%d+)$")
    mta:feed(fake_mta.packet("K", ""))
    for _ = 1, 200 do
      mta.owner:turn(0)
    end
    local after = tonumber(mta:connect("look").text:match "(%d+)$")
    assert.is_true(after < full / 2, after .. " KiB of " .. full)
    assert.truthy(mta.owner:log():find "a finalizer %(__gc%) failed: [^\n]*no end", mta.owner:log())
    mta:close()
  end)
end)
