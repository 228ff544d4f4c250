-- ctx:replace_body(5) and a body above body_max failed without file and line: the check sat in a function that was tail
-- called. An iterator that returned anything but strings ran until memory was exhausted. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("ctx:replace_body", function()
  local function error_of(code, set)
    local mta = fake_mta.start { files = { ["10.lua"] = "function on_eom(ctx)\n" .. code .. "\nend" }, set = set }
    mta:begin()
    local kind, lines = mta:message().kind, mta:log_lines "script_error"
    mta:close()
    assert.equal("tempfail", kind)
    return lines[1]
  end

  it("names the script's line when the body is not a string", function()
    assert.truthy(error_of("ctx:replace_body(5)"):find("10.lua:2: replace_body: got a number; give a string", 1, true))
    assert.truthy(error_of("ctx:replace_body()"):find("10.lua:2: replace_body: got a nil; give a string", 1, true))
  end)

  it("names the script's line when the body is too large", function()
    assert.truthy(error_of("ctx:replace_body(('x'):rep(5000))", { "body_max=2K" })
      :find("10.lua:2: replace_body: the new body would have 5000 bytes; body_max is 2048", 1, true))
  end)

  it("stops an iterator at the first piece that is not a string", function()
    assert.truthy(error_of("ctx:replace_body(function() return 5 end)")
      :find("10.lua:2: replace_body: got a number; give a string", 1, true))
  end)
end)
