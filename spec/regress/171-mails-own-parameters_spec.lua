-- A part whose Content-Type held a NUL or a CR in a parameter made examples/footer-text-html.lua fail with 451 at each
-- retry: its own spelling was written into the new field. Since 0.1.0.
local header = require "moonmilter.header"

describe("a field that is written again", function()
  for raw, written in pairs {
    ["text/plain; a=b\0c; charset=latin1"] = 'text/plain; a="b c"; charset=utf-8',
    ["text/plain; a=\"b\0c\""] = 'text/plain; a="b c"; charset=utf-8',
    ["text/plain; a=\"b\rc d\""] = 'text/plain; a="b c d"; charset=utf-8',
    ["text/plain; a=b\rc; a=2"] = 'text/plain; a="b c"; charset=utf-8',
    ["text/pl\0ain; x=y"] = "text/plain; x=y; charset=utf-8",
    ["text/plain; a\0=c; x=y"] = "text/plain; x=y; charset=utf-8",
    ["text/plain; x*=utf-8''a%00b"] = "text/plain; x*=utf-8''a%00b; charset=utf-8",
    ["text/plain; a=\"b c\"; charset=latin1"] = 'text/plain; a="b c"; charset=utf-8',
  } do
    it(("holds what a field may: %q"):format(raw), function()
      local parsed = header.content_type(raw)
      parsed.params.charset = "utf-8"
      assert.equal(written, header.format_params(parsed, "Content-Type"))
    end)
  end

  it("raises for what a script puts in", function()
    local parsed = header.content_type "text/plain; a=b"
    parsed.params.a = "x\0y"
    assert.has_error(function() header.format_params(parsed, "Content-Type") end)
    parsed.params = { ["not a name"] = "x" }
    assert.has_error(function() header.format_params(parsed, "Content-Type") end)
  end)
end)
