-- moonmilter.testing: exploration finds what a single run does not.
local testing = require "moonmilter.testing"

describe("exploration", function()
  it("runs a test at every cut and behind every message given up", function()
    local runs = testing.explore({ scripts = "examples/rcpt-count.lua" }, function(mta)
      local result = mta:message { to = { "a@x", "b@x", "c@x" } }
      assert.equal("3", result.message:get "X-Rcpt-Count")
      assert.equal("1", mta:message().message:get "X-Rcpt-Count")
    end, 100)
    assert.equal(2 + 100 + 14, runs)
  end)

  it("finds a filter that forgets to forget", function()
    local leaky = [[ local count = 0 function on_rcpt() count = count + 1 end
      function on_eom(ctx) ctx:add_header("X-Count", count) count = 0 end ]]
    local ok, err = pcall(testing.explore, leaky, function(mta)
      local result = mta:message()
      if result.message:get "X-Count" ~= "1" then
        error("count is " .. result.message:get "X-Count", 0)
      end
    end, 20)
    assert.is_false(ok)
    assert.equal("explored: after a message given up behind rcpt: count is 2", err:match "^[^\n]*")
  end)

  it("shows the way through the test to an error, and not the kit's", function()
    local function helper(mta)
      mta:rcpt "nobody@example.com"
    end
    local _, err = pcall(testing.explore, "function on_mail() end", function(mta)
      helper(mta)
      mta:message()
    end, 1)
    assert.matches("^explored: whole packets: [^\n]-explore_spec.lua:%d+: rcpt: there is no message; begin one with mta:mail%(%)"
      .. "\n  called at [^\n]-explore_spec.lua:%d+$", err)
  end)
end)
