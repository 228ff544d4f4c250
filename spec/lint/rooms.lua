--- Every file is in the room that docs/ARCHITECTURE.md gives it, and includes go one way. This lint reads the tables of
-- that page: a row names a folder, its files in order, and the folders that they may include, which are all above it. A
-- file includes only files before it in its own folder and files of those folders, and the calls that the linker sees
-- go the same way. libev is used only where the loop is, Lua only in `task/`, `bind/`, `script/` and the files
-- `codec/codec` and `seal/seal`, neither in any header. A header may be open to its own folder only. No Lua module
-- requires itself through others. Usage: luajit spec/lint/rooms.lua [ROOT]; exit status 1 when a rule is broken. The
-- linker's view is read from ROOT/build/obj, if it has been built.
local tree = require "spec.lint.tree"

local may_include_ev = {
  ["base/clock"] = true, ["base/watch"] = true, ["io/connection"] = true, ["io/acceptor"] = true, ["io/worker"] = true,
  ["io/shadow"] = true,
  ["embed/beat"] = true, ["embed/stop"] = true, ["embed/signals"] = true, ["embed/wake"] = true, ["embed/host"] = true,
}
local open_only_inside = { ["embed/parts"] = true } -- the parts of a host
local may_include_lua = { -- folders, and files
  task = true, bind = true, script = true, ["codec/codec"] = true, ["seal/seal"] = true,
}
local public = { moonmilter = true, moonmilter_testing = true }

local MAP = "docs/ARCHITECTURE.md"

--- The rows of the tables, by folder and in order: { folder, files = { … }, may = { folder = true }, line }.
local function read_rooms()
  local rooms = {}
  tree.each_line(tree.read(MAP), function(line, number)
    local folder, files, may = line:match "^| `([%w_/]+)/` |[^|]*|([^|]*)|([^|]*)|$"
    if not folder then return end
    local room = { folder = folder, files = {}, may = {}, line = number }
    for name in files:gmatch "`([%w_]+)`" do
      room.files[#room.files + 1] = name
    end
    for name in may:gmatch "`([%w_/]+)/`" do
      room.may[name] = true
    end
    rooms[#rooms + 1], rooms[folder] = room, room
  end)
  return rooms
end

local rooms = read_rooms()

local function exists(stem, extensions)
  for _, extension in ipairs(extensions) do
    if tree.read(stem .. "." .. extension) ~= "" then return true end
  end
  return false
end

--- Reports names in the rows of these folders that the tree lacks. Returns the position of each file by its stem.
local function positions(prefix, is_ours, extensions)
  local position, count = {}, 0
  for _, room in ipairs(rooms) do
    for _, name in ipairs(is_ours(room.folder) and room.files or {}) do
      local stem = room.folder .. "/" .. name
      count = count + 1
      position[stem] = count
      if not exists(prefix .. stem, extensions) then
        tree.fault(MAP, room.line, "names %s%s, which is not in the tree", prefix, stem)
      end
    end
    for name in pairs(is_ours(room.folder) and room.may or {}) do
      if not rooms[name] or rooms[name].line > room.line then
        tree.fault(MAP, room.line, "lets %s/ include %s/, which does not stand above it", room.folder, name)
      end
    end
  end
  return position
end

-- ---- C ----

local position = positions("host/", function(folder) return not folder:find "/" end, { "h", "c" })

local function check_own(path, line, stem, target)
  local folder, other = stem:match "^[^/]+", target:match "^([^/]+)/"
  if public[target] or target == stem then return end
  if not position[target] then
    tree.fault(path, line, "includes %s.h, which has no room in %s", target, MAP)
  elseif other ~= folder and open_only_inside[target] then
    tree.fault(path, line, "includes %s.h, which is open to %s/ only", target, other)
  elseif other ~= folder and not rooms[folder].may[other] then
    tree.fault(path, line, "includes %s.h, but %s/ may not include %s/ (%s)", target, folder, other, MAP)
  elseif other == folder and position[target] > position[stem] then
    tree.fault(path, line, "includes %s.h, which stands after it in %s/ (%s)", target, folder, MAP)
  end
end

local function check_system(path, line, stem, header)
  local is_header = path:match "%.h$" ~= nil
  local is_lua = header:match "^lua" and header ~= "luajit.h" or header == "lauxlib.h"
  if header == "ev.h" and (is_header or not may_include_ev[stem]) then
    tree.fault(path, line, "includes ev.h, which is for the loop and its sockets and for no header")
  elseif is_lua and (is_header or not (may_include_lua[stem] or may_include_lua[stem:match "^[^/]+"])) then
    tree.fault(path, line, "includes %s; Lua is for task/, bind/, script/, codec/codec and seal/seal, and for no header", header)
  end
end

for _, path in ipairs(tree.files("host", "*.c", "*.h")) do
  local stem = path:match "^host/(.*)%.[ch]$"
  if position[stem] then
    tree.each_line(tree.read(path), function(line, number)
      local own, system = line:match '^#include "([^"]+)%.h"', line:match "^#include <([^>]+)>"
      if own then check_own(path, number, stem, own) end
      if system then check_system(path, number, stem, system) end
    end)
  elseif not public[stem] and not stem:find "^fuzz/" then
    tree.fault(path, 1, "has no room in the table of %s: find its room", MAP)
  end
end

-- A header that several files share hides which of them defines a function: the linker knows.
local function check_links()
  local defined, used = {}, {}
  local symbols = io.popen(("cd '%s' && nm -A build/obj/*/*.o 2>/dev/null"):format(tree.root))
  for line in symbols:lines() do
    local stem, kind, symbol = line:match "^build/obj/([%w_]+/[%w_]+)%.o:%x* +(%a) ([%w_]+)$"
    if kind == "U" then
      used[#used + 1] = { stem, symbol }
    elseif kind and kind:match "[TDBRC]" then
      defined[symbol] = stem
    end
  end
  symbols:close()
  for _, use in ipairs(used) do
    local from, to = use[1], defined[use[2]]
    if position[from] and position[to] and position[to] > position[from] then
      tree.fault(("host/%s.c"):format(from), 1, "uses %s of %s.c, which stands after it (%s)", use[2], to, MAP)
    end
  end
end
check_links()

-- ---- Lua ----

local lua_position = positions("", function(folder) return folder:find "^lua/" end, { "lua" })
local requires = {}
for _, path in ipairs(tree.files("lua/moonmilter", "*.lua")) do
  local stem, list = path:gsub("%.lua$", ""), {}
  if not lua_position[stem] then
    tree.fault(path, 1, "has no room in the table of %s: find its room", MAP)
  end
  tree.each_line(tree.read(path), function(line)
    for name in line:gsub("^%s*%-%-.*", ""):gmatch 'require%s*%(?%s*"(moonmilter[%w_.]*)"' do
      list[#list + 1] = name
    end
  end)
  requires[stem:gsub("^lua/", ""):gsub("/init$", ""):gsub("/", ".")] = list
end

local modules, state = {}, {}
for module in pairs(requires) do
  modules[#modules + 1] = module
end
table.sort(modules)

local function look_for_circle(module, trail)
  if state[module] == "done" or not requires[module] then return end
  trail = trail and trail .. " > " .. module or module
  if state[module] == "open" then
    tree.fault("lua/" .. module:gsub("%.", "/") .. ".lua", 1, "requires itself: %s", trail)
    return
  end
  state[module] = "open"
  for _, name in ipairs(requires[module]) do
    look_for_circle(name, trail)
  end
  state[module] = "done"
end
for _, module in ipairs(modules) do
  look_for_circle(module)
end

tree.finish()
