--- RESP2, the protocol of Redis and Valkey: commands to bytes, bytes to replies. Independent of the connection: the
--- caller passes a reader.
local resp = {}

local REPLY_DEPTH_MAX = 16 -- arrays in arrays; Redis nests a few at most
local REPLY_BYTES_MAX = 64 * 1024 * 1024

--- An error reply inside a list: { err = "WRONGTYPE …" }.
local error_meta = {
  __tostring = function(self)
    return self.err
  end,
}

function resp.is_error(value)
  return getmetatable(value) == error_meta
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

local read

local function read_bulk(reader, size)
  if size == -1 then
    return true, nil
  end
  if not size or size < 0 or size > REPLY_BYTES_MAX then
    return broken(("a string of %s bytes"):format(tostring(size)))
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

local function read_array(reader, count, depth)
  if count == -1 then
    return true, nil
  end
  if not count or count < 0 or depth >= REPLY_DEPTH_MAX then
    return broken(("a list of %s, %d deep"):format(tostring(count), depth))
  end
  local list = {}
  for i = 1, count do
    local ok, value, code = read(reader, depth + 1)
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
function read(reader, depth)
  local line, text, code = reader.line()
  if not line then
    return nil, text, code
  end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then
    return true, rest
  elseif kind == ":" then
    return true, tonumber(rest)
  elseif kind == "$" then
    return read_bulk(reader, tonumber(rest))
  elseif kind == "*" then
    return read_array(reader, tonumber(rest), depth or 0)
  elseif kind == "-" then
    return true, setmetatable({ err = rest }, error_meta)
  end
  return broken(("%q"):format(line:sub(1, 40)))
end

resp.read = read

return resp
