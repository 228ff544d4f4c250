-- A wrong argument to a waiting function, caught by the script's own pcall, began with a line of the runtime's own Lua
-- ("moonmilter.runtime.wait.lua:41"); milter.timeout put a traceback into errors that it passed on. Since 0.1.0.
local testing = require "moonmilter.testing"

local function caught(call)
  local mta = testing.start { files = { ["10-a.lua"] = ([[
    local milter = require "moonmilter"
    function on_mail(ctx)
      local ok, err = pcall(function()
        %s
      end)
      ctx:add_header("X-Error", tostring(err))
    end]]):format(call) } }
  finally(function() mta:close() end)
  return mta:message({}).edits[1][3]
end

describe("an error that a script catches itself", function()
  for call, text in pairs {
    ['milter.sleep "x"'] = "sleep: bad argument #1 (number expected, got string)",
    ["milter.timeout(-1, print)"] = "timeout: ",
    ["milter.at_end()"] = "at_end: expected a function, got nil",
    ["milter.spawn(print):wait {}"] = "wait: bad argument #1 (number expected, got table)",
    ['require("moonmilter.socket").tcp():settimeout {}'] = "settimeout: got a table; give seconds, or nil for none",
    ['milter.timeout(1, function() error "mine" end)'] = "mine",
  } do
    it("names the script's line: " .. call, function()
      local err = caught(call)
      assert.truthy(err:find("10-a.lua:4: " .. text, 1, true), err)
      assert.falsy(err:find("moonmilter.", 1, true), err)
      assert.falsy(err:find("traceback", 1, true), err)
    end)
  end

  it("passes milter.timeout unchanged", function()
    assert.equal("mine", caught 'milter.timeout(1, function() error("mine", 0) end)')
  end)
end)
