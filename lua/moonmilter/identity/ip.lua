--- IP addresses as numbers: read, compared with a network, written as DNS and SPF want them.
local bit = require "bit"

local ip = {}

local band, bor, bxor, lshift, rshift = bit.band, bit.bor, bit.bxor, bit.lshift, bit.rshift

---@class moonmilter.Ip
---@field is_v4 boolean
---@field [integer] integer  32 bits each: one of IPv4, four of IPv6

local LONGEST = 45 -- bytes of the longest text of an address: "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"

local function octet(text)
  if #text > 3 or #text > 1 and text:sub(1, 1) == "0" then
    return nil
  end
  local n = tonumber(text)
  return n <= 255 and n or nil
end

-- "192.0.2.1" without leading zeros (RFC 7208 5.6 ip4-network, RFC 3986 3.2.2 IPv4address) -> 32 bits
local function word_of_v4(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  a, b, c, d = a and octet(a), b and octet(b), c and octet(c), d and octet(d)
  if not (a and b and c and d) then
    return nil
  end
  return bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
end

-- "2001:db8" -> 0x2001, 0xdb8; nil: not groups of one to four digits. An IPv4 address may end the last part.
local function groups_of(text, may_end_in_v4)
  local groups = {}
  if text == "" then
    return groups
  end
  local at = 1
  while true do
    local colon = text:find(":", at, true)
    local group = text:sub(at, (colon or 0) - 1)
    if #group >= 1 and #group <= 4 and not group:find "%X" then
      groups[#groups + 1] = tonumber(group, 16)
    else
      local word = not colon and may_end_in_v4 and word_of_v4(group)
      if not word then
        return nil
      end
      groups[#groups + 1] = rshift(word, 16)
      groups[#groups + 1] = band(word, 0xffff)
    end
    if not colon then
      return groups
    end
    at = colon + 1
  end
end

-- RFC 4291 2.2
local function parse_v6(text)
  local gap = text:find("::", 1, true)
  local head = groups_of(gap and text:sub(1, gap - 1) or text, not gap)
  local tail = groups_of(gap and text:sub(gap + 2) or "", true)
  if not head or not tail then
    return nil
  end
  local missing = 8 - #head - #tail
  if gap and missing < 1 or not gap and missing ~= 0 then
    return nil
  end
  for _ = 1, missing do
    head[#head + 1] = 0
  end
  for _, group in ipairs(tail) do
    head[#head + 1] = group
  end
  local address = { is_v4 = false }
  for i = 1, 4 do
    address[i] = bor(lshift(head[2 * i - 1], 16), head[2 * i])
  end
  return address
end

--- An address as written; nil: it is none.
---@param text string
---@return moonmilter.Ip?
function ip.parse(text)
  if #text > LONGEST then
    return nil
  elseif text:find(":", 1, true) then
    return parse_v6(text)
  end
  local word = word_of_v4(text)
  return word and { is_v4 = true, word } or nil
end

--- The IPv4 address in an IPv4-mapped one, ::ffff:192.0.2.1 (RFC 4291 2.5.5.2); any other address as it is.
---@param address moonmilter.Ip
---@return moonmilter.Ip
function ip.unmapped(address)
  if not address.is_v4 and address[1] == 0 and address[2] == 0 and address[3] == 0xffff then
    return { is_v4 = true, address[4] }
  end
  return address
end

--- Are the first bits of both addresses the same? Addresses of two families never are.
---@param a moonmilter.Ip
---@param b moonmilter.Ip
---@param prefix integer  bits, 0 to 32 or 128
---@return boolean
function ip.is_within(a, b, prefix)
  if a.is_v4 ~= b.is_v4 then
    return false
  end
  for i = 1, #a do
    local bits = prefix - 32 * (i - 1)
    if bits <= 0 then
      return true
    end
    local differing = bxor(a[i], b[i])
    if bits < 32 then
      differing = rshift(differing, 32 - bits)
    end
    if differing ~= 0 then
      return false
    end
  end
  return true
end

local function octets(word)
  return rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255)
end

-- The first of the longest run of two or more zero groups, and its length (RFC 5952 4.2).
local function longest_gap(groups)
  local best, best_length, first = nil, 1, nil
  for i = 1, 9 do
    if groups[i] == 0 then
      first = first or i
    elseif first then
      if i - first > best_length then
        best, best_length = first, i - first
      end
      first = nil
    end
  end
  return best, best_length
end

--- As people write it: "192.0.2.1", "2001:db8::1" (RFC 5952).
---@param address moonmilter.Ip
---@return string
function ip.format(address)
  if address.is_v4 then
    return ("%d.%d.%d.%d"):format(octets(address[1]))
  end
  local groups, texts = {}, {}
  for i = 1, 4 do
    groups[2 * i - 1], groups[2 * i] = rshift(address[i], 16), band(address[i], 0xffff)
  end
  for i, group in ipairs(groups) do
    texts[i] = ("%x"):format(group)
  end
  local gap, length = longest_gap(groups)
  if not gap then
    return table.concat(texts, ":")
  end
  return table.concat(texts, ":", 1, gap - 1) .. "::" .. table.concat(texts, ":", gap + length)
end

--- Its parts with dots between: "192.0.2.1", or the 32 hexadecimal digits of IPv6, "2.0.0.1.0.D.B.8." and so on, upper
--- case as in the RFC's suite (RFC 7208 7.3, "i").
---@param address moonmilter.Ip
---@return string
function ip.dotted(address)
  if address.is_v4 then
    return ip.format(address)
  end
  local digits = ("%08X%08X%08X%08X"):format(address[1] % 2 ^ 32, address[2] % 2 ^ 32, address[3] % 2 ^ 32,
    address[4] % 2 ^ 32)
  return (digits:gsub("%x", "%0.", 31))
end

--- The name that its PTR records have (RFC 1035 3.5, RFC 3596 2.5), lower case.
---@param address moonmilter.Ip
---@return string
function ip.reverse_name(address)
  local parts, reversed = {}, {}
  for part in ip.dotted(address):gmatch "[^.]+" do
    parts[#parts + 1] = part:lower()
  end
  for i = #parts, 1, -1 do
    reversed[#reversed + 1] = parts[i]
  end
  return table.concat(reversed, ".") .. (address.is_v4 and ".in-addr.arpa" or ".ip6.arpa")
end

return ip
