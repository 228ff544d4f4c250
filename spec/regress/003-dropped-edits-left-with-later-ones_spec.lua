-- A failing on_rcpt refuses its recipient and the message goes on. The header edits requested so far were counted as
-- dropped but stayed in the list, so one later edit sent all of them; and the edits of other handlers were lost. Now a
-- failed handler revokes only its own edits. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("a handler that fails for one recipient", function()
  local function edits_of(body, more)
    local mta = fake_mta.start { script = [[
      function on_mail(ctx)
        ctx:add_header("X-Mail", "1")
        ctx:add_recipient("extra@x")
      end
      function on_rcpt(ctx, recipient)
        if recipient ~= "bad@x" then return end
        ]] .. body .. [[
        error "no policy for this one"
      end
      function on_eom(ctx) ctx:add_header("X-Eom", "1") end
    ]] .. (more or "") }
    mta:begin()
    mta:mail()
    assert.equal("continue", mta:rcpt("<good@x>").kind)
    assert.equal("tempfail", mta:rcpt("<bad@x>").kind)
    mta:eoh()
    local reply = mta:eom()
    mta:close()
    return reply.edits
  end
  local kept = { { "add_recipient", "<extra@x>" }, { "add_header", "X-Mail", "1" }, { "add_header", "X-Eom", "1" } }

  for name, body in pairs {
    ["a header"] = [[ ctx:add_header("X-Bad", "1") ]],
    ["a header above the others"] = [[ ctx:insert_header(0, "X-Bad", "1") ]],
    ["a recipient"] = [[ ctx:add_recipient("bad@y") ctx:delete_recipient("extra@x") ]],
    ["a new sender"] = [[ ctx:change_from("bad@y", "RET=HDRS") ]],
    ["a new body"] = [[ ctx:replace_body("bad") ctx:replace_body("worse\r") ]],
    ["a quarantine"] = [[ ctx:quarantine("bad") ]],
    ["a change of a header that another handler has added"] = [[ ctx.headers[1]:set("2") ]],
    ["the deletion of one"] = [[ ctx.headers[1]:delete() ]],
    ["nothing"] = "",
  } do
    it("revokes " .. name .. " and keeps earlier edits", function()
      assert.same(kept, edits_of(body, "options = { facts = { 'headers' } }"))
    end)
  end

  it("leaves no edits when its message had none before", function()
    local mta = fake_mta.start [[
      function on_rcpt(ctx) ctx:add_header("X-Bad", "1") ctx:insert_header(0, "X-Bad", "2") ctx:quarantine("bad") error "x" end
      function on_eom(ctx) ctx:add_header("X-Eom", "1") end
    ]]
    mta:begin()
    mta:mail()
    assert.equal("tempfail", mta:rcpt().kind)
    assert.same({ { "add_header", "X-Eom", "1" } }, mta:eom().edits)
    mta:close()
  end)
end)
