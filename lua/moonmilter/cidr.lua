--- IP addresses and networks in CIDR notation (RFC 4632, RFC 4291), and sets of networks with a value each.
--
--   local ours = cidr.set { ["192.0.2.0/24"] = "office", ["2001:db8::/32"] = "data centre" }
--   local where, network = ours:get(ctx.client.ip)
--
-- An address is kept as one to three whole numbers: 32 bits of IPv4, or 48, 48 and 32 bits of IPv6. A double holds each
-- exactly, so that the first bits of an address are a key of a table, without a string for each length of prefix.
-- IPv4 mapped into IPv6 (::ffff:192.0.2.7) counts as IPv4, in addresses and in networks.
local cidr = {}

local TEXT_MAX = 45 -- bytes of the longest address, "0000:0000:0000:0000:0000:ffff:255.255.255.255"
local BITS = { inet = 32, inet6 = 128 }

-- ---- texts to numbers ----

local function shown(text)
  if type(text) ~= "string" then
    return ("a %s"):format(type(text))
  end
  return ('"%s"'):format(#text > 80 and text:sub(1, 80) .. "…" or text)
end

local function octet(digits)
  local n = tonumber(digits)
  if n < 256 and (n > 9 and digits:byte() ~= 48 or #digits == 1) then
    return n
  end
end

-- 32 bits, or nil. A number with a leading zero is none: some programs read it as octal.
local function ipv4(text)
  local a, b, c, d = text:match "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$"
  if not a then
    return nil
  end
  a, b, c, d = octet(a), octet(b), octet(c), octet(d)
  return a and b and c and d and ((a * 256 + b) * 256 + c) * 256 + d
end

local HEX = {} -- value of a hexadecimal digit, by its byte
for value = 0, 15 do
  HEX[("%x"):format(value):byte()] = value
  HEX[("%X"):format(value):byte()] = value
end
local COLON, DOT = (":"):byte(), ("."):byte()

-- The 16-bit groups of an IPv6 address. One list for all calls: none of them waits.
local groups = {}

-- Moves the groups after "::" to the end, with zeros before them; false when there are too many or too few.
local function fill_gap(count, gap)
  if not gap then
    return count == 8
  end
  for i = 1, count - gap do
    groups[9 - i] = groups[count + 1 - i]
  end
  for i = gap + 1, 8 - count + gap do
    groups[i] = 0
  end
  return count < 8
end

-- The last 32 bits of "::ffff:192.0.2.7" as two groups.
local function add_ipv4(text, count)
  local n = count < 7 and ipv4(text)
  if n then
    groups[count + 1], groups[count + 2] = (n - n % 65536) / 65536, n % 65536
    return count + 2
  end
end

-- Reads the groups of an IPv6 address (RFC 4291 2.2); false when the text is none.
local function read_groups(text)
  local count, gap, value, digits, start, at = 0, nil, 0, 0, 1, 1
  if text:find("::", 1, true) == 1 then
    gap, start, at = 0, 3, 3
  end
  while at <= #text do
    local byte = text:byte(at)
    local digit = HEX[byte]
    if digit then
      value, digits = value * 16 + digit, digits + 1
      if digits > 4 then
        return false
      end
    elseif byte == COLON and digits > 0 and count < 8 then
      count = count + 1
      groups[count], value, digits = value, 0, 0
      if text:byte(at + 1) == COLON then
        if gap then
          return false
        end
        gap, at = count, at + 1
      elseif at == #text then
        return false
      end
      start = at + 1
    elseif byte == DOT then
      count = add_ipv4(text:sub(start), count)
      return count ~= nil and fill_gap(count, gap)
    else
      return false
    end
    at = at + 1
  end
  if digits > 0 then
    count = count + 1
    groups[count] = value
  end
  return count <= 8 and fill_gap(count, gap)
end

local MAPPED = 65535 -- the last of the 96 bits before an IPv4 address in IPv6

-- Family and numbers of an address, or nil. "::ffff:192.0.2.7" is IPv4; is_mapped tells.
local function numbers_of(text)
  if type(text) ~= "string" or #text > TEXT_MAX then
    return nil
  end
  local n = ipv4(text)
  if n then
    return "inet", n
  end
  if not read_groups(text) then
    return nil
  end
  local g = groups
  local a, b, c = (g[1] * 65536 + g[2]) * 65536 + g[3], (g[4] * 65536 + g[5]) * 65536 + g[6], g[7] * 65536 + g[8]
  if a == 0 and b == MAPPED then
    return "inet", c, nil, nil, true
  end
  return "inet6", a, b, c
end

-- ---- numbers to texts ----

local function ipv4_text(n)
  local d = n % 256
  local c = (n - d) / 256 % 256
  local b = (n - n % 65536) / 65536 % 256
  return ("%d.%d.%d.%d"):format((n - n % 16777216) / 16777216, b, c, d)
end

-- First and last of the longest run of zero groups, of equal ones the first (RFC 5952 4.2). One group is no run.
local function longest_run(g)
  local first, last
  local from = 1
  for i = 1, 9 do
    if g[i] ~= 0 then
      if i - from > 1 and i - from > (first and last - first + 1 or 0) then
        first, last = from, i - 1
      end
      from = i + 1
    end
  end
  return first, last
end

local function ipv6_text(a, b, c)
  local g = { (a - a % 2 ^ 32) / 2 ^ 32, (a - a % 65536) / 65536 % 65536, a % 65536,
    (b - b % 2 ^ 32) / 2 ^ 32, (b - b % 65536) / 65536 % 65536, b % 65536, (c - c % 65536) / 65536, c % 65536 }
  local first, last = longest_run(g)
  local hex = {}
  for i = 1, 8 do
    hex[i] = ("%x"):format(g[i])
  end
  if not first then
    return table.concat(hex, ":")
  end
  return table.concat(hex, ":", 1, first - 1) .. "::" .. table.concat(hex, ":", last + 1, 8)
end

local function text_of(family, a, b, c)
  return family == "inet" and ipv4_text(a) or ipv6_text(a, b, c)
end

-- ---- prefixes ----

-- A number of so many bits with all after the first `keep` cleared.
local function cleared(n, bits, keep)
  if keep >= bits then
    return n
  end
  return keep <= 0 and 0 or n - n % 2 ^ (bits - keep)
end

local function masked(family, prefix, a, b, c)
  if family == "inet" then
    return cleared(a, 32, prefix)
  end
  return cleared(a, 48, prefix), cleared(b, 48, prefix - 48), cleared(c, 32, prefix - 96)
end

---@class moonmilter.Network
---@field family "inet"|"inet6"
---@field address string
---@field prefix integer
---@field text string
local Network = {}
Network.__index = Network

local function new_network(family, prefix, a, b, c)
  local address = text_of(family, a, b, c)
  return setmetatable({ family = family, prefix = prefix, address = address, a = a, b = b, c = c,
    text = prefix == BITS[family] and address or ("%s/%d"):format(address, prefix) }, Network)
end

function Network:__tostring()
  return self.text
end

function Network.__eq(one, other)
  return one.text == other.text
end

local NO_ADDRESS = "%s is not an IP address; write \"192.0.2.7\" or \"2001:db8::7\""

local function no_address(text)
  return nil, NO_ADDRESS:format(shown(text)), "badaddress"
end

-- The prefix as a number, or nil: digits without a leading zero, at most the bits of the family.
local function prefix_of(digits, bits)
  if digits:find "^%d%d?%d?$" and (digits == "0" or digits:byte() ~= 48) and tonumber(digits) <= bits then
    return tonumber(digits)
  end
end

local function outside_prefix(text, bits)
  return nil, ("%s: the prefix is a number of bits from 0 to %d"):format(shown(text), bits), "badprefix"
end

-- IPv4 mapped into IPv6 counts its prefix from the 128 bits: /96 is all of IPv4. What is shorter also holds IPv6
-- addresses, and is a network of IPv6.
local function parse(text, is_strict)
  if type(text) ~= "string" then
    return no_address(text)
  end
  local address, digits = text:match "^([^/]*)/(.*)$"
  address = address or text
  local family, a, b, c, is_mapped = numbers_of(address)
  if not family then
    return nil, ('%s is not a network; write numbers such as "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32"'):format(
      shown(text)), "badaddress"
  end
  local bits = is_mapped and 128 or BITS[family]
  local prefix = digits and prefix_of(digits, bits) or not digits and bits
  if not prefix then
    return outside_prefix(text, bits)
  elseif is_mapped and prefix >= 96 then
    prefix = prefix - 96
  elseif is_mapped then
    family, a, b, c = "inet6", 0, MAPPED, a
  end
  local network = new_network(family, prefix, masked(family, prefix, a, b, c))
  if is_strict and (network.a ~= a or network.b ~= b or network.c ~= c) then
    return nil, ('%s has bits set after its prefix; write "%s" for the network or "%s" for the one address'):format(
      shown(text), network.text, address), "hostbits"
  end
  return network
end

local function is_inside(network, family, a, b, c)
  if network.family ~= family then
    return false
  end
  a, b, c = masked(family, network.prefix, a, b, c)
  return network.a == a and network.b == b and network.c == c
end

-- ---- what scripts see ----

local function is_strict_of(options, level)
  if options == nil then
    return true
  end
  if type(options) ~= "table" then
    error(("cidr.parse: options are a table, { strict = false }, not a %s"):format(type(options)), level + 1)
  end
  for name, value in pairs(options) do
    if name ~= "strict" or type(value) ~= "boolean" then
      error(("cidr.parse: option %s = %s; the only option is strict, true or false"):format(tostring(name),
        tostring(value)), level + 1)
    end
  end
  return options.strict ~= false
end

--- A network from its text. An address alone is a network of one address.
---@param text string  "10.0.0.0/8", "2001:db8::/32", "192.0.2.7"
---@param options moonmilter.cidr.Options?
---@return moonmilter.Network?
---@return string? text
---@return "badaddress"|"badprefix"|"hostbits"|nil code
function cidr.parse(text, options)
  return parse(text, is_strict_of(options, 2))
end

--- An address in its one spelling (RFC 5952), so that texts can be compared and used as keys; an IPv4 address mapped
--- into IPv6 becomes IPv4.
---@param text string
---@return string? address
---@return string family_or_text  "inet" or "inet6"; with nil: text
---@return "badaddress"|nil code
function cidr.address(text)
  local family, a, b, c = numbers_of(text)
  if not family then
    return no_address(text)
  end
  return text_of(family, a, b, c), family
end

--- The network around an address: a key for limits that count a customer, not each of his addresses.
---@param ip string
---@param inet integer?   bits kept of an IPv4 address, 0..32; default 24
---@param inet6 integer?  bits kept of an IPv6 address, 0..128; default 64
---@return moonmilter.Network?
---@return string? text
---@return "badaddress"|nil code
function cidr.network(ip, inet, inet6)
  local wanted = { inet = inet or 24, inet6 = inet6 or 64 }
  for family, bits in pairs(BITS) do
    local prefix = wanted[family]
    if type(prefix) ~= "number" or prefix % 1 ~= 0 or prefix < 0 or prefix > bits then
      error(("cidr.network: %s = %s; the prefix is a number of bits from 0 to %d"):format(family, tostring(prefix),
        bits), 2)
    end
  end
  local family, a, b, c = numbers_of(ip)
  if not family then
    return no_address(ip)
  end
  return new_network(family, wanted[family], masked(family, wanted[family], a, b, c))
end

-- A Network from a script, which may be a text. Raises at the caller's line.
local function checked(network, call, level)
  if getmetatable(network) == Network then
    return network
  end
  local parsed, text = parse(network, true)
  if not parsed then
    error(("%s: %s"):format(call, text), level + 1)
  end
  return parsed
end

--- Is the address in the network? For more than a few networks, or at each message, make a set.
---@param network string|moonmilter.Network  raises at the caller's line when it is none
---@param ip string
---@return boolean?
---@return string? text
---@return "badaddress"|nil code
function cidr.contains(network, ip)
  return checked(network, "cidr.contains", 2):contains(ip)
end

--- Is the address in the network?
---@param ip string
---@return boolean?
---@return string? text
---@return "badaddress"|nil code
function Network:contains(ip)
  local family, a, b, c = numbers_of(ip)
  if not family then
    return no_address(ip)
  end
  return is_inside(self, family, a, b, c)
end

--- Is the other network inside this one, or the same?
---@param other string|moonmilter.Network  raises at the caller's line when it is none
---@return boolean
function Network:covers(other)
  other = checked(other, "covers", 2)
  return other.prefix >= self.prefix and is_inside(self, other.family, other.a, other.b, other.c)
end

-- ---- sets ----

-- Of each family, a row for each length of prefix in use, the longest first:
-- { prefix, step, rest, entries, count }. `entries` is keyed by the number that the prefix ends in, below the whole
-- numbers before it; `step` is 2 to the bits of that number which the prefix leaves out; `rest` is how many numbers are
-- whole. An entry is { network, value }.
---@class moonmilter.NetworkSet
local Set = {}
Set.__index = Set

local function row_place(rows, prefix)
  for i, row in ipairs(rows) do
    if row.prefix <= prefix then
      return i, row.prefix == prefix and row or nil
    end
  end
  return #rows + 1, nil
end

local function new_row(family, prefix)
  if family == "inet" then
    return { prefix = prefix, step = 2 ^ (32 - prefix), rest = 0, entries = {}, count = 0 }
  end
  local rest = prefix <= 48 and 0 or prefix <= 96 and 1 or 2
  local ends_at = rest == 0 and 48 or rest == 1 and 96 or 128
  return { prefix = prefix, step = 2 ^ (ends_at - prefix), rest = rest, entries = {}, count = 0 }
end

-- The table that holds the entry of such an address, and its key there; nil when there is no such table.
local function place(row, a, b, c)
  local entries, last = row.entries, a
  if row.rest > 0 then
    entries, last = entries[a], b
  end
  if row.rest > 1 and entries then
    entries, last = entries[b], c
  end
  return entries, last - last % row.step
end

local function put(row, network, entry)
  local path = { network.a, network.b, network.c }
  local entries = row.entries
  for i = 1, row.rest do
    entries[path[i]] = entries[path[i]] or {}
    entries = entries[path[i]]
  end
  local key = path[row.rest + 1]
  row.count = row.count + (entries[key] and 0 or 1)
  entries[key] = entry
end

local function add(set, network, value)
  local rows = set.rows[network.family]
  local i, row = row_place(rows, network.prefix)
  if not row then
    row = new_row(network.family, network.prefix)
    table.insert(rows, i, row)
  end
  put(row, network, { network = network, value = value })
end

local function entry_of(set, network)
  local _, row = row_place(set.rows[network.family], network.prefix)
  local entries, key = nil, nil
  if row then
    entries, key = place(row, network.a, network.b, network.c)
  end
  return entries and entries[key], row, entries, key
end

local function fill(set, networks)
  for key, value in pairs(networks) do
    local is_listed = type(key) == "number"
    local network = checked(is_listed and value or key, "cidr.set", 3)
    local there = entry_of(set, network)
    if there and not is_listed then
      error(("cidr.set: %s is there twice, the second time as %s"):format(network.text, shown(key)), 3)
    end
    add(set, network, is_listed and true or value)
  end
end

--- A set of networks. Of several networks around an address, the longest prefix counts, whatever their order.
---@param networks table?  a list of texts or Networks (each with the value true), or a table from network to value
---@return moonmilter.NetworkSet
function cidr.set(networks)
  if networks ~= nil and type(networks) ~= "table" then
    error(('cidr.set: networks are a table, { "192.0.2.0/24" } or { ["192.0.2.0/24"] = "office" }, not a %s'):format(
      type(networks)), 2)
  end
  local set = setmetatable({ rows = { inet = {}, inet6 = {} } }, Set)
  fill(set, networks or {})
  return set
end

--- Adds a network, or replaces its value: for networks that are read from a file or a server.
---@param network string|moonmilter.Network
---@param value any?  not nil; default true
---@return true?
---@return string? text  it is no network
---@return "badaddress"|"badprefix"|"hostbits"|nil code
function Set:add(network, value)
  if getmetatable(network) ~= Network then
    local text, code
    network, text, code = parse(network, true)
    if not network then
      return nil, text, code
    end
  end
  add(self, network, value == nil or value)
  return true
end

--- Takes a network out; those inside it stay.
---@param network string|moonmilter.Network  raises at the caller's line when it is none
---@return boolean  was it in the set?
function Set:remove(network)
  network = checked(network, "remove", 2)
  local entry, row, entries, key = entry_of(self, network)
  if not entry then
    return false
  end
  entries[key] = nil
  row.count = row.count - 1
  if row.count == 0 then
    table.remove(self.rows[network.family], (row_place(self.rows[network.family], network.prefix)))
  end
  return true
end

local function find(set, family, a, b, c)
  local rows = set.rows[family]
  for i = 1, #rows do
    local entries, key = place(rows[i], a, b, c)
    local entry = entries and entries[key]
    if entry then
      return entry
    end
  end
end

--- The value of the longest network around an address.
---@param ip string
---@return any? value  nil when no network contains the address
---@return moonmilter.Network|string|nil network  with an invalid address: text
---@return "badaddress"|nil code
function Set:get(ip)
  local family, a, b, c = numbers_of(ip)
  if not family then
    return no_address(ip)
  end
  local entry = find(self, family, a, b, c)
  if entry then
    return entry.value, entry.network
  end
end

--- Is the address in a network of the set?
---@param ip string
---@return boolean?
---@return string? text
---@return "badaddress"|nil code
function Set:contains(ip)
  local family, a, b, c = numbers_of(ip)
  if not family then
    return no_address(ip)
  end
  return find(self, family, a, b, c) ~= nil
end

--- How many networks are in the set.
---@return integer
function Set:count()
  local count = 0
  for _, rows in pairs(self.rows) do
    for _, row in ipairs(rows) do
      count = count + row.count
    end
  end
  return count
end

return cidr
