--- One question to a service that answers line by line: a connection of a pool for each question, so that no answer can
--- reach another question. A connection on which anything went wrong is closed, and so never used again.
local core = require "moonmilter.core"
local socket = require "moonmilter.socket"

local service = {}

local now = core.now

local IDLE = 60 -- seconds that a connection is kept

local CODES = { timeout = "timeout", limit = "bad_answer" } -- all others: "down"

--- "host:port" or "[2001:db8::1]:port" -> host and port; nil: it is none.
---@param text string
---@return string? host
---@return integer? port
function service.endpoint(text)
  local host, port = text:match "^%[([%x:.]+)%]:(%d+)$"
  if not host then
    host, port = text:match "^([^%s:/@%[%]]+):(%d+)$"
  end
  port = tonumber(port)
  if port and port >= 1 and port <= 65535 then
    return host, port
  end
end

-- Seconds that are left for a question; a call with none left would wait for ever.
local function limit(sock, deadline)
  local left = deadline - now()
  if left <= 0 then
    return nil, "timeout", "timeout"
  end
  sock:settimeout(left, "t")
  return true
end

--- A reader of one answer: exact(n) and line(), each text or nil, text, code.
local Reader = {}
Reader.__index = Reader

local function received(self, data, text, _, code)
  self.bytes = self.bytes + (data and #data or 0)
  return data, text, code
end

---@param count integer
function Reader:exact(count)
  local ok, text, code = limit(self.sock, self.deadline)
  if not ok then
    return nil, text, code
  end
  return received(self, self.sock:receive(count))
end

--- A line without its LF, of at most `most` bytes.
---@param most integer
function Reader:line(most)
  local parts, size = {}, 0
  while true do
    local ok, text, code = limit(self.sock, self.deadline)
    local piece
    if ok then
      piece, text, code = received(self, self.sock:receive(1))
    end
    if not piece then
      return nil, text, code
    elseif piece == "\n" then
      return table.concat(parts)
    end
    size = size + 1
    if size > most then
      return nil, ("an answer of more than %d bytes"):format(most), "bad_answer"
    end
    parts[size] = piece
  end
end

-- Value or nil, text, code; and whether to ask again on another connection: an idle one that the service had closed.
local function ask_once(self, question, deadline)
  local sock, text, code = socket.connect {
    host = self.host, port = self.port, unix = self.unix, reads = true,
    connect_timeout = math.max(deadline - now(), 0.001),
    pool = { name = self.pool, size = self.pool_size, queue_timeout = math.max(deadline - now(), 0.001) },
  }
  if not sock then
    return false, nil, text, CODES[code] or "down"
  end
  local was_idle = sock:getreusedtimes() > 0
  local reader = setmetatable({ sock = sock, deadline = deadline, bytes = 0 }, Reader)
  local ok
  ok, text, code = limit(sock, deadline)
  if ok then
    local _
    ok, text, _, code = sock:send(question)
  end
  local keeps, value = false, nil
  if ok then
    keeps, value, text, code = self.read(reader)
  end
  if keeps then
    sock:setkeepalive(self.pool, IDLE, self.pool_size)
  else
    sock:close()
  end
  if not keeps and was_idle and reader.bytes == 0 and code ~= "timeout" then
    return true
  elseif value == nil and text ~= nil then
    return false, nil, text, (code == "bad_answer" or code == "down") and code or CODES[code] or "down"
  end
  return false, value
end

local Service = {}
Service.__index = Service

--- Asks, and returns what the answer says. An answer is waited for `timeout` seconds in all.
---@param question string  bytes
---@return string? value, string? text, string? code
function Service:ask(question)
  local deadline = now() + self.timeout
  for _ = 1, self.pool_size + 1 do -- each round closes an idle connection that was of no use
    local again, value, text, code = ask_once(self, question, deadline)
    if not again then
      return value, text, code
    end
  end
  return nil, "the service closes each connection", "down"
end

--- A service. read(reader) reads one answer: may the connection be used again, value or nil, text, code.
---@param order { host: string?, port: integer?, unix: string?, timeout: number, pool_size: integer, read: function, name: string }
function service.new(order)
  local at = order.unix or order.host .. ":" .. order.port
  order.pool = ("map %s %s"):format(order.name, at)
  return setmetatable(order, Service)
end

return service
