--- Options of redis.new: how a server, a Sentinel set or a Cluster is named.
local options_of = require "moonmilter.runtime.options"

local redis_options = {}

-- name -> type and default
local ROWS = {
  host = { "string" }, -- default 127.0.0.1
  port = { "number" }, -- default 6379
  unix = { "string" }, -- path of a socket instead
  sentinels = { "table" }, -- { "a.example:26379", … } instead: they know the server
  master = { "string" }, -- the name of the set, as in sentinel.conf
  sentinel_username = { "string" },
  sentinel_password = { "string" },
  sentinel_tls = { "table", also = "boolean" }, -- default: as tls
  cluster = { "table" }, -- { "a.example:6379", … } instead: some servers of a cluster, which know the others
  username = { "string" },
  password = { "string" },
  db = { "number", 0 },
  tls = { "table", also = "boolean" }, -- as for socket.connect; true for the defaults
  timeout = { "number", 1 }, -- seconds for the reply of a command
  connect_timeout = { "number", 1 }, -- seconds
  pool_size = { "number", 2 }, -- connections of one generation of scripts to a server
  queue_timeout = { "number", 1 }, -- seconds to wait for one of them
  idle = { "number", 60 }, -- seconds an unused connection is kept
  hosts = { "number", 1 }, -- how many hosts use it; for moonmilter doctor
}
redis_options.ROWS = ROWS

local PORT, SENTINEL_PORT = 6379, 26379
local ADDRESSES_MAX = 32 -- of one list

-- name -> least, most, is a whole number
local RANGES = {
  port = { 1, 65535, true }, db = { 0, 65535, true }, pool_size = { 1, 1000, true }, timeout = { 0.001, 3600 },
  hosts = { 1, 100000, true }, connect_timeout = { 0.001, 3600 }, queue_timeout = { 0, 3600 }, idle = { 0, 86400 },
}

local function check_numbers(o, fail)
  for name, range in pairs(RANGES) do
    local value = o[name]
    if value and not (value >= range[1] and value <= range[2] and (not range[3] or value == math.floor(value))) then
      fail("%s is %s; give %s %g to %g", name, value, range[3] and "a whole number," or "seconds,", range[1], range[2])
    end
  end
end

-- ---- addresses ----

-- "host", "host:port", "[2001:db8::1]:port", "2001:db8::1" -> host and port; nil: it is none of them.
local function read_address(text, default_port)
  local host, port = text:match "^%[([%x:.]+)%](.*)$"
  if not host and text:find ":[^:]*:" then
    host, port = text:match "^[%x:.]+$", ""
  elseif not host then
    host, port = text:match "^([^%s:/@%[%]]+)(.*)$"
  end
  port = port == "" and default_port or tonumber(port and port:match "^:(%d+)$")
  if host and port and port >= 1 and port <= 65535 then
    return { host = host, port = port }
  end
end

local function read_addresses(o, name, default_port, fail)
  local list = o[name]
  if not list then
    return nil
  elseif #list == 0 or #list > ADDRESSES_MAX then
    fail("%s has %d addresses; give a list of 1 to %d, { \"redis.example:%d\" }", name, #list, ADDRESSES_MAX,
      default_port)
  end
  local addresses = {}
  for i, text in ipairs(list) do
    addresses[i] = type(text) == "string" and read_address(text, default_port)
    if not addresses[i] then
      fail("%s[%d] is %s; write \"host\", \"host:%d\" or \"[2001:db8::1]:%d\"", name, i,
        type(text) == "string" and ("%q"):format(text) or "a " .. type(text), default_port, default_port)
    end
  end
  return addresses
end

-- What people write who know URLs or "host:port".
local function check_host(host, fail)
  local name, port = host:match "^([^:/@]+):(%d+)$"
  if name then
    fail("host is %q; write host = %q, port = %s", host, name, port)
  elseif host:find("://", 1, true) then
    fail("host is a URL; write host, port, username, password, db and tls")
  end
end

-- ---- rules over several options ----

local KINDS = { "host", "unix", "sentinels", "cluster" }

local function check_kind(o, fail)
  local given = {}
  for _, name in ipairs(KINDS) do
    given[#given + 1] = o[name] and name
  end
  if given[2] then
    fail("%s and %s are both given; one of them says where the server is", given[1], given[2])
  end
  if o.port and given[1] and given[1] ~= "host" then
    fail("port belongs to host; write it into %s", given[1])
  end
  return given[1] or "host"
end

local OF_SENTINELS = { "master", "sentinel_username", "sentinel_password", "sentinel_tls" }

local function check_sentinels(o, fail)
  if o.sentinels and not o.master then
    fail("master is missing: the name of the set, as the sentinels know it (sentinel monitor NAME …)")
  end
  for _, name in ipairs(OF_SENTINELS) do
    if o[name] ~= nil and not o.sentinels then
      fail("%s is for sentinels = { … }", name)
    end
  end
end

--- A copy with defaults; host, sentinels and cluster are checked, the lists made of { host, port }.
---@param call string    for errors
---@param given any
---@param level integer  of an error: 2 is the caller's caller
---@return moonmilter.redis.Options
function redis_options.check(call, given, level)
  local function fail(text, ...)
    error(("%s: " .. text):format(call, ...), level + 2)
  end
  if type(given) ~= "table" then
    error(("%s: options must be a table, { host = \"127.0.0.1\" }, not a %s"):format(call, type(given)), level + 1)
  end
  local o = options_of.check(call, given, ROWS, level + 1)
  check_numbers(o, fail)
  local kind = check_kind(o, fail)
  check_sentinels(o, fail)
  if o.username and not o.password then
    fail("username has no password; give both")
  elseif o.cluster and o.db ~= 0 then
    fail("db is %d; a cluster has only db 0", o.db)
  end
  if kind == "host" then
    o.host, o.port = o.host or "127.0.0.1", o.port or PORT
    check_host(o.host, fail)
  end
  o.sentinels = read_addresses(o, "sentinels", SENTINEL_PORT, fail)
  o.cluster = read_addresses(o, "cluster", PORT, fail)
  return o
end

--- A server's address in texts.
---@param address { host: string?, port: integer?, unix: string? }
function redis_options.spell(address)
  if address.unix then
    return address.unix
  end
  return (address.host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address.host, address.port)
end

return redis_options
