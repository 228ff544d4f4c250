-- Plain values as Lua source, inside the scripts' state: the text in which fakes ask the test. Prepended to each fake's
-- source.
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

local ask = ...

local function answer(ok, ...)
  if not ok then
    error((...), 0) -- the test's own mistake; it is also reported to the test
  end
  return ...
end

-- The test's answer, from its table or function. The fourth value is the delay.
local function ask_test(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = write((select(i, ...)))
  end
  return answer(loadstring("return " .. ask(table.concat(words, ",")), "=answer")())
end

-- The same, later or not in time.
local function wait(what, timeout, result, text, code, delay)
  if delay then
    local milter = require "moonmilter"
    if timeout and delay > timeout then
      milter.sleep(timeout)
      return nil, ("%s: no answer within %g s"):format(what, timeout), "timeout"
    end
    milter.sleep(delay)
  end
  return result, text, code
end

return ask_test, wait
