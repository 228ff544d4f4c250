--- UDP sockets in LuaSocket's shape. See socket.lua for failures and ownership.
local core = require "moonmilter.core"
local host_name = require "moonmilter.net.host_name"
local shadow = require "moonmilter.runtime.shadow"
local wait = require "moonmilter.runtime.wait"

local datagram = {}

local raw = core.datagram
local receive, received = wait.wrap(raw.receive), raw.received

local DEFAULT_TIMEOUT = 30 -- seconds

---@class moonmilter.Datagram
local methods = {}
raw.class.__index = methods
raw.class.__tostring = function()
  return "udp{connected}"
end

--- Sends to and receives from this peer only; "*": any peer again.
---@return 1?, string? text, string? code
function methods:setpeername(host, port)
  if host == "*" then
    return raw.connect(self)
  end
  local addresses, text, code = host_name.addresses(host)
  if not addresses then
    return nil, text, code
  end
  return raw.connect(self, addresses[1], tonumber(port))
end

--- Sends from this address and port; "*" for any address, 0 for any port.
function methods:setsockname(address, port)
  return raw.bind(self, address == "*" and "0.0.0.0" or address, tonumber(port))
end

---@return 1?, string? text, string? code
function methods:send(data)
  if shadow.is then
    return shadow.refuse "send"
  end
  return raw.send(self, data)
end

--- Sends to a numeric address, as in LuaSocket.
function methods:sendto(data, ip, port)
  if shadow.is then
    return shadow.refuse "sendto"
  end
  return raw.send(self, data, ip, tonumber(port))
end

local function receive_packet(self, size)
  if receive(self) == false then
    return nil, "busy reading", "busy"
  end
  local data, a, b = received(self)
  if data and size and #data > size then
    data = data:sub(1, size)
  end
  return data, a, b
end

--- Receives one packet, cut to size when given.
---@return string?, string? text, string? code
function methods:receive(size)
  local data, text, code = receive_packet(self, size)
  if not data then
    return nil, text, code
  end
  return data
end

--- Receives one packet and its sender.
---@return string?, string? ip_or_text, number|string|nil port_or_code
function methods:receivefrom(size)
  return receive_packet(self, size)
end

--- seconds: nil or below 0: until the handler's deadline.
function methods:settimeout(seconds)
  raw.set_timeout(self, seconds and seconds >= 0 and seconds or -1)
  return 1
end

function methods:close()
  raw.close(self)
  return 1
end

function methods.setoption()
  return 1
end

methods.getpeername = raw.peer_name
methods.getsockname = raw.own_name

--- A UDP socket.
---@return moonmilter.Datagram
function datagram.udp()
  local self = raw.new()
  raw.set_timeout(self, DEFAULT_TIMEOUT)
  return self
end

return datagram
