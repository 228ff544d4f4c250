-- A field that a script had kept from one message changed the first field of the next message of the connection. Since
-- 0.1.0.
local fake_mta = require "spec.support.fake_mta"

it("a field of the message before changes nothing in the present one", function()
  local mta = fake_mta.start [[
    local kept
    function on_eom(ctx)
      if kept then kept:set "STALE" end
      kept = ctx.headers:field "Subject"
    end
  ]]
  finally(function() mta:close() end)
  mta:begin()
  assert.equal("continue", mta:message({ headers = { { "Subject", "one" } } }).kind)
  local reply = mta:message { headers = { { "To", "two" }, { "Subject", "two" } } }
  assert.equal("tempfail", reply.kind)
  assert.same({}, reply.edits)
  assert.truthy(mta:log_lines("script_error")[1]:find('script.lua:3: set: this field \\"Subject\\" belongs to '
    .. "message 1 of this session, which is over", 1, true))
end)
