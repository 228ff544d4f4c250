---@meta moonmilter.socket
-- require "moonmilter.socket", for editors (LuaLS). Never loaded. Manual: docs/socket.md.

--- Sockets that appear to block, with LuaSocket's methods. connect, starttls, send, receive, receiveany, receivefrom
--- and take wait, and raise a moonmilter.Cancelled as every wait does; the socket is then closed.
---
--- A socket belongs to the message in which it was made, before the first MAIL to the connection, while scripts load to
--- the generation. The host closes it when that ends.
---@class moonmilter.socket
local socket = {}

--- Why an operation failed. The texts of "timeout", "closed" and "connection refused" are LuaSocket's.
---@alias moonmilter.socket.Code
---| "timeout"      # of a name server too
---| "closed"       # by the peer, or by this side
---| "refused"      # nothing listens there, or no permission
---| "unreachable"  # no way to the address
---| "tls"          # handshake, certificate, or an end without TLS's goodbye
---| "busy"         # another task reads or writes; all connections of the pool are in use
---| "limit"        # one receive has gathered 64 MiB
---| "unread"       # setkeepalive: bytes are still to be read
---| "private"      # the address of the host, with allow_private = false
---| "io"
---| "memory"
---| "nxdomain"     # this and the following: the host's name has no address (moonmilter.dns)
---| "nodata"
---| "servfail"
---| "badname"
---| "badanswer"

---@class moonmilter.socket.Tls
---@field name string?         which the certificate must match: a DNS name or an address; default: the host
---@field verify boolean?      default true
---@field ca string?           file or directory of authorities; default: the system's
---@field certificate string?  PEM file to present to the server
---@field key string?          PEM file; default: inside certificate
---@field peer string?         the name under which the TLS session is kept; default: name (socket.connect: name and port)

---@class moonmilter.socket.Pool
---@field name string?           default: "host:port" or the path; with TLS its settings are added
---@field size integer?          connections of this name at most, in use and idle; default: no limit
---@field queue_timeout number?  seconds to wait for one of them, then code "busy"; default 5

---@class moonmilter.socket.Options
---@field host string?             a name, or an address with or without brackets
---@field port integer?            1..65535
---@field unix string?             instead of both: a path of 1 to 107 bytes; "@name" for Linux's abstract names
---@field tls true|moonmilter.socket.Tls|nil
---@field timeout number?          seconds without progress once connected; default 30
---@field connect_timeout number?  seconds for connecting, TLS handshake included; default: 30 without progress
---@field pool true|moonmilter.socket.Pool|nil  takes an idle connection of that name when there is one
---@field reads boolean?           what is sent changes nothing, so that a shadow may connect, too; default false
---@field allow_private boolean?   false: connect only to addresses of the public internet; default true

--- A TCP or unix socket.
---@class moonmilter.Socket
local Socket = {}

--- Connects to host and port, or to a unix socket: sock:connect "/run/x.sock" or "unix:/run/x.sock". Tries each address
--- of the host until one answers. Raises when the host is not a string or the port is out of range.
---@param host string           name, address or path
---@param port integer?         1..65535; nil: host is a path
---@param name_timeout number?  seconds to wait for a name server, default: dns_timeout of the configuration
---@return 1? ok
---@return string? text
---@return moonmilter.socket.Code? code
function Socket:connect(host, port, name_timeout) end

--- Sets the address to connect from. Call it before connect.
---@param address string  numeric; "*" is "0.0.0.0". Raises on anything else
---@param port integer    0..65535; 0: any
---@return true? ok
---@return string? text
---@return moonmilter.socket.Code? code
function Socket:bind(address, port) end

--- Switches the connection to TLS, 1.2 at least. Raises when the certificate is to be verified and no name is known:
--- after connecting to a path.
---@param options moonmilter.socket.Tls?
---@return true? ok
---@return string? text
---@return moonmilter.socket.Code? code
function Socket:starttls(options) end

--- Facts about TLS; nil when the connection is plain.
---@return { version: string, cipher: string, resumed: boolean }?
function Socket:tls() end

--- Sends bytes first to last of data, counted as string.sub counts.
---@param data string|number
---@param first integer?  default 1
---@param last integer?   default -1
---@return integer? last       index of the last byte sent
---@return string? text
---@return integer? sent_last  on failure: index of the last byte that was sent
---@return moonmilter.socket.Code? code
function Socket:send(data, first, last) end

--- Receives a line ("*l", the default, without its end), all until the peer closes ("*a"), or a number of bytes. Raises
--- on another pattern, and on more than 64 MiB.
---@param pattern "*l"|"*a"|"l"|"a"|integer|nil
---@param prefix string?  is put before what is returned, and counts towards a number of bytes
---@return string? data
---@return string? text
---@return string? partial  on failure: what has come, prefix included
---@return moonmilter.socket.Code? code
function Socket:receive(pattern, prefix) end

--- Receives the available bytes, at least one.
---@param max integer?  bytes, 1 to 64 MiB; default 8192
---@return string? data
---@return string? text
---@return string? partial
---@return moonmilter.socket.Code? code
function Socket:receiveany(max) end

--- How long the following operations may take; a new socket has 30 seconds without progress. Raises when seconds is not
--- a number.
---@param seconds number?  nil or below 0: until the handler's deadline
---@param mode "b"|"t"|"r"|nil  "b" (default): limits the time without progress; "t" and "r": the time of a whole call
---@return 1
function Socket:settimeout(seconds, mode) end

--- Before connecting: takes an idle connection of this name, or gets permission to open one.
---@param name string
---@param size integer?          connections of this name at most, in use and idle; default: no limit
---@param queue_timeout number?  seconds, default 5
---@return boolean? reused  true: it is already connected
---@return string? text
---@return moonmilter.socket.Code? code  "busy": all in use
function Socket:take(name, size, queue_timeout) end

--- Returns the connection to the pool, for others to take; the object is closed. Call it only between replies of the
--- protocol.
---@param name string?          for a connection that is not from a pool; default: numeric address and port, or the path
---@param idle_seconds number?  default 60
---@param size integer?         idle connections of this name at most; default 16
---@return 1? ok
---@return string? text
---@return "unread"|"closed"|"busy"|nil code
function Socket:setkeepalive(name, idle_seconds, size) end

--- How often this connection has been used before.
---@return integer
function Socket:getreusedtimes() end

---@return 1
function Socket:close() end

--- Shuts down one or both directions.
---@param how "both"|"send"|"receive"|nil  default "both"
---@return 1? ok
---@return string? text
---@return "closed"? code
function Socket:shutdown(how) end

--- Sets "tcp-nodelay" (on by default) and "keepalive"; LuaSocket's other options have no effect.
---@param name string
---@param value any
---@return 1? ok
---@return string? text
---@return "closed"? code
function Socket:setoption(name, value) end

--- The other end: address, port and family; of a unix socket the path alone.
---@return string? ip_or_path
---@return integer|string|nil port_or_text
---@return "inet"|"inet6"|"closed"|"io"|nil family_or_code
function Socket:getpeername() end

--- This end, as getpeername.
---@return string? ip_or_path
---@return integer|string|nil port_or_text
---@return "inet"|"inet6"|"closed"|"io"|nil family_or_code
function Socket:getsockname() end

--- The descriptor; -1 when the socket is closed.
---@return integer
function Socket:getfd() end

--- True when bytes have arrived that are not yet received.
---@return boolean
function Socket:dirty() end

--- Bytes received, bytes sent, seconds since the socket was made; nothing when it is closed.
---@return integer? received
---@return integer? sent
---@return number? seconds
function Socket:getstats() end

--- LuaSocket has it; here it has no effect.
---@return 1
function Socket.setstats() end

--- Raises: a script cannot be a server.
function Socket.listen() end

--- Raises: a script cannot be a server.
function Socket.accept() end

--- A UDP socket. Only receive and receivefrom wait; setpeername does for a name.
---@class moonmilter.Datagram
local Datagram = {}

---@alias moonmilter.Datagram.Code "timeout"|"closed"|"refused"|"unreachable"|"busy"|"io"

--- From now on sends to this peer and receives only from it. Raises when the port is out of range.
---@param host string    name or address; "*": any peer again
---@param port integer?  0..65535
---@return 1? ok
---@return string? text
---@return moonmilter.socket.Code? code
function Datagram:setpeername(host, port) end

--- Sends from this address and port.
---@param address string  numeric; "*" for any. Raises on anything else
---@param port integer    0..65535; 0: any
---@return 1? ok
---@return string? text
---@return moonmilter.Datagram.Code? code
function Datagram:setsockname(address, port) end

--- Sends one packet to the peer.
---@param data string
---@return 1? ok
---@return string? text
---@return moonmilter.Datagram.Code? code
function Datagram:send(data) end

--- Sends one packet to a numeric address. Raises on a name.
---@param data string
---@param ip string
---@param port integer  0..65535
---@return 1? ok
---@return string? text
---@return moonmilter.Datagram.Code? code
function Datagram:sendto(data, ip, port) end

--- Receives one packet, at most 65536 bytes.
---@param size integer?  bytes to cut it to
---@return string? data
---@return string? text
---@return moonmilter.Datagram.Code? code
function Datagram:receive(size) end

--- Receives one packet, and returns its sender.
---@param size integer?  bytes to cut it to
---@return string? data
---@return string? ip_or_text
---@return integer|moonmilter.Datagram.Code|nil port_or_code
function Datagram:receivefrom(size) end

--- How long a receive may take; a new socket has 30 seconds.
---@param seconds number?  nil or below 0: until the handler's deadline
---@return 1
function Datagram:settimeout(seconds) end

---@return 1
function Datagram:close() end

--- LuaSocket has it; here it has no effect.
---@return 1
function Datagram.setoption() end

--- The peer; nil, text, code when there is none.
---@return string? ip
---@return integer|string|nil port_or_text
---@return string? family_or_code
function Datagram:getpeername() end

--- This end, as getpeername.
---@return string? ip
---@return integer|string|nil port_or_text
---@return string? family_or_code
function Datagram:getsockname() end

--- A TCP or unix socket, not connected.
---@return moonmilter.Socket
function socket.tcp() end

--- The same as tcp(): connect decides.
---@return moonmilter.Socket
function socket.unix() end

--- A UDP socket.
---@return moonmilter.Datagram
function socket.udp() end

--- A connected socket in one step. Raises when there is neither host and port nor unix.
---@param options moonmilter.socket.Options
---@return moonmilter.Socket? sock
---@return string? text
---@return moonmilter.socket.Code? code
function socket.connect(options) end

--- A line as it came, its CR included, for protocols whose lines must end with CRLF; receive drops CRs anywhere. Waits.
---@param sock moonmilter.Socket
---@return string? line
---@return string? text
---@return moonmilter.socket.Code? code
function socket.whole_line(sock) end

--- The host name a socket connected to; nil for a path and for a connection from a pool.
---@param sock moonmilter.Socket
---@return string?
function socket.host_of(sock) end

return socket
