--- A database of servers that have the same content, for maps/sql.lua and maps/ldap.lua: finds the addresses of the
--- servers and asks (core.database).
local codec = require "moonmilter.codec"
local core = require "moonmilter.core"
local host_name = require "moonmilter.net.host_name"
local wait = require "moonmilter.runtime.wait"

local database = {}

local ask = wait.wrap(core.database.ask)
local is_address = core.socket.is_address
local now = core.now

local RESOLVED_FOR = 60 -- seconds
local CONNECTIONS = { 1, 8 } -- of one worker
local TRIES = 3 -- connections that must fit into the time-out, one after the other
local IDLE = 60 -- seconds; Postfix keeps idle connections as long

---@class moonmilter.maps.Server
---@field path string?  of a unix socket
---@field host string?  name or address
---@field port integer

--- "unix:/path", "/path", "inet:host:port", "host:port", "host" or "[address]:port" as a server; nil: it is none.
---@param text string
---@param port integer  where none is written
---@return moonmilter.maps.Server?
function database.server(text, port)
  local path = text:match "^unix:(/.*)$" or text:match "^/.*$"
  local host, own
  if path then
    path, own = path:match "^[^:]+", path:match ":(%d+)$"
    return { path = path, port = tonumber(own) or port }
  end
  text = text:gsub("^inet:", "")
  if is_address(text) then
    return { host = text, port = port }
  end
  own = text:match ":(%d+)$"
  host = own and text:sub(1, -2 - #own) or text
  host = host:match "^%[([%x:.]+)%]$" or host:match "^[^:/%[%]@]+$"
  own = own and tonumber(own) or port
  if host and own >= 1 and own <= 65535 then
    return { host = host, port = own }
  end
end

local Database = {}
Database.__index = Database

-- Puts the addresses of a server into the list. Failed: false, text.
local function add(list, server, seconds)
  if server.path then
    table.insert(list, server.path)
    table.insert(list, server.path)
    table.insert(list, tostring(server.port))
    return true
  end
  local addresses, text = { server.host }, nil
  if not is_address(server.host) then
    addresses, text = host_name.addresses(server.host, seconds)
  end
  for _, address in ipairs(addresses or {}) do
    table.insert(list, address)
    table.insert(list, server.host)
    table.insert(list, tostring(server.port))
  end
  return addresses ~= nil, text
end

-- Names are looked up again after a while; while that fails, the addresses from before are used.
local function find_servers(self, seconds)
  if self.resolved_at and (not self.has_names or now() - self.resolved_at < RESOLVED_FOR) then
    return true
  end
  local list, is_whole, why = {}, true, nil
  for _, server in ipairs(self.servers) do
    local ok, text = add(list, server, seconds)
    is_whole, why = is_whole and ok, why or text
  end
  if list[1] == nil and not self.resolved_at then
    return nil, why, "down"
  end
  if is_whole or not self.resolved_at then
    local ok, text, code = core.database.servers(self.handle, list)
    if not ok then
      return nil, text, code
    end
  end
  self.resolved_at = is_whole and now() or now() - RESOLVED_FOR + 5
  return true
end

--- May this text be in a database at all? One that is not UTF-8 cannot.
---@param text string
function database.can_hold(text)
  return not text:find("%z") and (not text:find "[\128-\255]" or codec.is_utf8(text))
end

--- Asks; the rows, each a list of strings and, for none, false.
---@param parts string[]  as the driver defines them
---@param seconds number?  for the answer; default: the time-out of the map
---@return table[]? rows, string? text, string? code
function Database:ask(parts, seconds)
  local deadline = now() + (seconds or self.timeout)
  local ok, why, why_code = find_servers(self, self.timeout)
  if not ok then
    return nil, why, why_code
  end
  local rows, text, code = ask(self.handle, parts, math.max(deadline - now(), 0.001))
  if rows then
    return rows
  elseif not text then
    return nil, "closed", "down"
  elseif code == "timeout" then
    text = ("no answer within %g s"):format(self.timeout)
  end
  self.failure = text
  return nil, text, code
end

function Database:info()
  local state = core.database.state(self.handle) or {}
  state.error = self.failure or state.error
  return state
end

function Database:close()
  core.database.close(self.handle)
end

--- A class of sources, each with its `database`: with the methods that all of them have.
function database.source_class()
  local Source = {}
  Source.__index = Source
  function Source:info() return self.database:info() end
  function Source:close() self.database:close() end
  return Source
end

--- Opens it; raises a text. Nothing is connected before the first question.
---@param driver string
---@param servers moonmilter.maps.Server[]
---@param settings string[]  names and values in turn
---@param options { timeout: number?, pool_size: integer? }
function database.open(driver, servers, settings, options)
  local timeout = options.timeout or 5
  local connections = math.max(CONNECTIONS[1], math.min(options.pool_size or 2, CONNECTIONS[2]))
  local self = setmetatable({ servers = servers, timeout = timeout }, Database)
  for _, server in ipairs(servers) do
    self.has_names = self.has_names or (server.host ~= nil and not is_address(server.host))
  end
  -- A server that does not answer leaves time for the next one.
  local tries = math.min(#servers + (self.has_names and 1 or 0), TRIES)
  local handle, why = core.database.open(driver, settings, connections, timeout / tries, IDLE)
  if not handle then
    error(("%s: %s"):format(driver, why), 0)
  end
  self.handle = handle
  return self
end

return database
