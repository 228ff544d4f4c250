--- Nothing that a reader of mail finds in an oddly written message hides from the walker. What the readers find in each
--- message of readers/oddities.lua is in readers/seen.lua; readers/make.sh asks them.
package.path = "spec/mail/readers/?.lua;spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local mime = require "moonmilter.mime"
local oddities = require "oddities"
local portrait = require "portrait"
local gmime = dofile "spec/mail/readers/gmime.lua"
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

-- Where GMime sees other parts in the corpus of messages, and why we keep our result.
local disagreements = {
  ["cte-qp"] = "RFC 2045 6.7 (3): blanks at the end of a line are padding and must go; GMime keeps them",
  ["cte-base64-padding-inside"] = "some readers go on after padding, and a filter must see what those show",
  ["cte-base64-truncated"] = "the bytes of a cut group that are complete are content",
  ["mime-bad-type"] = "RFC 2045 5.2: text/plain; for GMime it is application/octet-stream",
  ["mime-no-separator"] = "text in place of headers begins the body, so that text filters see it; GMime drops it",
  ["mime-repeated-type"] = "the first counts, as for Python; the last for GMime",
  ["mime-rfc822-base64"] = "readers open an encoded message",
  ["mime-rfc822-empty"] = "an empty message is a message",
}

local function structure(message)
  local lines = {}
  local function walk(part)
    local has_parts = part.is_multipart or part.parts[1] or part.type == "message/rfc822"
    lines[#lines + 1] = part.path .. " " .. part.type .. (has_parts and "" or " size=" .. part.size)
    for _, child in ipairs(part.parts) do
      walk(child)
    end
  end
  walk(assert(mime.parse(message)))
  return table.concat(lines, "; ")
end

describe("GMime", function()
  it("sees the same parts in every message of the corpus, except for listed disagreements with a reason", function()
    local problems, compared = {}, 0
    for name, message in pairs(portrait.corpus()) do
      compared = compared + 1
      local ours, theirs = structure(message), gmime[name]
      if (ours == theirs) == (disagreements[name] ~= nil) then
        problems[#problems + 1] = ("%s\n  ours:  %s\n  GMime: %s"):format(name, ours, tostring(theirs))
      end
    end
    assert.equal("", table.concat(problems, "\n"))
    assert.is_true(compared >= 390)
  end)
end)
