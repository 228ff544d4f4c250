-- A script whose on_rcpt failed after its ctx:replace_body had begun a new body in place of another script's: the bytes
-- of both were sent mixed. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

local WHOLE = ("long and whole\r\n"):rep(3)

local function body_of(second)
  local mta = fake_mta.start { files = {
    ["10-body.lua"] = ("function on_mail(ctx) ctx:replace_body(%q) end"):format(WHOLE),
    ["20-fails.lua"] = second,
  } }
  finally(function() mta:close() end)
  local reply = mta:message()
  assert.equal("continue", reply.kind)
  assert.equal(1, #reply.edits)
  return reply.edits[1][2]
end

describe("a recipient's handler that fails", function()
  it("leaves the new body of another script unchanged", function()
    assert.equal(WHOLE, body_of 'function on_rcpt(ctx) ctx:replace_body("XX") ctx:replace_body("YY") error "no" end')
  end)

  it("leaves no piece of its own before a later body", function()
    assert.equal("ZZ", body_of [[
      function on_rcpt(ctx) ctx:replace_body("XX") error "no" end
      function on_eom(ctx) ctx:replace_body("ZZ") end]])
  end)
end)
