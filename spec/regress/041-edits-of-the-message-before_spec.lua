-- The log line of a message that was refused before its end showed the number of edits of the previous message. Since
-- 0.1.0.
local fake_mta = require "spec.support.fake_mta"

it("a message refused at MAIL has no edits in its log line", function()
  local mta = fake_mta.start [[
    function on_mail(ctx) ctx.session.mails = (ctx.session.mails or 0) + 1 if ctx.session.mails == 2 then ctx:tempfail() end end
    function on_eom(ctx) ctx:add_header("X-A", "b") end
  ]]
  finally(function() mta:close() end)
  mta:message()
  mta:mail()
  local lines = mta.owner:log_lines "message"
  assert.truthy(lines[1]:find("edits=1", 1, true))
  assert.truthy(lines[2]:find("verdict=tempfail", 1, true))
  assert.falsy(lines[2]:find("edits=", 1, true))
end)
