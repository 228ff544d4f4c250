-- A script that adds a field and looks at no header was not told the header, and its field went out as a plain add:
-- Sendmail puts such a one before the first of its name, Postfix at the end. Now Sendmail is asked to insert it at the
-- end, but for the names that Sendmail makes up itself, where a plain add replaces the made up one. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

local END = 0x7fffffff

describe("a field added by a script that is not told the header", function()
  local function edits_of(kind, code)
    local mta = fake_mta.start { script = "function on_eom(ctx) " .. code .. " end" }
    mta:introduce(kind)
    mta:connect()
    local reply = mta:message { headers = { { "X-A", "1" } } }
    mta:close()
    return reply.edits
  end

  it("goes to the end on Sendmail too", function()
    assert.same({ { "insert_header", END, "X-A", "2" } }, edits_of("sendmail", "ctx:add_header('X-A', '2')"))
    assert.same({ { "add_header", "X-A", "2" } }, edits_of("postfix", "ctx:add_header('X-A', '2')"))
  end)

  it("takes the place of what Sendmail makes up, once", function()
    assert.same({ { "add_header", "date", "2" }, { "insert_header", END, "Date", "3" } },
      edits_of("sendmail", "ctx:add_header('date', '2') ctx:add_header('Date', '3')"))
  end)
end)
