--- Citations have a target: each "protocol 3.7" is a numbered heading of docs/protocol.md, and no citation names a
-- document that is not in the tree.
-- Usage: luajit spec/lint/sections.lua [ROOT]; exit status 1 when a citation has no target.
local tree = require "spec.lint.tree"

local PROTOCOL = "docs/protocol.md"

-- A citation may contain a line break of its comment.
local BREAK = "[ \t]*\n?[ \t]*[*-]*[ \t]*"

local absent = { "design", "reference", "features", "reliability", "script%-hosts", "style", "layout" }

local sections = {}
for number in ("\n" .. tree.read(PROTOCOL)):gmatch "\n#+ (%d[%d.]*)" do
  sections[number:gsub("%.$", "")] = true
end
if not next(sections) then
  tree.fault(PROTOCOL, 1, "is missing or has no numbered headings, which comments cite")
end

-- Calls fn(number, position) for "protocol 3.1", and for its continuations: ", 3.3", " and 3.4", " to 3.6".
local function each_citation(text, fn)
  for start in text:gmatch "[Pp]rotocol()%s" do
    local at = start
    while true do
      local number, after = text:match("^" .. BREAK .. "(%d+[%d.]*)()", at)
      if not number then
        break
      end
      fn((number:gsub("%.+$", "")), at)
      local list = after - #number:match "%.*$"
      at = nil
      for _, joint in ipairs { ",", BREAK .. "and", BREAK .. "to" } do
        at = at or text:match("^" .. joint .. "()" .. BREAK .. "%d+%.%d", list)
      end
      if not at then
        break
      end
    end
  end
end

local function check_absent(path, text)
  for _, word in ipairs(absent) do
    local first = word:sub(1, 1)
    local pattern = ("%%f[%%w]()([%s%s]%s %%u?%%d[%%w.]*)"):format(first:upper(), first, word:sub(2))
    for position, citation in text:gmatch(pattern) do
      tree.fault(path, tree.line_at(text, position), "cites \"%s\", which is not in the tree; write the reason",
        citation)
    end
  end
end

local function check_sections(path, text)
  each_citation(text, function(number, position)
    if not sections[number] then
      tree.fault(path, tree.line_at(text, position), "protocol %s is not a section of %s", number, PROTOCOL)
    end
  end)
end

for _, path in ipairs(tree.files("host lua spec", "*.[ch]", "*.lua")) do
  local text = tree.read(path)
  check_sections(path, text)
  check_absent(path, tree.layers(path, text).comments)
end
for _, path in ipairs(tree.files("examples scripts docs Makefile", "*.[ch]", "*.lua", "*.md", "*.mk", "Makefile")) do
  check_absent(path, tree.read(path))
end
tree.finish()
