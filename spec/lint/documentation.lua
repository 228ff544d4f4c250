--- All that a script can use is documented: every member of ctx and every handler is in docs/scripting.md and in
-- lua/meta/, every public module has a page in docs/ and a stub in lua/meta/, every configuration key is in the manual
-- page, and links between documents have a target.
-- Usage: luajit spec/lint/documentation.lua; exit status 1 when something is missing.

local faults = {}

local function fault(...)
  faults[#faults + 1] = string.format(...)
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then
    fault("%s: is missing", path)
    return ""
  end
  local text = file:read "*a"
  file:close()
  return text
end

local function lines_of(command)
  local pipe = io.popen(command)
  local text = pipe:read "*a"
  pipe:close()
  return text:gmatch "[^\n]+"
end

-- The rows by which host/bind/ and host/script/ add members to ctx: facts, and methods, which other tables of functions
-- are not called.
local function members()
  local names = {}
  for path in lines_of "ls host/bind/*.c host/script/*.c" do
    for kind, table_name, block in read(path):gmatch "static const (%S+ ?%S*) ([%w_]+)%[%] = (%b{});" do
      local is_fact = kind:find "mm_ctx_fact"
      if is_fact or (kind:find "luaL_Reg" and table_name == "methods") then
        for name in block:gmatch '{ "([%w_]+)"' do
          if not name:match "^_" then
            names[name] = is_fact and "fact" or "method"
          end
        end
      end
    end
  end
  for name in read("lua/moonmilter/runtime/edits.lua"):gmatch "\nfunction edits%.([%w_]+)" do
    names[name] = "method"
  end
  return names
end

local scripting, meta = read "docs/scripting.md", read "lua/meta/ctx.lua"

for name, kind in pairs(members()) do
  local form = kind == "method" and "ctx:" .. name or "ctx." .. name
  if not scripting:find(form .. "%f[^%w_]") then
    fault("docs/scripting.md: %s is not described", form)
  end
  local declared = kind == "method" and "function ctx:" .. name .. "%(" or "@field " .. name .. "%f[^%w_]"
  if not meta:find(declared) then
    fault("lua/meta/ctx.lua: %s is not declared", form)
  end
end

for handler in read("host/milter/stage.h"):gmatch '"(on_[%w_]+)"' do
  if not scripting:find("`" .. handler, 1, true) then
    fault("docs/scripting.md: %s is not described", handler)
  end
end

local manual = read "docs/moonmilter.8"
for key in read("host/config/config.c"):gmatch '\n%s*{ %.?n?a?m?e?%s*=?%s*"([%l_]+)",' do
  if not manual:find(key, 1, true) then
    fault("docs/moonmilter.8: key %s is not described", key)
  end
end

local list = io.popen "ls docs/*.md *.md"
for path in list:lines() do
  local directory = path:match "^(.*/)" or ""
  for target in read(path):gmatch "%]%(([^)#]+)[^)]*%)" do
    if not target:find "^%a+://" then
      local file = io.open(directory .. target, "rb")
      if file then
        file:close()
      else
        fault("%s: link to %s leads nowhere", path, target)
      end
    end
  end
  -- A path of the tree in backticks. A file directly in spec/ is one of the reader's own.
  for target in read(path):gmatch "`([%w_/.-]+/[%w_.-]+%.%l+)`" do
    if target:find "^host/" or target:find "^lua/" or target:find "^spec/[%w_-]+/" then
      local file = io.open(target, "rb")
      if file then
        file:close()
      else
        fault("%s: %s is not in the tree", path, target)
      end
    end
  end
end
list:close()

-- ---- public modules ----

-- Each module that scripts may require has a page and a stub, and stub and module have the same names. The modules are
-- loaded here, on a core that consists of names only, so that functions count however they came into the table.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

-- Every member of it is such a value, and so is every result.
local function anything()
  return setmetatable({}, {
    __index = function(self, key)
      self[key] = anything()
      return self[key]
    end,
    __call = function() return anything() end,
  })
end

for _, name in ipairs { "core", "codec", "seal" } do
  package.loaded["moonmilter." .. name] = anything()
end

local function names_of(loaded)
  local names = {}
  for name in pairs(loaded) do
    names[name] = true
  end
  return names
end

-- module -> its names; every file at the top of lua/moonmilter/ is public, folders are not
local modules = { codec = {}, seal = {}, testing = {} }

for path in lines_of "ls lua/moonmilter/*.lua" do
  local name = path:match "([%w_]+)%.lua$"
  local whole = name == "init" and "moonmilter" or "moonmilter." .. name
  modules[name == "init" and "moonmilter" or name] = names_of(require(whole))
end

-- The kit needs the host's library, which may not be built: its functions are read from the source.
for _, pattern in ipairs { "\nfunction testing%.([%w_]+)%(", "\ntesting%.([%w_]+) = " } do
  for name in read("lua/moonmilter/testing/init.lua"):gmatch(pattern) do
    modules.testing[name] = true
  end
end

-- Methods by class: of `---@class x`, then `local y = …`, the functions `y:name` and the fields `y.name`; and fields
-- that are declared. Both sources and stubs are written so.
local function collect_classes(text, classes)
  local class_of, class = {}, nil
  for line in (text .. "\n"):gmatch "(.-)\n" do
    local declared, owner = line:match "^%-%-%-@class ([%w_.]+)", line:match "^local ([%w_]+) = "
    local name, member = line:match "^function ([%w_]+)[.:]([%w_]+)"
    if not name then
      name, member = line:match "^([%w_]+)%.([%w_]+) = "
    end
    if declared then
      class = classes[declared] or { methods = {}, fields = {} }
      classes[declared] = class
    elseif owner then
      class_of[owner], class = class, nil
    elseif class and line:match "^%-%-%-@field [%w_]+" then
      class.fields[line:match "^%-%-%-@field ([%w_]+)"] = true
    elseif not line:match "^%-%-%-" then
      class = nil
    end
    if class_of[name] and not member:match "^__" then
      class_of[name].methods[member] = true
    end
  end
end

local source_classes = {}
for path in lines_of "find lua/moonmilter -name '*.lua'" do
  collect_classes(read(path), source_classes)
end
-- A module in C: its functions, and the methods of its classes, which may have another name in the stub.
local C_CLASSES = { seal = { body = "BodyHash", key = "Keypair" }, codec = {} }
for _, module in ipairs { "codec", "seal" } do
  for kind, block in read(("host/%s/%s.c"):format(module, module)):gmatch
    "static const luaL_Reg ([%w_]+)%[%] = (%b{});" do
    local methods = modules[module]
    if kind ~= "functions" then
      local noun = kind:match "^(%l+)_methods$"
      methods = {}
      source_classes["moonmilter." .. (C_CLASSES[module][noun] or noun:gsub("^%l", string.upper))] = {
        methods = methods, fields = {} }
    end
    for name in block:gmatch '{ "(%l[%w_]*)"' do
      methods[name] = true
    end
  end
end

local function missing_in(there, here, text)
  for name in pairs(here) do
    if not there[name] then
      fault(text, name)
    end
  end
end

local function joined(class)
  local names = {}
  for _, set in ipairs { class.methods, class.fields } do
    for name in pairs(set) do
      names[name] = true
    end
  end
  return names
end

-- Stubs of what `require "socket"` and `require "ssl"` give: the table of functions in lua/moonmilter/net/, and the
-- classes of the stub.
local FOR_ROCKS = {
  luasocket = { owner = "lib", class = "socket", "socket", "socket.dns" },
  luasec = { owner = "ssl", class = "ssl", "ssl", "ssl.Socket" },
}

local NOTHING = { methods = {}, fields = {} }
local stub_classes, stub_types = {}, {}

for path in lines_of "ls lua/meta/*.lua" do
  local name, text = path:match "([%w_]+)%.lua$", read(path)
  collect_classes(text, stub_classes)
  for type in text:gmatch "\n%-%-%-@alias ([%w_.]+)" do
    stub_types[type] = true
  end
  if name ~= "ctx" and not modules[name] and not FOR_ROCKS[name] then
    fault("%s: is the stub of no public module", path)
  end
end

-- Type names begin with a capital: each that a stub names is declared in a stub.
for path in lines_of "ls lua/meta/*.lua" do
  local text = read(path)
  for type in text:gmatch "moonmilter%.[%w_.]*%u[%w_]*" do
    if not stub_classes[type] and not stub_types[type] then
      fault("%s: type %s is declared nowhere", path, type)
    end
  end
end

for name, names in pairs(modules) do
  local whole = name == "moonmilter" and name or "moonmilter." .. name
  local stub, stub_path = stub_classes[whole] or NOTHING, ("lua/meta/%s.lua"):format(name)
  if not read(stub_path):find("^%-%-%-@meta " .. whole:gsub("%.", "%%.") .. "\n") then
    fault("%s: does not begin with ---@meta %s", stub_path, whole)
  end
  missing_in(joined(stub), names, stub_path .. ": " .. whole .. ".%s is not declared")
  missing_in(names, joined(stub), stub_path .. ": " .. whole .. ".%s does not exist")
  local is_told = false
  for _, page in ipairs { name, "mail-" .. name, name:upper() } do
    local file = io.open("docs/" .. page .. ".md", "rb")
    is_told = is_told or file ~= nil and file:read("*a"):find(('require "%s"'):format(whole), 1, true) ~= nil
    if file then
      file:close()
    end
  end
  if not is_told then
    fault('docs/%s.md or docs/mail-%s.md: no page says require "%s"', name, name, whole)
  end
end

local is_for_rocks = {}
for name, rock in pairs(FOR_ROCKS) do
  local source, names = "\n" .. read("lua/moonmilter/net/" .. name .. ".lua"), {}
  for member in source:gmatch("\nfunction " .. rock.owner .. "%.(%a%w*)%(") do
    names[member] = true
  end
  for row in source:gmatch("\n(" .. rock.owner .. "%.[^=\n]+) = ") do
    for member in row:gmatch(rock.owner .. "%.(%a%w*)%f[^%w.]") do
      names[member] = true
    end
  end
  missing_in(joined(stub_classes[rock.class] or NOTHING), names, "lua/meta/" .. name .. ".lua: %s is not declared")
  for _, class in ipairs(rock) do
    is_for_rocks[class] = true
    for member in pairs((stub_classes[class] or NOTHING).methods) do
      if not source:find("[.:]" .. member .. "%f[^%w]") then
        fault("lua/meta/%s.lua: %s does not exist", name, member)
      end
    end
  end
end

-- Objects with methods, which modules return.
for class, source in pairs(source_classes) do
  local is_module = class == "moonmilter" or modules[class:match "^moonmilter%.([%w_]+)$"]
  if next(source.methods) and not is_module then
    missing_in(joined(stub_classes[class] or NOTHING), source.methods, "lua/meta/: " .. class .. " has no %s")
  end
end
-- moonmilter.ctx is compared above; the reading methods of a field are defined in a loop.
local COMPARED = { ["moonmilter.ctx"] = true, ["moonmilter.Field"] = true }
for class, stub in pairs(stub_classes) do
  local is_module = class == "moonmilter" or modules[class:match "^moonmilter%.([%w_]+)$"]
  if not is_module and not COMPARED[class] and not is_for_rocks[class] then
    missing_in((source_classes[class] or NOTHING).methods, stub.methods, "lua/meta/: " .. class .. ".%s does not exist")
  end
end

table.sort(faults)
for _, text in ipairs(faults) do
  print(text)
end
os.exit(#faults == 0 and 0 or 1)
