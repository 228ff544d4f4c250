--- socketmap:unix:/path:name and socketmap:inet:host:port:name (socketmap_table(5)): a netstring "name key", and a
--- netstring "OK value", "NOTFOUND ", "TEMP why", "TIMEOUT why" or "PERM why" back.
local service = require "moonmilter.maps.service"

local socketmap = {}

local ANSWER_MAX = 100000 -- bytes of an answer

-- status -> the code of a failure
local FAILURES = { TEMP = "down", TIMEOUT = "timeout", PERM = "down" }

local Source = {}
Source.__index = Source

-- The number before the ":" of a netstring (no leading zeros, as cr.yp.to/proto/netstrings.txt has it).
local function read_size(reader)
  local size
  while true do
    local char, text, code = reader:exact(1)
    if not char then
      return nil, text, code
    elseif char == ":" and size then
      return size
    elseif not char:find "%d" or size == 0 then
      return nil, "the answer is no netstring", "bad_answer"
    end
    size = 10 * (size or 0) + tonumber(char)
    if size > ANSWER_MAX then
      return nil, ("an answer of more than %d bytes"):format(ANSWER_MAX), "bad_answer"
    end
  end
end

local function read_netstring(reader)
  local size, text, code = read_size(reader)
  if not size then
    return nil, text, code
  end
  local whole
  whole, text, code = reader:exact(size + 1)
  if not whole then
    return nil, text, code
  elseif whole:sub(-1) ~= "," then
    return nil, "the answer is no netstring: no comma ends it", "bad_answer"
  end
  return whole:sub(1, -2)
end

local function read(reader)
  local answer, text, code = read_netstring(reader)
  if not answer then
    return false, nil, text, code
  end
  local status, rest = answer:match "^(%u+) (.*)$"
  status = status or answer:match "^%u+$"
  if status == "OK" then
    return true, rest or ""
  elseif status == "NOTFOUND" then
    return true, nil
  elseif FAILURES[status] then
    return true, nil, ("the service answers %s %s"):format(status, rest or ""), FAILURES[status]
  end
  return false, nil, "the answer begins with none of OK, NOTFOUND, TEMP, TIMEOUT and PERM", "bad_answer"
end

---@return string? value, string? text, string? code
function Source:get(key)
  local words = self.name .. " " .. key
  local value, text, code = self.service:ask(#words .. ":" .. words .. ",")
  self.error = text
  return value, text, code
end

function Source:info()
  return { error = self.error }
end

--- Opens it; raises a text when the argument names no service. Nothing is asked before the first lookup.
---@param argument string
---@param options moonmilter.map.Options
function socketmap.open(argument, options)
  local order = { timeout = options.timeout, pool_size = options.pool_size, read = read, name = "socketmap" }
  local path, name = argument:match "^unix:(.+):([^:]+)$"
  if path then
    order.unix = path
  else
    local endpoint
    endpoint, name = argument:match "^inet:(.+):([^:]+)$"
    if endpoint then
      order.host, order.port = service.endpoint(endpoint)
    end
    if not order.host then
      error("write socketmap:unix:/PATH:NAME or socketmap:inet:HOST:PORT:NAME", 0)
    end
  end
  if name:find "[%s%c]" then
    error(("the name %q has blanks"):format(name), 0)
  end
  return setmetatable({ service = service.new(order), name = name }, Source)
end

return socketmap
