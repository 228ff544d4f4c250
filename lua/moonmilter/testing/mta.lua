--- Postfix or Sendmail as a milter sees them; a test speaks to it in sentences.
--
--   mta:connect { host = "client.example", ip = "192.0.2.1" }
--   mta:helo "client.example"
--   mta:mail "<ann@example.org>"
--   local reply = mta:rcpt "<bob@example.com>"
--
-- Steps that the test leaves out are filled in: connect and helo before the first mail, data before the first header,
-- end of headers before the body. What an SMTP client could not do (a recipient before MAIL, DATA without a recipient)
-- is an error of the test, raised at its line. So is a reply that Postfix or Sendmail would not accept: that is a bug
-- in moonmilter.
local ffi = require "ffi"
local blame = require "moonmilter.testing.blame"
local library = require "moonmilter.testing.library"
local mail = require "moonmilter.testing.mail"
local player = require "moonmilter.testing.player"

local mta = {}

---@class moonmilter.testing.MTA
local MTA = {}
MTA.__index = MTA

local CHUNK = 65535
local VIRTUAL_DAY, REAL_LIMIT = 86400, 10 -- most seconds that a reply may take

-- ---- replies ----

---@class moonmilter.testing.Reply
---@field verdict string    continue accept reject tempfail discard skip; "none": the filter was not asked or sent nothing
---@field stage   string    connect helo mail rcpt data header eoh body eom unknown
---@field code?   integer   the code that the SMTP client gets, if any: 550
---@field status? string    "5.7.1"
---@field text?   string    the words, lines separated by "\n", without code and status
---@field smtp?   string    the whole reply to the client, lines separated by "\n"
---@field edits   table[]   at eom: { "add_header", "X-Tag", "yes" }, … in the order sent
---@field progress integer  how often the filter sent progress
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

local function word(reply)
  local lines = {}
  reply.smtp = reply.smtp:gsub("\r\n", "\n")
  for line in reply.smtp:gmatch "[^\n]+" do
    local status, text = line:match "^%d%d%d[ -]([245]%.%d+%.%d+) ?(.*)$"
    reply.status = reply.status or status
    lines[#lines + 1] = text or line:match "^%d%d%d[ -](.*)$" or line
  end
  reply.text = table.concat(lines, "\n")
end

-- ---- life ----

local function open_session(self)
  local err = library.new_error()
  self.session = self.owner:call(library.feed_open, self.owner.pointer, self.options.milter, err)
  if self.session == nil then
    blame.raise(library.text(err))
  end
  self.player = player.open(self.profile)
  self.position = 0
  self.client, self.said_helo = nil, nil
  self.over = nil -- the reply that ended the SMTP session
  self.state = "fresh"
end

local function close_session(self)
  if self.session ~= nil then
    self.owner:call(library.feed_close, self.session)
    self.session = nil
  end
  if self.player then
    self.player:close()
    self.player = nil
  end
end

--- One milter connection; for options see testing.start().
function mta.new(owner, options)
  local self = setmetatable({
    owner = owner, options = options, kind = options.mta or "postfix", seed = options.seed or 1,
  }, MTA)
  self.profile = {
    kind = self.kind, name = options.name or "mx.example.net", version = options.version or 6,
    actions = options.actions or player.ALL_ACTIONS, steps = options.steps or player.ALL_STEPS,
    macros = options.macros,
  }
  open_session(self)
  self:negotiate()
  return self
end

-- ---- bytes ----

local function random(self, n) -- 1..n; our own generator, so that a seed repeats a run
  self.seed = (self.seed * 16807) % 2147483647
  return self.seed % n + 1
end

-- The end of the next piece of the bytes from `at` on.
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
  if size[0] == 0 then
    return
  end
  local ok, why = self.player:hear(bytes, size[0])
  library.feed_consume(self.session, size[0])
  if not ok then
    blame.raise("no MTA would accept this reply: " .. why)
  end
end

-- Lets the filter work until the MTA has its reply, or, when the MTA expects none, until the filter is idle.
local function await(self)
  local turns, is_due = 0, self.player:is_waiting()
  local deadline = os.time() + REAL_LIMIT + 1
  while true do
    pull(self)
    if is_due and not self.player:is_waiting() then
      return
    elseif library.feed_is_finished(self.session) or not library.feed_is_waiting(self.session) then
      return
    end
    turns = turns + 1
    if self.owner.is_virtual and turns > 100000 or not self.owner.is_virtual and os.time() > deadline then
      blame.raise("the filter still waits for something and has not replied")
    end
    if self.on_wait then -- many at once: their runner turns the loop
      self.on_wait(self)
    else
      self.owner:turn(not self.owner.is_virtual and 0.05 or turns < 3 and 0 or VIRTUAL_DAY)
    end
  end
end

-- ---- stages ----

-- The message's outcome goes into the reply that ends it.
local function finish(self, reply)
  local outcome = self.player:outcome()
  reply.sender, reply.recipients, reply.quarantined = outcome.sender, outcome.recipients, outcome.quarantined
  reply.refused = self.refused
  if reply.verdict == "accept" then
    reply.message = mail.message(outcome.text)
  end
  self.sender, self.stage = nil, nil
  self.last = reply
end

-- The stage that the player has begun: its bytes to the filter, the reply back.
local function settle(self)
  self:feed(self.player:take())
  if self.player:is_waiting() then
    await(self)
  end
  local reply, more = self.player:reply()
  if self.player:is_waiting() then
    blame.raise(("the filter %s in answer to %s"):format(library.feed_is_finished(self.session) and "hung up"
      or "sent nothing", reply.stage))
  elseif more.complaint then
    blame.raise("no MTA would accept this reply: " .. more.complaint)
  end
  if reply.smtp then
    word(reply)
  end
  setmetatable(reply, Reply)
  if more.ends_message then
    self:feed(self.player:take())
    finish(self, reply)
  end
  if more.ends_session then
    self.over = reply
  end
  return reply
end

local function play(self, stage, ...)
  self.player:play(stage, ...)
  return settle(self)
end

function MTA:negotiate()
  self.player:play "negotiate"
  self:feed(self.player:take())
  await(self)
  if self.player:is_waiting() then
    blame.raise("the filter hung up after the offer; its log:\n" .. table.concat(self:log(), "\n"))
  end
  settle(self)
end

-- ---- the SMTP session ----

local function check_not_over(self)
  if self.over then
    blame.raise(("the session is over since %s; start another with mta:connect()"):format(tostring(self.over)))
  end
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
      blame.raise(("connect: there is no %s; there are host, ip, port, family, auth and tls"):format(tostring(key)))
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
    blame.raise(("connect: ip %q is not an address; give IPv4, IPv6 or a socket's path"):format(client.ip))
  end
  return client
end

-- In the form that the player takes.
local function played_client(client)
  local tls = client.tls
  return {
    family = client.family, host = client.host, address = client.ip, port = client.port, auth_user = client.auth,
    tls_version = tls and (tls.version or "TLSv1.3"), cipher = tls and (tls.cipher or "TLS_AES_256_GCM_SHA384"),
    cipher_bits = tls and tostring(tls.bits or 256), cert_subject = tls and tls.subject,
    cert_issuer = tls and tls.issuer,
  }
end

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
    close_session(self)
    open_session(self)
    self:negotiate()
  end
  self.client, self.state = wanted, "connected"
  self.player:connect(played_client(wanted))
  return settle(self)
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
  return play(self, "helo", name or self.client.host or "client.example.org")
end

--- A command line that the MTA does not know.
function MTA:unknown(line)
  if self.state == "fresh" then
    self:connect()
  end
  check_not_over(self)
  return play(self, "unknown", line)
end

-- ---- one message ----

local function bracketed(address)
  return address:find "^<" and address or "<" .. address .. ">"
end

local function strings(params)
  local list = {}
  for key, v in pairs(params or {}) do
    list[#list + 1] = type(key) == "number" and v or v == true and key or key .. "=" .. tostring(v)
  end
  return table.concat(list, "\0") .. (#list > 0 and "\0" or "")
end

-- What a client sends before its first MAIL, as far as the filter lets it.
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
    blame.raise "mail: a message is already open, an MTA answers 503; end it with mta:eom() or mta:abort()"
  end
  if self.explore_before then
    self.explore_before(self)
  end
  self.last = nil
  self.sender = bracketed(address or "ann@example.org")
  self.refused, self.taken, self.stage = {}, 0, "mail"
  return play(self, "mail", self.sender, strings(params))
end

local function check_message(self, what)
  if not self.sender then
    blame.raise(self.last and ("%s: the message is over, its verdict was: %s"):format(what, tostring(self.last))
      or what .. ": there is no message; begin one with mta:mail()")
  end
end

--- RCPT TO. A refusal is for this recipient; the message goes on with the others.
---@return moonmilter.testing.Reply
function MTA:rcpt(address, params)
  check_message(self, "rcpt")
  if self.stage ~= "mail" then
    blame.raise "rcpt: DATA is already sent; the recipients come before it"
  end
  local recipient = bracketed(address or "bob@example.com")
  local refused = self.refused
  local reply = play(self, "rcpt", recipient, strings(params))
  if reply.verdict == "reject" or reply.verdict == "tempfail" then
    refused[recipient] = reply
  else
    self.taken = self.taken + 1
  end
  return reply
end

--- DATA.
function MTA:data()
  check_message(self, "data")
  if self.stage ~= "mail" then
    blame.raise "data: DATA is already sent"
  elseif self.taken == 0 then
    blame.raise("data: no recipient was accepted, an MTA answers 554; call mta:rcpt() first")
  end
  self.stage = "data"
  return play(self, "data")
end

local ORDER = { mail = 1, data = 2, header = 3, body = 4 }

-- Plays the steps that the test left out before a stage. Returns the reply when one of them ended the message.
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
  self.stage = "header"
  return play(self, "header", name, value)
end

--- One header field; the value as it is after "Name: ".
---@return moonmilter.testing.Reply
function MTA:header(name, value)
  check_message(self, "header")
  if self.stage == "body" then
    blame.raise "header: the body has begun; headers come before it"
  end
  return reach(self, "header") or send_field(self, name, " " .. value)
end

--- The empty line after the header.
function MTA:eoh()
  check_message(self, "eoh")
  local ended = reach(self, "header")
  if ended then
    return ended
  end
  self.stage = "body"
  return play(self, "eoh")
end

--- A piece of the body, in packets of at most 65535 bytes.
---@return moonmilter.testing.Reply
function MTA:body(text)
  check_message(self, "body")
  local reply = reach(self, "body")
  if reply then
    return reply
  end
  reply = setmetatable({ stage = "body", verdict = "none", edits = {}, progress = 0 }, Reply)
  for at = 1, #text, CHUNK do
    local piece = play(self, "body", text:sub(at, at + CHUNK - 1))
    if not self.sender then
      return piece
    elseif reply.verdict ~= "skip" then -- what comes after a skip belongs to the message, but is not sent
      reply = piece
    end
  end
  return reply
end

--- End of the message.
---@return moonmilter.testing.Reply
function MTA:eom()
  check_message(self, "eom")
  return reach(self, "body") or play(self, "eom")
end

--- The client gives up the message: RSET, or QUIT, or it goes away and the MTA keeps the filter's connection.
function MTA:abort()
  check_message(self, "abort")
  self.player:play "abort"
  self:feed(self.player:take())
  self.sender, self.stage = nil, nil
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
      blame.raise(("message: there is no %s; there are from, to, params, headers, body and eml"):format(tostring(key)))
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
--- params, headers ({ { name, value }, … } or { Name = value }), body, eml (a file for what is left out). Returns the
--- reply that ended it: the last refusal when every recipient is refused, and the refusal of a client that is not let
--- in.
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
      return play(self, "no_recipients")
    end
  end
  reply = self.sender and self:data() or reply
  for _, field in ipairs(fields) do
    if not self.sender then
      break
    end
    reply = send_field(self, field[1], field[2])
  end
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
  if self.session == nil or self.state == "vanished" then
    return
  end
  if self.sender then
    self:abort()
  end
  if not library.feed_is_finished(self.session) then
    self.player:play "quit"
    local goodbye = self.player:take()
    self:feed(goodbye)
    if goodbye == "" then -- the MTA closes without a goodbye
      self.owner:call(library.feed_hang_up, self.session)
    end
    await(self)
    local _, more = self.player:reply()
    if more.complaint then
      blame.raise("no MTA would accept this reply: " .. more.complaint)
    end
  end
  self.state, self.said_helo = "quit", nil
end

--- The MTA goes away without a word.
function MTA:vanish()
  self.sender, self.stage = nil, nil
  self.owner:call(library.feed_hang_up, self.session)
  await(self)
  self.state, self.said_helo = "vanished", nil
end

-- ---- looking in ----

--- Another connection to the same scripts, in parallel to this one.
---@param options? table  options that differ from this one's: mta, name, version, actions, steps, macros, split
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

--- The host's log lines, or those that contain a word (a plain string) when one is given.
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

--- All metrics of the host, its own and those of its scripts (docs/metric.md).
---@return table<string, number>  by name and labels: mails_total{milter="default",kind="spam"}
function MTA:metrics()
  return self.owner:metrics()
end

--- Warnings and errors of the log: a healthy filter has none.
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

--- What scripts asked a fake: "dns", "http", "redis", "process", "map" or "event".
function MTA:asked(kind)
  return self.owner.fakes.asked[kind] or blame.raise(("asked: there is no fake %q"):format(tostring(kind)))
end

--- Sends a message to a channel of the fake Redis, for scripts that subscribe to it.
function MTA:publish(channel, message)
  table.insert(self.owner.fakes.published, { tostring(channel), tostring(message) })
end

--- Lets time pass for handlers and tasks that wait. On a virtual clock that takes no time.
function MTA:pass(seconds)
  self.owner:pass(seconds)
end

--- Reloads the scripts, as SIGHUP does. True, or nil and why they do not load.
function MTA:reload()
  return self.owner:reload()
end

--- Changes a script that was given as source, for mta:reload().
function MTA:write(name, source)
  local file = assert(io.open(self.owner.directory .. "/" .. name, "wb"))
  file:write(source)
  file:close()
end

--- Ends the sessions and the host, and removes its temporary files.
function MTA:close()
  for _, other in ipairs(self.others or {}) do
    other:close()
  end
  close_session(self)
  if self.owns then
    self.owner:close()
  end
end

for _, fn in pairs(MTA) do
  if type(fn) == "function" then
    jit.off(fn, true)
  end
end
for _, fn in ipairs { pull, await, settle, open_session, close_session, mta.new } do
  jit.off(fn, true)
end

return mta
