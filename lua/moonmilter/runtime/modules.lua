--- require, in Lua, so that a module may wait while it is being loaded.
-- LuaJIT's own require is a C function, across which no code can yield. This one walks the same package.loaders. It
-- also reports module cycles, for which the original returns a half-made module, and notes what loaded modules mention,
-- so that negotiation knows what a script needs through its helpers. It waits for a module that another session is
-- still loading.
local core = require "moonmilter.core"
local lint = require "moonmilter.runtime.lint"
local remedy = require "moonmilter.runtime.remedy"
local wait = require "moonmilter.runtime.wait"

local modules = {}

local sleep = wait.wrap(core.sleep)
local POLL = 0.005 -- seconds between two checks of a module that another task loads

-- Not a table: C modules for Lua 5.1 (luaL_register: lpeg, lfs) put their functions into a table that they find there.
local function LOADING() end
local loading = {} -- { name, task }, outermost first
local awaited = {} -- task -> name of the module for which it waits

local function loader_of(name)
  for _, entry in ipairs(loading) do
    if entry.name == name then
      return entry.task
    end
  end
end

-- The chain of modules from `name` to the one that requires it again.
local function cycle(name, task)
  local chain = {}
  for _, entry in ipairs(loading) do
    if entry.name == name or (#chain > 0 and entry.task == task) then
      chain[#chain + 1] = entry.name
    end
  end
  chain[#chain + 1] = name
  return table.concat(chain, " -> ")
end

-- Follows the chain of waiting tasks: true when it ends at `task` itself.
local function waits_for(name, task)
  local other = loader_of(name)
  while other and other ~= task do
    other = awaited[other] and loader_of(awaited[other])
  end
  return other ~= nil
end

-- Another task is loading the module: use its result. When it fails, we load the module ourselves.
local function await(name, task)
  awaited[task] = name
  local ok, err = true, nil
  while ok and package.loaded[name] == LOADING do
    ok, err = pcall(sleep, POLL)
  end
  awaited[task] = nil
  if not ok then
    error(err, 0)
  end
end

local function find_loader(name)
  local tried = {}
  for _, search in ipairs(package.loaders) do
    local ok, loader = pcall(search, name)
    if not ok then
      error(remedy.of_module(loader), 0)
    end
    if type(loader) == "function" then
      return loader
    end
    if type(loader) == "string" then
      tried[#tried + 1] = loader
    end
  end
  error(("module '%s' not found (install it with luarocks --lua-version=5.1 install, or put it into "
    .. "the directory lib/ beside the scripts):%s"):format(name, table.concat(tried)), 3)
end

---@type fun(name: string, loader: function)?  called for every module that Lua source was found for
modules.on_load = nil

function modules.require(name)
  local loaded = package.loaded
  local value = loaded[name]
  if value == LOADING then
    local task = core.task()
    if not task or waits_for(name, task) then
      error("module cycle: " .. cycle(name, task), 2)
    end
    await(name, task)
    return modules.require(name)
  end
  if value ~= nil then
    return value
  end
  local loader = find_loader(name)
  if modules.on_load then
    modules.on_load(name, loader)
  end
  loader = lint.keep_lines(loader)
  loaded[name] = LOADING
  local entry = { name = name, task = core.task() }
  loading[#loading + 1] = entry
  local ok, result = pcall(loader, name)
  for i = #loading, 1, -1 do
    if loading[i] == entry then
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
