--- Hash slots of a Redis Cluster: which of the 16384 slots a key is in, and which word of a command is its first key.
local bit = require "bit"

local key_slot = {}

local band, bxor, lshift, rshift = bit.band, bit.bxor, bit.lshift, bit.rshift

local COUNT = 16384
key_slot.COUNT = COUNT

-- CRC16 of XMODEM: the remainder for each byte.
local REMAINDER = {}
for byte = 0, 255 do
  local crc = lshift(byte, 8)
  for _ = 1, 8 do
    crc = band(crc, 0x8000) ~= 0 and bxor(lshift(crc, 1), 0x1021) or lshift(crc, 1)
  end
  REMAINDER[byte] = band(crc, 0xffff)
end

-- What is hashed: the part in the first braces, unless it is empty.
local function tag_of(key)
  local first = key:find("{", 1, true)
  local last = first and key:find("}", first + 1, true)
  return last and last > first + 1 and key:sub(first + 1, last - 1) or key
end

--- The slot of a key: 0 to 16383.
---@param key string
---@return integer
function key_slot.of(key)
  local tag, crc = tag_of(key), 0
  for i = 1, #tag do
    crc = band(bxor(lshift(crc, 8), REMAINDER[bxor(rshift(crc, 8), tag:byte(i))]), 0xffff)
  end
  return crc % COUNT
end

--- A name that begins so and is in the slot.
---@param prefix string  without braces
---@param slot integer
---@return string
function key_slot.name_in(prefix, slot)
  local number = 0
  while key_slot.of(prefix .. number) ~= slot do -- some 16384 turns, a few milliseconds
    number = number + 1
  end
  return prefix .. number
end

-- ---- the keys of commands ----

-- These have no key: any server of a cluster may answer.
local KEYLESS = {}
for name in ([[ACL AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DBSIZE DEBUG DISCARD ECHO EXEC FLUSHALL FLUSHDB
  FUNCTION HELLO INFO KEYS LASTSAVE LATENCY LOLWUT MODULE MULTI PING PUBLISH PUBSUB QUIT RANDOMKEY READONLY READWRITE
  REPLICAOF RESET ROLE SAVE SCAN SCRIPT SELECT SHUTDOWN SLAVEOF SLOWLOG SWAPDB TIME UNWATCH WAIT WAITAOF
]]):gmatch "%u+" do
  KEYLESS[name] = true
end

-- The position of the first key, where it is not the second word.
local POSITION = { BITOP = 3, MEMORY = 3, MIGRATE = 4, OBJECT = 3, XGROUP = 3, XINFO = 3 }

-- The position of the number of keys that follow it.
local COUNTED = { EVAL = 3, EVALSHA = 3, EVAL_RO = 3, EVALSHA_RO = 3, FCALL = 3, FCALL_RO = 3, LMPOP = 2, ZMPOP = 2,
  ZUNION = 2, ZINTER = 2, ZDIFF = 2, SINTERCARD = 2, ZINTERCARD = 2, BLMPOP = 3, BZMPOP = 3 }

local STREAMS = { XREAD = true, XREADGROUP = true } -- keys follow the word STREAMS

-- See one server's keys only, so in a cluster they would look right and be wrong.
local OF_ONE_SERVER = { DBSIZE = true, FLUSHALL = true, FLUSHDB = true, KEYS = true, RANDOMKEY = true, SCAN = true,
  SWAPDB = true, WAIT = true }

local function position(verb, words)
  if COUNTED[verb] then
    return tonumber(words[COUNTED[verb]]) ~= 0 and COUNTED[verb] + 1 or nil
  elseif STREAMS[verb] then
    for i = 2, #words do
      if tostring(words[i]):upper() == "STREAMS" then
        return i + 1
      end
    end
    return nil
  end
  return not KEYLESS[verb] and (POSITION[verb] or 2) or nil
end

--- The slot of the first key of a command, a list of words; nil: it has none.
---@return integer?
function key_slot.of_command(words)
  local at = position(tostring(words[1]):upper(), words)
  local key = at and words[at]
  return key ~= nil and key_slot.of(type(key) == "number" and ("%.14g"):format(key) or tostring(key)) or nil
end

--- Does a command see the keys of one server only?
function key_slot.is_of_one_server(verb)
  return OF_ONE_SERVER[verb] or false
end

return key_slot
