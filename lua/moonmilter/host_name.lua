--- Host names to addresses, for those who connect: socket and http.
local core = require "moonmilter.core"

local host_name = {}

local is_address = core.socket.is_address

local LOOPBACK = { "127.0.0.1", "::1" }

--- The addresses to try, in order. May wait.
---@param host string  a name, or a numeric address with or without brackets
---@return string[]?, string? text, string? code  "nxdomain", "timeout", …
function host_name.addresses(host)
  local bare = host:match "^%[(.*)%]$" or host
  if is_address(bare) then
    return { bare }
  end
  if bare:lower() == "localhost" then -- RFC 6761 6.3: never asked of a DNS server
    return LOOPBACK
  end
  return nil, ("host name %q cannot be resolved yet; give an address"):format(host), "nxdomain"
end

return host_name
