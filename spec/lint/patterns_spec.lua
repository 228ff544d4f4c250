--- spec/lint/patterns.lua reports each fault with file and line: shown with a fault planted in a tree of a few files.
local pattern_cost = require "spec.lint.pattern_cost"
local planted = require "spec.lint.planted"

local AGAIN = " runs again from every byte, because nothing anchors the search\n"
local GROWS = " grows by \"..\" in a loop, which copies it each time; collect pieces and concatenate once\n"

local write = planted.write
local function finds(expected) planted.finds(expected, "patterns") end

before_each(function()
  planted.make()
  write("lua/moonmilter/box.lua", "local at = text:find(\"^%s*(%S+)\")\nlocal last = (\"x\"):rep(3):match \"x$\"\n")
end)
after_each(planted.remove)

describe("a pattern's cost", function()
  local linear = {
    "", "abc", "^%s*", "%s+", "%S+", "[^\r\n]+", "^(.*)$", "^.*x", "^(.*%S)", "<([^<>]*)>", "@([^@]+)$", "@(.+)$",
    "^([^:%s]+)%s*:%s*()", "^([^/%s]+)/([^/%s]+)$", "^%s*(.*)$", "%s*(.+)", "^\"(.*)\"$", "action=(%w+)%s*([^\n]*)",
    "%f[%a]%a+%f[%A]", "%b\"\"", "x%d?%d?%d?$", "%.$", "^[%]%-]*[%w_]*$", "\n[ \t]+\n", "^%(.-%)", "[%a_][%w_]*",
    "^%a+%f[%w]%w+!",
  }
  for _, pattern in ipairs(linear) do
    it(("is linear for %q"):format(pattern), function() assert.is_nil(pattern_cost.fault(pattern)) end)
  end

  local more = {
    "%s+$", "%s*$", "^(.-)%s*$", "^([^:%s]+)%s*:%s*(.-)%s*$", "^[^%s<>]+@[^%s<>]+$", "^([%w-]+)/?(%d*)$", "@.*@", ".*x",
    "(.-)\n", "[^,]*,", "^%a+%w*x", "^%s*%s*x", "^.-b.-c", "^.*,.*,", "%((.-)%)", "%b()", "%d+%.", "([^/]+)$",
    "^(.*)%1x",
    "^a*a-$", "^[%a]+[^%d]+!",
  }
  for _, pattern in ipairs(more) do
    it(("is more than linear for %q"):format(pattern), function() assert.is_string(pattern_cost.fault(pattern)) end)
  end

  -- The judgement is right: what is called more than linear is so for one of these texts, what is called linear for
  -- none.
  it("is what the time shows", function()
    local function is_slow(pattern, n, seconds)
      for _, piece in ipairs { " ", "a", "1", "@", "/", "\n", ",", "(", "x", "a.", "a,", ".b", "<a>", "=1", "b",
        "\"" } do
        for _, before in ipairs { "", "a", "a:", "action=a" } do
          for _, after in ipairs { "", "!", "\0" } do
            local text = before .. piece:rep(n / #piece) .. after
            local begin = os.clock()
            text:find(pattern)
            if os.clock() - begin > seconds then
              return true
            end
          end
        end
      end
      return false
    end
    for _, pattern in ipairs(linear) do
      assert.is_false(is_slow(pattern, 20000, 0.25), pattern)
    end
    local seen = 0
    for _, pattern in ipairs(more) do
      if not pattern:find(":", 1, true) then -- that one takes the cube of the length
        seen = seen + (is_slow(pattern, 6000, 0.02) and 1 or 0)
      end
    end
    assert.is_true(seen > #more / 2, seen .. " of " .. #more)
  end)
end)

describe("patterns", function()
  it("passes a tree without faults", function() finds "" end)

  it("reports repeats that can match the same bytes", function()
    write("lua/moonmilter/inner/box.lua", "\nlocal id = text:match(\"^[^%s<>]+@[^%s<>]+$\")\n")
    finds("lua/moonmilter/inner/box.lua:2: match: \"[^%s<>]+\" and \"[^%s<>]+\" can match the same bytes\n")
  end)

  it("reports a search that begins again at every byte, however it is called", function()
    write("examples/a.lua", "x = y:gsub(\"%s+$\", \"\")\nx = string.find(y, '%s+$')\n"
      .. "for z in y:gmatch \"(.-)\\n\" do f(z) end\n")
    write("scripts/b.lua", "x = y:find([[%d+%.]], 3)\nx = y:find(\".*x\", 1, true)\nlpeg.match(\".*x\", y)\n")
    finds("examples/a.lua:1: gsub: \"%s+\"" .. AGAIN
      .. "examples/a.lua:2: find: \"%s+\"" .. AGAIN
      .. "examples/a.lua:3: gmatch: \".-\"" .. AGAIN
      .. "scripts/b.lua:1: find: \"%d+\"" .. AGAIN)
  end)

  it("knows that nothing anchors gmatch", function()
    write("examples/a.lua", "for z in y:gmatch \"^%s+x\" do f(z) end\n")
    finds("")
    write("examples/a.lua", "for z in y:gmatch \"[^,]*,\" do f(z) end\n")
    finds("examples/a.lua:1: gmatch: \"[^,]*\"" .. AGAIN)
  end)

  it("reads a pattern with a name, in pieces or in a table, and reports one that it cannot read", function()
    write("examples/a.lua", "local rule = { from = \"@x$\" }\nlocal word = \"%w+\"\nx = y:find(rule.from)\n"
      .. "x = y:find(word .. \"%.\")\nx = y:find(other)\n")
    finds("examples/a.lua:4: find: \"%w+\"" .. AGAIN
      .. "examples/a.lua:5: find: the pattern other has no literal in this file; write it here\n")
  end)

  it("reads the code of documents", function()
    write("docs/a.md", "# A\n\n`x:match \"%s+$\"`\n\n    x = y:match \"%s+$\"\n\n```lua\nx = y:match \"@.*@\"\n```\n")
    finds("docs/a.md:5: match: \"%s+\"" .. AGAIN
      .. "docs/a.md:8: match: \".*\"" .. AGAIN)
  end)

  it("accepts a bound with its reason, on the line or above it", function()
    write("examples/a.lua", "-- at most 45 bytes: checked above\nx = y:match \"%s+$\"\n"
      .. "x = y:match \"%s+$\" -- at most 1,000 bytes: RFC 5321\n")
    finds ""
  end)

  it("refuses a bound without a reason, one that is none, and one for another line", function()
    write("examples/a.lua", "x = y:match \"%s+$\" -- at most 45 bytes:\n"
      .. "x = y:match \"%s+$\" -- at most 65536 bytes: a packet\n"
      .. "-- at most 9 bytes: a word\n\nx = y:match \"%s+$\"\n")
    finds("examples/a.lua:1: match: \"%s+\"" .. AGAIN
      .. "examples/a.lua:1: say after the bound where it comes from\n"
      .. "examples/a.lua:2: at most 65536 is no bound; 4096 is the most\n"
      .. "examples/a.lua:2: match: \"%s+\"" .. AGAIN
      .. "examples/a.lua:5: match: \"%s+\"" .. AGAIN)
  end)

  it("reports a list that loses or gains its head", function()
    write("examples/a.lua", "table.remove(list, 1)\ntable.insert(list, 1, x)\ntable.remove(list)\ntable.insert(list, x)\n")
    finds("examples/a.lua:1: table.remove at the head moves every element; walk the list by an index\n"
      .. "examples/a.lua:2: table.insert at the head moves every element; walk the list by an index\n")
  end)

  it("reports a text that grows or loses its head in a loop", function()
    write("examples/a.lua", "for i = 1, 9 do\n  out = out .. i\n  t[i] = \"x\" .. t[i]\nend\n"
      .. "while x do\n  rest = rest:sub(2)\nend\n"
      .. "out = out .. \".\"\nrepeat\n  if x then a.b = y and a.b .. x or x end\n  a.b = y and a.b .. x or x\n"
      .. "  local f = function()\n    out = out .. x\n  end\n  new = out .. x\nuntil z\n")
    finds("examples/a.lua:2: out" .. GROWS
      .. "examples/a.lua:3: t[i]" .. GROWS
      .. "examples/a.lua:6: rest loses bytes by sub() in a loop, which copies the rest each time; keep a position\n"
      .. "examples/a.lua:11: a.b" .. GROWS)
  end)
end)
