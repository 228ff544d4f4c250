--- Shared by the lints: the files of a tree, a source text in layers, and the report.
-- A lint runs as luajit spec/lint/NAME.lua [ROOT] from the top; it checks ROOT, by default its own tree.
local tree = { root = arg and arg[1] or "." }

local faults = {}

--- Adds a line "path:line: text" to the report.
function tree.fault(path, line, ...)
  faults[#faults + 1] = { path = path, line = line, text = string.format(...) }
end

--- Prints the report and ends the process: exit status 1 when there is a fault.
function tree.finish()
  table.sort(faults, function(a, b)
    if a.path ~= b.path then
      return a.path < b.path
    end
    if a.line ~= b.line then
      return a.line < b.line
    end
    return a.text < b.text
  end)
  for _, fault in ipairs(faults) do
    print(("%s:%d: %s"):format(fault.path, fault.line, fault.text))
  end
  os.exit(#faults == 0 and 0 or 1)
end

--- The paths below directories of the root whose names match one of find's patterns, sorted. Missing directories are
--- left out.
function tree.files(directories, ...)
  local names = {}
  for _, pattern in ipairs { ... } do
    names[#names + 1] = ("-name '%s'"):format(pattern)
  end
  local list = io.popen(("cd '%s' && find %s -type f \\( %s \\) 2>/dev/null | sort"):format(tree.root, directories,
    table.concat(names, " -o ")))
  local paths = {}
  for path in list:lines() do
    paths[#paths + 1] = path
  end
  list:close()
  return paths
end

--- The bytes of a file, "" when there is none.
function tree.read(path)
  local file = io.open(tree.root .. "/" .. path, "rb")
  local text = file and file:read "*a" or ""
  if file then
    file:close()
  end
  return text
end

--- Calls fn(line, number) for each line of a text.
function tree.each_line(text, fn)
  local number = 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    fn(line, number)
  end
end

--- The number of the line that contains a byte of the text.
function tree.line_at(text, position)
  local _, count = text:sub(1, position - 1):gsub("\n", "")
  return count + 1
end

local function blank(text)
  return (text:gsub("[^\n]", " "))
end

-- The end of a quoted string that begins at `from`.
local function quote_end(text, from)
  local quote, at = text:sub(from, from), from + 1
  while true do
    local found, _, what = text:find('([\\"\'\n])', at)
    if not found then
      return #text
    elseif what == quote or what == "\n" then
      return found
    end
    at = what == "\\" and found + 2 or found + 1
  end
end

-- The element that begins at a byte that may open a comment or a string: its kind and its last byte, nothing when it is
-- code.
local function piece_at(text, at, is_lua)
  local two = text:sub(at, at + 1)
  if not is_lua and two == "/*" then
    local _, last = text:find("*/", at + 2, true)
    return "comment", last or #text
  elseif not is_lua and two == "//" or is_lua and two == "--" and not text:find("^%-%-%[=*%[", at) then
    return "comment", (text:find("\n", at, true) or #text + 1) - 1
  end
  local level = is_lua and text:match("^%-*%[(=*)%[", at)
  if level then
    local _, last = text:find("]" .. level .. "]", at, true)
    return two == "--" and "comment" or "long", last or #text
  elseif two:find "^[\"']" then
    return "string", quote_end(text, at)
  end
end

--- A C or Lua text in layers of the same size, so that offsets and lines agree: `code` without comments and strings,
--- `strings` (long ones too), `long` (Lua's long strings alone), `comments`. Bytes of other layers are blank.
function tree.layers(path, text)
  local is_lua = path:find "%.lua$" ~= nil
  local layers = { code = {}, strings = {}, long = {}, comments = {} }
  local function put(piece, kind)
    local empty = blank(piece)
    for name, list in pairs(layers) do
      local is_here = name == kind or name == "strings" and kind == "long"
      list[#list + 1] = is_here and piece or empty
    end
  end
  local layer_of = { comment = "comments", string = "strings", long = "long" }
  local at, begin = 1, 1
  while true do
    local found = text:find(is_lua and "[-\"'%[]" or "[/\"']", at)
    if not found then
      break
    end
    local kind, last = piece_at(text, found, is_lua)
    if kind then
      put(text:sub(begin, found - 1), "code")
      put(text:sub(found, last), layer_of[kind])
      at, begin = last + 1, last + 1
    else
      at = found + 1
    end
  end
  put(text:sub(begin), "code")
  for name, list in pairs(layers) do
    layers[name] = table.concat(list)
  end
  return layers
end

return tree
