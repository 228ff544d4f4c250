--- `require "ssl"` inside a script: LuaSec's interface to the host's TLS, as a client. LuaSec's `ssl.https` runs on top
-- of it. Unlike LuaSec it verifies the certificate, and the name it is for, unless the parameters say verify = "none"
-- (the default of ssl.https: give verify = "peer" there). The host chooses protocol, options and ciphers.
local core = require "moonmilter.core"
local socket = require "moonmilter.socket"

local luasec = {}

local methods, tls_fact = core.socket.class.__index, core.socket.tls_fact

local wrapped = setmetatable({}, { __mode = "k" }) -- socket -> { params, name }

local function has(value, word)
  if type(value) ~= "table" then
    return value == word
  end
  for _, one in ipairs(value) do
    if one == word then
      return true
    end
  end
  return false
end

-- lsec_continue: the handshake goes on, and getpeerverification tells.
local function verifies(params)
  return not has(params.verify, "none") and not has(params.verifyext, "lsec_continue")
end

--- Before the handshake: sets the name to request, which the certificate must match.
function methods:sni(name)
  local state = wrapped[self]
  if state then
    state.name = name
  end
end

--- -> true | false, text, code
function methods:dohandshake()
  local state = wrapped[self]
  if not state then
    return false, "the socket is not wrapped; call ssl.wrap(socket, params) first", "tls"
  end
  local params = state.params
  local ok, text, code = self:starttls {
    name = state.name or socket.host_of(self), verify = verifies(params), ca = params.cafile or params.capath,
    certificate = params.certificate, key = params.key,
  }
  if not ok then
    return false, text, code
  end
  return true
end

-- ---- what LuaSec tells about a connection ----

--- info() -> { protocol, cipher, bits, algbits, key, authentication, encryption, mac, export }; info(field) -> its
--- value. nil, "closed" before the handshake.
function methods:info(field)
  local text, bits, algorithm_bits, version = tls_fact(self, "cipher")
  if not text then
    return nil, bits
  end
  local facts = { bits = bits, algbits = algorithm_bits, export = text:find "%sexport%s*$" ~= nil }
  facts.cipher, facts.protocol, facts.key, facts.authentication, facts.encryption, facts.mac =
    text:match "^(%S+)%s+(%S+)%s+Kx=(%S+)%s+Au=(%S+)%s+Enc=(%S+)%s+Mac=(%S+)"
  facts.protocol = version
  if field then
    return facts[field]
  end
  return facts
end

--- true, or false and why: with verify = "none" the handshake ignores the outcome, this does not.
function methods:getpeerverification()
  local verified, why = tls_fact(self, "verified")
  if verified then
    return true
  end
  return false, why
end

-- LuaSec's own certificate object, from LuaSec when it is installed.
local function load_certificate(pem)
  local ok, x509 = pcall(require, "ssl.x509")
  if not ok then
    return nil, "a certificate needs ssl.x509 of LuaSec, which is not installed (Debian: lua-sec)"
  end
  return x509.load(pem)
end

--- The peer's certificate, or the n-th of its chain (1 is its own); nil when there is none.
function methods:getpeercertificate(n)
  n = n or 1
  if n < 1 then
    return nil, "invalid certificate index"
  end
  local pem, why = tls_fact(self, "certificate", n - 1)
  if not pem then
    return nil, why
  end
  return load_certificate(pem)
end

function methods:getpeerchain()
  local chain, pem, why = {}, tls_fact(self, "certificate", 0)
  if why then
    return nil, why
  end
  while pem do
    chain[#chain + 1], why = load_certificate(pem)
    if not chain[#chain] or why then
      return nil, why
    end
    pem = tls_fact(self, "certificate", #chain)
  end
  return chain
end

function methods:getfinished()
  return tls_fact(self, "finished")
end

function methods:getpeerfinished()
  return (tls_fact(self, "peer_finished"))
end

function methods:exportkeyingmaterial(label, size, context)
  return tls_fact(self, "export", label, size, context)
end

--- The name that was asked for.
function methods:getsniname()
  local state = wrapped[self]
  return (tls_fact(self, "server_name")) or state and state.name or nil
end

--- The host asks for no protocol.
function methods.getalpn()
  return nil
end

--- An operation here ends, or fails: it never wants to be called again.
function methods.want()
  return "nothing"
end

function methods.setdane()
  return nil, "the host's TLS does not check TLSA records"
end
methods.settlsa = methods.setdane

local ssl = {
  _VERSION = "1.2.0 (moonmilter)",
  _COPYRIGHT = "LuaSec's interface to moonmilter's TLS",
  config = {
    protocols = { any = true, tlsv1_2 = true, tlsv1_3 = true }, options = {}, curves = {}, algorithms = { ec = true },
    capabilities = {},
  },
  loadcertificate = load_certificate,
}

function ssl.newcontext(params)
  if params.mode and params.mode ~= "client" then
    return nil, "a milter script can only be a TLS client"
  end
  return { params = params }
end

--- The socket itself, ready for dohandshake().
function ssl.wrap(sock, context)
  if type(context) ~= "table" then
    error(("ssl.wrap: the second argument is a %s; give parameters or a context"):format(type(context)), 2)
  end
  if not context.params then
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
