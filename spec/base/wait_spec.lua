-- The kit's waiting: what does not come is an error, and not a nil that a spec may overlook.
local process = require "spec.support.process"

describe("process.wait_until", function()
  it("gives what the condition returns", function()
    local calls = 0
    assert.equal("third", process.wait_until(10, function()
      calls = calls + 1
      return calls == 3 and "third"
    end))
  end)

  it("raises when the time is over: the line of the spec, the time, what did not come", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, text = pcall(function() process.wait_until(0, function() end, "a message") end)
    assert.is_false(ok)
    assert.matches("spec/base/wait_spec.lua:" .. line .. ": not within 0 s: a message$", text)
  end)

  it("asks at the end what it was", function()
    local seen
    local _, text = pcall(function()
      process.wait_until(0, function() seen = "the last" end, function() return seen .. " answer" end)
    end)
    assert.matches("not within 0 s: the last answer$", text)
  end)

  it("raises in every kind of waiting of the kits", function()
    local child = process.start({ "sleep", "30" }, { output = os.tmpname() })
    assert.error_matches(function() child:wait_text("none", 0) end, "not within 0 s")
    child:stop()
    assert.error_matches(function() process.wait_port(process.free_port(), 0) end, "not within 0 s: a listener")
  end)
end)

describe("process.try_until", function()
  it("gives nil when the time is over", function()
    assert.is_nil(process.try_until(0, function() return false end))
    assert.equal(7, process.try_until(0, function() return 7 end))
  end)
end)
