--- `require "ssl"` inside a script: LuaSec's interface to the host's TLS, as a client. LuaSec's `ssl.https` runs on top
-- of it. Unlike LuaSec it verifies the certificate, and the name it is for, unless the parameters say verify = "none"
-- (the default of ssl.https: give verify = "peer" there). The host chooses protocol, options and ciphers.
local core = require "moonmilter.core"
local socket = require "moonmilter.socket"

local luasec = {}

local methods = core.socket.class.__index

local wrapped = setmetatable({}, { __mode = "k" }) -- socket -> { params, name }

local function verifies(params)
  local verify = params.verify
  if type(verify) == "table" then
    verify = verify[1]
  end
  return verify ~= "none"
end

--- Before the handshake: sets the name to request, which the certificate must match.
function methods:sni(name)
  local state = wrapped[self]
  if state then
    state.name = name
  end
  return true
end

function methods:dohandshake()
  local state = wrapped[self]
  if not state then
    return nil, "the socket is not wrapped; call ssl.wrap(socket, params) first", "tls"
  end
  local params = state.params
  local ok, text, code = self:starttls {
    name = state.name or socket.host_of(self), verify = verifies(params), ca = params.cafile or params.capath,
    certificate = params.certificate, key = params.key,
  }
  if not ok then
    return nil, text, code
  end
  return true
end

--- info() -> { protocol, cipher, … }; info(field) -> its value.
function methods:info(field)
  local tls = self:tls()
  if not tls then
    return nil
  end
  local facts = { protocol = tls.version, cipher = tls.cipher, encryption = tls.cipher }
  if field then
    return facts[field]
  end
  return facts
end

--- The handshake fails when verification fails, so afterwards this is true.
function methods:getpeerverification()
  return self:tls() ~= nil
end

function methods.want()
  return "nothing"
end

local ssl = { _VERSION = "1.2.0 (moonmilter)", config = { protocols = { tlsv1_2 = true, tlsv1_3 = true } } }

function ssl.newcontext(params)
  if params.mode and params.mode ~= "client" then
    return nil, "a milter script can only be a TLS client"
  end
  return { params = params }
end

--- The socket itself, ready for dohandshake().
function ssl.wrap(sock, context)
  if type(context) == "table" and not context.params then
    local made, text = ssl.newcontext(context)
    if not made then
      return nil, text
    end
    context = made
  end
  wrapped[sock] = { params = context.params }
  return sock
end

--- Makes `require` find it.
function luasec.install()
  package.preload["ssl"] = function() return ssl end
end

return luasec
