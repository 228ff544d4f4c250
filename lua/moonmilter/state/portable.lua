--- Values of stores as bytes that other languages read: a number is its decimal text, a string has a quotation mark
--- before its bytes, and a boolean is true or false. A table is { then pairs of key and value, then }, in which a
--- number ends with ";", a string is its size, ":" and its bytes, and a boolean is t or f. Any other bytes, written by
--- others, are a string.
local portable = {}

local DEPTH_MAX, SIZE_MAX = 16, 2 ^ 20

-- The shortest text that reads as the same number.
local function text_of(number)
  local short = ("%.14g"):format(number)
  return tonumber(short) == number and short or ("%.17g"):format(number)
end

-- ---- write ----

local WRONG = { ["nil"] = "nil", ["function"] = "a function", thread = "a coroutine" }

local put

local function put_table(to, value, depth)
  if depth > DEPTH_MAX then
    return "a table nested deeper than 16 levels, or one that contains itself"
  end
  to[#to + 1] = "{"
  for key, item in pairs(value) do
    local wrong = type(key) == "table" and "a table as a key" or put(to, key, depth) or put(to, item, depth)
    if wrong then
      return wrong
    elseif to.size > SIZE_MAX then
      return "a value of more than 1 MiB"
    end
  end
  to[#to + 1] = "}"
end

function put(to, value, depth)
  local kind = type(value)
  if kind == "string" then
    to[#to + 1] = ("%d:"):format(#value)
    to[#to + 1] = value
    to.size = to.size + #value
  elseif kind == "number" then
    to[#to + 1] = text_of(value) .. ";"
  elseif kind == "boolean" then
    to[#to + 1] = value and "t" or "f"
  elseif kind == "table" then
    return put_table(to, value, depth + 1)
  else
    return WRONG[kind] or "a userdata or cdata"
  end
  to.size = to.size + 8
end

--- The bytes of a value; nil and what is wrong with it: "a function".
---@return string? bytes
---@return string? wrong
function portable.write(value)
  local kind = type(value)
  if kind == "number" then
    return text_of(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "string" then
    if #value > SIZE_MAX then
      return nil, "a value of more than 1 MiB"
    end
    return '"' .. value
  end
  local to = { size = 0 }
  local wrong = put(to, value, 0)
  if wrong then
    return nil, wrong
  end
  return table.concat(to)
end

-- ---- read: the value at a place and the place after it; nil: these are no such bytes ----

local get

local function get_table(bytes, at, depth)
  local value = {}
  while depth <= DEPTH_MAX and bytes:byte(at) ~= 125 do -- "}"
    local key, item
    key, at = get(bytes, at, depth)
    if key == nil or key ~= key or type(key) == "table" then
      return nil
    end
    item, at = get(bytes, at, depth)
    if item == nil then
      return nil
    end
    value[key] = item
  end
  if depth > DEPTH_MAX then
    return nil
  end
  return value, at + 1
end

local function number_of(text)
  if text == "nan" or text == "-nan" then
    return 0 / 0
  elseif text == "inf" or text == "-inf" then
    return text == "inf" and math.huge or -math.huge
  end
  return text:find "^-?%d[%d.eE+-]*$" and tonumber(text) or nil
end

function get(bytes, at, depth)
  local letter = bytes:sub(at, at)
  if letter == "t" or letter == "f" then
    return letter == "t", at + 1
  elseif letter == "{" then
    return get_table(bytes, at + 1, depth + 1)
  end
  local text, sign, after = bytes:match("^([%w.+-]+)([:;])()", at)
  if not text or #text > 32 then
    return nil
  elseif sign == ";" then
    return number_of(text), after
  end
  local size = text:find "^%d+$" and tonumber(text)
  if not size or after + size - 1 > #bytes then
    return nil
  end
  return bytes:sub(after, after + size - 1), after + size
end

local BOOLEANS = { ["true"] = true, ["false"] = false }

--- The value of bytes.
function portable.read(bytes)
  local first = bytes:sub(1, 1)
  if first == '"' then
    return bytes:sub(2)
  elseif BOOLEANS[bytes] ~= nil then
    return BOOLEANS[bytes]
  elseif first == "{" then
    local value, after = get(bytes, 1, 0)
    if value ~= nil and after == #bytes + 1 then
      return value
    end
    return bytes
  end
  local number = #bytes <= 32 and number_of(bytes)
  return number or bytes
end

return portable
