--- JSON (RFC 8259), read by lua-cjson, with rules that are stated and bounds on what arrives.
--
--   local answer, text = json.decode(response.body)
--   local body = json.encode { queue_id = ctx.queue_id, recipients = json.array(list) }
--
-- lua-cjson 2.1 parses; it is also too kind in places, which are checked here: control characters, bytes that are not
-- UTF-8, numbers that no double holds. Its encoder would write an empty array as an object, bytes as they are, 14
-- digits of a number and keys in any order, so texts are written here.
local codec = require "moonmilter.codec"

local found, cjson = pcall(require, "cjson")
if not found then
  error("moonmilter.json needs lua-cjson, which is not installed (Debian: apt-get install lua-cjson; else "
    .. "luarocks --lua-version=5.1 install lua-cjson)", 0)
end

local json = {}

local MAX_BYTES = 1024 * 1024
local MAX_DEPTH = 100

-- An instance of our own: a script that changes the settings of cjson does not change ours.
local parser = cjson.new()
parser.decode_max_depth(MAX_DEPTH)
parser.decode_invalid_numbers(false)

--- null, in what decode returns and encode takes. It is no nil: a comparison finds it, `if value` does not.
json.null = cjson.null

-- ---- reading ----

local TOKENS = { OBJ_BEGIN = '"{"', OBJ_END = '"}"', ARR_BEGIN = '"["', ARR_END = '"]"', STRING = "a string",
  NUMBER = "a number", BOOLEAN = "a boolean", NULL = "null", COLON = '":"', COMMA = '","', END = "the end of the text" }

local function failure(text, at, code)
  return nil, ("JSON: %s at byte %d"):format(text, at), code or "syntax"
end

-- "Expected value but found T_ARR_END at character 6", in our words.
local function parser_failure(said)
  local text, at = said:match "^(.*) at character (%d+)$"
  if not text then
    return nil, "JSON: " .. said, "syntax"
  elseif text:find("nested", 1, true) then
    return failure(("more than %d arrays and objects inside each other"):format(MAX_DEPTH), tonumber(at), "limit")
  end
  text = text:gsub("T_([%u_]+)", TOKENS):gsub("^%u", string.lower)
  return failure(text, tonumber(at))
end

-- Could a number in the text be beyond a double? A walk through the values is dear, so look for one first.
local function may_be_infinite(text)
  if text:find "[eE]%+?%d%d%d" then
    return true
  end
  for first, after in text:gmatch "()%d+()" do
    if after - first > 308 then
      return true
    end
  end
  return false
end

local function has_infinity(value)
  if type(value) ~= "table" then
    return value == math.huge or value == -math.huge
  end
  for _, member in pairs(value) do
    if has_infinity(member) then
      return true
    end
  end
  return false
end

local function max_bytes_of(options)
  if options ~= nil and type(options) ~= "table" then
    error(("json.decode: options are a table, { max_bytes = 65536 }, not a %s"):format(type(options)), 3)
  end
  local max = MAX_BYTES
  for name, value in pairs(options or {}) do
    if name ~= "max_bytes" or type(value) ~= "number" or value ~= value or value < 1 then
      error(("json.decode: option %s = %s; the only option is max_bytes, 1 or more"):format(tostring(name),
        tostring(value)), 3)
    end
    max = value
  end
  return max
end

--- Reads a text.
---@param text string
---@param options { max_bytes: integer? }?  default 1 MiB
---@return any? value  a table, string, number, boolean or json.null
---@return string? text  what is wrong, and at which byte
---@return "syntax"|"limit"|nil code
function json.decode(text, options)
  local max = max_bytes_of(options)
  if type(text) ~= "string" then
    error(("json.decode: expected a string, got a %s"):format(type(text)), 2)
  elseif #text > max then
    return nil, ("JSON: %d bytes; at most %d are read (max_bytes)"):format(#text, max), "limit"
  end
  local control = text:find "[%z\1-\8\11\12\14-\31]"
  if control then
    return failure(("control character \\x%02x"):format(text:byte(control)), control)
  end
  local is_utf8, bad = codec.is_utf8(text)
  if not is_utf8 then
    return failure("not UTF-8 (RFC 8259 8.1)", bad)
  end
  local ok, value = pcall(parser.decode, text)
  if not ok then
    return parser_failure(value)
  elseif may_be_infinite(text) and has_infinity(value) then
    return nil, "JSON: a number is beyond what a double holds, 1.8e308", "syntax"
  end
  return value
end

-- ---- writing ----

local Array = {}

--- Marks a table as an array, so that it is written as [] even when it is empty. Returns the same table.
---@param list table?
---@return table
function json.array(list)
  list = list or {}
  if type(list) ~= "table" or getmetatable(list) ~= nil and getmetatable(list) ~= Array then
    error(("json.array: expected a plain table, got a %s"):format(type(list) == "table" and "table with a metatable"
      or type(list)), 2)
  end
  return setmetatable(list, Array)
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }
for byte = 0, 31 do
  local char = string.char(byte)
  ESCAPES[char] = ESCAPES[char] or ("\\u%04x"):format(byte)
end
ESCAPES["\127"] = "\\u007f"

local function string_text(text)
  if not codec.is_utf8(text) then
    text = codec.clean_utf8(text)
  end
  return '"' .. text:gsub('[%z\1-\31\127"\\]', ESCAPES) .. '"'
end

local function number_text(n)
  if n % 1 == 0 and n > -2 ^ 53 and n < 2 ^ 53 then
    return ("%.0f"):format(n)
  end
  for digits = 15, 16 do
    local short = ("%." .. digits .. "g"):format(n)
    if tonumber(short) == n then
      return short
    end
  end
  return ("%.17g"):format(n)
end

local write -- of a value

local function wrong(path, text)
  error({ text = ("%s %s"):format(#path > 0 and table.concat(path, ".") or "the value", text) }, 0)
end

-- How many items, when the keys are 1 to n; nil when there are others.
local function length_of(list)
  local count = 0
  for _ in pairs(list) do
    count = count + 1
  end
  for i = 1, count do
    if list[i] == nil then
      return nil
    end
  end
  return count
end

local function write_array(list, count, out, path)
  out[#out + 1] = "["
  for i = 1, count do
    path[#path + 1] = i
    out[#out + 1] = i > 1 and "," or nil
    write(list[i], out, path)
    path[#path] = nil
  end
  out[#out + 1] = "]"
end

local function write_object(object, out, path)
  local names = {}
  for name in pairs(object) do
    if type(name) ~= "string" then
      wrong(path, ("has the key %s beside others; names of an object are strings, keys of an array are 1 to n"):format(
        tostring(name)))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  out[#out + 1] = "{"
  for i, name in ipairs(names) do
    path[#path + 1] = name
    out[#out + 1] = (i > 1 and "," or "") .. string_text(name) .. ":"
    write(object[name], out, path)
    path[#path] = nil
  end
  out[#out + 1] = "}"
end

local writers = {
  string = function(value, out) out[#out + 1] = string_text(value) end,
  boolean = function(value, out) out[#out + 1] = tostring(value) end,
  number = function(value, out, path)
    if value ~= value or value == math.huge or value == -math.huge then
      wrong(path, ("is %s, which JSON cannot write"):format(tostring(value)))
    end
    out[#out + 1] = number_text(value)
  end,
  table = function(value, out, path)
    if #path >= MAX_DEPTH then
      wrong({ path[1], "…" }, ("is more than %d tables deep, or contains itself"):format(MAX_DEPTH))
    end
    local count = length_of(value)
    if count and (count > 0 or getmetatable(value) == Array) then
      return write_array(value, count, out, path)
    end
    write_object(value, out, path)
  end,
}

function write(value, out, path)
  local writer = writers[type(value)]
  if value == json.null then
    out[#out + 1] = "null"
  elseif writer then
    writer(value, out, path)
  else
    wrong(path, ("is a %s, which JSON cannot write"):format(type(value)))
  end
end

--- Writes a value. A table whose keys are 1 to n is an array, every other one an object with its names in order; an
--- empty one is an object unless it is marked by json.array. Bytes of strings that are not UTF-8 become U+FFFD. Raises
--- at the caller's line what no JSON can say, and where it is.
---@param value any
---@return string
function json.encode(value)
  local out = {}
  local ok, why = pcall(write, value, out, {})
  if not ok then
    error(type(why) == "table" and "json.encode: " .. why.text or why, type(why) == "table" and 2 or 0)
  end
  return table.concat(out)
end

return json
