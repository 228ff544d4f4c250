--- Sockets that appear to block, while the loop serves other sessions.
-- The objects have LuaSocket's methods, so that code written for it works: `require "socket"` inside a script gives
-- these (luasocket.lua). Failures are `nil, text, code`; send and receive put LuaSocket's third value before the code:
-- `nil, text, last, code` and `nil, text, partial, code`. Match on the code.
--
-- A socket belongs to the message in which it was made, before the first MAIL to the connection, while scripts load to
-- the generation; it is closed when that ends. To keep a connection longer, return it to a pool: sock:setkeepalive().
local ascii_name = require "moonmilter.net.ascii_name"
local core = require "moonmilter.core"
local datagram = require "moonmilter.net.datagram"
local host_name = require "moonmilter.net.host_name"
local shadow = require "moonmilter.runtime.shadow"
local wait = require "moonmilter.runtime.wait"

local socket = {}

local raw = core.socket

local connect, connect_unix, ended = wait.wrap(raw.connect), wait.wrap(raw.connect_unix), raw.ended
local secure = wait.wrap(raw.secure)
local send, sent = wait.wrap(raw.send), raw.sent
local receive, received = wait.wrap(raw.receive), raw.received
local take, taken = wait.wrap(raw.take), raw.taken

local DEFAULT_TIMEOUT = 30 -- seconds without progress; at most stages a handler's deadline comes first
local QUEUE_TIMEOUT = 5 -- seconds in a pool's queue
local IDLE = 60 -- seconds that a connection stays idle in a pool
local KEEP = 16 -- idle connections of one name

local hosts = setmetatable({}, { __mode = "k" }) -- socket -> the host name it connected to

---@class moonmilter.Socket
local methods = {}
raw.class.__index = methods

-- ---- connecting ----

local function public_ones(host, addresses)
  local public = {}
  for _, address in ipairs(addresses) do
    if not raw.is_private(address) then
      public[#public + 1] = address
    end
  end
  if not public[1] then
    return nil, ("the address of %s is private, and allow_private is false"):format(host), "private"
  end
  return public
end

-- Tries each address until one answers.
local function connect_any(self, host, port, name_timeout, public_only)
  local addresses, text, code = host_name.addresses(host, name_timeout)
  if addresses and public_only then
    addresses, text, code = public_ones(host, addresses)
  end
  if not addresses then
    return nil, text, code
  end
  local ok
  for _, address in ipairs(addresses) do
    local no, why, why_code = connect(self, address, port)
    if no == false then
      return nil, why, why_code
    end
    ok, text, code = ended(self)
    if ok then
      return ok
    end
  end
  return nil, text, code
end

local function connect_path(self, path)
  local no, text, code = connect_unix(self, path)
  if no == false then
    return nil, text, code
  end
  return ended(self)
end

local function connect_to(self, host, port, name_timeout, public_only)
  local ok, text, code
  if port == nil then
    ok, text, code = connect_path(self, host:match "^unix:(.*)" or host)
  else
    ok, text, code = connect_any(self, host, tonumber(port) or port, name_timeout, public_only)
  end
  if not ok then
    return nil, text, code
  end
  hosts[self] = port and host or nil
  return 1
end

--- Connects to host and port, or to a unix socket: sock:connect "/run/x.sock" or "unix:/run/x.sock".
---@param host string  name, address or path
---@param port number?
---@param name_timeout number?  seconds to wait for a name server, default 5
---@return 1?, string? text, string? code  "refused" "timeout" "unreachable" "nxdomain" …
function methods:connect(host, port, name_timeout)
  if type(host) ~= "string" then
    error(("connect: the host is a %s; give host and port, or a path"):format(type(host)), 2)
  end
  if shadow.is then
    return shadow.refuse("connect", "socket.connect{ reads = true } allows a connection that only reads")
  end
  return connect_to(self, host, port, name_timeout)
end

--- Connects from this address.
function methods:bind(address, port)
  return raw.bind(self, address == "*" and "0.0.0.0" or address, port)
end

-- ---- TLS ----

--- Switches the connection to TLS. options: name (which the certificate must match; default the host connected to),
--- verify (default true), ca (file or directory; default the system's), certificate and key (PEM files), peer (the name
--- under which its TLS session is kept; default name).
---@return true?, string? text, string? code  "tls" "timeout" "closed"
function methods:starttls(options)
  options = options or {}
  local verify, name = options.verify ~= false, options.name or hosts[self]
  if verify and not name then
    error("starttls: name is missing; give starttls{ name = \"mail.example\" }, which the certificate must match", 2)
  end
  local ascii, why, why_code = ascii_name(name)
  if ascii == nil and why then
    return nil, why, why_code
  end
  name = ascii
  local no, text, code = secure(self, name, options.peer or name, verify, options.ca, options.certificate,
    options.key)
  if no == false then
    return nil, text, code
  end
  return ended(self)
end

--- { version = "TLSv1.3", cipher = "…", resumed = false }, or nil when the connection is plain.
methods.tls = raw.tls_facts

-- ---- sending and receiving ----

--- Sends bytes first to last of data.
---@return number? last, string? text, number? sent_last, string? code
function methods:send(data, first, last)
  data = tostring(data)
  first, last = first or 1, last or -1
  if first < 0 then
    first = math.max(#data + first + 1, 1)
  end
  first = math.max(first, 1)
  if last < 0 then
    last = #data + last + 1
  end
  last = math.min(last, #data)
  if first > last then
    return first - 1
  end
  local no, text, code = send(self, data, first, last)
  if no == false then
    return nil, text, first - 1, code
  end
  local count, why, part, why_code = sent(self)
  if count then
    return first - 1 + count
  end
  return nil, why, first - 1 + part, why_code
end

local PATTERNS = { ["*l"] = "line", ["*a"] = "all", ["l"] = "line", ["a"] = "all" }

local function finish_receive(self, is_line, prefix)
  local data, text, partial, code = received(self, is_line)
  if data then
    return prefix and prefix .. data or data
  end
  return nil, text, prefix and prefix .. partial or partial, code
end

--- Receives a line ("*l", the default, without its end), all until the peer closes ("*a"), or a number of bytes.
---@param pattern "*l"|"*a"|number|nil
---@param prefix string?  is put before what is returned, and counts towards a number of bytes
---@return string?, string? text, string? partial, string? code  "closed" "timeout" "limit" …
function methods:receive(pattern, prefix)
  local kind, count = PATTERNS[pattern or "*l"], 0
  if not kind then
    count = tonumber(pattern)
    if not count then
      error(('receive: pattern %q; give "*l", "*a" or a number of bytes'):format(tostring(pattern)), 2)
    end
    kind, count = "exact", count - #(prefix or "")
    if count <= 0 then
      return prefix or ""
    end
  end
  local no, text, code = receive(self, kind, count)
  if no == false then
    return nil, text, prefix or "", code
  end
  return finish_receive(self, kind == "line", prefix)
end

--- Receives the available bytes, at least one, at most max (default 8192).
function methods:receiveany(max)
  local no, text, code = receive(self, "any", max or 8192)
  if no == false then
    return nil, text, "", code
  end
  return finish_receive(self)
end

-- ---- time ----

--- seconds: nil or below 0: until the handler's deadline. mode "b" (default): limits the time without progress; "t":
--- the time of a call.
function methods:settimeout(seconds, mode)
  if seconds ~= nil and type(seconds) ~= "number" then
    error(("settimeout: got a %s; give seconds, or nil for none"):format(type(seconds)), 2)
  end
  seconds = seconds and seconds >= 0 and seconds or -1
  if mode == "t" or mode == "r" then
    raw.set_times(self, -1, seconds)
  else
    raw.set_times(self, seconds, -1)
  end
  return 1
end

-- ---- pools ----

--- Before connecting: takes an idle connection of this name, or gets permission to open one.
---@param name string
---@param size number?  connections of this name at most, in use and idle; later callers queue. Default: no limit
---@param queue_timeout number?  seconds to queue, default 5
---@return boolean? reused, string? text, string? code  true: already connected. "busy": all in use
function methods:take(name, size, queue_timeout)
  local no, text, code = take(self, name, size or 0, queue_timeout or QUEUE_TIMEOUT)
  if no == false then
    return nil, text, code
  end
  return taken(self)
end

--- Returns the connection to the pool for others to take; the object is closed. Call it only between replies of the
--- protocol.
---@param name string?  default "host:port" of the peer, or its path
---@param idle_seconds number?  default 60
---@param size number?  idle connections of this name at most, default 16
---@return 1?, string? text, string? code  "unread" "closed" "busy"
function methods:setkeepalive(name, idle_seconds, size)
  if not name then
    local host, port = raw.peer_name(self)
    if not host then
      return nil, "closed", "closed"
    end
    name = type(port) == "number" and host .. ":" .. port or host
  end
  local ok, text, code = raw.give(self, name, idle_seconds or IDLE, size or KEEP)
  if not ok then
    return nil, text, code
  end
  return 1
end

--- How often any session has used this connection before.
methods.getreusedtimes = raw.uses

-- ---- the rest of LuaSocket's methods ----

function methods:close()
  raw.close(self)
  return 1
end

function methods:shutdown(how)
  how = how or "both"
  local ok, text, code = raw.shut_down(self, how ~= "send", how ~= "receive")
  if not ok then
    return nil, text, code
  end
  return 1
end

--- "tcp-nodelay" (on by default) and "keepalive" are set; LuaSocket's other options have no effect.
function methods:setoption(name, value)
  local known, text, code = raw.set_option(self, name, value)
  if known == nil then
    return nil, text, code
  end
  return 1
end

methods.getpeername = raw.peer_name
methods.getsockname = raw.own_name

function methods:getfd()
  return (raw.facts(self)) or -1
end

function methods:dirty()
  return select(2, raw.facts(self)) or false
end

--- Bytes received, bytes sent, seconds since it was made.
function methods:getstats()
  return select(3, raw.facts(self))
end

function methods.setstats()
  return 1
end

function methods.listen()
  error("a milter script cannot be a server: it connects, it does not listen", 2)
end
methods.accept = methods.listen

-- ---- making ----

--- A TCP or unix socket, not connected.
---@return moonmilter.Socket
function socket.tcp()
  local self = raw.new()
  raw.set_times(self, DEFAULT_TIMEOUT, -1)
  return self
end

socket.unix = socket.tcp
socket.udp = datagram.udp

local function pool_of(options)
  local pool = options.pool
  if not pool then
    return nil
  end
  pool = type(pool) == "table" and pool or {}
  local name = pool.name or options.unix or options.host .. ":" .. options.port
  if options.tls then -- a connection verified in one way must not serve a caller that verifies in another
    local tls = type(options.tls) == "table" and options.tls or {}
    name = ("%s tls:%s:%s:%s:%s"):format(name, tls.name or options.host, tls.verify ~= false, tls.ca or "",
      tls.certificate or "")
  end
  if options.allow_private == false then
    name = name .. " public"
  end
  return name, pool
end

local function tls_options(options)
  local tls = type(options.tls) == "table" and options.tls or {}
  return {
    name = tls.name or options.host, verify = tls.verify, ca = tls.ca, certificate = tls.certificate, key = tls.key,
    peer = tls.peer or (tls.name or options.host or options.unix) .. ":" .. tostring(options.port),
  }
end

local function open(self, options)
  if options.connect_timeout then
    self:settimeout(options.connect_timeout, "t")
  end
  local ok, text, code
  if options.unix then
    ok, text, code = connect_to(self, options.unix)
  else
    ok, text, code = connect_to(self, options.host, options.port, options.connect_timeout,
      options.allow_private == false)
  end
  if ok and options.tls then
    ok, text, code = self:starttls(tls_options(options))
  end
  return ok, text, code
end

--- A line with every byte but its LF, for protocols whose lines must end with CRLF: methods:receive drops CRs anywhere.
---@return string?, string? text, string? code
function socket.whole_line(self)
  local no, text, code = receive(self, "line", 0)
  if no == false then
    return nil, text, code
  end
  local line, why, _, why_code = received(self, false)
  return line, why, why_code
end

--- The host name a socket connected to; nil for a path.
function socket.host_of(self)
  return hosts[self]
end

--- A connected socket in one step. options: host and port, or unix; tls (true or a table as for starttls); timeout
--- (seconds without progress, default 30); connect_timeout (seconds, handshake included; default: 30 without progress);
--- pool (true or { name, size, queue_timeout }): takes an idle connection of that name when there is one; size limits
--- their number; allow_private = false: only addresses of the public internet; reads = true: what is sent changes
--- nothing, so that a shadow may connect, too.
---@return moonmilter.Socket?, string? text, string? code
function socket.connect(options)
  if type(options) ~= "table" then
    error(("connect: options must be a table, { host = \"mail.example\", port = 25 }, not a %s"):format(type(options)),
      2)
  end
  if not (options.unix or options.host and options.port) then
    error("connect: no destination; give host and port, or unix", 2)
  end
  if options.unix and options.allow_private == false then
    error("connect: a unix socket is not on the public internet; leave out unix or allow_private", 2)
  end
  if shadow.is and not options.reads then
    return shadow.refuse("connect", "reads = true allows a connection that only reads")
  end
  local self = socket.tcp()
  local name, pool = pool_of(options)
  local reused, text, code
  if name then
    reused, text, code = self:take(name, pool.size, pool.queue_timeout)
    if reused == nil then
      self:close()
      return nil, text, code
    end
  end
  if not reused then
    local ok
    ok, text, code = open(self, options)
    if not ok then
      self:close()
      return nil, text, code
    end
  end
  self:settimeout(options.timeout or DEFAULT_TIMEOUT)
  return self
end

return socket
