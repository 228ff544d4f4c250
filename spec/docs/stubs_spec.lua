-- The stubs of lua/meta/ are whole, so that an editor finds every member and warns of unknown ones: each parameter is
-- declared, functions have the parameters of those that they stand for, and what pages and examples write exists.
-- spec/lint/documentation.lua compares the names of functions, methods and types.
local read_file = require("spec.support.process").read_file

local function names(command)
  local list = {}
  local pipe = io.popen(command)
  for name in pipe:lines() do
    list[#list + 1] = name
  end
  pipe:close()
  return list
end

-- ---- classes of stubs and sources ----

-- class -> { members = { name = { params =, documented =, type = } }, parent = class, is_open = any name is allowed }
local function collect(text, classes)
  local class_of, class, documented = {}, nil, {}
  for line in (text .. "\n"):gmatch "(.-)\n" do
    local declared, parent = line:match "^%-%-%-@class ([%w_.]+)%s*:?%s*([%w_.]*)"
    local owner = line:match "^local ([%w_]+) = "
    local holder, member, params = line:match "^function ([%w_]+)[.:]([%w_]+)(%b())"
    local field, type = line:match "^%-%-%-@field ([%w_]+)%s+(%S+)"
    local param = line:match "^%-%-%-@param ([%w_.]+)"
    if declared then
      class = classes[declared] or { members = {} }
      classes[declared] = class
      class.parent = parent ~= "" and parent or class.parent
    elseif owner then
      class_of[owner], class = class, nil
    elseif field and class then
      class.members[field] = { type = type:match "^[%w_.]+" }
    elseif line:match "^%-%-%-@field %[string%]" and class then
      class.is_open = true
    elseif param then
      documented[#documented + 1] = param
    elseif holder and class_of[holder] then
      class_of[holder].members[member] = { params = params, documented = "(" .. table.concat(documented, ", ") .. ")" }
    end
    if not line:match "^%-%-%-" then
      documented = {}
    end
  end
end

local stubs, sources = {}, {}
for _, path in ipairs(names "ls lua/meta/*.lua") do
  collect(read_file(path), stubs)
end
for _, path in ipairs(names "find lua/moonmilter -name '*.lua'") do
  collect(read_file(path), sources)
end

-- A class's member, its parents' too.
local function member_of(class_name, member)
  local class = stubs[class_name]
  while class do
    if class.members[member] or class.is_open then
      return class.members[member] or {}
    end
    class = class.parent and stubs[class.parent]
  end
end

-- ---- modules, loaded on a core of names only ----

local function anything()
  return setmetatable({}, {
    __index = function(self, key)
      self[key] = anything()
      return self[key]
    end,
    __call = function() return anything() end,
  })
end

-- The public modules as tables. What the test run itself has loaded is put back.
local function load_modules()
  local kept, modules = {}, {}
  for name, value in pairs(package.loaded) do
    if name:find "^moonmilter" then
      kept[name], package.loaded[name] = value, nil
    end
  end
  for _, name in ipairs { "core", "codec", "seal" } do
    package.loaded["moonmilter." .. name] = anything()
  end
  for _, path in ipairs(names "ls lua/moonmilter/*.lua") do
    local name = path:match "([%w_]+)%.lua$"
    local whole = name == "init" and "moonmilter" or "moonmilter." .. name
    modules[whole] = require(whole)
  end
  for name in pairs(package.loaded) do
    if name:find "^moonmilter" then
      package.loaded[name] = kept[name]
    end
  end
  for name, value in pairs(kept) do
    package.loaded[name] = value
  end
  return modules
end

-- "(a, b, ...)" -> 2, true
local function arity(params)
  local count, has_rest = 0, false
  for name in params:gmatch "[%w_.]+" do
    if name == "..." then
      has_rest = true
    else
      count = count + 1
    end
  end
  return count, has_rest
end

describe("a stub", function()
  it("declares every parameter, in order", function()
    local count = 0
    for class_name, class in pairs(stubs) do
      for name, member in pairs(class.members) do
        if member.params then
          count = count + 1
          assert.equal(member.params, member.documented, class_name .. "." .. name)
        end
      end
    end
    assert.is_true(count > 200)
  end)

  it("has the parameters of the method that it stands for", function()
    local count = 0
    for class_name, class in pairs(stubs) do
      for name, member in pairs(class.members) do
        local source = sources[class_name] and sources[class_name].members[name]
        -- A source may take its arguments as they come ("...") and look at them itself.
        if member.params and source and source.params and source.params ~= "(...)" then
          count = count + 1
          assert.equal((arity(source.params)), (arity(member.params)), class_name .. "." .. name)
        end
      end
    end
    assert.is_true(count > 80)
  end)

  it("has the parameters of the module's function", function()
    local count = 0
    for name, module in pairs(load_modules()) do
      for key, value in pairs(module) do
        local member = stubs[name] and stubs[name].members[key]
        if type(value) == "function" and member and member.params then
          local real = debug.getinfo(value, "u")
          local declared, has_rest = arity(member.params)
          if real.nparams > 0 or not real.isvararg then
            count = count + 1
            assert.equal(real.nparams, declared, name .. "." .. key)
            assert.equal(real.isvararg, has_rest, name .. "." .. key .. ": ...")
          end
        end
      end
    end
    assert.is_true(count > 50)
  end)
end)

-- ---- what pages and examples write ----

-- The code of a page: fenced blocks, indented blocks and text in backticks; of the tables of "coming from" pages only
-- what is ours, the last column. Of a Lua file all but comments.
local function code_of(path)
  local text = read_file(path)
  if path:find "%.lua$" then
    return (text:gsub("%-%-[^\n]*", ""))
  end
  local kept = {}
  local is_fenced = false
  for line in text:gmatch "[^\n]*" do
    if line:find "^```" then
      is_fenced = not is_fenced
    elseif is_fenced or line:find "^    " then
      kept[#kept + 1] = (line:gsub("%-%-.*", ""))
    else
      local ours = path:find "coming%-from" and line:find "^|" and line:match "|([^|]*)|%s*$" or line
      for code in ours:gmatch "`([^`]+)`" do
        kept[#kept + 1] = code
      end
    end
  end
  return table.concat(kept, "\n")
end

-- Names of other modules, of files, and what a page shows as wrong.
local NOT_OURS = { ["socket.core"] = true, ["socket.http"] = true, ["socket.smtp"] = true,
  ["header.b"] = true, -- a property of Authentication-Results
  ["milter.outbound"] = true } -- a key of the configuration

-- Names of modules as pages use them without saying `require`.
local MODULES = { milter = "moonmilter" }
for _, name in ipairs { "dns", "http", "redis", "timer", "process", "authres", "datetime", "charset", "codec",
  "seal", "dkim", "scan", "mime" } do
  MODULES[name] = "moonmilter." .. name
end

-- Members of ctx, with a dot or a colon, and functions of modules; one level deeper where the type is declared.
local function unknown_members(path)
  local code = code_of(path)
  local variables = { ctx = "moonmilter.ctx" }
  for name, class in pairs(MODULES) do
    variables[name] = class
  end
  for name, module in code:gmatch 'local ([%w_]+) = require "(moonmilter[%w_.]*)"' do
    variables[name] = module
  end
  code = " " .. code:gsub('"[^"\n]*"', '""'):gsub("'[^'\n]*'", "''")
  local found, count = {}, 0
  for name, sign, member, rest in code:gmatch "%f[%w_.:/-]([%a_][%w_]*)([.:])(%l[%w_]*)()" do
    local class = (sign == "." or name == "ctx") and variables[name]
    if class and member ~= "lua" and not NOT_OURS[name .. sign .. member] then
      count = count + 1
      local declared = member_of(class, member)
      if not declared then
        found[#found + 1] = name .. sign .. member
      elseif declared.type and stubs[declared.type] then
        local deeper = code:match("^[.:]([%a_][%w_]*)", rest)
        if deeper and not member_of(declared.type, deeper) then
          found[#found + 1] = name .. sign .. member .. "." .. deeper
        end
      end
    end
  end
  return found, count
end

describe("every member of ctx and of modules is declared in a stub that is used in", function()
  local total = 0
  -- The manuals quote wrong calls on purpose; specs of their own raise each of these errors.
  for _, path in ipairs(names("ls docs/*.md examples/*.lua scripts/*.lua | grep -v -e docs/scripting.md -e ARCHITECTURE")) do
    it(path, function()
      local found, count = unknown_members(path)
      assert.same({}, found)
      total = total + count
    end)
  end

  it("(and there are many)", function() assert.is_true(total > 400) end)
end)
