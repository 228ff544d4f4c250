--- Names in comments exist. A name in backticks that looks like one of ours (`mm_frame_next`, `mm_frame_done()`,
-- `frame.h`, `lua/moonmilter/log.lua`) is an identifier or a file of the tree. Without backticks the same holds for
-- mm_frame_next(), for paths below host/, lua/ and spec/, and in host/ for every frame.h.
-- Usage: luajit spec/lint/words.lua [ROOT]; exit status 1 when a comment names something that does not exist.
local tree = require "spec.lint.tree"

-- Sources of others that comments cite: of Postfix and of libraries.
local foreign = {
  ["cleanup_milter.c"] = true, ["milter_macros.c"] = true, ["smtpd_milter.c"] = true,
}

local identifiers, files, comments = {}, {}, {}

for _, path in ipairs(tree.files("Makefile host lua spec examples scripts docs", "*")) do
  files[path], files[path:match "[^/]+$"] = true, true
end
local sources = tree.files("host lua spec examples scripts", "*.[ch]", "*.lua")
for _, path in ipairs(sources) do
  local text = tree.read(path)
  local layers = tree.layers(path, text)
  comments[path] = layers.comments
  for header in text:gmatch "\n#include <([%w_./-]+)>" do
    foreign[header:match "[^/]+$"] = true
  end
  for word in (layers.code .. layers.strings):gmatch "[%a_][%w_]*" do
    identifiers[word] = true
  end
end

local function is_file(name)
  local included = name:gsub("^host/", "")
  return files[name] or foreign[name] or files["host/" .. included] or files["lua/moonmilter/" .. name]
end

-- Is the text in backticks a name that does not exist?
local function is_missing(text)
  local called = text:match "^([%a_][%w_]*)%(%)$"
  if called or text:find "^mm_[%w_]+$" then
    return not identifiers[called or text]
  elseif text:find "^[%w_/-]+%.[ch]$" or text:find "^[%w_/-]+%.lua$" then
    return not is_file(text)
  end
  return false
end

local function check(path, text)
  local function report(position, name)
    tree.fault(path, tree.line_at(text, position), "%s is not in the tree", name)
  end
  for position, quoted in text:gmatch "()`([^`\n]+)`" do
    if is_missing(quoted) then
      report(position, quoted)
    end
  end
  local bare = text:gsub("`[^`\n]+`", function(quoted)
    return (" "):rep(#quoted)
  end)
  for position, name in bare:gmatch "()%f[%w_](mm_[%w_]+)%(%)" do
    if not identifiers[name] then
      report(position, name .. "()")
    end
  end
  for position, name in bare:gmatch "()%f[%w_/]([%l%d_/-]+%.%l+)%f[^%w_]" do
    local folder = name:match "^(%l+)/"
    local is_ours = folder == "host" or folder == "lua" or folder == "spec"
    local is_source = path:find "^host/" and name:find "^[%l_].*%.[ch]$"
    if is_ours and not files[name] or is_source and not is_file(name) then
      report(position, name)
    end
  end
end

for _, path in ipairs(sources) do
  check(path, comments[path])
end
tree.finish()
