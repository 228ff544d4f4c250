--- No function is dead: each has a caller. -Wunused sees static functions only.
-- C: a function that host/ defines is used in host/ beyond its declarations and its definition, or is public (MM_API).
-- A function that only specs call is declared in its header below the comment "for specs", up to an empty line.
-- Lua: a function of an internal module is used in lua/ or by its name from C, or is documented. The modules directly
-- in lua/moonmilter/ are public and may have functions that only scripts call.
-- Usage: luajit spec/lint/dead.lua [ROOT]; exit status 1 when a function has no caller.
local tree = require "spec.lint.tree"

-- ---- C ----

local uses, public = {}, {}      -- name -> how often, name -> true
local definitions = {}           -- { name, path, line }

local function count_words(text)
  for word in text:gmatch "[%a_][%w_]*" do
    uses[word] = (uses[word] or 0) + 1
  end
end

-- Calls fn(name, head, position) for each function head at the left margin that is followed by `after`; returns the
-- text without those heads.
local function each_head(code, after, fn)
  return (code:gsub("()%f[^\n%z]([%a_][^\n;{}=#()]-)([%a_][%w_]*)(%s*%b()%s*" .. after .. ")",
    function(position, kind, name, rest)
      fn(name, kind, position)
      return (kind .. name .. rest):gsub("[^\n{]", " ")
    end))
end

local function note_public(text)
  for block in text:gmatch "/%* for specs.-%*/(.-)\n%s*\n" do
    for name in block:gmatch "([%a_][%w_]*)%s*%b();" do
      public[name] = true
    end
  end
  for name in text:gmatch "\nMM_API[^;]-([%a_][%w_]*)%s*%b();" do
    public[name] = true
  end
end

for _, path in ipairs(tree.files("host", "*.[ch]")) do
  local text = tree.read(path)
  note_public(text)
  local code = "\n" .. tree.layers(path, text).code
  code = each_head(code, ";", function() end)
  code = each_head(code, "{", function(name, kind, position)
    if not kind:find "%f[%w]static%f[%W]" and path:find "%.c$" and not path:find "^host/fuzz/" then
      definitions[#definitions + 1] = { name = name, path = path, line = tree.line_at(code, position) - 1 }
    end
  end)
  count_words(code)
end
count_words(tree.read "Makefile") -- functions that libev is configured to call
public.main = true

for _, it in ipairs(definitions) do
  if not uses[it.name] and not public[it.name] then
    tree.fault(it.path, it.line, "%s() has no caller in host/; delete it, or declare it below /* for specs */", it.name)
  end
end

-- ---- Lua ----

local lua, documents, strings = {}, {}, {}
for _, path in ipairs(tree.files("lua/moonmilter", "*.lua")) do
  lua[path] = tree.layers(path, tree.read(path)).code
end
for _, path in ipairs(tree.files("docs README.md", "*.md")) do
  documents[#documents + 1] = tree.read(path)
end
for _, path in ipairs(tree.files("host", "*.[ch]")) do
  strings[#strings + 1] = tree.layers(path, tree.read(path)).strings
end
documents, strings = table.concat(documents), table.concat(strings)

local used = {}
for _, code in pairs(lua) do
  code = code:gsub("%f[%w]function%s+[%w_]+[.:][%w_]+", "")
  for name in code:gmatch "[.:]%s*([%a_][%w_]*)" do
    used[name] = true
  end
end

for path, code in pairs(lua) do
  local is_public = path:find "^lua/moonmilter/[%w_]+%.lua$"
  local module = code:match "\nreturn ([%w_]+)%s*$" -- methods of objects are returned with them
  for position, owner, name in code:gmatch "()%f[%w]function%s+([%w_]+)[.]([%w_]+)" do
    if not is_public and owner == module and not used[name] and not documents:find("[.:]" .. name .. "%f[^%w_]")
      and not strings:find('"' .. name .. '"', 1, true) then
      tree.fault(path, tree.line_at(code, position), "%s has no caller in lua/ and is not documented", name)
    end
  end
end
tree.finish()
