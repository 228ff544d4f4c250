--- `require "socket"` inside a script: LuaSocket's interface to the host's sockets, so that rocks written for it do not
-- block. This module replaces LuaSocket's C half (socket.core, socket.unix). Its Lua half (socket.lua, socket.http,
-- socket.smtp, ltn12, mime, …) is loaded from the installed LuaSocket and runs on top unchanged; without it `require
-- "socket"` still gives sockets, without sources and sinks.
local core = require "moonmilter.core"
local host_name = require "moonmilter.net.host_name"
local socket = require "moonmilter.socket"
local wait = require "moonmilter.runtime.wait"

local luasocket = {}

local raw = core.socket
local await, awaited = wait.wrap(raw.await), raw.awaited
local sleep = wait.wrap(core.sleep)

local POLL_EVERY = 0.01 -- seconds between looks at several sockets

local lib = {
  _VERSION = "LuaSocket 3.1.0 (moonmilter)",
  _SETSIZE = 1024,
  _SOCKETINVALID = -1,
  _DATAGRAMSIZE = 8192,
  BLOCKSIZE = 2048,
}

-- ---- exceptions: newtry and protect ----

local exception = {}

local function raise(finalizer, ok, err, ...)
  if ok then
    return ok, err, ...
  end
  if finalizer then
    pcall(finalizer)
  end
  error(setmetatable({ err }, exception), 0)
end

function lib.newtry(finalizer)
  return function(...)
    return raise(finalizer, ...)
  end
end

local function caught(ok, err, ...)
  if ok then
    return err, ...
  end
  if getmetatable(err) == exception then
    return nil, err[1]
  end
  error(err, 0)
end

function lib.protect(fn)
  return function(...)
    return caught(pcall(fn, ...))
  end
end

function lib.skip(n, ...)
  return select(n + 1, ...)
end

function lib.__unload() end

-- ---- time ----

function lib.sleep(seconds)
  sleep(math.max(tonumber(seconds) or 0, 0))
end

lib.gettime = core.now

-- ---- names ----

lib.dns = {}

function lib.dns.toip(host)
  local addresses, text = host_name.addresses(host)
  if not addresses then
    return nil, text
  end
  return addresses[1], { name = host, alias = {}, ip = addresses }
end

function lib.dns.getaddrinfo(host)
  local addresses, text = host_name.addresses(host)
  if not addresses then
    return nil, text
  end
  local list = {}
  for i, address in ipairs(addresses) do
    list[i] = { addr = address, family = address:find(":", 1, true) and "inet6" or "inet" }
  end
  return list
end

function lib.dns.gethostname()
  local file = io.open("/proc/sys/kernel/hostname", "r")
  local name = file and file:read "*l"
  if file then
    file:close()
  end
  return name or "localhost"
end

function lib.dns.tohostname()
  return nil, "socket.dns does not offer this; use moonmilter.dns"
end
lib.dns.getnameinfo = lib.dns.tohostname

-- ---- sockets ----

lib.tcp, lib.tcp4, lib.tcp6 = socket.tcp, socket.tcp, socket.tcp
lib.udp, lib.udp4, lib.udp6 = socket.udp, socket.udp, socket.udp

function lib.connect(host, port, own_address, own_port)
  local sock = socket.tcp()
  if own_address and own_address ~= "*" then
    sock:bind(own_address, own_port or 0)
  end
  local ok, text = sock:connect(host, port)
  if not ok then
    sock:close()
    return nil, text
  end
  return sock
end

-- ---- select ----

-- One look at each socket, waiting `seconds` for it; ready ones go into the list.
local function look(list, side, seconds, ready)
  for _, sock in ipairs(list or {}) do
    if type(sock) == "userdata" and await(sock, side, seconds) ~= false then
      local ok, _, code = awaited(sock, side)
      if ok or code ~= "timeout" then -- a closed socket is readable: receive reports the close
        ready[#ready + 1] = sock
        ready[sock] = #ready
      end
    end
  end
end

--- As LuaSocket's. Waits for a single socket; polls several a hundred times a second.
function lib.select(readers, writers, timeout)
  local count = #(readers or {}) + #(writers or {})
  local limit = timeout and timeout >= 0 and core.now() + timeout
  local first = count == 1 and (timeout or -1) or 0
  while true do
    local readable, writable = {}, {}
    look(readers, "read", first, readable)
    look(writers, "write", first, writable)
    if #readable + #writable > 0 then
      return readable, writable
    end
    if limit and core.now() >= limit then
      return readable, writable, "timeout"
    end
    lib.sleep(limit and math.min(POLL_EVERY, math.max(limit - core.now(), 0)) or POLL_EVERY)
  end
end

-- ---- modules ----

local unix = setmetatable({ stream = socket.unix, tcp = socket.unix }, {
  __call = function()
    return socket.unix()
  end,
})

-- LuaSocket's own socket.lua when it is installed: it adds its helpers to socket.core.
local function open_socket()
  local path = package.searchpath("socket", package.path)
  if not path then
    lib.try = lib.newtry()
    return lib
  end
  return assert(loadfile(path))("socket")
end

--- Makes `require` find these modules.
function luasocket.install()
  package.preload["socket"] = open_socket
  package.preload["socket.core"] = function() return lib end
  package.preload["socket.unix"] = function() return unix end
end

return luasocket
