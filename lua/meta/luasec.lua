---@meta ssl
-- require "ssl" inside a script, for editors (LuaLS). Never loaded. Manual: docs/socket.md.

--- LuaSec's interface to the host's TLS, as a client. Unlike LuaSec it verifies the certificate and its name, unless
--- `verify` is "none".
---@class ssl
---@field _VERSION string
---@field config { protocols: table<string, true> }
local ssl = {}

---@class ssl.Params
---@field mode "client"?
---@field verify "peer"|"none"|string[]|nil  default: the certificate is verified
---@field cafile string?
---@field capath string?
---@field certificate string?  PEM file to present to the server
---@field key string?

---@class ssl.Context
---@field params ssl.Params

--- A context. nil and a text for a server: a script can only be a client.
---@param params ssl.Params
---@return ssl.Context? context
---@return string? text
function ssl.newcontext(params) end

--- A wrapped socket: sock:sni(name), then sock:dohandshake().
---@class ssl.Socket : moonmilter.Socket
local Socket = {}

--- Before the handshake: the name to request, which the certificate must match.
---@param name string
---@return true
function Socket:sni(name) end

--- The handshake. Waits.
---@return true? ok
---@return string? text
---@return moonmilter.socket.Code? code
function Socket:dohandshake() end

--- Facts about TLS, or one of them; nil without TLS.
---@param field "protocol"|"cipher"|"encryption"|nil
---@return { protocol: string, cipher: string, encryption: string }|string|nil
function Socket:info(field) end

--- True after the handshake, which fails when verification fails.
---@return boolean
function Socket:getpeerverification() end

---@return "nothing"
function Socket.want() end

--- The socket itself, ready for dohandshake().
---@param sock moonmilter.Socket
---@param context ssl.Context|ssl.Params
---@return ssl.Socket? sock
---@return string? text
function ssl.wrap(sock, context) end

return ssl
