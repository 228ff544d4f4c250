-- A Message-ID of 60,000 times "@" took 26 s, a method of Authentication-Results of 48,000 digits 21 s and a header
-- line of 90 KB in an HTTP answer 10 s: each pattern had two repeats that could match the same bytes. Since 0.1.0.
local shapes = require "spec.mail.shapes"

local cases = {
  { "an id without brackets", function(text) return require("moonmilter.header").message_id(text) end, "", "@", " x" },
  { "a method of Authentication-Results", function(text) return require("moonmilter.authres").parse(text) end, "mx; ",
    "1", "_=x" },
  { "a header line of an HTTP answer", function(text) return require("moonmilter.net.http_head").read(text) end, "a:b",
    " ", "x" },
}

for _, case in ipairs(cases) do
  it(case[1] .. " is read in linear time", function()
    local is_linear, times = shapes.is_linear(case[2], function(size)
      return case[3] .. case[4]:rep(size) .. case[5]
    end, "long")
    assert.is_true(is_linear, times)
  end)
end
