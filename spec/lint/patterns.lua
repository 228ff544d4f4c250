--- No pattern and no loop over text from outside takes more than linear time: a pattern with two unbounded repeats
--- that can match the same bytes, or a search whose repeat begins again at every byte, runs for seconds on 60 KB, in C,
--- where no budget of CPU time ends it.
-- Checked: patterns of find, match, gmatch and gsub in the Lua of the library, of examples, scripts and documents
-- (spec/lint/pattern_cost.lua decides); table.remove(t, 1) and table.insert(t, 1, …); in a loop, a text that grows by
-- `..` or loses its head by sub().
-- Where the text is short, a comment on the line or on the one above says so and names the bound, which may be 4096:
--   -- at most 45 bytes: checked above
-- Usage: luajit spec/lint/patterns.lua [ROOT]; exit status 1 when there is a fault.
local pattern_cost = require "spec.lint.pattern_cost"
local tree = require "spec.lint.tree"

local BOUND_MAX = 4096 -- pairs of so many bytes take some 20 ms

-- ---- waivers ----

-- line -> true; reports those that name no bound, or one that is none.
local function waivers_of(path, comments)
  local waived = {}
  tree.each_line(comments, function(line, number)
    local bound, reason = line:match "%-%- at most ([%d,]+) %a+:%s*(%S*)"
    if not bound then
      return
    end
    local size = tonumber((bound:gsub(",", "")))
    if not size or size > BOUND_MAX then
      tree.fault(path, number, "at most %s is no bound; %d is the most", bound, BOUND_MAX)
    elseif reason == "" then
      tree.fault(path, number, "say after the bound where it comes from")
    else
      waived[number], waived[number + 1] = true, true
    end
  end)
  return waived
end

-- ---- a file ----

-- A file as the checks see it: text, and its layers of code, strings and comments.
local function open(path, text)
  local layers = tree.layers("x.lua", text)
  local file = { path = path, text = text, code = layers.code }
  file.waived = waivers_of(path, layers.comments)
  function file.fault(at, ...)
    local line = tree.line_at(text, at)
    if not file.waived[line] then
      tree.fault(path, line, ...)
    end
  end
  return file
end

-- The end of an expression that begins at a byte: before the "," or ")" that ends an argument.
local function expression_end(code, at)
  local depth = 0
  while at <= #code do
    local byte = code:sub(at, at)
    if byte:find "[({%[]" then
      depth = depth + 1
    elseif depth == 0 and byte:find "[,)}%]]" then
      return at - 1
    elseif byte:find "[)}%]]" then
      depth = depth - 1
    end
    at = at + 1
  end
  return #code
end

-- The arguments of a call, as source: `at` is after the function's name.
local function arguments(file, at)
  at = file.text:find("%S", at) or at
  if file.text:sub(at, at) ~= "(" then
    local stop = file.code:find("[^%s]", at) or #file.text + 1 -- a literal is blank in the code
    return { file.text:sub(at, stop - 1):match "^%s*(.-)%s*$" }
  end
  local list = {}
  repeat
    local stop = expression_end(file.code, at + 1)
    list[#list + 1] = file.text:sub(at + 1, stop):match "^%s*(.-)%s*$"
    at = stop + 1
  until file.code:sub(at, at) ~= ","
  return list
end

-- The literals that a file assigns to a name, as values.
local function literals_of(file, name)
  local list = {}
  for at in file.text:gmatch("%f[%w_]" .. name .. "%s*=%s*()[\"'%[]") do
    local stop = file.code:find("[^%s]", at) or #file.text + 1
    local value = loadstring("return " .. file.text:sub(at, stop - 1))
    list[#list + 1] = value and value() or nil
  end
  return list
end

-- The values that an expression of literals can have; a name stands for every literal that the file assigns to it.
local function values_of(file, source)
  local chunk = loadstring("return " .. source)
  local values, choice, most = {}, 1, 1
  local function lookup(_, name)
    local list = literals_of(file, name)
    most = math.max(most, #list)
    return list[math.min(choice, #list)] or setmetatable({}, { __index = lookup })
  end
  while chunk and choice <= most do
    local ok, value = pcall(setfenv(chunk, setmetatable({}, { __index = lookup })))
    if ok and type(value) == "string" then
      values[#values + 1] = value
    end
    choice = choice + 1
  end
  return values
end

-- ---- patterns ----

-- The pattern's place among the arguments, and whether the call is one of string's.
local function is_string_call(file, at, separator)
  local before = file.code:sub(math.max(1, at - 40), at - 1):match "([%w_]*)$"
  if separator == ":" then -- a method of a string, unless it is one of a pattern or a set of moonmilter.re
    return not file.code:find("local " .. before .. " = re.", 1, true), 1
  end
  return before == "string", 2
end

local function check_call(file, at, separator, name, after)
  local is_string, place = is_string_call(file, at, separator)
  if not is_string then
    return
  end
  local list = arguments(file, after)
  local source = list[place]
  if not source or source == "" or name == "find" and list[place + 2] == "true" then
    return
  end
  local values = values_of(file, source)
  if not values[1] then
    file.fault(at, "%s: the pattern %s has no literal in this file; write it here", name, source)
  end
  for _, pattern in ipairs(values) do
    -- in gmatch a "^" does not anchor
    local why = pattern_cost.fault(name == "gmatch" and pattern:gsub("^%^", "%%^") or pattern)
    if why then
      file.fault(at, "%s: %s", name, why)
      return
    end
  end
end

local function check_patterns(file)
  for at, separator, name, after in file.code:gmatch "()([.:])(%l+)()" do
    if name == "find" or name == "match" or name == "gmatch" or name == "gsub" then
      check_call(file, at, separator, name, after)
    end
  end
end

-- ---- loops ----

local function check_heads(file)
  for at, call, rest in file.code:gmatch "()(table%.%l+)%s*(%b())" do
    if call == "table.remove" and rest:find ",%s*1%s*%)$"
      or call == "table.insert" and rest:find "^%(%s*[%w_.%[%]]+,%s*1%s*," then
      file.fault(at, "%s at the head moves every element; walk the list by an index", call)
    end
  end
end

-- Calls fn(line, number, first byte) for each line whose beginning is inside a loop of its own function.
local function each_line_in_loops(file, fn)
  local blocks, expects_do = {}, false
  local opens = { ["if"] = "if", ["function"] = "function", ["repeat"] = "loop" }
  local at = 1
  local function is_in_loop()
    for i = #blocks, 1, -1 do
      if blocks[i] ~= "if" then
        return blocks[i] == "loop"
      end
    end
  end
  tree.each_line(file.code, function(line, number)
    if is_in_loop() then
      fn(line, number, at)
    end
    for word in line:gmatch "[%a_][%w_]*" do
      if word == "for" or word == "while" then
        blocks[#blocks + 1], expects_do = "loop", true
      elseif word == "do" and not expects_do then
        blocks[#blocks + 1] = "if"
      elseif word == "do" then
        expects_do = false
      elseif opens[word] then
        blocks[#blocks + 1] = opens[word]
      elseif word == "end" or word == "until" then
        blocks[#blocks] = nil
      end
    end
    at = at + #line + 1
  end)
end

local function check_loops(file)
  each_line_in_loops(file, function(line, _, at)
    local target, value = line:match "^%s*([%a_][%w_.%[%]]*)%s*=%s*([^=].*)$"
    local from = 1
    while target do
      local first, last = value:find(target, from, true)
      if not first then
        return
      end
      local before, following = value:sub(1, first - 1), value:sub(last + 1)
      local is_whole = not before:find "[%w_.]$" and not following:find "^[%w_]" or before:find "%.%.$"
      if is_whole and (following:find "^%s*%.%." or before:find "%.%.%s*$") then
        file.fault(at, "%s grows by \"..\" in a loop, which copies it each time; collect pieces and concatenate once",
          target)
        return
      elseif is_whole and following:find "^:sub%(" then
        file.fault(at, "%s loses bytes by sub() in a loop, which copies the rest each time; keep a position", target)
        return
      end
      from = last + 1
    end
  end)
end

-- ---- all files ----

local function check(path, text)
  local file = open(path, text)
  check_patterns(file)
  check_heads(file)
  check_loops(file)
end

-- The code of a document; other lines are blank.
local function code_of(text)
  local lines, is_fenced = {}, false
  tree.each_line(text, function(line)
    local is_fence = line:find "^%s*```" ~= nil
    if is_fence then
      is_fenced = not is_fenced
    end
    lines[#lines + 1] = not is_fence and (is_fenced or line:find "^    ") and line or ""
  end)
  return table.concat(lines, "\n")
end

for _, path in ipairs(tree.files("lua/moonmilter examples scripts", "*.lua")) do
  check(path, tree.read(path))
end
for _, path in ipairs(tree.files("docs README.md", "*.md")) do
  check(path, code_of(tree.read(path)))
end
tree.finish()
