--- Host names to addresses, for sockets and HTTP. A numeric address is taken unchanged; localhost is never looked up;
-- then /etc/hosts; then DNS: IPv4, and IPv6 when there is none. No search domain is tried.
local ascii_name = require "moonmilter.net.ascii_name"
local core = require "moonmilter.core"
local dns = require "moonmilter.dns"

local host_name = {}

local is_address = core.socket.is_address

local LOOPBACK = { "127.0.0.1", "::1" }
local HOSTS = "/etc/hosts"
local LOOK_EVERY = 10 -- seconds between readings of the hosts file

local hosts, read_at = {}, 0

-- hosts(5): an address, then its names.
local function read_hosts()
  hosts = {}
  local file = io.open(HOSTS, "r")
  if not file then
    return
  end
  for line in file:lines() do
    local address, names = line:gsub("#.*", ""):match "^%s*(%S+)%s+(.+)"
    for name in (names or ""):gmatch "%S+" do
      local key = name:lower()
      hosts[key] = hosts[key] or {}
      table.insert(hosts[key], is_address(address) and address or nil)
    end
  end
  file:close()
end

local function in_hosts(name)
  if core.now() - read_at > LOOK_EVERY then
    read_at = core.now()
    read_hosts()
  end
  return hosts[name]
end

--- The addresses to try, in order. May wait.
---@param host string  a name, or a numeric address with or without brackets
---@param seconds number?  how long to wait for a name server, default 5
---@return string[]?, string? text, string? code  "nxdomain", "timeout", … as in moonmilter.dns
function host_name.addresses(host, seconds)
  local bare = host:match "^%[(.*)%]$" or host
  if is_address(bare) then
    return { bare }
  end
  local ascii, why, why_code = ascii_name(bare)
  if not ascii then
    return nil, why, why_code
  end
  local name = ascii:lower():gsub("%.$", "")
  if name == "localhost" or name:match "%.localhost$" then -- RFC 6761 6.3
    return LOOPBACK
  end
  local known = in_hosts(name)
  if known and known[1] then
    return known
  end
  local options = seconds and { timeout = seconds } or nil
  local addresses, text, code = dns.a(ascii, options)
  if not addresses and code == "nodata" then
    addresses, text, code = dns.aaaa(ascii, options)
  end
  if not addresses then
    return nil, ("%s: %s"):format(host, text), code
  end
  return addresses
end

return host_name
