--- What `moonmilter eval` runs: code that comes as an SMTP command, in a session of its own, so that everything that
-- waits waits as in a handler. Prints results to standard output and errors to standard error. The host learns from the
-- verdict how it ended (program/eval.c).
local map_file = require "moonmilter.maps.file"
local remedy = require "moonmilter.runtime.remedy"
local wait = require "moonmilter.runtime.wait"

local prompt = {}

map_file.opens_later = true

local DEPTH, ENTRIES, WIDTH = 8, 200, 100 -- of what is printed: levels, entries of a table, columns of a line

-- ---- values, for people ----

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function quoted(text)
  return '"' .. text:gsub('[%c\\"\127]', function(c)
    return ESCAPES[c] or ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function by_kind(a, b)
  if type(a) ~= type(b) then
    return type(a) < type(b)
  end
  if type(a) == "number" or type(a) == "string" then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local function keys_of(t)
  local keys, count = {}, 0
  for key in next, t do
    if not (type(key) == "number" and key >= 1 and key <= #t and key % 1 == 0) then
      count = count + 1
      keys[count] = key
    end
  end
  table.sort(keys, by_kind)
  return keys
end

local shown

local function entries_of(t, above, level)
  local list = {}
  for i = 1, math.min(#t, ENTRIES) do
    list[i] = shown(t[i], above, level + 1)
  end
  for _, key in ipairs(keys_of(t)) do
    if #list >= ENTRIES then
      break
    end
    local name = type(key) == "string" and key:match "^[%a_][%w_]*$" or "[" .. shown(key, above, level + 1) .. "]"
    list[#list + 1] = name .. " = " .. shown(rawget(t, key), above, level + 1)
  end
  if #list >= ENTRIES then
    list[#list + 1] = "…"
  end
  return list
end

local function shown_table(t, above, level)
  local list = entries_of(t, above, level)
  local line = "{ " .. table.concat(list, ", ") .. " }"
  if #list == 0 then
    return "{}"
  elseif #line + 2 * level <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local margin = ("  "):rep(level + 1)
  return "{\n" .. margin .. table.concat(list, ",\n" .. margin) .. "\n" .. ("  "):rep(level) .. "}"
end

function shown(value, above, level)
  if type(value) == "string" then
    return quoted(value)
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local meta = getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    return tostring(value)
  elseif above[value] or level >= DEPTH then
    return above[value] and "(a table above)" or "{ … }"
  end
  above[value] = true
  local text = shown_table(value, above, level)
  above[value] = nil
  return text
end

--- A value as `moonmilter eval` prints it.
---@return string
function prompt.shown(value) return shown(value, {}, 0) end

-- ---- the code's surroundings ----

local function print_line(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  io.stdout:write(table.concat(words, "\t"), "\n")
  io.stdout:flush()
end

-- "dns" is moonmilter.dns; internals have a dot in their names.
local function is_module(name)
  return type(name) == "string" and name:match "^[%l_]+$" and package.preload["moonmilter." .. name] ~= nil
end

-- Globals last from one line to the next. A module is loaded when its name is first used.
local env = setmetatable({ print = print_line }, { __index = function(t, name)
  if name == "milter" then
    return require "moonmilter"
  elseif _G[name] ~= nil or not is_module(name) then
    return _G[name]
  end
  local module = require("moonmilter." .. name)
  rawset(t, name, module)
  return module
end })
env._G = env

-- ---- running ----

-- Only the lines of the code itself: what is below them is ours.
local function place_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    if line:match "^%s+eval:%d" or line:match "^%s+stdin:%d" or line:match "^%s+line:%d" then
      lines[#lines + 1] = "\n    " .. line:match "^%s*(.*)"
    end
  end
  return #lines > 1 and table.concat(lines) or ""
end

local function on_error(err)
  if wait.cancelled(err) then
    return err
  end
  local text = type(err) == "string" and err or prompt.shown(err)
  return text .. place_of(debug.traceback("", 2))
end

local function fail(ctx, text)
  io.stdout:flush()
  io.stderr:write("moonmilter eval: ", text, "\n")
  return ctx:reject(554, "5.7.0", "moonmilter eval: failed")
end

local function finish(ctx, ok, ...)
  if not ok then
    local err = ...
    if type(err) ~= "string" then
      error(err, 0) -- not the code's own: its wait was cancelled
    end
    return fail(ctx, err)
  end
  local list = {}
  for i = 1, select("#", ...) do
    list[i] = prompt.shown((select(i, ...)))
  end
  if #list > 0 then
    io.stdout:write(table.concat(list, ", "), "\n")
  end
  io.stdout:flush()
end

-- "eval 3 2\nabcdeCODE" -> name, code, arguments
local function take_apart(command)
  local head, rest = command:match "^([^\n]*)\n(.*)$"
  local arguments, at = {}, 1
  for size in head:gmatch " (%d+)" do
    arguments[#arguments + 1] = rest:sub(at, at + tonumber(size) - 1)
    at = at + tonumber(size)
  end
  return head:match "^%l+", rest:sub(at), arguments
end

--- Runs the code of a command.
---@param command string  the name of the chunk and the sizes of its arguments, LF, the arguments, the code
function prompt.run(ctx, command)
  local name, code, arguments = take_apart(command)
  local chunk = name == "whole" and "=line" or "=" .. name
  -- not "return " and the code: a tail call has no line, and errors name it
  local fn = load("return select(1, " .. code .. "\n)", chunk, "t", env)
  local why
  if not fn then
    fn, why = load(code, chunk, "t", env)
  end
  if not fn then
    if name == "line" and why:match "near '<eof>'$" then
      return ctx:tempfail(454, "4.7.0", "moonmilter eval: more")
    end
    return fail(ctx, remedy.of(why, code))
  end
  env.ctx = ctx
  return finish(ctx, xpcall(fn, on_error, unpack(arguments)))
end

return prompt
