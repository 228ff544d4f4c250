--- Plain values as Lua source and back: how the test's Lua and the scripts' Lua, two states, exchange data. Functions,
-- userdata and cyclic tables cannot cross.
local value = {}

local function put(out, v, depth)
  local kind = type(v)
  if kind == "string" then
    out[#out + 1] = ("%q"):format(v):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\000")
  elseif kind == "number" then
    out[#out + 1] = v ~= v and "0/0" or v == math.huge and "1/0" or v == -math.huge and "-1/0" or ("%.17g"):format(v)
  elseif kind == "boolean" or kind == "nil" then
    out[#out + 1] = tostring(v)
  elseif kind == "table" and depth < 64 then
    out[#out + 1] = "{"
    local count = #v -- list items have no keys: moonmilter.conf reads no other form
    for i = 1, count do
      put(out, v[i], depth + 1)
      out[#out + 1] = ","
    end
    for k, item in pairs(v) do
      if not (type(k) == "number" and k >= 1 and k <= count and k % 1 == 0) then
        out[#out + 1] = "["
        put(out, k, depth + 1)
        out[#out + 1] = "]="
        put(out, item, depth + 1)
        out[#out + 1] = ","
      end
    end
    out[#out + 1] = "}"
  else
    error(kind == "table" and "a table that contains itself cannot be passed to a script"
      or ("a %s cannot be passed to a script; strings, numbers, booleans and tables can"):format(kind), 0)
  end
end

--- All arguments as one text.
function value.write(...)
  local out = {}
  for i = 1, select("#", ...) do
    if i > 1 then
      out[#out + 1] = ","
    end
    put(out, (select(i, ...)), 0)
  end
  return table.concat(out)
end

--- The values that were passed to value.write().
function value.read(text)
  return assert(loadstring("return " .. text, "=value"))()
end

return value
