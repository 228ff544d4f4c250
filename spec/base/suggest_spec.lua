local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "base/suggest.h"

local function suggest(word, words)
  local list = ffi.new("const char *[?]", #words + 1)
  for i, w in ipairs(words) do list[i - 1] = w end
  local found = C.mm_suggest(word, list)
  if found ~= nil then return ffi.string(found) end
end

describe("the word that was probably meant", function()
  local handlers = { "on_connect", "on_helo", "on_mail", "on_rcpt", "on_data", "on_header", "on_eoh",
    "on_body", "on_eom" }

  it("differs by one letter added, removed, changed or swapped", function()
    assert.equal("on_rcpt", suggest("on_rcp", handlers))
    assert.equal("on_rcpt", suggest("on_rcptt", handlers))
    assert.equal("on_connect", suggest("on_conect", handlers))
    assert.equal("on_header", suggest("on_headre", handlers))
    assert.equal("on_helo", suggest("On_Helo", handlers))
    assert.equal("on_helo", suggest("on-helo", handlers))
  end)

  it("is the nearest, and the first of equals", function()
    assert.equal("on_eoh", suggest("on_eo", handlers))
    assert.equal("on_header", suggest("on_headers", handlers))
  end)

  it("is absent when no word is near", function()
    assert.is_nil(suggest("zebra", handlers))
    assert.is_nil(suggest("", handlers))
    assert.is_nil(suggest("x", { "y" }))
    assert.is_nil(suggest(("on_rcpt"):rep(100), handlers))
    assert.is_nil(suggest("on_rcpt", {}))
  end)
end)
