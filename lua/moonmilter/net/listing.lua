--- What the addresses mean that a DNS list answers with (RFC 5782): listings with a weight, or the list's error.
local cidr = require "moonmilter.cidr"

local listing = {}

-- A listing is an address of 127/8 (RFC 5782 2.1). Lists answer 127.255.255.0/24 (Spamhaus and others) or 127.0.0.1
-- (URIBL, SURBL) to those whose questions they refuse; anything else comes from a resolver that lies, or from whoever
-- has bought the domain of a dead list.
local function error_of(address)
  if address == "127.0.0.1" or address:find "^127%.255%.255%." then
    return ("the list answers %s: it refuses questions from here"):format(address), "refused"
  elseif not address:find "^127%." then
    return ("the list answers %s, which is outside 127.0.0.0/8 and so no listing (RFC 5782 2.1)"):format(address),
      "badanswer"
  end
end

--- The listings among a list's addresses, or its error.
---@param addresses table  an answer of moonmilter.dns
---@return table? addresses  with the same ttl, name and authentic
---@return string? text
---@return "refused"|"badanswer"|nil code
function listing.of(addresses)
  local found, text, code = { ttl = addresses.ttl, name = addresses.name, authentic = addresses.authentic }, nil, nil
  for _, address in ipairs(addresses) do
    local why, why_code = error_of(address)
    if why then
      text, code = text or why, code or why_code
    else
      found[#found + 1] = address
    end
  end
  if found[1] then
    return found
  end
  return nil, text, code
end

-- ---- weights by return code ----

local function octets_of(address)
  local list = {}
  for digits in address:gmatch "%d+" do
    list[#list + 1] = tonumber(digits)
  end
  return list
end

-- "127.0.0.2", "127.0.0.2-11", "127.0-255.0.1": four numbers or ranges.
local function parse_ranges(text)
  local ranges = {}
  for _, part in ipairs { text:match "^([^.]+)%.([^.]+)%.([^.]+)%.([^.]+)$" } do
    local first, last = part:match "^(%d%d?%d?)%-(%d%d?%d?)$"
    first = tonumber(first or part:match "^%d%d?%d?$")
    last = tonumber(last) or first
    if not first or first > last or last > 255 then
      return nil
    end
    ranges[#ranges + 1] = { first, last }
  end
  if #ranges ~= 4 or ranges[1][1] ~= 127 or ranges[1][2] ~= 127 then
    return nil
  end
  return function(_, octets)
    for i, range in ipairs(ranges) do
      if octets[i] < range[1] or octets[i] > range[2] then
        return false
      end
    end
    return true
  end
end

local function parse_network(text)
  local network = cidr.parse(text)
  return network and network.prefix >= 8 and cidr.contains("127.0.0.0/8", network.address)
    and function(address) return network:contains(address) end
end

-- "&64": the last number has this bit, as combined lists answer (multi.surbl.org, multi.uribl.com).
local function parse_bit(text)
  local bit = tonumber(text:match "^&(%d%d?%d?)$")
  for power = 0, 7 do
    if bit == 2 ^ power then
      return function(_, octets) return octets[4] % (2 * bit) >= bit end
    end
  end
end

--- Compiles the codes of a list. Raises a text without a position when one is wrong.
---@param weights table<string, number|"error">  by code
---@return table codes
function listing.codes(weights)
  local codes = {}
  for text, weight in pairs(weights) do
    local matches = type(text) == "string" and (parse_bit(text) or text:find("/", 1, true) and parse_network(text)
      or parse_ranges(text))
    if not matches then
      error(('%s is no return code; write "127.0.0.2", "127.0.0.2-11", "127.255.255.0/24" or "&64" (a bit of the last '
        .. "number)"):format(tostring(text)), 0)
    elseif weight ~= "error" and (type(weight) ~= "number" or weight ~= weight) then
      error(('%s = %s; a weight is a number or "error"'):format(text, tostring(weight)), 0)
    end
    codes[#codes + 1] = { text = text, weight = weight, matches = matches }
  end
  table.sort(codes, function(a, b) return a.text < b.text end)
  return codes
end

-- The error of an answer: what the codes say comes before what is usual, but only if they name the very address.
local function error_by(codes, address, octets)
  local is_named = false
  for _, code in ipairs(codes) do
    if code.weight == "error" and code.matches(address, octets) then
      return ("the list answers %s: an error"):format(address), "refused"
    end
    is_named = is_named or code.text == address
  end
  if not is_named then
    return error_of(address)
  end
end

local function weigh(codes, address, octets, counted, why)
  local is_known = false
  for _, code in ipairs(codes) do
    if code.weight ~= "error" and code.matches(address, octets) then
      is_known = true
      if not counted[code] then
        counted[code] = true
        why[#why + 1] = { address = address, code = code.text, weight = code.weight }
      end
    end
  end
  if not is_known then
    why[#why + 1] = { address = address, weight = 0 }
  end
end

--- Weighs the addresses that a list answers with. Each code counts once; an address that no code matches counts
--- nothing.
---@param codes table  of listing.codes
---@param addresses string[]
---@return { address: string, code: string?, weight: number }[]? why
---@return string? text
---@return "refused"|"badanswer"|nil code
function listing.weigh(codes, addresses)
  local why, counted, text, code = {}, {}, nil, nil
  for _, address in ipairs(addresses) do
    local octets = octets_of(address)
    local error_text, error_code = error_by(codes, address, octets)
    if error_text then
      text, code = text or error_text, code or error_code
    else
      weigh(codes, address, octets, counted, why)
    end
  end
  if why[1] then
    return why
  end
  return nil, text, code
end

return listing
