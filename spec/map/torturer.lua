--- Maltreats the file of a map: writes it in part, cuts it off, renames it, takes rights away, and leaves it whole.
--- Usage: torturer.lua DIRECTORY ROUNDS ENTRIES SETTLE; the file is DIRECTORY/list, the last version is ROUNDS + 1.
local posix_stat = require "posix.sys.stat"
local posix_unistd = require "posix.unistd"
local socket = require "socket"

local directory, rounds, entries, settle = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local path = directory .. "/list"

math.randomseed(tonumber(arg[5]) or 1)

local function text_of(version)
  local lines = {}
  for i = 1, entries do lines[i] = ("key%d version%d\n"):format(i, version) end
  return table.concat(lines)
end

local function write(to, text)
  local file = assert(io.open(to, "wb"))
  file:write(text)
  file:close()
end

-- Most pauses are short, some are so long that the file counts as quiet.
local function pause()
  local kind = math.random(100)
  socket.sleep(kind == 1 and 3 * settle or kind < 10 and math.random() * 0.002 or 0)
end

local function rename_whole(text)
  write(path .. ".new", text)
  assert(os.rename(path .. ".new", path))
end

local deeds = {
  function(text) write(path, text) end,
  rename_whole,
  function(text) -- a slow copy
    local file = assert(io.open(path, "wb"))
    local cut = math.random(#text)
    file:write(text:sub(1, cut))
    file:flush()
    pause()
    file:write(text:sub(cut + 1))
    file:close()
  end,
  function(text) -- cut off, by somebody who does not hold it open
    write(path, text:sub(1, math.random(0, #text - 1)))
    pause()
    rename_whole(text)
  end,
  function(text) -- half a file under the right name
    rename_whole(text:sub(1, math.random(0, #text - 1)))
    pause()
    write(path, text)
  end,
  function(text) -- an editor's dance
    os.rename(path, path .. "~")
    pause()
    write(path, text)
  end,
  function(text)
    os.remove(path)
    pause()
    rename_whole(text)
  end,
  function(text)
    write(path, "")
    pause()
    write(path, text)
  end,
  function(text) -- nobody may read it
    posix_stat.chmod(path, 0)
    pause()
    write(path, text)
    posix_stat.chmod(path, tonumber("644", 8))
  end,
  function(text) -- nobody may enter the directory
    posix_stat.chmod(directory, 0)
    write(path, text)
    pause()
    posix_stat.chmod(directory, tonumber("755", 8))
  end,
  function(text) -- a link to another file
    local target = directory .. "/target" .. math.random(3)
    write(target, text)
    os.remove(path .. ".link")
    assert(posix_unistd.link(target, path .. ".link", true))
    assert(os.rename(path .. ".link", path))
  end,
  function() -- a directory of that name
    os.remove(path)
    posix_stat.mkdir(path)
    pause()
    posix_unistd.rmdir(path)
  end,
}

for version = 1, rounds do
  deeds[math.random(#deeds)](text_of(version))
  pause()
end
os.remove(path)
write(path, text_of(rounds + 1))
posix_stat.chmod(path, tonumber("644", 8))
