-- moonmilter.testing: exploration finds what a single run does not.
local testing = require "moonmilter.testing"

describe("exploration", function()
  it("runs a test at every cut and after every message given up", function()
    local runs = testing.explore({ scripts = "examples/rcpt-count.lua" }, function(mta)
      local result = mta:message { to = { "a@x", "b@x", "c@x" } }
      assert.equal("3", result.message:get "X-Rcpt-Count")
      assert.equal("1", mta:message().message:get "X-Rcpt-Count")
    end, 100)
    assert.equal(2 + 100 + 3 + 14, runs)
  end)

  it("finds a filter that does not reset its state", function()
    local leaky = [[ local count = 0 function on_rcpt() count = count + 1 end
      function on_eom(ctx) ctx:add_header("X-Count", count) count = 0 end ]]
    local ok, err = pcall(testing.explore, leaky, function(mta)
      local result = mta:message()
      if result.message:get "X-Count" ~= "1" then
        error("count is " .. result.message:get "X-Count", 0)
      end
    end, 20)
    assert.is_false(ok)
    assert.equal("explored: after a message given up after rcpt: count is 2", err:match "^[^\n]*")
  end)

  it("finds a filter that counts clients and forgets those that go away early", function()
    local leaky = [[ local clients = 0 function on_connect() clients = clients + 1 end
      function on_eom(ctx) ctx:add_header("X-Clients", clients) clients = 0 end ]]
    local _, err = pcall(testing.explore, leaky, function(mta)
      assert.equal("1", mta:message().message:get "X-Clients")
    end, 1)
    assert.matches("^explored: beside a session that vanished after connect: ", tostring(err.message))
  end)

  it("goes through sessions that are refused, at once or at HELO", function()
    for _, handler in ipairs { "on_connect", "on_helo" } do
      for _, code in ipairs { 554, 421 } do
        local script = ("function %s(ctx) return ctx:%s(%d, '%s.7.1', 'no') end"):format(handler, code == 421
          and "tempfail" or "reject", code, code == 421 and 4 or 5)
        local runs = testing.explore(script, function(mta) assert.equal("no", mta:message().text) end, 3)
        assert.is_true(runs > 17)
      end
    end
  end)

  it("shows the test's call path to an error, not the kit's", function()
    local function helper(mta)
      mta:rcpt "nobody@example.com"
    end
    local _, err = pcall(testing.explore, "function on_mail() end", function(mta)
      helper(mta)
      mta:message()
    end, 1)
    assert.matches("^explored: whole packets: [^\n]-explore_spec.lua:%d+: rcpt: there is no message; begin one "
      .. "with mta:mail%(%)\n  called at [^\n]-explore_spec.lua:%d+$", err)
  end)
end)
