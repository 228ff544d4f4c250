--- No line is wider than 120 columns, a tab counting 8: two files fit side by side, and a diff fits into a mail. Usage:
-- luajit spec/lint/width.lua [ROOT]; exit status 1 when a line is wider.
-- These may be wider, because they cannot be broken: the text of a long string of Lua (it is data), an annotation of
-- LuaLS (one declaration is one line), a literal of a spec; in documents tables, code, and a line that is one link or
-- one literal.
local tree = require "spec.lint.tree"

local WIDTH = 120
local LITERAL = 80 -- minimum bytes of a literal of a spec or document that may be wider

local function width(line)
  local column = 0
  for piece in line:gmatch "[%z\1-\127\194-\244][\128-\191]*" do
    column = piece == "\t" and column - column % 8 + 8 or column + 1
  end
  return column
end

local function is_wide(line)
  return #line > WIDTH / 8 and width(line) > WIDTH
end

local function has_literal(line, pattern)
  for literal in line:gmatch(pattern) do
    if #literal >= LITERAL then
      return true
    end
  end
  return false
end

local function too_wide(path, line, number)
  tree.fault(path, number, "is %d columns wide; %d is the most", width(line), WIDTH)
end

local function check_all(path)
  tree.each_line(tree.read(path), function(line, number)
    if is_wide(line) then
      too_wide(path, line, number)
    end
  end)
end

local function check_lua(path)
  local text = tree.read(path)
  local long = {}
  tree.each_line(tree.layers(path, text).long, function(line, number)
    long[number] = line:find "%S" ~= nil
  end)
  tree.each_line(text, function(line, number)
    if is_wide(line) and not long[number] and not line:find "^%s*%-%-%-@"
      and not (path:find "^spec/" and (has_literal(line, '%b""') or has_literal(line, "%b''"))) then
      too_wide(path, line, number)
    end
  end)
end

local function check_document(path)
  local is_fenced = false
  tree.each_line(tree.read(path), function(line, number)
    if line:find "^%s*```" then
      is_fenced = not is_fenced
    elseif is_wide(line) and not is_fenced and not line:find "^|" and not line:find "^    "
      and not line:find "^%S*%s*%[[^%]]+%]:? *[%(<h]%S+$" and not has_literal(line, "%b``") then
      too_wide(path, line, number)
    end
  end)
end

for _, path in ipairs(tree.files("host", "*.[ch]")) do
  check_all(path)
end
for _, path in ipairs(tree.files("lua spec examples scripts", "*.lua")) do
  check_lua(path)
end
for _, path in ipairs(tree.files("Makefile docs spec", "Makefile", "*.mk")) do
  check_all(path)
end
for _, path in ipairs(tree.files("docs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md", "*.md")) do
  check_document(path)
end
tree.finish()
