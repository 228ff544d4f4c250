--- Texts and statuses of replies: what a client may be sent (RFC 6531 3.5, RFC 3463 2).
local fake_mta = require "spec.support.fake_mta"

local function reply_to(call, params)
  local mta = fake_mta.start { script = ("function on_mail(ctx)\n  return ctx:%s\nend"):format(call) }
  mta:begin()
  local reply = mta:mail("<a@example.org>", unpack { params })
  local errors = mta.owner:log():match "script_error[^\n]*"
  mta:close()
  return reply.text or reply.kind, errors
end

describe("UTF-8 in the text of a reply", function()
  it("goes out where the client asked for SMTPUTF8", function()
    assert.equal("550 5.7.1 Nein, Grüße €", (reply_to([[reject "Nein, Grüße €"]], "SMTPUTF8")))
    assert.equal("550 5.7.1 Grüße", (reply_to([[reject "Grüße"]], "smtputf8")))
  end)

  it("is a question mark for each character elsewhere", function()
    assert.equal("550 5.7.1 Nein, Gr??e ?", (reply_to [[reject "Nein, Grüße €"]]))
    assert.equal("451 4.7.1 one ?", (reply_to([[tempfail("one ü")]], "SIZE=100")))
    assert.equal("550 5.7.1 ?x?", (reply_to([[reject "\255x\195"]], "SMTPUTF8")))
  end)
end)

describe("an enhanced status", function()
  it("that is malformed is an error", function()
    for _, arguments in ipairs { '550, "5.7", "no"', '550, "5.7.1.2", "no"', '550, "5.7.x", "no"', '550, 5.71, "no"',
      '"5.7", "no"', '550, "5..1", "no"', '550, "5.7.", "no"', '550, "5.7.1234", "no"', '550, "5.7.1 ", "no"',
      '"5.7"' } do
      local _, errors = reply_to("reject(" .. arguments .. ")")
      assert.matches("script.lua:2: reject: enhanced status .- is not of the form 5.x.y %(RFC 3463 2%)",
        errors or "none", arguments)
    end
    local _, errors = reply_to [[tempfail(450, "4.7", "no")]]
    assert.matches("is not of the form 4.x.y", errors)
  end)

  it("is told from a text", function()
    assert.equal("550 5.7.1 192.0.2.1", (reply_to [[reject "192.0.2.1"]]))
    assert.equal("550-5.7.1 192.0.2.1\r\n550 5.7.1 is listed", (reply_to [[reject(550, "192.0.2.1", "is listed")]]))
    assert.equal("550 5.7.1 5.6.7.8", (reply_to [[reject "5.6.7.8"]]))
    assert.equal("550 5.7.1 5.5 MB are too much", (reply_to [[reject "5.5 MB are too much"]]))
    assert.equal("550 5.7.1 42", (reply_to [[reject(550, 42)]]))
    assert.equal("550 5.1.1 no", (reply_to [[reject(550, "5.1.1", "no")]]))
  end)
end)
