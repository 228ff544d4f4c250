--- Every function that reads text from outside takes linear time, whatever the text. The functions are found by reading
--- the modules: one without a row here, and not named as one that reads no such text, fails the spec.
local outside = require "spec.mail.outside"
local shapes = require "spec.mail.shapes"

local IS_SLOW = os.getenv "SLOW" ~= nil

describe("the modules", function()
  it("have no function that neither has a row here nor reads no text from outside", function()
    assert.same({}, outside.forgotten())
  end)

  it("have every function that is named here", function()
    assert.same({}, outside.unknown())
  end)
end)

describe("linear time for any text:", function()
  setup(outside.lift_bounds)
  teardown(outside.restore_bounds)

  for _, row in ipairs(outside.rows()) do
    it(row.name, function()
      for text_of, shown, length in shapes.each(row.heads, IS_SLOW) do
        local is_linear, times = shapes.is_linear(row.run, text_of, length)
        assert.is_true(is_linear, ("%s: %s"):format(shown, times or ""))
      end
    end)
  end
end)

describe("the measure", function()
  -- what a mistake would look like, in C and in Lua
  local planted = {
    ["a search that begins again"] = function(text) return text:find "%s+$" end,
    ["repeats that can match the same bytes"] = function(text) return text:match "^[^%s<>]+@[^%s<>]+$" end,
    ["a digit among word characters, then another end"] = function(text) return text:match "^mx; ([%w-]+)/?(%d*)=" end,
    ["the rest copied for each byte"] = function(text)
      local n = 0
      while text ~= "" do
        text, n = text:sub(2), n + 1
      end
      return n
    end,
    ["a text that grows byte by byte"] = function(text)
      local out = ""
      for i = 1, #text do
        out = text:sub(i, i) .. out
      end
      return out
    end,
  }
  for name, run in pairs(planted) do
    it("finds " .. name, function()
      local found
      for text_of, _, length in shapes.each({ "", "mx; " }, false) do
        if not shapes.is_linear(run, text_of, length) then
          found = true
          break
        end
      end
      assert.is_true(found)
    end)
  end

  it("finds nothing in one pass over the text", function()
    for text_of, shown in shapes.each({ "" }, false) do
      assert.is_true(shapes.is_linear(function(text) return #text:gsub("%s", ".") end, text_of), shown)
    end
  end)
end)
