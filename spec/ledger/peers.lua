--- Two faults of the ledger that come from other MTAs of the same filter: one takes all the memory that a worker has
--- for its sessions, one sends many packets at once. Their own messages are judged here, by the replies alone.
local socket = require "socket"

local message = require "spec.ledger.message"
local mta_client = require "spec.support.mta_client"

local peers = {}

local packet = mta_client.packet

-- ---- memory ----

local GREEDY = 60 -- connections
local PARAMETERS = ("x"):rep(50000) -- of a recipient; the filter keeps them

-- Recipients until one is refused. "tempfail" is the only right answer then.
local function fill(mta, say)
  local reply = mta:envelope "mail"
  for i = 1, 200 do
    if reply.kind ~= "continue" then break end
    reply = mta:command("R", ("<%d@two.example>\0%s\0"):format(i, PARAMETERS))
  end
  if reply.kind ~= "tempfail" then say("a peer that holds too much was answered %s", reply.kind) end
  return reply.kind == "tempfail"
end

--- Peers hold what the workers give them, for a while, then leave.
function peers.take_memory(w)
  local list = {}
  for _ = 1, GREEDY do
    local mta = mta_client.connect(w.path or w.port, 5)
    if not mta then break end
    list[#list + 1] = mta
    if fill(mta, function(...) w:say(...) end) then w.seen.refused = (w.seen.refused or 0) + 1 end
  end
  socket.sleep(0.5)
  for _, mta in ipairs(list) do mta:close() end
end

-- ---- pipelining ----

local MANY, FEW = 400, 20 -- fields of the first message, whose handlers take many turns of the loop, and of the others
local KINDS = { "fields", "keep", "refuse", "fields", "discard", "rcpt", "fields", "later", "keep" }

local function id_of(token, kind)
  return { token = token, kind = kind, fields = kind == "fields" and FEW or 0,
    sender = message.name(token, kind, "none", 1) .. "@one.example" }
end

-- A message's packets. The MTA has offered no protocol steps: each packet but macros and abort has its reply.
local function packets(id)
  local list = { packet("M", "<" .. id.sender .. ">\0"),
    packet("R", ("<%s%s@two.example>\0"):format(id.kind == "rcpt" and "refuse-" or "", id.token)) }
  if id.kind == "rcpt" then return list[1] .. list[2] .. packet "A", 1 end
  list[3] = packet "T"
  for i = 1, id.fields do list[#list + 1] = packet("L", ("X-Field\0%s %d\0"):format(id.token, i)) end
  list[#list + 1] = packet("L", "Subject\0as sent\0") .. packet "N" .. packet("B", "text\r\n")
  return table.concat(list) .. packet "E", #list + 2
end

local VERDICTS = { -- the last reply: its kind and, of its text, the beginning
  refuse = { "reply", "550 5.7.1 refused by the filter" }, rcpt = { "reply", "550 5.7.1 no such recipient" },
  discard = { "discard" }, later = { "reply", "451 4.7.1 later" }, keep = { "continue" }, fields = { "continue" },
}

-- What is wrong with a message's last reply, or nil.
local function problem_of(id, reply)
  local kind, text = unpack(VERDICTS[id.kind])
  if reply.kind ~= kind or text and reply.text:sub(1, #text) ~= text then
    return ("answered %s %s"):format(reply.kind, reply.text or "")
  end
  if kind ~= "continue" then return #reply.edits > 0 and "edits without need" or nil end
  local edits = table.concat(reply.edits, "\n"):gsub("%z ?", ":")
  local echo = message.echo(id.sender, id.token .. "@two.example", 6, id.fields)
  for _, edit in ipairs { "X-First:1", "X-Echo:" .. echo .. ":", "X-Last:2", "new body of " .. id.token .. "\r\n" } do
    if not edits:find(edit, 1, true) then return ("%s is missing in %s"):format(edit, edits) end
  end
  return #reply.edits ~= 5 and #reply.edits .. " edits" or nil
end

local function judge(mta, id, count, say)
  for i = 1, count do
    local kind = mta:reply().kind
    if kind ~= "continue" then return say("%s: pipelined, reply %d is %s", id.sender, i, kind) end
  end
  local problem = problem_of(id, mta:reply())
  if problem then say("%s: pipelined, %s", id.sender, problem) end
end

-- One message in lockstep, as fast as the worker answers.
local function send_slowly(mta, id, say)
  mta:send("M", "<" .. id.sender .. ">\0")
  mta:reply()
  for _, step in ipairs { "rcpt", "data", "eoh", "body" } do
    local kind = mta[step](mta, step == "rcpt" and id.token .. "@two.example" or step == "body" and "text\r\n").kind
    if kind ~= "continue" then say("%s: %s is answered %s", id.sender, step, kind) end
  end
  local problem = mta:eom().kind
  if problem ~= "continue" then say("%s: answered %s", id.sender, problem) end
end

--- One peer sends nine messages in one write, another sends one in lockstep meanwhile.
function peers.pipeline(w, n)
  local function say(...) w:say(...) end
  local greedy, other = mta_client.connect(w.path or w.port, 10), mta_client.connect(w.path or w.port, 10)
  if not (greedy and other) then return say "a peer could not connect" end
  greedy:envelope "helo"
  other:envelope "helo"
  local ids, bytes, counts = {}, {}, {}
  for i, kind in ipairs(KINDS) do
    ids[i] = id_of(("peer-%d-%d"):format(n, i), kind)
    if i == 1 then ids[i].fields = MANY end
    bytes[i], counts[i] = packets(ids[i])
  end
  greedy.socket:send(table.concat(bytes))
  send_slowly(other, id_of(("peer-%d-0"):format(n), "keep"), say)
  for i, id in ipairs(ids) do judge(greedy, id, counts[i], say) end
  greedy:close()
  other:close()
end

--- How often the message in lockstep was answered before even the first of the nine, which came earlier.
function peers.overtaken(w)
  local waiting, count = {}, 0
  for n, i in w:log():gmatch '"event":"message"[^\n]-"from":"<peer%-(%d+)%-(%d)%.' do
    if i == "0" then waiting[n] = true end
    if i == "1" and waiting[n] then count = count + 1 end
  end
  return count
end

return peers
