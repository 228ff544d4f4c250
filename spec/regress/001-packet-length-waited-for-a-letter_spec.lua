-- A packet length of 0, or one far too large, was judged only when the letter after it had come: a connection that sent
-- four zero bytes and waited stayed open until the negotiation timeout. Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("four bytes that cannot be a packet length", function()
  for name, bytes in pairs { zero = "\0\0\0\0", huge = "\255\255\255\255" } do
    it(("(%s) close the connection without a fifth"):format(name), function()
      local mta = fake_mta.start { script = "function on_eom() end", negotiates = false }
      assert.is_nil(mta:feed(bytes))
      assert.is_true(mta:is_finished())
      mta:close()
    end)
  end
end)
