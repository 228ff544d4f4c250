--- Queries to name servers. Every function waits; the host serves other sessions meanwhile. Identical queries are sent
-- once, and answers are cached as long as their zone allows.
--
--   local names, text, code = dns.ptr("192.0.2.1")
--
-- An answer is a list with three more fields: ttl (seconds it may still be used), name (the name after all CNAMEs) and
-- authentic (true when the server says that DNSSEC vouches for it). A failure is nil, a text for people, and a code:
--   "nxdomain"     no such name                       "timeout"      nothing came in time
--   "nodata"       the name has no such record        "unreachable"  no name server listens there
--   "servfail"     the server did not find out        "badname"      no such name can exist
--   "refused"      the server does not answer us      "badanswer"    a response that cannot be read
--   "busy"         too many questions are under way   "memory"
-- nxdomain and nodata are answers ("there is none"); all other codes mean that the answer is unknown.
local ascii_name = require "moonmilter.net.ascii_name"
local core = require "moonmilter.core"
local listing = require "moonmilter.net.listing"
local lists = require "moonmilter.net.lists"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local dns = {}

local query = wait.wrap(core.dns_query)

local function raw_query(name, kind, seconds)
  local ascii, text, code = ascii_name(name)
  if ascii == nil and code then
    return nil, text, code
  end
  return query(ascii, kind, seconds)
end

---@class moonmilter.dns.Options
---@field timeout number?  seconds to wait for the answer; default: dns_timeout of the configuration, 5

local function timeout_of(options, level)
  if options == nil then
    return nil
  end
  if type(options) ~= "table" then
    error(("dns: options must be a table, { timeout = 2 }, not a %s"):format(type(options)), level + 1)
  end
  for key in pairs(options) do
    if key ~= "timeout" then
      error(("dns: unknown option %q; the only option is timeout"):format(tostring(key)), level + 1)
    end
  end
  return options.timeout
end

--- The records of a name.
---@param name string  fully qualified, with or without the final dot; no search domain is tried. U-labels are asked for as
--- A-labels
---@param kind string  "a", "aaaa", "mx", "txt", "ptr", "srv", "ns", "cname", "soa", "caa", "tlsa", … or "type65"
---@param options moonmilter.dns.Options?
---@return table? list  strings; for mx { preference, host }, srv { priority, weight, port, host }, soa { primary, contact,
--- serial, refresh, retry, expire, minimum }, caa { flags, tag, value }, tlsa { usage, selector, matching, data }
---@return string? text
---@return string? code
function dns.query(name, kind, options)
  return raw_query(name, kind, timeout_of(options, 2))
end

--- IPv4 addresses of a name.
function dns.a(name, options)
  return raw_query(name, "a", timeout_of(options, 2))
end

--- IPv6 addresses of a name.
function dns.aaaa(name, options)
  return raw_query(name, "aaaa", timeout_of(options, 2))
end

local function by_preference(a, b)
  return a.preference < b.preference
end

--- Mail exchangers { preference =, host = }, best first. A null MX (RFC 7505) has host "".
function dns.mx(name, options)
  local list, text, code = raw_query(name, "mx", timeout_of(options, 2))
  if list then
    table.sort(list, by_preference)
  end
  return list, text, code
end

--- Texts; the strings of one record are joined (RFC 7208 3.3).
function dns.txt(name, options)
  return raw_query(name, "txt", timeout_of(options, 2))
end

local function by_priority(a, b)
  return a.priority < b.priority
end

--- Services { priority =, weight =, port =, host = }, best priority first.
function dns.srv(name, options)
  local list, text, code = raw_query(name, "srv", timeout_of(options, 2))
  if list then
    table.sort(list, by_priority)
  end
  return list, text, code
end

local function reversed(ip, level)
  local name, family = core.dns_reverse(ip)
  if not name then
    error(("dns: %q is not an IP address"):format(tostring(ip)), level + 1)
  end
  return name, family
end

--- The name under which facts about an address are kept: "1.2.0.192.in-addr.arpa", or the same labels below another
--- zone.
---@param ip string  IPv4 or IPv6
---@param zone string?  default "in-addr.arpa" or "ip6.arpa"
---@return string
function dns.reverse(ip, zone)
  local name, family = reversed(ip, 2)
  return name .. "." .. (zone or (family == "inet" and "in-addr.arpa" or "ip6.arpa"))
end

--- Names of an address, as its own network publishes them: the network may claim any name.
---@param ip string
function dns.ptr(ip, options)
  local name, family = reversed(ip, 2)
  return raw_query(name .. (family == "inet" and ".in-addr.arpa" or ".ip6.arpa"), "ptr", timeout_of(options, 2))
end

--- Looks an address up in several block lists at once (RFC 5782). An answer that is no listing is a failure: an address
--- outside 127/8, and the codes by which lists refuse questions, 127.255.255.0/24 and 127.0.0.1.
---@param ip string
---@param zones string[]  "zen.example.org", …
---@param options moonmilter.dns.Options?
---@return table<string, string[]> listed  by zone: the addresses it answers with, 127.0.0.2 and so on, with ttl
---@return table<string, { text: string, code: string }> failures  by zone, when it could not be asked; treat as not listed
function dns.dnsbl(ip, zones, options)
  if type(zones) ~= "table" then
    error(('dns.dnsbl: zones are a list, { "zen.example.org" }, not a %s'):format(type(zones)), 2)
  end
  local name, seconds = reversed(ip, 2), timeout_of(options, 2)
  local questions = {}
  for _, zone in ipairs(zones) do
    questions[zone] = function()
      local list, text, code = raw_query(name .. "." .. zone, "a", seconds)
      if code == "nxdomain" or code == "nodata" then
        return nil
      elseif not list then
        return nil, text, code
      end
      return listing.of(list)
    end
  end
  return tasks.all(questions)
end

--- Lists with weights by return code, tested before they count, and left alone while they do not answer. Call it while
--- the script loads, and ask the result in handlers.
---@param zones table<string, table|number>
---@param options moonmilter.dns.ListsOptions?
---@return moonmilter.Lists
function dns.lists(zones, options)
  local made = lists.new(zones, options, raw_query) -- no tail call: errors name the caller's line
  return made
end

local settings = { servers = "table", resolv_conf = "string", timeout = "number", cache = "number" }

--- Replaces the resolver's settings for all scripts of this worker, until the next reload: for tests and for scripts
--- that must query particular servers. Settings that are left out take their defaults. The cache is emptied.
---@param options { servers: string[]?, resolv_conf: string?, timeout: number?, cache: integer? }
function dns.configure(options)
  for key, value in pairs(options) do
    if type(value) ~= settings[key] then
      error(("dns.configure: %s = a %s; there are servers (a list of addresses with or without :port), "
        .. "resolv_conf (a path), timeout (seconds) and cache (answers)"):format(tostring(key), type(value)), 2)
    end
  end
  core.dns_configure(options.servers, options.resolv_conf, options.timeout, options.cache)
end

--- How often scripts asked, how many queries were sent, and how many are in flight and cached now.
---@return { asked: integer, sent: integer, misfits: integer, in_flight: integer, cached: integer }
dns.count = core.dns_count

return dns
