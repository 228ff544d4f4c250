-- moonmilter.process as a test sees it.
local ask = ...
local milter = require "moonmilter"

local process = {}

local function write(v)
  if type(v) == "table" then
    local out = {}
    for k, item in pairs(v) do
      out[#out + 1] = "[" .. write(k) .. "]=" .. write(item)
    end
    return "{" .. table.concat(out, ",") .. "}"
  elseif type(v) == "string" then
    return (("%q"):format(v):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\000"))
  end
  return tostring(v)
end

local function check(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local function wait(timeout, result, text, code, delay)
  if delay and timeout and delay > timeout then
    milter.sleep(timeout)
    return nil, "process: timeout", "timeout"
  elseif delay then
    milter.sleep(delay)
  end
  return result, text, code
end

--- command: { "/path/to/program", "argument", …, stdin = …, env = …, timeout = … }
function process.run(command)
  local argv = {}
  for i, word in ipairs(command) do
    argv[i] = tostring(word)
  end
  local told = { argv = argv, stdin = command.stdin, env = command.env }
  return wait(command.timeout, check(loadstring("return " .. ask('"process",' .. write(told)), "=answer")()))
end

return process
