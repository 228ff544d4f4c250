-- Errors raised below the runtime's own Lua named its file instead of the script; os.exit ended the host. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("an error of the runtime's own Lua", function()
  it("names the script's line, not the runtime's", function()
    local mta = fake_mta.start 'local milter = require "moonmilter"\nfunction on_mail() milter.sleep(-1) end'
    finally(function() mta:close() end)
    assert.equal("tempfail", mta:mail().kind)
    assert.truthy(mta.owner:log():find("script.lua:2: sleep: -1", 1, true))
  end)

  it("keeps os.exit from ending the host", function()
    local mta = fake_mta.start "function on_mail() os.exit(1) end"
    finally(function() mta:close() end)
    assert.equal("tempfail", mta:mail().kind)
    assert.truthy(mta.owner:log():find("a script cannot end the host", 1, true))
  end)
end)
