--- Nothing that a reader of mail finds in an oddly written message hides from the walker. What the readers find in each
--- message of readers/oddities.lua is in readers/seen.lua; readers/make.sh asks them.
package.path = "spec/mail/readers/?.lua;" .. package.path
local mime = require "moonmilter.mime"
local oddities = require "oddities"
local seen = dofile "spec/mail/readers/seen.lua"

local READERS = { "python-compat32", "python-default", "gmime", "postal-mime" }

-- As examples/block-executables.lua judges: is there a program, and would it refuse the structure?
local function judge(message)
  local has_program, hiding = false, nil
  local walker = mime.walker {
    with_header = true,
    on_end = function(part)
      has_program = has_program or mime.executable_kinds[part.kind] or false
      for defect in pairs(part.defects) do
        if mime.ambiguous_defects[defect] or mime.hiding_defects[defect] then
          hiding = defect
        end
      end
    end,
    on_embedded = function(_, file) has_program = has_program or mime.executable_kinds[file.kind] or false end,
  }
  assert(walker:body(message))
  assert(walker:eom())
  return has_program, hiding
end

local verdicts, messages = {}, {}
for _, case in ipairs(oddities.all()) do
  messages[case.name] = case.message
  verdicts[case.name] = { judge(case.message) }
end

local function names_of(reader)
  return seen[reader]:gmatch "%S+"
end

describe("a program that a reader finds", function()
  for _, reader in ipairs(READERS) do
    it(("(%s) is found, or its message is refused as ambiguous"):format(reader), function()
      local missed, count = {}, 0
      for name in names_of(reader) do
        count = count + 1
        local verdict = assert(verdicts[name], name)
        if not verdict[1] and not verdict[2] then
          missed[#missed + 1] = name .. "\n" .. messages[name]
        end
      end
      assert.equal("", table.concat(missed, "\n"))
      assert.is_true(count > 200, count)
    end)
  end

  it("is found, not only its message refused, except where readers end lines elsewhere", function()
    local only_refused, count = {}, 0
    for _, reader in ipairs(READERS) do
      for name in names_of(reader) do
        count = count + 1
        only_refused[name] = not verdicts[name][1] and not messages[name]:find "\r[^\n]" or nil
      end
    end
    local names = {}
    for name in pairs(only_refused) do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.equal("", table.concat(names, " "))
    assert.is_true(count > 1000, count)
  end)
end)
