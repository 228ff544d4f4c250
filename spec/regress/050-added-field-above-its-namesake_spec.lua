-- A script that adds a field without reading headers did not receive the header, and its field was sent as a plain add:
-- Sendmail puts such a field before the first of its name, Postfix at the end. Now we let Sendmail insert it at the
-- end, except for names that Sendmail generates itself, where a plain add replaces the generated field. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

local END = 0x7fffffff

describe("a field added by a script that does not receive the header", function()
  local function edits_of(kind, code)
    local mta = fake_mta.start { script = "function on_eom(ctx) " .. code .. " end" }
    mta:introduce(kind)
    mta:connect()
    local reply = mta:message { headers = { { "X-A", "1" } } }
    mta:close()
    return reply.edits
  end

  it("goes to the end, even on Sendmail", function()
    assert.same({ { "insert_header", END, "X-A", "2" } }, edits_of("sendmail", "ctx:add_header('X-A', '2')"))
    assert.same({ { "add_header", "X-A", "2" } }, edits_of("postfix", "ctx:add_header('X-A', '2')"))
  end)

  it("replaces the field that Sendmail generates, once", function()
    assert.same({ { "add_header", "date", "2" }, { "insert_header", END, "Date", "3" } },
      edits_of("sendmail", "ctx:add_header('date', '2') ctx:add_header('Date', '3')"))
  end)
end)
