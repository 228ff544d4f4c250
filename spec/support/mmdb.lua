--- Writes small MaxMind DB files for specs (MaxMind DB File Format Specification, version 2.0).
--
--   mmdb.write(path, { ["192.0.2.0/24"] = { country = { iso_code = "DE" } } }, { record_size = 28 })
--
-- Numbers: whole ones from 0 on are uint32, others doubles; { as = "uint16", 7 } chooses another type; a list is an
-- array; equal strings are written once and pointed to.
local cidr = require "moonmilter.cidr"

local mmdb = {}

local TYPES = { pointer = 1, string = 2, double = 3, bytes = 4, uint16 = 5, uint32 = 6, map = 7, int32 = 8, uint64 = 9,
  uint128 = 10, array = 11, boolean = 14, float = 15 }

local function big_endian(n, size)
  local bytes = {}
  for i = size, 1, -1 do
    bytes[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(bytes)
end

local function control(name, size)
  local kind, more, extra = TYPES[name], "", ""
  if size >= 65821 then
    size, more = 31, big_endian(size - 65821, 3)
  elseif size >= 285 then
    size, more = 30, big_endian(size - 285, 2)
  elseif size >= 29 then
    size, more = 29, big_endian(size - 29, 1)
  end
  if kind > 7 then
    kind, extra = 0, string.char(kind - 7)
  end
  return string.char(kind * 32 + size) .. extra .. more
end

local function ieee(n, name)
  local ffi = require "ffi"
  local bytes = ffi.string(ffi.new(name .. "[1]", n), ffi.sizeof(name))
  return bytes:reverse() -- this machine is little-endian, the file is not
end

function mmdb.pointer(target)
  if target < 2048 then
    return string.char(0x20 + math.floor(target / 256)) .. big_endian(target % 256, 1)
  elseif target < 2048 + 2 ^ 19 then
    target = target - 2048
    return string.char(0x28 + math.floor(target / 65536)) .. big_endian(target % 65536, 2)
  end
  return "\x38" .. big_endian(target, 4)
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local encode

local function encode_typed(value)
  local name, v = value.as, value[1]
  if name == "double" or name == "float" then
    local bytes = ieee(v, name)
    return control(name, #bytes) .. bytes
  elseif type(v) == "string" then -- the bytes themselves
    return control(name, #v) .. v
  end
  local size = { uint16 = 2, uint32 = 4, int32 = 4, uint64 = 8, uint128 = 16 }
  return control(name, size[name]) .. big_endian(v < 0 and v + 2 ^ 32 or v, size[name])
end

local function encode_table(value, at, strings)
  local parts
  if value.raw then
    return value.raw
  elseif value.as then
    return encode_typed(value)
  elseif value[1] ~= nil then
    parts = { control("array", #value) }
    at = at + #parts[1]
    for _, item in ipairs(value) do
      parts[#parts + 1] = encode(item, at, strings)
      at = at + #parts[#parts]
    end
    return table.concat(parts)
  end
  local keys = sorted_keys(value)
  parts = { control("map", #keys) }
  at = at + #parts[1]
  for _, key in ipairs(keys) do
    for _, item in ipairs { key, value[key] } do
      parts[#parts + 1] = encode(item, at, strings)
      at = at + #parts[#parts]
    end
  end
  return table.concat(parts)
end

-- at: where it begins in the section; strings: where equal ones are
function encode(value, at, strings)
  if type(value) == "string" then
    if strings[value] then
      return mmdb.pointer(strings[value])
    end
    strings[value] = #value > 4 and at or nil
    return control("string", #value) .. value
  elseif type(value) == "boolean" then
    return control("boolean", value and 1 or 0)
  elseif type(value) == "number" then
    return encode_typed { as = value >= 0 and value % 1 == 0 and value < 2 ^ 32 and "uint32" or "double", value }
  end
  return encode_table(value, at, strings)
end

-- The bits of a network as a list of 0 and 1; IPv4 is below ::/96 in a tree of IPv6.
local function bits_of(network, version)
  local text, length = network:match "^([^/]+)/(%d+)$"
  local ffi = require "ffi"
  pcall(ffi.cdef, "int inet_pton(int, const char *, void *);")
  local is_v4 = not text:find(":", 1, true)
  local bytes = ffi.new "unsigned char[16]"
  assert(ffi.C.inet_pton(is_v4 and 2 or 10, text, bytes) == 1, network)
  local bits = {}
  for _ = 1, is_v4 and version == 6 and 96 or 0 do
    bits[#bits + 1] = 0
  end
  for i = 0, length - 1 do
    bits[#bits + 1] = math.floor(bytes[math.floor(i / 8)] / 2 ^ (7 - i % 8)) % 2
  end
  return bits
end

-- nodes[1] is the root; a side is nil, { node = n } or { data = offset }
local function tree_of(networks, offsets, version)
  local nodes = { {} }
  for _, network in ipairs(sorted_keys(networks)) do
    local bits, node = bits_of(network, version), 1
    for i = 1, #bits - 1 do
      local side = nodes[node][bits[i]]
      if not side or side.data then -- a longer network inside: what was here is on both sides of the new node
        nodes[#nodes + 1] = { [0] = side, [1] = side }
        side = { node = #nodes }
        nodes[node][bits[i]] = side
      end
      node = side.node
    end
    nodes[node][bits[#bits]] = { data = offsets[network] }
  end
  return nodes
end

local function record(side, count)
  if not side then
    return count
  end
  return side.node and side.node - 1 or count + 16 + side.data
end

local function node_bytes(left, right, size)
  if size == 28 then
    local middle = math.floor(left / 2 ^ 24) * 16 + math.floor(right / 2 ^ 24)
    return big_endian(left % 2 ^ 24, 3) .. string.char(middle) .. big_endian(right % 2 ^ 24, 3)
  end
  return big_endian(left, size / 8) .. big_endian(right, size / 8)
end

--- The bytes of a file. networks: "192.0.2.0/24" = record; shorter ones sort before those inside them only when their
--- addresses are equal, so give no network that contains another with a lower address.
---@param options table?  record_size 24, 28 or 32; ip_version 4 or 6; type; built
function mmdb.bytes(networks, options)
  options = options or {}
  local size, version = options.record_size or 24, options.ip_version or 6
  local data, offsets, at, strings = {}, {}, 0, {}
  for _, network in ipairs(sorted_keys(networks)) do
    assert(cidr.parse(network), network)
    offsets[network] = at
    data[#data + 1] = encode(networks[network], at, strings)
    at = at + #data[#data]
  end
  local nodes, tree = tree_of(networks, offsets, version), {}
  for i, node in ipairs(nodes) do
    tree[i] = node_bytes(record(node[0], #nodes), record(node[1], #nodes), size)
  end
  local metadata = encode({
    node_count = #nodes, record_size = { as = "uint16", size }, ip_version = { as = "uint16", version },
    database_type = options.type or "Test-Country", languages = { "en" },
    binary_format_major_version = { as = "uint16", 2 }, binary_format_minor_version = { as = "uint16", 0 },
    build_epoch = { as = "uint64", options.built or 1700000000 }, description = { en = "made by a spec" },
  }, 0, {})
  return table.concat(tree) .. ("\0"):rep(16) .. table.concat(data) .. "\xab\xcd\xefMaxMind.com" .. metadata
end

function mmdb.write(path, networks, options)
  local file = assert(io.open(path .. ".new", "wb"))
  file:write(mmdb.bytes(networks, options))
  file:close()
  assert(os.rename(path .. ".new", path))
end

return mmdb
