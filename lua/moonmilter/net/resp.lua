--- RESP2, the protocol of Redis and Valkey: commands to bytes, bytes to replies. Independent of the connection: the
--- caller passes a reader.
local resp = {}

local REPLY_DEPTH_MAX = 16 -- arrays in arrays; Redis nests a few at most
local REPLY_BYTES_MAX = 64 * 1024 * 1024
local REPLY_ITEMS_MAX = 1024 * 1024 -- values of one reply, lists inside lists included

--- An error reply inside a list: { err = "WRONGTYPE …" }.
local error_meta = {
  __tostring = function(self)
    return self.err
  end,
}

function resp.is_error(value)
  return getmetatable(value) == error_meta
end

--- An error in the place of a reply. code: "reply" (the server's), or why there is none.
function resp.error(text, code)
  return setmetatable({ err = text, code = code }, error_meta)
end

--- A reply as a command returns it: an error is nil, its text and its code.
---@return any value, string? text, string? code
function resp.value(reply)
  if resp.is_error(reply) then
    return nil, reply.err, reply.code
  end
  return reply
end

local function argument(value, level)
  local kind = type(value)
  if kind == "string" then
    return value
  end
  if kind == "number" then
    return value == math.floor(value) and math.abs(value) < 2 ^ 53 and ("%d"):format(value) or ("%.17g"):format(value)
  end
  error(("redis: an argument is a %s; give strings and numbers"):format(kind), level + 1)
end

--- Appends one command, a list of words, to a list of strings.
---@param level number  of the caller that passed the argument, for errors
function resp.encode(words, to, level)
  local n = words.n or #words
  if n == 0 then
    error("redis: a command is empty; give its words", level + 1)
  end
  to[#to + 1] = ("*%d\r\n"):format(n)
  for i = 1, n do
    local word = argument(words[i], level + 1)
    to[#to + 1] = ("$%d\r\n"):format(#word)
    to[#to + 1] = word
    to[#to + 1] = "\r\n"
  end
end

local function broken(text)
  return nil, "the server does not speak RESP: " .. text, "protocol"
end

-- A length: digits alone, or -1 for nil. Nil: it is neither.
local function length_of(text)
  return #text <= 10 and (text:match "^%d+$" or text == "-1") and tonumber(text) or nil
end

local INTEGER_MAX, INTEGER_MIN = "9223372036854775807", "9223372036854775808" -- without signs

-- A 64-bit integer: a number, or from 2^53 on, where a number may be rounded, its digits. Nil: it is none.
local function integer_of(text)
  local digits = #text <= 20 and text:match "^[+-]?(%d+)$"
  if not digits then
    return nil
  end
  local limit = text:byte() == 45 and INTEGER_MIN or INTEGER_MAX
  if #digits > #limit or #digits == #limit and digits > limit then
    return nil
  end
  local number = tonumber(text:match "^%+?(.*)")
  return math.abs(number) < 2 ^ 53 and number or text:match "^%+?(.*)"
end

local read

local function read_integer(text)
  local value = integer_of(text)
  if value == nil then
    return broken(("%q is not an integer of 64 bits"):format(text:sub(1, 40)))
  end
  return true, value
end

local function read_bulk(reader, size, budget)
  if size == -1 then
    return true, nil
  end
  budget.bytes = budget.bytes - (size or 0)
  if budget.bytes < 0 then
    return broken "a reply of more than 64 MiB"
  end
  if not size or size > REPLY_BYTES_MAX then
    return broken "a string whose length is not a number, or more than 64 MiB"
  end
  local bytes, text, code = reader.bytes(size + 2)
  if not bytes then
    return nil, text, code
  end
  if bytes:sub(-2) ~= "\r\n" then
    return broken "a string without CRLF at its end"
  end
  return true, bytes:sub(1, -3)
end

local function read_array(reader, count, depth, budget)
  if count == -1 then
    return true, nil
  end
  if not count or depth >= REPLY_DEPTH_MAX then
    return broken "a list whose length is not a number, or lists nested too deeply"
  end
  budget.items = budget.items - count
  if budget.items < 0 then
    return broken(("a reply of more than %d values"):format(REPLY_ITEMS_MAX))
  end
  local list = {}
  for i = 1, count do
    local ok, value, code = read(reader, depth + 1, budget)
    if not ok then
      return nil, value, code
    end
    if value == nil then
      value = false -- as in Redis's own Lua
    end
    list[i] = value
  end
  return true, list
end

--- One reply. reader.line() and reader.bytes(n) return data, or nil, text, code.
---@return true? ok, any value_or_text, string? code
function read(reader, depth, budget)
  budget = budget or { bytes = REPLY_BYTES_MAX, items = REPLY_ITEMS_MAX }
  local line, text, code = reader.line()
  if not line then
    return nil, text, code
  end
  budget.bytes = budget.bytes - #line
  if budget.bytes < 0 then
    return broken "a reply of more than 64 MiB"
  end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then
    return true, rest
  elseif kind == ":" then
    return read_integer(rest)
  elseif kind == "$" then
    return read_bulk(reader, length_of(rest), budget)
  elseif kind == "*" then
    return read_array(reader, length_of(rest), depth or 0, budget)
  elseif kind == "-" then
    return true, resp.error(rest, "reply")
  end
  return broken(("%q"):format(line:sub(1, 40)))
end

resp.read = read

return resp
