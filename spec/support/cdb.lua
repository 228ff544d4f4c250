--- Writes cdb files for specs (https://cr.yp.to/cdb/cdb.txt).
local bit = require "bit"

local cdb = {}

local function u32(n)
  return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256, math.floor(n / 16777216) % 256)
end

local function hash(key)
  local h = 5381
  for i = 1, #key do
    h = bit.bxor(bit.tobit(bit.lshift(h, 5) + h), key:byte(i))
  end
  return h % 2 ^ 32
end

--- records: a list of { key, value }.
function cdb.bytes(records)
  local data, at, tables = {}, 2048, {}
  for _, record in ipairs(records) do
    local h = hash(record[1])
    local list = tables[h % 256] or {}
    tables[h % 256] = list
    list[#list + 1] = { h, at }
    data[#data + 1] = u32(#record[1]) .. u32(#record[2]) .. record[1] .. record[2]
    at = at + #data[#data]
  end
  local header = {}
  for i = 0, 255 do
    local list = tables[i] or {}
    local count, slots = 2 * #list, {}
    header[#header + 1] = u32(at) .. u32(count)
    for _, entry in ipairs(list) do
      local slot = math.floor(entry[1] / 256) % count
      while slots[slot] do
        slot = (slot + 1) % count
      end
      slots[slot] = u32(entry[1]) .. u32(entry[2])
    end
    for slot = 0, count - 1 do
      data[#data + 1] = slots[slot] or ("\0"):rep(8)
    end
    at = at + 8 * count
  end
  return table.concat(header) .. table.concat(data)
end

return cdb
