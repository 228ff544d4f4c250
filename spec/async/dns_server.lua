-- A name server that behaves as the queried name says. UDP and TCP on one port of 127.0.0.1.
--   luajit spec/async/dns_server.lua PORT [BEHAVIOUR [LOG]]
-- BEHAVIOUR: a first label such as "silent" that every name is taken to have. LOG: gets a line "PORT NAME" a question.
-- Ends by itself after two minutes. Names below "example":
--   ok zero short cname loop null-mx …   fixed records      nx*       no such name (SOA: 60 s)
--   nodata*   no records                                    servfail* refused*   that code
--   silent*   no answer                                     slow* tardy*   answers after 0.2 s, 0.5 s
--   big*      a TXT that only fits over TCP, bigger* 20 KB of it
--   garbage*  bytes that are not an answer
--   shuffled* an alias chain of three links, two addresses and strangers' records, in another order each time
--   referral* upward* lame* cut* …   what is no answer: see `odd`
--   count.X   TXT: how often X was asked                    N.bulk    A with a ttl of 60
local socket = require "socket"

local port, behaviour = tonumber(arg[1]), arg[2] ~= "" and arg[2] or nil
local log = arg[3] and assert(io.open(arg[3], "a"))
local udp, tcp = assert(socket.udp()), assert(socket.tcp())
tcp:setoption("reuseaddr", true)
assert(udp:setsockname("127.0.0.1", port))
assert(tcp:bind("127.0.0.1", port))
assert(tcp:listen(16))
udp:settimeout(0)
tcp:settimeout(0)

local TYPES = { A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33,
  TLSA = 52, CAA = 257 }

local function u16(n)
  return string.char(math.floor(n / 256) % 256, n % 256)
end

local function u32(n)
  return u16(math.floor(n / 65536)) .. u16(n % 65536)
end

local function name(text)
  local out = {}
  for label in text:gmatch "[^.]+" do
    out[#out + 1] = string.char(#label) .. label
  end
  return table.concat(out) .. "\0"
end

local function text(...)
  local out = {}
  for _, s in ipairs { ... } do
    out[#out + 1] = string.char(#s) .. s
  end
  return table.concat(out)
end

local function v4(ip)
  local a, b, c, d = ip:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"
  return string.char(a, b, c, d)
end

local SOA = name "ns.example" .. name "hostmaster.example" .. u32(2026) .. u32(3600) .. u32(600)
  .. u32(86400) .. u32(60)

-- owner -> list of { type, ttl, data }
local zone = {
  ["here.example"] = { { "A", 300, v4 "127.0.0.1" } },
  ["ok.example"] = { { "A", 300, v4 "192.0.2.1" }, { "A", 200, v4 "192.0.2.2" },
    { "AAAA", 300, ("\0"):rep(15) .. "\1" }, { "MX", 300, u16(20) .. name "b.example" },
    { "MX", 300, u16(10) .. name "A.Example" },
    { "TXT", 300, text("v=spf1 ", "-all") }, { "TXT", 300, text "a\0b" },
    { "CAA", 300, "\0" .. text "issue" .. "ca.example" }, { "TLSA", 300, "\3\1\1\255\0" },
    { "SRV", 300, u16(5) .. u16(1) .. u16(389) .. name "late.example" },
    { "SRV", 300, u16(1) .. u16(2) .. u16(25) .. name "x.example" },
    { "SOA", 300, SOA }, { "NS", 300, name "ns.example" } },
  ["zero.example"] = { { "A", 0, v4 "192.0.2.9" } },
  ["short.example"] = { { "A", 1, v4 "192.0.2.9" } },
  ["null-mx.example"] = { { "MX", 300, u16(0) .. "\0" } },
  ["cname.example"] = { { "CNAME", 50, name "other.example" } },
  ["other.example"] = { { "CNAME", 40, name "ok.example" } },
  ["loop.example"] = { { "CNAME", 60, name "loop.example" } },
  ["1.2.0.192.in-addr.arpa"] = { { "PTR", 300, name "host one.example" }, { "PTR", 300, name "mail.example" } },
  ["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"] = { { "PTR", 300, name "six.example" } },
  ["2.0.0.127.bl.example"] = { { "A", 300, v4 "127.0.0.2" }, { "A", 300, v4 "127.0.0.4" } },
  ["2.0.0.127.refusing-bl.example"] = { { "A", 300, v4 "127.255.255.254" } },
  ["2.0.0.127.blocked-bl.example"] = { { "A", 300, v4 "127.0.0.1" } },
  ["2.0.0.127.lying-bl.example"] = { { "A", 300, v4 "198.51.100.1" } },
  ["2.0.0.127.mixed-bl.example"] = { { "A", 300, v4 "127.255.255.252" }, { "A", 300, v4 "127.0.0.9" } },
  -- lists with test entries (RFC 5782 5)
  ["2.0.0.127.w-bl.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["9.2.0.192.w-bl.example"] = { { "A", 300, v4 "127.0.0.4" }, { "A", 300, v4 "127.0.0.10" } },
  ["8.2.0.192.w-bl.example"] = { { "A", 300, v4 "127.255.255.254" } },
  ["7.2.0.192.w-bl.example"] = { { "A", 300, v4 "192.0.2.99" } },
  ["6.2.0.192.w-bl.example"] = { { "A", 300, v4 "127.0.0.200" } },
  ["5.2.0.192.w-bl.example"] = { { "A", 300, v4 "127.0.0.1" } },
  ["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.w-bl.example"] = { { "A", 300, v4 "127.0.0.3" } },
  ["2.0.0.127.wl.example"] = { { "A", 300, v4 "127.0.9.1" } },
  ["9.2.0.192.wl.example"] = { { "A", 300, v4 "127.0.9.3" } },
  ["test.uri-bl.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["spam.invalid.uri-bl.example"] = { { "A", 300, v4 "127.0.0.72" } },
  ["2.0.0.127.wild-bl.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["1.0.0.127.wild-bl.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["9.2.0.192.wild-bl.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["1.0.0.127.shy-bl.example"] = { { "A", 300, v4 "127.255.255.254" } },
  ["2.0.0.127.shy-bl.example"] = { { "A", 300, v4 "127.255.255.254" } },
  ["xn--bcher-kva.example"] = { { "MX", 300, u16(10) .. name "m.example" }, { "A", 300, v4 "127.0.0.1" } },
  ["_dmarc.xn--bcher-kva.example"] = { { "TXT", 300, text "v=DMARC1" } },
  ["2.0.0.127.xn--bcher-kva.example"] = { { "A", 300, v4 "127.0.0.2" } },
  ["2.0.0.127.other-bl.example"] = { { "A", 300, v4 "127.0.0.3" } },
}

local counts, delayed = {}, {}

local function record(owner, kind, ttl, data)
  return name(owner) .. u16(TYPES[kind]) .. u16(1) .. u32(ttl) .. u16(#data) .. data
end

-- ---- answers in odd shapes ----

local function shuffle(list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

local function ns(owner)
  return record(owner, "NS", 60, name "ns1.elsewhere.example")
end

local soa_record = record("example", "SOA", 3600, SOA)

-- first label -> answers, authority, flags (0x0400 authoritative, 0x0080 resolves), rcode
local odd = {
  shuffled = function(owner, kind)
    return shuffle {
      record(owner, "CNAME", 50, name "s1.example"), record("s1.example", "CNAME", 40, name "s2.example"),
      record("s2.example", "CNAME", 45, name "S3.Example"), record("s3.example", kind == 15 and "MX" or "A", 60,
        kind == 15 and u16(10) .. name "m.example" or v4 "192.0.2.1"),
      record("s3.example", kind == 15 and "MX" or "A", 70, kind == 15 and u16(20) .. name "n.example"
        or v4 "192.0.2.2"),
      record("stranger.example", "A", 1, v4 "203.0.113.9"), record("stranger.example", "CNAME", 1, name(owner)),
    }
  end,
  twice = function(owner) -- the same alias, twice
    return shuffle { record(owner, "CNAME", 50, name "s3.example"), record(owner, "CNAME", 50, name "s3.example"),
      record("s3.example", "A", 60, v4 "192.0.2.1") }
  end,
  torn = function(owner) -- two aliases that disagree
    return shuffle { record(owner, "CNAME", 50, name "s3.example"), record(owner, "CNAME", 50, name "s4.example"),
      record("s3.example", "A", 60, v4 "192.0.2.1") }
  end,
  circle = function(owner)
    return shuffle {
      record(owner, "CNAME", 50, name "s1.example"), record("s1.example", "CNAME", 50, name "s2.example"),
      record("s2.example", "CNAME", 50, name "s1.example"),
    }
  end,
  long = function(owner) -- a chain of 40 links
    local list = { record("l40.example", "A", 60, v4 "192.0.2.1"), record(owner, "CNAME", 60, name "l1.example") }
    for i = 1, 39 do
      list[#list + 1] = record(("l%d.example"):format(i), "CNAME", 60, name(("l%d.example"):format(i + 1)))
    end
    return shuffle(list)
  end,
  referral = function(owner) return {}, { ns(owner) }, 0 end,
  ["referral-ra"] = function(owner) return {}, { ns(owner) }, 0x0080 end,
  upward = function() return {}, { ns "" }, 0 end,
  lame = function() return {}, {}, 0 end,
  ["lame-nx"] = function() return {}, {}, 0, 3 end,
  ["lame-soa"] = function() return {}, { record("elsewhere.example", "SOA", 60, SOA) }, 0 end,
  half = function(owner) return { record(owner, "CNAME", 60, name "far.away.example") }, {}, 0x0400 end,
  ["half-soa"] = function(owner) return { record(owner, "CNAME", 60, name "near.example") }, { soa_record }, 0x0400 end,
  ["half-ra"] = function(owner) return { record(owner, "CNAME", 60, name "near.example") }, {}, 0x0080 end,
  bare = function() return {}, {}, 0x0080 end,
  ["bare-aa"] = function() return {}, {}, 0x0400 end,
  ["bare-nx"] = function() return {}, {}, 0x0080, 3 end,
  both = function(owner) return { record(owner, "A", 60, v4 "192.0.2.1") }, { soa_record }, 0x0480, 3 end,
  cut = function() return {}, { soa_record }, 0x0280 end,
  yxdomain = function() return {}, { soa_record }, 0x0480, 6 end,
  notauth = function() return {}, {}, 0x0080, 9 end,
  formerr = function() return {}, {}, 0x0080, 1 end,
  notimp = function() return {}, {}, 0x0080, 4 end,
}

-- Answers for a name, including those after its CNAMEs.
local function collect(owner, kind, out, depth)
  for _, row in ipairs(zone[owner] or {}) do
    if TYPES[row[1]] == kind then
      out[#out + 1] = record(owner, row[1], row[2], row[3])
    elseif row[1] == "CNAME" and depth < 3 then
      out[#out + 1] = record(owner, row[1], row[2], row[3])
      local target = row[3]:gsub("%c([%w-]+)", "%1."):gsub("%.?%z$", "")
      collect(target, kind, out, depth + 1)
    end
  end
  return out
end

local function response(id, question, rcode, answers, authority, flags, all_flags)
  local first = all_flags and 0x8000 + all_flags or 0x8580 + (flags or 0)
  return id .. u16(first + rcode) .. u16(1) .. u16(#answers) .. u16(#authority) .. u16(0) .. question
    .. table.concat(answers) .. table.concat(authority)
end

-- Returns the answer and its delay in seconds; nil: no answer.
local function answer(query, is_tcp)
  local id, at, labels = query:sub(1, 2), 13, {}
  while query:byte(at) ~= 0 do
    local n = query:byte(at)
    labels[#labels + 1] = query:sub(at + 1, at + n):lower()
    at = at + n + 1
  end
  local owner, kind = table.concat(labels, "."), query:byte(at + 1) * 256 + query:byte(at + 2)
  local question = query:sub(13, at + 4)
  local soa = { record("example", "SOA", 3600, SOA) }
  local first = (labels[1] or ""):match "^%d+$" and labels[5] or labels[1] or "" -- after an address: the list's name
  if first == "count" then
    local of = table.concat(labels, ".", 2)
    return response(id, question, 0, { record(owner, "TXT", 0, text(tostring(counts[of] or 0))) }, {}), 0
  end
  counts[owner] = (counts[owner] or 0) + 1
  if log then
    log:write(port, " ", owner, "\n")
    log:flush()
  end
  first = behaviour or first
  local delay = first:match "^slow" and 0.2 or first:match "^tardy" and 0.5 or 0
  local make = odd[behaviour == "lame" and "referral" or first:match "^(.-)%-?%d*$"]
  if make then
    local answers, authority, flags, rcode = make(owner, kind)
    return response(id, question, rcode or 0, answers, authority or {}, nil, flags or 0x0580), 0
  elseif first:match "^silent" then
    return nil
  elseif first:match "^nx" then
    return response(id, question, 3, {}, soa), delay
  elseif first:match "^nodata" then
    return response(id, question, 0, {}, soa), delay
  elseif first:match "^servfail" then
    return response(id, question, 2, {}, {}), delay
  elseif first:match "^refused" then
    return response(id, question, 5, {}, {}), delay
  elseif first:match "^garbage" then
    return response(id, question, 0, { ("\255"):rep(40) }, {}), delay
  elseif first:match "^big" then
    if not is_tcp then
      return response(id, question, 0, {}, {}, 0x200), 0
    end
    local list = {}
    for i = 1, first:match "^bigger" and 100 or 60 do
      list[i] = record(owner, "TXT", 300, text(("%03d"):format(i) .. ("x"):rep(200)))
    end
    return response(id, question, 0, list, {}), 0
  elseif delay > 0 or labels[2] == "bulk" then
    return response(id, question, 0, { record(owner, "A", 60, v4 "192.0.2.77") }, {}), delay
  end
  local list = collect(owner, kind, {}, 0)
  if not zone[owner] then
    return response(id, question, 3, {}, soa), 0
  end
  return response(id, question, 0, list, #list == 0 and soa or {}), 0
end

local clients, stop_at = {}, socket.gettime() + 120
io.stdout:setvbuf "no"
print "ready"
while socket.gettime() < stop_at do
  local watched = { udp, tcp }
  for client in pairs(clients) do
    watched[#watched + 1] = client
  end
  local ready = socket.select(watched, nil, #delayed > 0 and 0.01 or 0.5)
  for _, s in ipairs(ready) do
    if s == udp then
      local query, ip, from = udp:receivefrom()
      local reply, delay = answer(query, false)
      if reply and delay > 0 then
        delayed[#delayed + 1] = { socket.gettime() + delay, reply, ip, from }
      elseif reply then
        udp:sendto(reply, ip, from)
      end
    elseif s == tcp then
      local client = tcp:accept()
      if client then
        client:settimeout(1)
        clients[client] = true
      end
    else
      local size = s:receive(2)
      local query = size and s:receive(size:byte(1) * 256 + size:byte(2))
      local reply = query and answer(query, true)
      if reply then
        s:send(u16(#reply) .. reply)
      end
      if not query then
        s:close()
        clients[s] = nil
      end
    end
  end
  for i = #delayed, 1, -1 do
    if delayed[i][1] <= socket.gettime() then
      udp:sendto(delayed[i][2], delayed[i][3], delayed[i][4])
      table.remove(delayed, i)
    end
  end
end
