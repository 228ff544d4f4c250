-- moonmilter.dns as a test sees it: the test's own records, or its function, after the delay they name.
local ask = ...
local milter = require "moonmilter"

local dns = {}

local function write(v)
  return ("%q"):format(v):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\000")
end

local function check(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local function wait(options, records, text, code, delay)
  local timeout = options and options.timeout
  if delay and timeout and delay > timeout then
    milter.sleep(timeout)
    return nil, "dns: timeout", "timeout"
  elseif delay then
    milter.sleep(delay)
  end
  return records, text, code
end

--- Records as the test wrote them.
function dns.query(name, kind, options)
  kind = (kind or "A"):upper()
  local text = ask('"dns",' .. write(name) .. "," .. write(kind))
  return wait(options, check(loadstring("return " .. text, "=answer")()))
end

for method, kind in pairs { a = "A", aaaa = "AAAA", mx = "MX", txt = "TXT", cname = "CNAME", ns = "NS", srv = "SRV", caa = "CAA" } do
  dns[method] = function(name, options)
    return dns.query(name, kind, options)
  end
end

local function reversed(ip)
  local a, b, c, d = ip:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if a then
    return ("%s.%s.%s.%s"):format(d, c, b, a)
  end
  local head, tail = ip:match "^(.-)::(.*)$"
  local function groups(text)
    local list = {}
    for group in (text or ""):gmatch "%x+" do
      list[#list + 1] = ("0"):rep(4 - #group) .. group:lower()
    end
    return list
  end
  local front, back = groups(head or ip), groups(tail)
  local digits = table.concat(front) .. ("0000"):rep(8 - #front - #back) .. table.concat(back)
  return (digits:reverse():gsub(".", "%0."):sub(1, -2))
end

--- A test may answer for the address itself or for its name under in-addr.arpa.
function dns.ptr(ip, options)
  local zone = ip:find(":", 1, true) and ".ip6.arpa" or ".in-addr.arpa"
  local records, text, code = dns.query(ip, "PTR", options)
  if records == nil and code == "nxdomain" then
    return dns.query(reversed(ip) .. zone, "PTR", options)
  end
  return records, text, code
end

--- The A records of an address in a list, nil when it is not listed.
function dns.dnsbl(ip, zone, options)
  return dns.query(reversed(ip) .. "." .. zone, "A", options)
end

return dns
