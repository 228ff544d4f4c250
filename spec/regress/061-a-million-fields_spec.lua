-- A header of a million fields of one byte each was kept whole, in 48 MB, and every edit of a script counted through it
-- from its first field: for some ten seconds the worker served no other session. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

it("a header of more fields than the limit ends there, and its fields cannot be edited by number", function()
  local mta = fake_mta.start { set = { "over=truncate" }, script = [[
    options = { facts = { "headers" } }
    function on_eom(ctx)
      local _, why = pcall(ctx.delete_header, ctx, "X-Spam")
      return ctx:reject(("%d %s"):format(ctx.headers:count "a", why:match "cannot be found or counted" or why))
    end
  ]] }
  finally(function() mta:close() end)
  mta:begin()
  mta:mail()
  mta:rcpt "<a@b.example>"
  mta:data()
  mta:header("X-Spam", "first")
  for _ = 1, 16390 do mta:header("a", "") end
  mta:eoh()
  assert.matches("16383 cannot be found or counted", mta:eom().text)
end)
