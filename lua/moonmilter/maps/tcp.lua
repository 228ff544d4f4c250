--- tcp:host:port (tcp_table(5)): "get KEY" in a line, and "200 VALUE", "400 why" or "500 why" back.
local service = require "moonmilter.maps.service"

local tcp = {}

local LINE_MAX = 4095 -- bytes of an answer, without its LF

local Source = {}
Source.__index = Source

-- "%", and each byte that is a blank or not printable, as %XX.
local function encoded(text)
  return (text:gsub("[^!-$&-~]", function(char) return ("%%%02X"):format(char:byte()) end))
end

local function decoded(text)
  if text:gsub("%%%x%x", ""):find("%", 1, true) then
    return nil, "the answer has a % without two hexadecimal digits", "bad_answer"
  end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function read(reader)
  local line, text, code = reader:line(LINE_MAX)
  if not line then
    return false, nil, text, code
  end
  local status, rest = line:match "^(%d%d%d)%s+(.*)$"
  if status == "200" then
    local value
    value, text, code = decoded(rest)
    return value ~= nil, value, text, code
  elseif status == "500" then
    return true, nil
  elseif status == "400" then
    return true, nil, "the service answers 400 " .. (decoded(rest) or rest), "down"
  end
  return false, nil, "the answer begins with none of 200, 400 and 500", "bad_answer"
end

---@return string? value, string? text, string? code
function Source:get(key)
  local value, text, code = self.service:ask("get " .. encoded(key) .. "\n")
  self.error = text
  return value, text, code
end

function Source:info()
  return { error = self.error }
end

--- Opens it; raises a text when the argument names no service. Nothing is asked before the first lookup.
---@param argument string
---@param options moonmilter.map.Options
function tcp.open(argument, options)
  local host, port = service.endpoint(argument)
  if not host then
    error("write tcp:HOST:PORT", 0)
  end
  return setmetatable({ service = service.new { host = host, port = port, timeout = options.timeout,
    pool_size = options.pool_size, read = read, name = "tcp" } }, Source)
end

return tcp
