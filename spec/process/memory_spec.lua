-- Handlers that eat memory affect only themselves.
local host = require "spec.support.host"

local EATERS = {
  ["a table that grows"] = "local t = {} while true do t[#t + 1] = {} end",
  ["a string that doubles"] = "local s = 'x' while true do s = s .. s end",
  ["string.rep"] = "return ('x'):rep(2^30)",
  ["a table that grows, caught again and again"] = "local t = {} for _ = 1, 50 do pcall(function() while true do t[#t "
    .. "+ 1] = {} end end) end",
  ["headers without end"] = "while true do ctx:add_header('X', ('x'):rep(50000)) end",
}

describe("a handler that eats memory", function()
  local h

  after_each(function() h:stop() end)

  for what, source in pairs(EATERS) do
    it("gets 451 for its message, the worker lives: " .. what, function()
      h = host.start { workers = 1, arguments = { "--memory_hard=32M", "--memory_soft=24M" }, scripts = {
        ["10-eat.lua"] = "function on_rcpt(ctx, r) if r:find 'eat' then " .. source .. " end end" } }
      local worker = h:workers()[1]
      local other = assert(h:connect())
      other:envelope "rcpt"
      for _ = 1, 5 do
        local mta = assert(h:connect())
        mta:envelope "mail"
        local reply = mta:rcpt "eat@two.example"
        assert.matches("^451 4%.3%.0", reply.text or reply.kind)
        mta:quit()
        assert.equal("continue", other:rcpt().kind)
      end
      assert.equal("continue", other:envelope("eom").kind)
      other:quit()
      assert.same({ worker }, h:workers())
      assert.is_true(host.memory(worker) < 150000, host.memory(worker) .. " KiB resident")
      assert.truthy(h:log():find "script_error")
    end)
  end

  it("affects neither other sessions nor its worker", function()
    h = host.start { workers = 1, arguments = { "--memory_hard=32M", "--memory_soft=24M" },
      scripts = { ["10-eat.lua"] = [[
      function on_rcpt(ctx, r)
        local t = {}
        if r:find "eat" then while true do t[#t + 1] = {} end end
        for i = 1, 1000 do t[i] = { i } end
      end]] } }
    local worker = h:workers()[1]
    local other = assert(h:connect())
    other:envelope "mail"
    for _ = 1, 5 do
      local mta = assert(h:connect())
      mta:envelope "mail"
      assert.matches("^451 4%.3%.0", mta:rcpt("eat@two.example").text)
      assert.equal("continue", other:rcpt().kind)
      mta:quit()
    end
    other:quit()
    local _, errors = h:log():gsub("script_error", "")
    assert.equal(5, errors)
    assert.same({ worker }, h:workers())
    assert.is_nil(h:log():find "makes room")
  end)

  it("and keeps it finally gets a fresh worker", function()
    h = host.start { workers = 1, arguments = { "--memory_hard=32M", "--memory_soft=24M" }, scripts = {
      ["10-keep.lua"] = "local kept = {} function on_rcpt(ctx) for _ = 1, 10000 do kept[#kept + 1] = { {}, {}, {} "
        .. "} end end" } }
    local worker = h:workers()[1]
    for _ = 1, 30 do
      local mta = assert(h:connect())
      mta:envelope "rcpt"
      mta:quit()
    end
    assert.truthy(h:wait_log("makes room for a fresh one", 5))
    assert.truthy(host.wait_until(3, function() return not host.exists(worker) end, "the end of the old worker"))
    local mta = assert(h:connect())
    assert.equal("continue", mta:envelope "rcpt".kind)
    mta:quit()
  end)
end)
