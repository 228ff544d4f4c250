--- docs/ARCHITECTURE.md has a place for every file of host/ and lua/moonmilter/: who looks for something at night looks there.
-- Usage: luajit spec/lint/map.lua; exit status 1 when a file is in no row.
local lfs = require "lfs"

local file = assert(io.open "docs/ARCHITECTURE.md")
local map = file:read "*a"
file:close()

-- `name` or `name.h` stands for the file, `prefix_*` for all that begin so.
local function is_told(name)
  for word in map:gmatch "`([%w_.*]+)`" do
    local prefix = word:match "^([%w_]+_)%*$"
    if word == name or word == name .. ".h" or prefix and name:sub(1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local missing = 0
for _, directory in ipairs { "host", "lua/moonmilter", "lua/moonmilter/testing" } do
  for name in lfs.dir(directory) do
    local stem = name:match "^([%w_]+)%.[ch]$" or name:match "^([%w_]+)%.lua$"
    if stem and not is_told(stem) then
      missing = missing + 1
      io.stderr:write(("%s/%s: has no place in the map of docs/ARCHITECTURE.md\n"):format(directory, name))
    end
  end
end
os.exit(missing == 0 and 0 or 1)
