--- require, in Lua, so that a module may wait while it is being loaded.
-- LuaJIT's own require is a C function, across which nothing can yield. This one walks the same package.loaders. It also
-- names module cycles, which the original answers with a half-made module, and notes what loaded modules mention, so that
-- negotiation knows what a script needs through its helpers.
local modules = {}

-- No table: C modules made for Lua 5.1 (luaL_register: lpeg, lfs) put their functions into a table they find there.
local function LOADING() end
local loading = {} -- names, outermost first

local function cycle(name)
  local from = 1
  for i, other in ipairs(loading) do
    if other == name then
      from = i
    end
  end
  return table.concat(loading, " -> ", from) .. " -> " .. name
end

local function find_loader(name)
  local tried = {}
  for _, search in ipairs(package.loaders) do
    local loader = search(name)
    if type(loader) == "function" then
      return loader
    end
    if type(loader) == "string" then
      tried[#tried + 1] = loader
    end
  end
  error(("module '%s' not found:%s\n\t(luarocks --lua-version=5.1 install puts modules where they are found, and so does "
    .. "the directory lib/ beside the scripts)"):format(name, table.concat(tried)), 3)
end

---@type fun(name: string, loader: function)?  called for every module that Lua source was found for
modules.on_load = nil

function modules.require(name)
  local loaded = package.loaded
  local value = loaded[name]
  if value == LOADING then
    error("module cycle: " .. cycle(name), 2)
  end
  if value ~= nil then
    return value
  end
  local loader = find_loader(name)
  if modules.on_load then
    modules.on_load(name, loader)
  end
  loaded[name] = LOADING
  loading[#loading + 1] = name
  local ok, result = pcall(loader, name)
  for i = #loading, 1, -1 do
    if loading[i] == name then
      table.remove(loading, i)
      break
    end
  end
  if not ok then
    loaded[name] = nil
    error(result, 0)
  end
  if result ~= nil then
    loaded[name] = result
  elseif loaded[name] == LOADING then
    loaded[name] = true
  end
  return loaded[name]
end

function modules.install()
  require = modules.require -- luacheck: globals require
end

return modules
