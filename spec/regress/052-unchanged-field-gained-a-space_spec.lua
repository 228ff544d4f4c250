-- A field that was set to its present value was sent as a change, and the MTA rewrote it with a space after the colon:
-- "Subject:text" became "Subject: text", and a signature over it was void. Found by spec/mta/corpus_spec.lua. Since
-- 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("a field that is set to its present value", function()
  local function edits_of(code)
    local mta = fake_mta.start { script = "function on_eom(ctx) " .. code .. " end" }
    mta:begin()
    local reply = mta:message { headers = { { "Subject", "text" }, { "X-A", "1" } } }
    mta:close()
    return reply.edits
  end

  it("is not an edit", function()
    assert.same({}, edits_of "ctx:change_header('Subject', 1, 'text')")
    assert.same({}, edits_of "ctx.headers:field('Subject'):set 'text'")
  end)

  it("is not an edit even when it had another value in between", function()
    assert.same({}, edits_of "ctx:change_header('Subject', 1, 'other') ctx:change_header('Subject', 1, 'text')")
  end)

  it("can be changed afterwards", function()
    assert.same({ { "change_header", 1, "Subject", "third" } },
      edits_of "for _, v in ipairs { 'other', 'text', 'third' } do ctx:change_header('Subject', 1, v) end")
  end)

  it("can be deleted, and then its name means the next one", function()
    assert.same({ { "change_header", 1, "X-A", "" } },
      edits_of "ctx:change_header('X-A', 1, '1') ctx:delete_header('X-A', 1) ctx:delete_header('X-A', 1)")
  end)
end)
