--- Sends many messages through an MTA and collects the result of each: every reply to the client, and the delivered
--- message, byte by byte except for what an MTA generates for each message.
local process = require "spec.support.process"
local smtp = require "spec.mta.smtp"

local passage = {}

local BATCH = 30 -- messages per session

-- Data as on the wire. Line ends stay unchanged, even invalid ones.
local function wire_form(data)
  if data ~= "" and data:sub(-2) ~= "\r\n" then data = data .. "\r\n" end
  if data:sub(1, 1) == "." then data = "." .. data end
  return (data:gsub("\r\n%.", "\r\n..")) .. ".\r\n"
end
passage.wire_form = wire_form

--- The recipient that names a message by its number.
function passage.own_address(number) return ("m%04d@two.example"):format(number) end

--- A reply without the parts that differ each time.
function passage.reply_text(reply, problem)
  if not reply then return "(" .. tostring(problem) .. ")" end
  local text = table.concat(reply.lines, "|")
  return (text:gsub("queued as %w+", "queued as ID"):gsub("2%.0%.0 %w+ Message accepted", "2.0.0 ID Message accepted"))
end
local reply_text = passage.reply_text

-- Sends one message, the envelope in one write; its replies, and true when the session is over.
local function send(client, message, number)
  local own = passage.own_address(number)
  local mail_params = message.mail_params and " " .. message.mail_params or ""
  local rcpt_params = message.rcpt_params and " " .. message.rcpt_params or ""
  local lines = { ("MAIL FROM:<%s>%s"):format(message.from or "ann@one.example", mail_params) }
  for _, address in ipairs(message.to and message.to(own) or { own }) do
    lines[#lines + 1] = ("RCPT TO:<%s>%s"):format(address, rcpt_params)
  end
  lines[#lines + 1] = "DATA"
  client:send(table.concat(lines, "\r\n") .. "\r\n")
  local replies, reply = {}, nil
  local function hear()
    local problem
    reply, problem = client:reply()
    replies[#replies + 1] = reply_text(reply, problem)
  end
  for _ = 1, #lines do
    hear()
    if not reply then return replies, true end
  end
  if reply.code ~= 354 then
    client:reset()
    return replies
  end
  client:send(wire_form(message.data))
  hear()
  return replies, not reply or reply.code == 421
end

local function send_all(mta, messages)
  local replies, client, session = {}, nil, 0
  for at, message in ipairs(messages) do
    if not client or (at - 1) % BATCH == 0 then
      if client then client:quit() end
      session = session + 1
      client = smtp.connect(mta.port, { helo = ("session-%03d.example"):format(session), timeout = 60 })
    end
    local is_over
    replies[at], is_over = send(client, message, at)
    if is_over then
      client:drop()
      client = nil
    end
  end
  if client then client:quit() end
  return replies
end

--- Sends all messages; the replies to each.
passage.send = send_all

-- The MTA's own Received, and a Date or Message-Id that the client did not send, differ each time.
local function without_traces(data, sent)
  local head_end = data:find("\r\n\r\n", 1, true) or #data
  local head, rest = data:sub(1, head_end + 1), data:sub(head_end + 2)
  head = ("\n" .. head):gsub("\nReceived: .-\r\n%f[^\n \t]", "\nReceived: (the MTA's)\r\n", 1):sub(2)
  for _, name in ipairs { "Date", "Message%-I[dD]", "Resent%-Message%-I[dD]" } do
    head = head:gsub("%f[^\n](" .. name .. "): ([^\r]*)\r\n", function(written, value)
      if not sent:find(value, 1, true) then return written .. ": (made)\r\n" end
    end)
  end
  return head .. rest
end
passage.without_traces = without_traces

local function number_of(delivery)
  for _, recipient in ipairs(delivery.recipients) do
    local digits = recipient:lower():match "m(%d%d%d%d)@two%.example"
    if digits then return tonumber(digits) end
  end
end

--- The delivered messages by their numbers, once the queue is empty. One message may be delivered in several copies,
--- each for some of its recipients.
---@param messages table<integer, { data: string }>  as they were sent
---@return table<integer, { sender: string, recipients: string, data: string }>
function passage.gather(mta, messages)
  assert(mta:wait_idle(120))
  local arrived = {}
  for _, delivery in ipairs(mta.sink:take()) do
    local number = number_of(delivery)
    if number then -- any other is a bounce
      local data = without_traces(delivery.data, messages[number].data)
      local whole = arrived[number]
      if not whole then
        local params = delivery.sender_params:gsub(" SIZE=%d+", "") -- the size of the MTA's own file
        whole = { sender = delivery.sender .. params, recipients = {}, data = data }
        arrived[number] = whole
      end
      if whole.data ~= data then whole.data = whole.data .. "\n--- and in another piece ---\n" .. data end
      for _, recipient in ipairs(delivery.recipients) do table.insert(whole.recipients, recipient) end
    end
  end
  for _, whole in pairs(arrived) do
    table.sort(whole.recipients)
    whole.recipients = table.concat(whole.recipients, " ")
  end
  return arrived
end

--- Sends all messages and waits until the queue is empty: a list of { replies, sender, recipients, data } in their
--- order; only replies when nothing was delivered.
function passage.run(mta, messages)
  local replies = send_all(mta, messages)
  local arrived = passage.gather(mta, messages)
  local outcomes = {}
  for at in ipairs(messages) do
    outcomes[at] = arrived[at] or {}
    outcomes[at].replies = table.concat(replies[at], "\n")
  end
  return outcomes
end

local FACETS = { "replies", "sender", "recipients", "data" }

local function around(text, at)
  return text and ("%q"):format(text:sub(math.max(1, at - 30), at + 60)) or "nothing"
end

-- The place where two texts differ, and the text there in each.
local function parting(a, b)
  local at = 1
  if a and b then
    while a:sub(at, at + 4095) == b:sub(at, at + 4095) and at <= #a do at = at + 4096 end
    while a:byte(at) == b:byte(at) and at <= #a do at = at + 1 end
  end
  return ("at byte %d %s, not %s"):format(at, around(a, at), around(b, at))
end
passage.parting = parting

--- The differences of two runs: a list of sentences by message name, and how many messages are the same.
---@return table<string, string> differences, integer same
function passage.compare(messages, got, wanted)
  local differences, same = {}, 0
  for at, message in ipairs(messages) do
    local texts = {}
    for _, facet in ipairs(FACETS) do
      local a, b = got[at][facet], wanted[at][facet]
      if a ~= b then texts[#texts + 1] = facet .. " " .. parting(a, b) end
    end
    if #texts > 0 then differences[message.name] = table.concat(texts, "; ") else same = same + 1 end
  end
  return differences, same
end

--- What an echo filter received (echo.c, echo.lua), as one text for each session by its name, a HELO or a sender that
--- begins with "session"; queue ids are masked, and so are the Date and the dates in Message-Ids that an MTA generates.
function passage.diaries(log)
  local sessions, by_name = {}, {}
  for id, event, rest in log:gmatch "ECHO (%S+) (%l+)([^\n]*)" do
    if event == "connect" or not sessions[id] then sessions[id] = { ids = {} } end -- a probe has no connect
    local session = sessions[id]
    local queue_id = rest:match "|.* i=(%w+)"
    if queue_id then session.ids[queue_id] = true end
    table.insert(session, event .. rest)
    local name = (event == "helo" or event == "mail") and rest:match "^ <?(session[%w-]*)"
    if name then by_name[name] = session end
  end
  local texts = {}
  for name, session in pairs(by_name) do
    local text = table.concat(session, "\n")
    for queue_id in pairs(session.ids) do text = text:gsub(queue_id, "ID") end
    texts[name] = text:gsub("<%d+%.ID@", "<DATE.ID@"):gsub("\nheader Date [^\n]*%(UTC%)\n", "\nheader Date (made)\n")
  end
  return texts
end

--- Waits until the filter has recorded the end of every session that it received, `count` at least.
function passage.wait_diaries(filter, count)
  process.wait_until(30, function()
    local open, ended = {}, 0
    for id, event in filter:log():gmatch "ECHO (%S+) (c%l+)" do
      if event == "connect" then
        open[id] = true
      elseif open[id] then
        open[id], ended = nil, ended + 1
      end
    end
    return ended >= count and next(open) == nil
  end, ("%d closed sessions"):format(count))
  return passage.diaries(filter:log())
end

return passage
