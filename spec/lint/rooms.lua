--- Every file stands in the room that docs/ARCHITECTURE.md gives it, and includes go one way. The tables of that page
-- are read here: a row names a folder, its files in order, and what they may include. So a file includes only files
-- before it in its own folder and the folders that its row allows, which all stand above, but for headers that are open
-- to their own folder only. libev only where the loop is, Lua only in `task/`, `bind/`, `script/` and the module of
-- `codec/`, neither in any header. What the linker sees goes one way, too.
-- Usage: luajit spec/lint/rooms.lua [ROOT [OBJECTS]]; exit status 1 when a rule is broken.

local root, objects = arg[1] or ".", arg[2] or "build/obj"

local may_include_ev = {
  ["base/clock"] = true, ["base/watch"] = true, ["io/connection"] = true, ["io/acceptor"] = true, ["io/worker"] = true,
  ["embed/beat"] = true, ["embed/stop"] = true, ["embed/signals"] = true, ["embed/host"] = true,
}
local open_only_inside = { ["embed/parts"] = true } -- what a host is made of
local may_include_lua = { task = true, bind = true, script = true, codec = true }

local faults = {}
local function fault(path, line, ...)
  faults[#faults + 1] = ("%s:%d: %s"):format(path, line, string.format(...))
end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  pipe:close()
  return list
end

--- The rows of the tables: { folder, files = { … }, may = { folder = true }, line }, in order.
local function read_rooms(path)
  local rooms, number = {}, 0
  for line in io.lines(path) do
    number = number + 1
    local folder, _, files, may = line:match "^| `([%w_/]+)/` | ([^|]+) | ([^|]*) |([^|]*)|$"
    if folder then
      local room = { folder = folder, files = {}, may = {}, line = number }
      for name in files:gmatch "`([%w_.]+)`" do
        room.files[#room.files + 1] = name
      end
      for name in may:gmatch "`([%w_/]+)/`" do
        room.may[name] = true
      end
      rooms[#rooms + 1], rooms[folder] = room, room
    end
  end
  return rooms
end

local map = root .. "/docs/ARCHITECTURE.md"
local rooms = read_rooms(map)

--- Checks that folder and row have the same files; returns their positions by "folder/name".
local function check_files(prefix, is_ours, extensions)
  local position, count = {}, 0
  for order, room in ipairs(rooms) do
    if is_ours(room.folder) then
      room.order = order
      for _, name in ipairs(room.files) do
        count = count + 1
        position[room.folder .. "/" .. name] = count
        local found = false
        for _, extension in ipairs(extensions) do
          local file = io.open(("%s/%s%s/%s.%s"):format(root, prefix, room.folder, name, extension))
          found = found or file ~= nil
          if file then file:close() end
        end
        if not found then
          fault(map, room.line, "names %s/%s, which is not in the tree", room.folder, name)
        end
      end
      for name in pairs(room.may) do
        if not rooms[name] or rooms[name].line > room.line then
          fault(map, room.line, "%s/ may not include %s/, which does not stand above it", room.folder, name)
        end
      end
    end
  end
  return position
end

-- ---- C ----

local function is_host(folder)
  return not folder:find "/" and folder ~= "fuzz"
end
local position = check_files("host/", is_host, { "c", "h" })

local function check_own_include(path, line, stem, folder, target)
  local target_folder = target:match "^([%w_]+)/"
  if target == "moonmilter" or target == "moonmilter_testing" or target == stem then return end
  if not position[target] then
    fault(path, line, "includes %s.h, which has no room in docs/ARCHITECTURE.md", target)
  elseif target_folder == folder then
    if position[target] > position[stem] then
      fault(path, line, "includes %s.h, which stands after it in %s/", target, folder)
    end
  elseif open_only_inside[target] then
    fault(path, line, "includes %s.h, which is open to %s/ only", target, target_folder)
  elseif not rooms[folder].may[target_folder] then
    fault(path, line, "includes %s.h; %s/ may not include %s/ (docs/ARCHITECTURE.md)", target, folder, target_folder)
  end
end

local function check_system_include(path, line, stem, folder, kind, header)
  if header == "ev.h" and (kind == "h" or not may_include_ev[stem]) then
    fault(path, line, "includes ev.h; libev is for the files that may_include_ev names, and for no header")
  end
  local is_lua = header:match "^lua" and header ~= "luajit.h" or header == "lauxlib.h"
  if is_lua and (kind == "h" or not may_include_lua[folder]) then
    fault(path, line, "includes %s; Lua is for task/, bind/ and script/, and for no header", header)
  end
end

local function check_source(path)
  local stem, kind = path:match "host/([%w_]+/[%w_]+)%.([ch])$"
  if not stem then
    fault(path, 1, "stands in no folder of host/")
    return
  end
  local folder = stem:match "^[%w_]+"
  if not position[stem] then
    fault(path, 1, "has no room in the table of docs/ARCHITECTURE.md; find its room")
    return
  end
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local own, system = line:match '^#include "([%w_/]+)%.h"', line:match "^#include <([%w_./-]+)>"
    if own then check_own_include(path, number, stem, folder, own) end
    if system then check_system_include(path, number, stem, folder, kind, system) end
  end
end

for _, path in ipairs(lines_of(("find %s/host -name '*.[ch]' -not -path '*/fuzz/*' | sort"):format(root))) do
  if path ~= root .. "/host/moonmilter.h" and path ~= root .. "/host/moonmilter_testing.h" then
    check_source(path)
  end
end

-- What a header shared by a folder hides: a call to a function that is defined in a later file.
local function check_links()
  local defined, wanted = {}, {}
  for _, line in ipairs(lines_of(("nm -A %s/%s/*/*.o 2>/dev/null"):format(root, objects))) do
    local stem, kind, symbol = line:match "/([%w_]+/[%w_]+)%.o:%x* +(%a) ([%w_]+)$"
    if kind == "U" then
      wanted[#wanted + 1] = { stem, symbol }
    elseif kind and kind:match "[TDBRC]" then
      defined[symbol] = stem
    end
  end
  for _, use in ipairs(wanted) do
    local from, to = use[1], defined[use[2]]
    if to and position[from] and position[to] and position[to] > position[from] then
      fault(("%s/host/%s.c"):format(root, from), 1, "calls %s, which is in %s.c, after it", use[2], to)
    end
  end
end
check_links()

-- ---- Lua ----

local function is_lua(folder)
  return folder:match "^lua/" ~= nil
end
local lua_position = check_files("", is_lua, { "lua" })

--- The modules that a file requires, wherever it does so.
local function requires_of(path)
  local list = {}
  for line in io.lines(path) do
    for name in line:gsub("^%s*%-%-.*", ""):gmatch 'require%s*%(?%s*"(moonmilter[%w_.]*)"' do
      list[#list + 1] = name
    end
  end
  return list
end

local requires = {}
for _, path in ipairs(lines_of(("find %s/lua/moonmilter -name '*.lua' | sort"):format(root))) do
  local stem = path:sub(#root + 2):gsub("%.lua$", "")
  if not lua_position[stem] then
    fault(path, 1, "has no room in the table of docs/ARCHITECTURE.md; find its room")
  end
  local module = stem:gsub("^lua/", ""):gsub("/init$", ""):gsub("/", ".")
  requires[module] = requires_of(path)
end

local state = {}
local function look_for_circle(module, trail)
  if state[module] == "done" or not requires[module] then return end
  if state[module] == "open" then
    fault("lua/" .. module:gsub("%.", "/") .. ".lua", 1, "requires itself: %s > %s", table.concat(trail, " > "), module)
    return
  end
  state[module] = "open"
  trail[#trail + 1] = module
  for _, name in ipairs(requires[module]) do
    look_for_circle(name, trail)
  end
  trail[#trail] = nil
  state[module] = "done"
end
for module in pairs(requires) do
  look_for_circle(module, {})
end

table.sort(faults)
for _, text in ipairs(faults) do
  print(text)
end
os.exit(#faults == 0 and 0 or 1)
