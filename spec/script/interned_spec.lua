local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "task/interned.h"

describe("the place of a string that Lua has made before", function()
  local interned

  local function place(text)
    return C.mm_interned_place(interned, ffi.new("struct mm_text", text, #text))
  end

  local function made() -- as the functions of the header do it
    if interned.making ~= 0 then interned.places[interned.making].size = interned.making_size end
    interned.making = 0
  end

  before_each(function() interned = ffi.new "struct mm_interned" end)

  it("is known once Lua has gone further, and not before", function()
    local at = place "Received"
    assert.truthy(at < 0)
    interned.making = 0 -- the walk ended: Lua may have put nothing there
    assert.equal(at, place "Received")
    made()
    assert.equal(-at, place "Received")
    assert.equal(-at, place "Received")
  end)

  it("goes to the string that comes later", function()
    local taken = {}
    for i = 1, 500 do
      local text = "X-" .. i
      local at = place(text)
      if at ~= 0 then
        assert.truthy(at < 0 and at > -128)
        made()
        taken[-at] = text
        assert.equal(-at, place(text))
      end
    end
    for at, text in pairs(taken) do assert.equal(at, place(text)) end
  end)

  it("is nowhere for a string that is empty or longer than 30 bytes", function()
    assert.equal(0, place "")
    assert.equal(0, place(("n"):rep(31)))
    assert.truthy(place(("n"):rep(30)) < 0)
    made()
    assert.truthy(place(("n"):rep(30)) > 0)
    assert.truthy(place(("n"):rep(29)) <= 0)
  end)
end)
