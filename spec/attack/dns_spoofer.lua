-- A name server with an attacker ahead of it: each name says what the attacker sends before the right answer comes.
-- UDP on one port of 127.0.0.1.   luajit spec/attack/dns_spoofer.lua PORT
-- Ends by itself after two minutes. The right address is always 192.0.2.1, a forged one 203.0.113.66. First labels:
--   id*        forged answers with 64 other ids             port*   a forged answer from another port
--   case*      one in other letters (first question only)   noqr*   the question sent back, with records
--   opcode*    a response to another kind of request        name*   type*   class*   a response to another question
--   flat*      no attacker: the server answers in small letters (flat-once*: only the first time)
--   self*      an alias to itself          loop*       three aliases in a circle
--   extra*     the right answer, and records of victim.example in all sections
--   old*       a TTL of 2^31 + 5           long*       a TTL of ten days
--   nx*        no such name, as a name server of another zone says (nx-own*: of its own)
--   count.X    TXT: how often X was asked
--   ports.X    TXT: questions below X, and their distinct source ports and ids
local socket = require "socket"

local port = tonumber(arg[1])
local udp, other = assert(socket.udp()), assert(socket.udp())
assert(udp:setsockname("127.0.0.1", port))
assert(other:setsockname("127.0.0.1", 0))

local function u16(n)
  return string.char(math.floor(n / 256) % 256, n % 256)
end

local function u32(n)
  return u16(math.floor(n / 65536)) .. u16(n % 65536)
end

local function name(text)
  return (text:gsub("([^.]+)%.?", function(label) return string.char(#label) .. label end)) .. "\0"
end

local GOOD, BAD = "\192\0\2\1", "\203\0\113\66"
local SOA = name "ns.example" .. name "hostmaster.example" .. u32(1) .. u32(3600) .. u32(600) .. u32(86400) .. u32(60)

local function record(owner, kind, ttl, data)
  return name(owner) .. u16(kind) .. u16(1) .. u32(ttl) .. u16(#data) .. data
end

-- answers, authority: lists of records. flags: default those of a response.
local function message(id, question, answers, rcode, authority, flags)
  authority = authority or {}
  return id .. u16((flags or 0x8580) + (rcode or 0)) .. u16(1) .. u16(#answers) .. u16(#authority) .. u16(0) .. question
    .. table.concat(answers) .. table.concat(authority)
end

local function read(query)
  local at, labels = 13, {}
  while query:byte(at) ~= 0 do
    labels[#labels + 1] = query:sub(at + 1, at + query:byte(at))
    at = at + query:byte(at) + 1
  end
  return query:sub(1, 2), table.concat(labels, "."), query:sub(at + 1, at + 4)
end

local function swapped(text)
  return (text:gsub("%a", function(c) return c:match "%l" and c:upper() or c:lower() end))
end

local counts, seen = {}, {}

local function note(owner, id, from)
  counts[owner] = (counts[owner] or 0) + 1
  local zone = owner:match "%.(.*)" or ""
  local row = seen[zone] or { questions = 0, ports = {}, ids = {}, port_count = 0, id_count = 0 }
  seen[zone] = row
  row.questions = row.questions + 1
  if not row.ports[from] then
    row.ports[from], row.port_count = true, row.port_count + 1
  end
  if not row.ids[id] then
    row.ids[id], row.id_count = true, row.id_count + 1
  end
end

-- first label -> what is sent, in order: { bytes, socket? }; q: id, name, rest (type and class), times (asked)
local acts = {}

local function forged(q, question, flags)
  return message(q.id, question or q.question, { record(q.name, 1, 300, BAD) }, 0, nil, flags)
end

local function right(q)
  return message(q.id, q.question, { record(q.name, 1, 300, GOOD) })
end

function acts.id(q)
  local list, id = {}, q.id:byte(1) * 256 + q.id:byte(2)
  for i = 1, 64 do
    list[i] = { u16((id + i) % 65536) .. forged(q):sub(3) }
  end
  list[65] = { right(q) }
  return list
end

acts["port"] = function(q) return { { forged(q), other }, { right(q) } } end
acts["case"] = function(q)
  return { q.times == 1 and { forged(q, name(swapped(q.name)) .. q.rest) } or { right(q) }, { right(q) } }
end
acts.noqr = function(q) return { q.times == 1 and { forged(q, nil, 0x0100) } or { right(q) } , { right(q) } } end
acts.opcode = function(q) return { q.times == 1 and { forged(q, nil, 0xad80) } or { right(q) }, { right(q) } } end
acts["name"] = function(q) return { { forged(q, name "victim.example" .. q.rest) }, { right(q) } } end
acts.type = function(q) return { { forged(q, name(q.name) .. u16(16) .. u16(1)) }, { right(q) } } end
acts.class = function(q) return { { forged(q, name(q.name) .. u16(1) .. u16(3)) }, { right(q) } } end
acts.flat = function(q)
  if q.name:lower():find "^flat%-once" and q.times > 1 then
    return { { right(q) } }
  end
  return { { message(q.id, name(q.name:lower()) .. q.rest, { record(q.name:lower(), 1, 0, GOOD) }) } }
end
acts.self = function(q) return { { message(q.id, q.question, { record(q.name, 5, 300, name(q.name)) }) } } end
acts.loop = function(q)
  return { { message(q.id, q.question, { record(q.name, 5, 300, name "b.example"),
    record("b.example", 5, 300, name "c.example"), record("c.example", 5, 300, name(q.name)) }) } }
end
acts.extra = function(q)
  local bad = record("victim.example", 1, 300, BAD)
  return { { message(q.id, q.question, { bad, record(q.name, 1, 300, GOOD), bad }, 0, { bad }) } }
end
acts.old = function(q) return { { message(q.id, q.question, { record(q.name, 1, 2 ^ 31 + 5, GOOD) }) } } end
acts.long = function(q) return { { message(q.id, q.question, { record(q.name, 1, 864000, GOOD) }) } } end
acts.nx = function(q)
  local zone = q.name:lower():find "^nx%-own" and "example" or "another.test"
  return { { message(q.id, q.question, {}, 3, { record(zone, 6, 3600, SOA) }) } }
end

local function txt(q, text)
  return { { message(q.id, q.question, { record(q.name, 16, 0, string.char(#text) .. text) }) } }
end

function acts.count(q)
  return txt(q, tostring(counts[q.name:lower():match "%.(.*)"] or 0))
end

function acts.ports(q)
  local row = seen[q.name:lower():match "%.(.*)"]
  return txt(q, ("%d %d %d"):format(row.questions, row.port_count, row.id_count))
end

local stop_at = socket.gettime() + 120
udp:settimeout(0.5)
io.stdout:setvbuf "no"
print "ready"
while socket.gettime() < stop_at do
  local query, ip, from = udp:receivefrom()
  if query and #query > 12 then
    local id, owner, rest = read(query)
    local key = owner:lower()
    local act = acts[key:match "^%a+"]
    if not key:find "^count" and not key:find "^ports" then
      note(key, id, from)
    end
    local q = { id = id, name = owner, rest = rest, question = name(owner) .. rest, times = counts[key] }
    for _, item in ipairs(act and act(q) or { { right(q) } }) do
      (item[2] or udp):sendto(item[1], ip, from)
    end
  end
end
