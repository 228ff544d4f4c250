--- Postfix or Sendmail, as far as a milter sees them, in sentences.
--
--   mta:connect { host = "client.example", ip = "192.0.2.1" }
--   mta:helo "client.example"
--   mta:mail "<ann@example.org>"
--   local reply = mta:rcpt "<bob@example.com>"
--
-- What a sentence leaves out is filled in: connect and helo before the first mail, data before the first header, end of
-- headers before the body. What an SMTP client could not do (a recipient before MAIL, DATA without a recipient) is an
-- error of the test, raised at its line. So is a reply that Postfix or Sendmail would not take:
-- that is a bug of moonmilter.
local ffi = require "ffi"
local blame = require "moonmilter.testing.blame"
local library = require "moonmilter.testing.library"
local macros = require "moonmilter.testing.macros"
local mail = require "moonmilter.testing.mail"
local wire = require "moonmilter.testing.wire"

local mta = {}

---@class moonmilter.testing.MTA
local MTA = {}
MTA.__index = MTA

local CHUNK = 65535
local has = wire.has
local VIRTUAL_DAY, REAL_LIMIT = 86400, 10 -- seconds a reply may take

-- ---- replies ----

---@class moonmilter.testing.Reply
---@field verdict string    continue accept reject tempfail discard skip; "none": the filter was not asked or stays silent
---@field stage   string    connect helo mail rcpt data header eoh body eom unknown
---@field code?   integer   what the SMTP client is told, when it is told something: 550
---@field status? string    "5.7.1"
---@field text?   string    the words, lines apart by "\n", without code and status
---@field smtp?   string    all of it as it goes to the client, lines apart by "\n"
---@field edits   table[]   at eom: { "add_header", "X-Tag", "yes" }, … in the order they left
---@field progress integer  how often the filter asked for patience
--- At the end of a message also: sender, recipients, refused, quarantined, message (docs/TESTING.md).
local Reply = {}
Reply.__index = Reply

Reply.__tostring = function(self)
  local words = { self.verdict, " at ", self.stage }
  if self.smtp then
    words[#words + 1] = ": " .. self.smtp
  end
  for _, edit in ipairs(self.edits) do
    local parts = {}
    for i, v in ipairs(edit) do
      parts[i] = tostring(v)
    end
    words[#words + 1] = "\n  " .. table.concat(parts, " ")
  end
  return table.concat(words)
end

-- What an MTA says when a filter gives no words (protocol 3.3).
local function own_words(kind, stage, verdict)
  local in_content = stage == "header" or stage == "eoh" or stage == "body" or stage == "eom"
  if verdict == "accept" or verdict == "discard" then
    return "250 2.0.0 Ok"
  elseif verdict == "tempfail" then
    return kind == "postfix" and "451 4.7.1 Service unavailable - try again later" or "451 4.3.2 Please try again later"
  elseif stage == "connect" then
    return kind == "postfix" and "554 ESMTP not accepting connections" or "554 ESMTP not accepting messages"
  elseif stage == "helo" and kind == "sendmail" then
    return "550 5.0.0 Command rejected"
  end
  return in_content and kind == "sendmail" and "554 5.7.1 Command rejected" or "550 5.7.1 Command rejected"
end

local function word(reply, smtp)
  local lines = {}
  reply.smtp = smtp:gsub("\r\n", "\n"):gsub("%%%%", "%%")
  reply.code = tonumber(smtp:match "^%d%d%d")
  for line in (reply.smtp .. "\n"):gmatch "(.-)\n" do
    local status, text = line:match "^%d%d%d[ -]([245]%.%d+%.%d+) ?(.*)$"
    reply.status = reply.status or status
    lines[#lines + 1] = text or line:match "^%d%d%d[ -](.*)$" or line
  end
  reply.text = table.concat(lines, "\n")
end

local packets_of = setmetatable({}, { __mode = "k" }) -- reply -> the edits as they came over the wire

local function new_reply(stage, verdict)
  return setmetatable({ stage = stage, verdict = verdict, edits = {}, progress = 0 }, Reply)
end

-- ---- life ----

local function open_session(self)
  local err = library.new_error()
  self.session = self.owner:call(library.feed_open, self.owner.pointer, self.options.milter, err)
  if self.session == nil then
    blame.raise(library.text(err))
  end
  self.input, self.position = "", 0
  self.pending = {}
  self.client = nil
  self.over = nil -- the reply that ended the SMTP session
  self.number = 0
  self.state = "fresh"
end

--- One milter connection; options see testing.start().
function mta.new(owner, options)
  local self = setmetatable({
    owner = owner, options = options, kind = options.mta or "postfix", name = options.name or "mx.example.net",
    macros = options.macros or {}, asked_macros = {}, seed = options.seed or 1, journal = {},
    offer = { options.version or 6, options.actions or wire.ALL_ACTIONS, options.steps or wire.ALL_STEPS },
  }, MTA)
  local err = library.new_error()
  self.ear = library.ear_open(self.kind, self.offer[1], self.offer[2], self.offer[3], err)
  if self.ear == nil then
    blame.raise(library.text(err))
  end
  open_session(self)
  self:negotiate()
  return self
end

-- ---- bytes ----

local function random(self, n) -- 1..n; the test's own, so that a seed repeats a run
  self.seed = (self.seed * 16807) % 2147483647
  return self.seed % n + 1
end

-- Where the next piece of the bytes from `at` on ends.
local function piece_end(self, bytes, at)
  local split = self.options.split or "random"
  if split == "whole" then
    return #bytes
  elseif split == "random" then
    return math.min(#bytes, at + random(self, random(self, 2) == 1 and 7 or 997) - 1)
  elseif type(split) == "number" then
    return math.min(#bytes, at + split - 1)
  end
  local cut = split.at - self.position -- one cut at a byte of the whole conversation
  return cut >= at and cut < #bytes and cut or #bytes
end

--- Bytes as they go over the wire, in pieces.
function MTA:feed(bytes)
  local err = library.new_error()
  local at = 1
  while at <= #bytes do
    local to = piece_end(self, bytes, at)
    if not self.owner:call(library.feed_bytes, self.session, bytes:sub(at, to), to - at + 1, err) then
      blame.raise("moonmilter: " .. library.text(err))
    end
    at = to + 1
  end
  self.position = self.position + #bytes
end

local function pull(self)
  local size = ffi.new "size_t[1]"
  local bytes = library.feed_output(self.session, size)
  if size[0] > 0 then
    self.input = self.input .. ffi.string(bytes, size[0])
    library.feed_consume(self.session, size[0])
  end
end

-- The next packet of the filter; nil: it says nothing and waits for nothing.
local function receive(self)
  local turns = 0
  local deadline = os.time() + REAL_LIMIT + 1
  while true do
    pull(self)
    if #self.input >= 5 then
      local length = wire.read_u32(self.input, 1)
      if #self.input >= 4 + length then
        local letter, data = self.input:sub(5, 5), self.input:sub(6, 4 + length)
        self.input = self.input:sub(5 + length)
        return letter, data
      end
    end
    if library.feed_is_finished(self.session) or not library.feed_is_waiting(self.session) then
      return nil
    end
    turns = turns + 1
    if self.owner.is_virtual and turns > 100000 or not self.owner.is_virtual and os.time() > deadline then
      blame.raise("the filter still waits; for what?")
    end
    if self.on_wait then -- many at once: whoever runs them turns the loop
      self.on_wait(self)
    else
      self.owner:turn(not self.owner.is_virtual and 0.05 or turns < 3 and 0 or VIRTUAL_DAY)
    end
  end
end

local function judge(self, command, letter, data)
  local err = library.new_error()
  if not library.ear_hear(self.ear, command:byte(), letter:byte(), data, #data, err) then
    blame.raise("no MTA would take this reply: " .. library.text(err))
  end
end

-- ---- commands ----

local function sends(self, letter)
  local row = wire.commands[letter]
  return not has(self.steps, row.off) and self.version >= (row.since or 2)
end

-- Puts the macro packet before a command into the queue (protocol 2.2: also before some that are switched off).
local function queue_macros(self, letter)
  local of = letter
  local is_postfix = self.kind == "postfix"
  if letter == "U" then
    if sends(self, letter) and is_postfix then
      self.pending[#self.pending + 1] = wire.packet("D", "U")
    end
    return
  elseif letter == "N" and not sends(self, letter) then
    return
  elseif letter == "L" or letter == "B" then
    if not (sends(self, letter) and is_postfix) then
      return
    end
    of = letter == "L" and "N" or "E"
  end
  local data = macros.packet(self, letter, of)
  if data then
    self.pending[#self.pending + 1] = wire.packet("D", data)
  end
end

local function flush(self)
  local bytes = table.concat(self.pending)
  self.pending = {}
  if bytes ~= "" then
    self:feed(bytes)
  end
end

-- Reads up to the final reply.
local function wait_reply(self, letter)
  local reply = new_reply(wire.commands[letter].name)
  local packets = {}
  while true do
    local answer, data = receive(self)
    if not answer then
      blame.raise(("the filter %s in answer to %s"):format(library.feed_is_finished(self.session) and "hung up"
        or "said nothing", reply.stage))
    end
    judge(self, letter, answer, data)
    local verdict = wire.verdicts[answer]
    if verdict then
      reply.verdict = verdict ~= "reply" and verdict or data:sub(1, 1) == "4" and "tempfail" or "reject"
      packets_of[reply] = packets
      if verdict == "reply" and not (reply.stage == "connect" and self.kind == "sendmail") then
        word(reply, data:sub(1, -2))
      elseif reply.verdict == "reject" or reply.verdict == "tempfail" then
        word(reply, own_words(self.kind, reply.stage, reply.verdict))
      end
      return reply
    elseif answer == "p" then
      reply.progress = reply.progress + 1
    else
      packets[#packets + 1] = { answer, data }
      reply.edits[#reply.edits + 1] = wire.edit(answer, data, has(self.steps, wire.LEADING_SPACE))
    end
  end
end

-- One command with what goes before it. The reply's verdict is "none" when there is none.
local function command(self, letter, data)
  queue_macros(self, letter)
  if not sends(self, letter) then
    return new_reply(wire.commands[letter].name, "none")
  end
  self.pending[#self.pending + 1] = wire.packet(letter, data or "")
  self.journal[#self.journal + 1] = letter
  flush(self)
  if has(self.steps, wire.commands[letter].silent) then
    return new_reply(wire.commands[letter].name, "none")
  end
  return wait_reply(self, letter)
end

local function passes(reply)
  return reply.verdict == "continue" or reply.verdict == "none" or reply.verdict == "skip"
end

function MTA:negotiate()
  local o = self.offer
  self:feed(wire.packet("O", wire.u32(o[1]) .. wire.u32(o[2]) .. wire.u32(o[3])))
  local letter, data = receive(self)
  if not letter then
    blame.raise("the filter hung up on the offer; its log:\n" .. table.concat(self:log(), "\n"))
  end
  judge(self, "O", letter, data)
  self.version, self.actions, self.steps = wire.read_u32(data, 1), wire.read_u32(data, 5), wire.read_u32(data, 9)
  self.asked_macros = {}
  local at = 13
  while at + 4 <= #data do
    local names, list = data:match("^([^%z]*)%z", at + 4), {}
    for name in names:gmatch "[^ ,]+" do
      list[#list + 1] = name
    end
    self.asked_macros[macros.STAGES[wire.read_u32(data, at)]] = list
    at = at + 4 + #names + 1
  end
end

-- ---- the SMTP session ----

local function check_not_over(self)
  if self.over then
    blame.raise(("the session is over since %s; start another with mta:connect()"):format(tostring(self.over)))
  end
end

-- accept and refusals at connect and helo are for the whole session; discard there means nothing to Postfix.
local function decide_session(self, reply)
  local unfiltered = reply.verdict == "accept" or reply.verdict == "discard" and reply.stage == "connect"
    and self.kind == "sendmail"
  if unfiltered then
    self.unfiltered = reply
  elseif reply.verdict == "reject" or reply.verdict == "tempfail" then
    self.over = reply
  end
  return reply
end

local CLIENT = { host = "client.example.org", ip = "192.0.2.1", port = 12345 }
local CLIENT_KEYS = { host = true, ip = true, port = true, auth = true, tls = true, family = true }

local function client_of(given)
  local client = {}
  for key, v in pairs(CLIENT) do
    client[key] = v
  end
  for key, v in pairs(given or {}) do
    if not CLIENT_KEYS[key] then
      blame.raise(("connect: there is no %s; host, ip, port, family, auth and tls are"):format(tostring(key)))
    end
    client[key] = v
  end
  client.host = client.host or nil -- false: no name
  if client.ip == false then
    client.ip, client.family = nil, client.family or "unknown"
  end
  client.family = client.family or client.ip:sub(1, 1) == "/" and "unix" or client.ip:find(":", 1, true)
    and "inet6" or "inet"
  if client.family == "inet" and not client.ip:match "^%d+%.%d+%.%d+%.%d+$" then
    blame.raise(("connect: ip %q is no address; IPv4, IPv6 or a socket's path"):format(client.ip))
  end
  return client
end

local FAMILY_LETTER = { inet = "4", inet6 = "6", unix = "L", unknown = "U" }

--- A client connects. Over a used connection the MTA opens a new one to the filter, as MTAs do.
---@param client? { host?: string|false, ip?: string|false, port?: integer, family?: string, auth?: string, tls?: table|true }
---@return moonmilter.testing.Reply
function MTA:connect(client)
  local wanted = client_of(client)
  if wanted.tls == true then
    wanted.tls = {}
  end
  if self.state ~= "fresh" then
    self:quit()
    library.feed_close(self.session)
    open_session(self)
    self:negotiate()
  end
  self.unfiltered = nil
  self.client, self.state = wanted, "connected"
  local prefix = wanted.family == "inet6" and self.kind == "sendmail" and "IPv6:" or ""
  local data = macros.client_name(self) .. "\0" .. FAMILY_LETTER[wanted.family]
  if wanted.family ~= "unknown" then
    data = data .. string.char(math.floor(wanted.port / 256), wanted.port % 256) .. prefix .. wanted.ip .. "\0"
  end
  return decide_session(self, command(self, "C", data))
end

---@param name? string
---@return moonmilter.testing.Reply
function MTA:helo(name)
  if self.state == "fresh" then
    self:connect()
  end
  check_not_over(self)
  self.said_helo = true
  if self.sender then
    self:abort() -- EHLO is RSET too (RFC 5321 4.1.4)
  end
  if self.unfiltered then
    return new_reply("helo", "none")
  end
  return decide_session(self, command(self, "H", (name or self.client.host or "client.example.org") .. "\0"))
end

--- A command line that the MTA does not know.
function MTA:unknown(line)
  if self.state == "fresh" then
    self:connect()
  end
  check_not_over(self)
  return command(self, "U", line .. "\0")
end

-- ---- one message ----

local function bracketed(address)
  return address:find "^<" and address or "<" .. address .. ">"
end

local function strings(address, params)
  local list = { bracketed(address) }
  for key, v in pairs(params or {}) do
    list[#list + 1] = type(key) == "number" and v or v == true and key or key .. "=" .. tostring(v)
  end
  return table.concat(list, "\0") .. "\0"
end

local function forget_message(self)
  self.sender, self.recipient, self.message_id = nil, nil, nil
  self.stage, self.decided = nil, nil
end

-- The reply that ends a message, with what became of the message.
local function finish(self, reply)
  local verdict = passes(reply) and "accept" or reply.verdict
  reply.verdict = verdict
  if not reply.smtp then
    word(reply, own_words(self.kind, reply.stage, verdict))
  end
  reply.sender, reply.refused, reply.recipients = self.sender, self.refused, {}
  for i, address in ipairs(self.recipients) do
    reply.recipients[i] = address
  end
  if verdict == "accept" then
    self:apply(reply)
  end
  if self.kind == "postfix" and self.begun_message and not self.unfiltered then -- behind every message (protocol 2.14)
    self.pending[#self.pending + 1] = wire.packet("A", "")
    flush(self)
  end
  if reply.code == 421 then
    self.over = reply
  end
  local last = reply
  forget_message(self)
  self.last = last
  return reply
end

--- What the edits make of the message.
function MTA:apply(reply)
  local err = library.new_error()
  local file = mail.write(self.fields, self.body_text)
  if not library.ear_message(self.ear, file, #file, err) then
    blame.raise("the test's message is none: " .. library.text(err))
  end
  local envelope = {
    add_recipient = function(address)
      for _, known in ipairs(reply.recipients) do
        if bracketed(known) == bracketed(address) then
          return
        end
      end
      reply.recipients[#reply.recipients + 1] = bracketed(address)
    end,
    delete_recipient = function(address)
      for i = #reply.recipients, 1, -1 do
        local known = reply.recipients[i]
        if known == bracketed(address) or self.kind == "sendmail" and known:lower() == bracketed(address):lower() then
          table.remove(reply.recipients, i)
        end
      end
    end,
    change_from = function(address)
      reply.sender = bracketed(address)
    end,
    quarantine = function(reason)
      reply.quarantined = reason
    end,
  }
  for i, packet in ipairs(packets_of[reply] or {}) do
    local edit = reply.edits[i]
    if envelope[edit[1]] then
      envelope[edit[1]](edit[2])
    elseif not library.ear_edit(self.ear, packet[1]:byte(), packet[2], #packet[2], err) then
      blame.raise(library.text(err))
    end
  end
  local size = ffi.new "size_t[1]"
  local bytes = library.ear_result(self.ear, size)
  reply.message = mail.message(ffi.string(bytes, size[0]))
end

-- A verdict for the whole message ends it; a client goes on to the next.
local function after(self, reply)
  if passes(reply) then
    return reply
  end
  return finish(self, reply)
end

-- What a client says before its first MAIL, as far as it is let.
local function greet(self)
  if self.state == "fresh" then
    self:connect()
  end
  if not self.said_helo and not self.over then
    self:helo()
  end
end

--- MAIL FROM. params: { "SIZE=100" } or { SIZE = 100, SMTPUTF8 = true }.
---@return moonmilter.testing.Reply
function MTA:mail(address, params)
  greet(self)
  check_not_over(self)
  if self.sender then
    blame.raise "mail: a message is open already, an MTA answers 503; end it with mta:eom() or mta:abort()"
  end
  if self.explore_before then
    self.explore_before(self)
  end
  self.last = nil
  self.number = self.number + 1
  self.sender = bracketed(address or "ann@example.org")
  self.recipients, self.refused, self.taken = {}, {}, 0
  self.fields, self.body_text = {}, ""
  self.stage, self.begun_message, self.begun_content = "mail", false, false
  if self.owes_abort then
    self.pending[#self.pending + 1] = wire.packet("A", "")
    self.owes_abort = false
  end
  if self.unfiltered then
    return new_reply("mail", "none")
  end
  local reply = command(self, "M", strings(self.sender, params))
  self.begun_message = true
  self.is_begun = passes(reply) and reply.verdict ~= "none"
  return after(self, reply)
end

local function check_message(self, what)
  if not self.sender then
    blame.raise(self.last and ("%s: the message is over, it was decided: %s"):format(what, tostring(self.last))
      or what .. ": there is no message; begin one with mta:mail()")
  end
end

--- RCPT TO. A refusal is for this recipient; the message goes on with the others.
---@return moonmilter.testing.Reply
function MTA:rcpt(address, params)
  check_message(self, "rcpt")
  if self.stage ~= "mail" then
    blame.raise "rcpt: the recipients come before DATA"
  end
  self.recipient = bracketed(address or "bob@example.com")
  if self.unfiltered then
    self.recipients[#self.recipients + 1], self.taken = self.recipient, self.taken + 1
    return new_reply("rcpt", "none")
  end
  local reply = command(self, "R", strings(self.recipient, params))
  if reply.verdict == "reject" or reply.verdict == "tempfail" then
    self.refused[self.recipient] = reply
    return reply
  end
  self.recipients[#self.recipients + 1], self.taken = self.recipient, self.taken + 1
  if reply.verdict == "discard" and self.kind == "sendmail" then
    self.pending[#self.pending + 1] = wire.packet("A", "")
  end
  return after(self, reply)
end

--- DATA.
function MTA:data()
  check_message(self, "data")
  if self.stage ~= "mail" then
    blame.raise "data: it was said already"
  elseif self.taken == 0 then
    blame.raise("data: no recipient was accepted, an MTA answers 554; say mta:rcpt() first")
  end
  self.stage = "data"
  if self.unfiltered then
    return new_reply("data", "none")
  end
  return after(self, command(self, "T"))
end

local ORDER = { mail = 1, data = 2, header = 3, body = 4 }

-- Says what was left out before a stage. Returns the reply when one of those ended the message.
local function reach(self, stage)
  if ORDER[self.stage] < ORDER.data then
    local reply = self:data()
    if not self.sender then
      return reply
    end
  end
  if ORDER[stage] >= ORDER.body and ORDER[self.stage] < ORDER.body then
    local reply = self:eoh()
    if not self.sender then
      return reply
    end
  end
end

local function send_field(self, name, value)
  self.stage, self.is_begun = "header", true
  self.fields[#self.fields + 1] = { name, value }
  if name:lower() == "message-id" then
    self.message_id = self.message_id or value:match "^%s*(.-)%s*$"
  end
  if self.unfiltered or self.skips_headers then
    return new_reply("header", "none")
  end
  if not has(self.steps, wire.LEADING_SPACE) and value:sub(1, 1) == " " then
    value = value:sub(2)
  end
  return after(self, command(self, "L", name .. "\0" .. value .. "\0"))
end

--- One header field; the value as it stands behind "Name: ".
---@return moonmilter.testing.Reply
function MTA:header(name, value)
  check_message(self, "header")
  if self.stage == "body" then
    blame.raise "header: the body has begun"
  end
  return reach(self, "header") or send_field(self, name, " " .. value)
end

--- The empty line behind the header.
function MTA:eoh()
  check_message(self, "eoh")
  local ended = reach(self, "header")
  if ended then
    return ended
  end
  self.stage, self.is_begun = "body", true
  if self.unfiltered then
    return new_reply("eoh", "none")
  end
  return after(self, command(self, "N"))
end

--- A piece of the body, in packets of at most 65535 bytes.
---@return moonmilter.testing.Reply
function MTA:body(text)
  check_message(self, "body")
  local reply = reach(self, "body")
  if reply then
    return reply
  end
  self.body_text = self.body_text .. text
  reply = new_reply("body", "none")
  for at = 1, #text, CHUNK do
    if self.unfiltered or self.skips_body then
      break
    end
    reply = after(self, command(self, "B", text:sub(at, at + CHUNK - 1)))
    if not self.sender then
      return reply
    end
    self.skips_body = reply.verdict == "skip"
  end
  return reply
end

--- End of the message.
---@return moonmilter.testing.Reply
function MTA:eom()
  check_message(self, "eom")
  local ended = reach(self, "body")
  if ended then
    return ended
  end
  self.skips_body = nil
  if self.unfiltered then
    return finish(self, new_reply("eom", "accept"))
  end
  return finish(self, command(self, "E"))
end

--- The client gives the message up: RSET, or QUIT, or it goes away and the MTA keeps the filter.
function MTA:abort()
  check_message(self, "abort")
  if self.begun_message and not self.unfiltered and (self.kind == "postfix" or self.is_begun) then
    self.pending[#self.pending + 1] = wire.packet("A", "")
    flush(self)
  end
  self.skips_body = nil
  forget_message(self)
end

local KEYS = { from = true, to = true, headers = true, body = true, params = true, eml = true }

-- A message as fields and body, from a file's name, a file's text, or a table.
local function read_message(given)
  if type(given) == "string" then
    local fields, body
    if given:find "\n" then
      fields, body = mail.parse(given)
    else
      fields, body = mail.read(given)
    end
    if not fields then
      blame.raise("message: " .. body)
    end
    return {}, fields, body
  end
  given = given or {}
  for key in pairs(given) do
    if not KEYS[key] then
      blame.raise(("message: there is no %s; from, to, params, headers, body and eml are"):format(tostring(key)))
    end
  end
  if given.eml then
    local _, fields, body = read_message(given.eml)
    return given, fields, given.body or body
  end
  local fields = {}
  for _, pair in ipairs(given.headers or { { "Subject", "hello" }, { "From", "Ann <ann@example.org>" } }) do
    fields[#fields + 1] = { pair[1], " " .. pair[2] }
  end
  for name, v in pairs(given.headers or {}) do
    if type(name) == "string" then
      fields[#fields + 1] = { name, " " .. v }
    end
  end
  table.sort(given.headers and #given.headers == 0 and fields or {}, function(a, b) return a[1] < b[1] end)
  return given, fields, given.body or "hello\r\n"
end

--- A whole message: the name of a file, its text (with line ends), or a table with any of from, to (one or a list),
--- params, headers ({ { name, value }, … } or { Name = value }), body, eml (a file for what is not given).
--- Returns the reply that ended it: with every recipient refused the last refusal, and that of a
--- client that is not let in.
---@return moonmilter.testing.Reply
function MTA:message(message)
  local given, fields, body = read_message(message)
  local from, to = given.from, given.to
  if type(message) == "string" or given.eml then
    local guessed_from, guessed_to = mail.envelope(fields)
    from, to = from or guessed_from, to or guessed_to
  end
  to = type(to) == "string" and { to } or to or { "bob@example.com" }
  greet(self)
  if self.over then
    return self.over
  end
  local reply = self:mail(from, given.params)
  for i, address in ipairs(to) do
    if not self.sender then
      return self.last or reply
    end
    reply = self:rcpt(address)
    if i == #to and self.sender and self.taken == 0 then
      self.owes_abort = self.kind == "sendmail"
      local refusal = finish(self, reply)
      return refusal
    end
  end
  reply = self.sender and self:data() or reply
  for _, field in ipairs(fields) do
    if not self.sender then
      break
    end
    reply = send_field(self, field[1], field[2])
    if reply.verdict == "skip" and self.kind == "postfix" then
      self.skips_headers = true -- they are still part of the message
    end
  end
  self.skips_headers = nil
  if self.sender then
    reply = self:eoh()
  end
  if self.sender then
    reply = self:body(body)
  end
  if self.sender then
    reply = self:eom()
  end
  return reply
end

--- The client says goodbye; the MTA closes the filter's connection.
function MTA:quit()
  if self.session == nil or self.has_quit or self.state == "vanished" then
    return
  end
  if self.sender then
    self:abort()
  end
  if not library.feed_is_finished(self.session) then
    local goodbye = (self.kind == "postfix" and self.said_helo and wire.packet("A", "") or "") .. wire.packet("Q", "")
    self:feed(goodbye)
    local letter = receive(self)
    if letter then
      blame.raise(("the filter said %q after quit: it would have answered another command"):format(letter))
    end
  end
  self.state, self.said_helo = "quit", nil
end

--- The MTA goes away without a word.
function MTA:vanish()
  forget_message(self)
  self.owner:call(library.feed_hang_up, self.session)
  receive(self)
  self.state, self.said_helo = "vanished", nil
end

-- ---- looking in ----

--- Another connection to the same scripts, beside this one.
---@param options? table  what differs from this one's: mta, name, version, actions, steps, macros, split
function MTA:another(options)
  local merged = {}
  for key, v in pairs(self.options) do
    merged[key] = v
  end
  for key, v in pairs(options or {}) do
    merged[key] = v
  end
  local other = mta.new(self.owner, merged)
  self.others = self.others or {}
  self.others[#self.others + 1] = other
  return other
end

--- The host's log lines, those with a word (a plain string) in them when one is given.
---@return string[]
function MTA:log(has_word)
  local list = {}
  for _, line in ipairs(self.owner.lines) do
    if not has_word or line.text:find(has_word, 1, true) then
      list[#list + 1] = line.text
    end
  end
  return list
end

--- Warnings and errors of the log: of a filter that is well, none.
---@return string[]
function MTA:complaints()
  local list = {}
  for _, line in ipairs(self.owner.lines) do
    if line.level >= 2 then
      list[#list + 1] = line.text
    end
  end
  return list
end

--- What scripts asked a fake: "dns", "http", "redis" or "process".
function MTA:asked(kind)
  return self.owner.fakes.asked[kind] or blame.raise(("asked: there is no fake %q"):format(tostring(kind)))
end

--- Lets time pass for handlers and tasks that wait. On a virtual clock that takes no time.
function MTA:pass(seconds)
  self.owner:pass(seconds)
end

--- Loads the scripts again, as SIGHUP does. True, or nil and why they do not load.
function MTA:reload()
  return self.owner:reload()
end

--- Changes a script that was given as source, for mta:reload().
function MTA:write(name, source)
  local file = assert(io.open(self.owner.directory .. "/" .. name, "wb"))
  file:write(source)
  file:close()
end

--- Ends it: the sessions, the host and its temporary files.
function MTA:close()
  for _, other in ipairs(self.others or {}) do
    other:close()
  end
  if self.session ~= nil then
    self.owner:call(library.feed_close, self.session)
    self.session = nil
  end
  if self.ear ~= nil then
    library.ear_close(self.ear)
    self.ear = nil
  end
  if self.owns then
    self.owner:close()
  end
end

for _, fn in pairs(MTA) do
  if type(fn) == "function" then
    jit.off(fn, true)
  end
end
for _, fn in ipairs { receive, command, open_session, judge, mta.new } do
  jit.off(fn, true)
end

return mta
