---@meta socket
-- require "socket" inside a script, for editors (LuaLS). Never loaded. Manual: docs/socket.md.

--- LuaSocket's interface to the host's sockets, so that rocks written for LuaSocket do not block. What LuaSocket's own
--- Lua half adds (sources, sinks, socket.http, socket.smtp, ltn12 …) is there when LuaSocket is installed.
---@class socket
---@field _VERSION string
---@field BLOCKSIZE integer
---@field dns socket.dns
local socket = {}

---@class socket.dns
local dns = {}

--- The first IPv4 address of a name (IPv6 if there is none), and all of them. Waits.
---@param host string
---@return string? address
---@return { name: string, alias: string[], ip: string[] }|string|nil resolved_or_text
function dns.toip(host) end

--- All addresses of a name. Waits.
---@param host string
---@return { addr: string, family: "inet"|"inet6" }[]? list
---@return string? text
function dns.getaddrinfo(host) end

--- The name of this machine.
---@return string
function dns.gethostname() end

--- Not offered here: use moonmilter.dns.
---@return nil
---@return string text
function dns.tohostname() end

--- Not offered here: use moonmilter.dns.
---@return nil
---@return string text
function dns.getnameinfo() end

--- A TCP socket, not connected.
---@return moonmilter.Socket
function socket.tcp() end

--- The same as tcp().
---@return moonmilter.Socket
function socket.tcp4() end

--- The same as tcp().
---@return moonmilter.Socket
function socket.tcp6() end

--- A UDP socket.
---@return moonmilter.Datagram
function socket.udp() end

--- The same as udp().
---@return moonmilter.Datagram
function socket.udp4() end

--- The same as udp().
---@return moonmilter.Datagram
function socket.udp6() end

--- A connected TCP socket. Waits.
---@param host string
---@param port integer
---@param own_address string?
---@param own_port integer?
---@return moonmilter.Socket? sock
---@return string? text
function socket.connect(host, port, own_address, own_port) end

--- Waits until sockets are ready. Of several sockets each is looked at a hundred times a second.
---@param readers moonmilter.Socket[]?
---@param writers moonmilter.Socket[]?
---@param timeout number?  seconds; nil or below 0: no limit
---@return moonmilter.Socket[] readable
---@return moonmilter.Socket[] writable
---@return "timeout"? text
function socket.select(readers, writers, timeout) end

--- Waits; other sessions go on.
---@param seconds number
function socket.sleep(seconds) end

--- Seconds since 1970, with fractions.
---@return number
function socket.gettime() end

--- A function that returns its arguments when the first is true, else calls the finalizer and raises the second.
---@param finalizer function?
---@return fun(...: any): any ...
function socket.newtry(finalizer) end

--- newtry without a finalizer.
---@param ... any
---@return any ...
function socket.try(...) end

--- A function that returns nil and a text where fn raises through try.
---@param fn function
---@return fun(...: any): any ...
function socket.protect(fn) end

--- The arguments after the first n.
---@param n integer
---@param ... any
---@return any ...
function socket.skip(n, ...) end

return socket
