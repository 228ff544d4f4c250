-- When a script adds a field that Sendmail generates itself (Date, From, Message-Id), it fills Sendmail's own, above
-- the client's fields. A field inserted after it was counted one too far, and came after its neighbour. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

it("a field inserted after one that fills Sendmail's own does not count it", function()
  local function edits_of(kind)
    local mta = fake_mta.start { script = [[
      function on_eom(ctx)
        ctx:add_header("Date", "x")
        ctx:add_header("X-Z", "z")
        ctx:insert_header(#ctx.headers, "X-New", "v") -- before X-Z
      end]] }
    mta:introduce(kind)
    mta:connect()
    local reply = mta:message { headers = { { "X-A", "1" } } }
    mta:close()
    return reply.edits
  end
  local added = { { "add_header", "Date", "x" }, { "add_header", "X-Z", "z" } }
  assert.same({ added[1], added[2], { "insert_header", 3, "X-New", "v" } }, edits_of "postfix")
  assert.same({ added[1], added[2], { "insert_header", 9, "X-New", "v" } }, edits_of "sendmail")
end)

it("a field that Sendmail has itself but shows to no milter is inserted: it fills none", function()
  local mta = fake_mta.start { script = "function on_eom(ctx) ctx:add_header('Resent-Date', 'x') return "
    .. "ctx.headers:get 'A' end" }
  mta:introduce "sendmail"
  mta:connect()
  assert.same({ { "insert_header", 0x7fffffff, "Resent-Date", "x" } },
    mta:message { headers = { { "X-A", "1" } } }.edits)
  mta:close()
end)
