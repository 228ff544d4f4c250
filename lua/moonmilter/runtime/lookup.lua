--- What `moonmilter map` runs: one command opens the map, each further one looks a key up, as a script does. Prints
--- values to standard output and failures to standard error; the verdict says which it was (program/lookup.c).
local map = require "moonmilter.map"
local map_file = require "moonmilter.maps.file"
local spec_of = require "moonmilter.maps.spec"
local wait = require "moonmilter.runtime.wait"

local lookup = {}

map_file.opens_later = true

local opened, method -- the map; how keys are looked up: "get", "address" or "network"

-- ended: "usage", "failed" or "none"
local function answer(ctx, ended, text)
  if text then
    io.stdout:flush()
    io.stderr:write("moonmilter map: ", text, "\n")
  end
  return ctx:reject(554, "5.7.0", "moonmilter map: " .. ended)
end

-- ---- commands: what stands in their first line, and what follows it ----

local commands = {}

-- "open get 3 2", "abcde": the specs are "abc" and "de".
function commands.open(ctx, text, head)
  local specs, at = {}, 1
  for size in head:gmatch "%d+" do
    local read, why = spec_of.read(text:sub(at, at + size - 1), nil)
    if not read then
      return answer(ctx, "usage", why)
    end
    specs[#specs + 1] = read.kind .. ":" .. read.argument
    at = at + size
  end
  method = head:match " (%l+)"
  local ok, result = pcall(map.open, specs)
  if ok then
    opened = result
  elseif wait.cancelled(result) then
    error(result, 0)
  else
    local _, ends = result:find("map.open: ", 1, true)
    return answer(ctx, "failed", result:sub((ends or 0) + 1))
  end
end

local function get(ctx, key, before)
  local value, text, code = opened[method](opened, key)
  if value ~= nil then
    io.stdout:write(before, value, "\n")
  elseif text ~= nil then
    return answer(ctx, "failed", ("%s (%s)"):format(text, code))
  else
    return answer(ctx, "none")
  end
end

function commands.key(ctx, key)
  return get(ctx, key, "")
end

function commands.line(ctx, key)
  return get(ctx, key, key .. "\t")
end

--- Runs a command.
---@param command string  its name and what it needs, LF, a text
function lookup.run(ctx, command)
  local head, text = command:match "^([^\n]*)\n(.*)$"
  return commands[head:match "^%l+"](ctx, text, head)
end

return lookup
