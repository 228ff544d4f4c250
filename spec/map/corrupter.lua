--- Opens damaged tables: corrupter.lua KIND PATH FIRST LAST. PATH.good is a sound file of the kind, with its suffix.
--- For each number one damaged copy is made, opened, and asked. It prints the number before it does so, and at the end
--- how many were refused: whoever started it sees at which one it died.
package.path = "./?.lua;" .. package.path
local tables = require "spec.support.tables"

local kind, path, first, last = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local KEYS = { "key1", "key77", "key300", "none", "", "192.0.2.7", ("k"):rep(300) }
local SUFFIX = { hash = ".db", btree = ".db", lmdb = ".lmdb", cdb = ".cdb" }

local file = assert(io.open(path .. ".good", "rb"))
local good = file:read "*a"
file:close()

local function replace(text, at, bytes)
  return (text:sub(1, at) .. bytes .. text:sub(at + #bytes + 1)):sub(1, #text)
end

local function number(n, size)
  local bytes = {}
  for i = 1, size do
    bytes[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(bytes)
end

-- Numbers that sizes, offsets and page numbers do not expect.
local ODD = { 0, 1, 2, 127, 255, 4095, 4096, 65535, 2 ^ 31 - 1, 2 ^ 31, 2 ^ 32 - 1, 2 ^ 32 - 4096 }

local deeds = {
  function(text) -- some bytes
    for _ = 1, math.random(8) do
      text = replace(text, math.random(0, #text - 1), string.char(math.random(0, 255)))
    end
    return text
  end,
  function(text) -- a number, where numbers are: at the beginning of the file or of a page
    local page = math.random(3) == 1 and 0 or math.random(0, math.floor(#text / 4096)) * 4096
    local at = math.min(#text - 1, page + 2 * math.random(0, 60))
    return replace(text, at, number(ODD[math.random(#ODD)], 2 ^ math.random(2)))
  end,
  function(text) return text:sub(1, math.random(0, #text - 1)) end, -- cut off
  function(text) return replace(text, math.random(0, #text - 1), ("\0"):rep(math.random(1000))) end,
  function(text) -- a piece in another place
    local from = math.random(0, #text - 1)
    return replace(text, math.random(0, #text - 1), text:sub(from, from + math.random(5000)))
  end,
}

local refused = 0
for n = first, last do
  math.randomseed(n)
  local text = deeds[n % #deeds + 1](good)
  local out = assert(io.open(path .. (SUFFIX[kind] or ""), "wb"))
  out:write(text)
  out:close()
  io.write(n, "\n")
  io.flush()
  local t = tables.open(kind, path)
  if t then
    for _, key in ipairs(KEYS) do t:get(key) end
    if t.t.format.each ~= nil then t:all() end
    t:close()
  else
    refused = refused + 1
  end
end
print("refused " .. refused)
