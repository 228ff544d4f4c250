-- A C module that registers itself by luaL_register() with its name (lpeg, and most of LuaRocks) filled the marker for
-- "being loaded" instead of its own table: its second require failed with "module cycle", and two such modules were
-- mixed.
local testing = require "moonmilter.testing"

describe("C modules", function()
  it("can be required twice, and are not mixed", function()
    local mta = testing.start {
      files = {
        ["10-a.lua"] = [[ local lpeg, other = require "lpeg", require "helper"
          function on_eom(ctx) ctx:add_header("X", tostring(other.lpeg == lpeg) .. " " .. tostring(lpeg.P ~= nil) .. " "
            .. tostring(other.lfs.P == nil) .. " " .. tostring(lpeg.attributes == nil)) end ]],
        ["lib/helper.lua"] = [[ return { lpeg = require "lpeg", lfs = require "lfs" } ]],
      },
    }
    finally(function() mta:close() end)
    assert.equal("true true true true", mta:message().message:get "X")
  end)
end)
