-- After a script had emptied Lua's registry, every later message failed, and the log showed bytes of the host's stack
-- as the place of the error. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

it("an emptied registry fails no later message", function()
  local mta = fake_mta.start [[
    local registry = debug.getmetatable(debug.getregistry())
    registry = registry and registry.__index or debug.getregistry()
    function on_mail() for key in pairs(registry) do registry[key] = nil end end
    function on_eom(ctx) ctx:add_header("X-A", "b") end
  ]]
  finally(function() mta:close() end)
  mta:begin()
  for _ = 1, 2 do
    assert.same({ { "add_header", "X-A", "b" } }, mta:message().edits)
  end
  assert.same({}, mta:log_lines "script_error")
end)
