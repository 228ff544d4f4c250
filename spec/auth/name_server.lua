-- A name server for one zone of spec/auth/zone.lua. UDP and TCP on one port of 127.0.0.1; it prints "ready".
--   luajit spec/auth/name_server.lua PORT ZONE
-- ZONE: a file that zone.save() has written. Above 1200 bytes it sends what a datagram cannot hold over TCP only. Ends
-- by itself after two minutes.
local bit = require "bit"
local socket = require "socket"
local zone = require "spec.auth.zone"

local port, made = tonumber(arg[1]), zone.load(arg[2])
local DATAGRAM = 1200
local TYPES = { A = 1, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28 }
local NAMES = {}
for kind, number in pairs(TYPES) do
  NAMES[number] = kind
end

local function u16(n)
  return string.char(bit.rshift(n, 8), bit.band(n, 255))
end

local function name(text)
  return (text:gsub("%.$", ""):gsub("[^.]+%.?", function(label)
    label = label:gsub("%.$", "")
    return string.char(#label) .. label
  end)) .. "\0"
end

local function v6(text)
  local head, tail = text:match "^(.-)::(.*)$"
  local function groups(part)
    return (part:gsub("%x+:?", function(group) return u16(tonumber((group:gsub(":", "")), 16)) end))
  end
  head, tail = groups(head or text), groups(tail or "")
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

local function texts(list)
  local out = ""
  for _, text in ipairs(list) do
    repeat
      out, text = out .. string.char(math.min(#text, 255)) .. text:sub(1, 255), text:sub(256)
    until text == ""
  end
  return out
end

local data_of = {
  A = function(value) return (value:gsub("%d+%.?", function(n) return string.char((n:gsub("%.", ""))) end)) end,
  AAAA = v6, CNAME = name, PTR = name, TXT = texts,
  MX = function(value) return u16(value[1]) .. name(value[2]) end,
}

local function record(owner, kind, data)
  return name(owner) .. u16(TYPES[kind]) .. u16(1) .. "\0\0\0\60" .. u16(#data) .. data
end

local SOA = record("", "SOA", name "ns.test" .. name "hostmaster.test" .. ("\0\0\0\60"):rep(5))

-- The records that answer a question, those of its aliases included; nil: no such name; false: no answer.
local function records_of(owner, kind, list, depth)
  local is_silent, alias, count = false, nil, #list
  for _, row in ipairs(made[owner:lower()] or {}) do
    if row[1] == kind and row[2] == "TIMEOUT" then
      return false
    elseif row[1] == kind then
      list[#list + 1] = record(owner, kind, data_of[kind](row[2]))
    end
    alias, is_silent = row[1] == "CNAME" and row[2] or alias, is_silent or row[1] == "TIMEOUT"
  end
  if alias and #list == count then
    list[#list + 1] = record(owner, "CNAME", name(alias))
    return depth < 4 and records_of(alias, kind, list, depth + 1) or list
  elseif is_silent and #list == count then
    return false
  end
  return made[owner:lower()] and list or #list > 0 and list or nil
end

local function answer(query, is_tcp)
  local at, labels = 13, {}
  while query:byte(at) ~= 0 do
    labels[#labels + 1] = query:sub(at + 1, at + query:byte(at))
    at = at + query:byte(at) + 1
  end
  local kind = NAMES[query:byte(at + 1) * 256 + query:byte(at + 2)]
  local list = kind and records_of(table.concat(labels, "."), kind, {}, 0)
  if list == false then
    return nil
  end
  local rcode, soa = list and 0 or 3, (not list or not list[1]) and SOA or ""
  local text = table.concat(list or {})
  local is_cut = not is_tcp and #text > DATAGRAM
  return query:sub(1, 2) .. u16(0x8580 + rcode + (is_cut and 0x200 or 0)) .. u16(1)
    .. u16(is_cut and 0 or #(list or {})) .. u16(soa ~= "" and 1 or 0) .. u16(0) .. query:sub(13, at + 4)
    .. (is_cut and "" or text) .. soa
end

local udp, tcp = assert(socket.udp()), assert(socket.tcp())
tcp:setoption("reuseaddr", true)
assert(udp:setsockname("127.0.0.1", port))
assert(tcp:bind("127.0.0.1", port))
assert(tcp:listen(16))
udp:settimeout(0)

local function serve_tcp(client)
  client:settimeout(1)
  local size = client:receive(2)
  local query = size and client:receive(size:byte(1) * 256 + size:byte(2))
  local reply = query and answer(query, true)
  if reply then
    client:send(u16(#reply) .. reply)
  end
  client:close()
end

io.stdout:setvbuf "no"
print "ready"
local stop_at = socket.gettime() + 120
while socket.gettime() < stop_at do
  for _, s in ipairs(socket.select({ udp, tcp }, nil, 1)) do
    if s == tcp then
      serve_tcp(tcp:accept())
    else
      local query, ip, from = udp:receivefrom()
      local reply = query and answer(query, false)
      if reply then
        udp:sendto(reply, ip, from)
      end
    end
  end
end
