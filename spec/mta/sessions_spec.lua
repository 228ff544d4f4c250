-- Sessions of every course on both MTAs: several messages, RSET and HELO anywhere, unknown commands, STARTTLS,
-- pipelining, BDAT, XCLIENT, clients that vanish. With an echo on moonmilter the client and the next hop get the same
-- as without a milter and with the same echo on libmilter, and both echoes receive the same; with filters that edit and
-- refuse (stand_in.c, stand_in.lua) the results agree, too. Without SLOW=1 these filters do only two things.
local ssl = require "ssl"

local exact_sink = require "spec.mta.exact_sink"
local filter = require "spec.mta.filter"
local passage = require "spec.mta.passage"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

-- ---- a client that records all that it receives ----

local talk = {}
talk.__index = talk

-- `number` distinguishes this session's recipients from those of others; `orders` are X-Do fields for the stand-ins.
local function begin(mta, name, number, orders)
  local self = setmetatable({ mta = mta, name = name, number = number * 10, orders = orders or {}, heard = {},
    sent = {} }, talk)
  self.client = smtp.connect(mta.port, { helo = false, timeout = 15 })
  self.heard[1] = tostring(self.client.greeting and self.client.greeting.code)
  return self
end

-- Nothing is sent or received after a 421 or the end of the connection.
function talk:hear(count)
  local reply
  for _ = 1, count or 1 do
    if self.is_over then return nil end
    local problem
    reply, problem = self.client:reply()
    self.heard[#self.heard + 1] = passage.reply_text(reply, problem)
    self.is_over = not reply or reply.code == 421
  end
  return reply
end

function talk:send(bytes)
  if not self.is_over then self.client:send(bytes) end
end

function talk:say(line)
  self:send(line .. "\r\n")
  return self:hear()
end

function talk:ehlo(word) return self:say(("%s %s.example"):format(word or "EHLO", self.name)) end
function talk:mail(params) return self:say("MAIL FROM:<ann@one.example>" .. (params and " " .. params or "")) end

-- Recipients and content of the next message.
function talk:own()
  return passage.own_address(self.number + 1)
end
function talk:rcpt() return self:say(("RCPT TO:<%s>"):format(self:own())) end
function talk:content()
  self.number = self.number + 1
  local lines = { "From: Ann <ann@one.example>", "Date: Thu, 1 Jan 2026 00:00:00 +0000", "Subject: a session",
    ("Message-Id: <%d@one.example>"):format(self.number) }
  for _, order in ipairs(self.orders) do
    lines[#lines + 1] = "X-Do: " .. order:gsub("OWN", passage.own_address(self.number))
  end
  local data = table.concat(lines, "\r\n") .. "\r\n\r\nfirst line\r\n.second line\r\n"
  self.sent[self.number] = { data = data }
  return data
end

-- A whole message, or the rest of it.
function talk:message(from)
  if not from then self:mail() end
  if from ~= "data" then self:rcpt() end
  local reply = self:say "DATA"
  if reply and reply.code == 354 then
    self:send(passage.wire_form(self:content()))
    return self:hear()
  end
  self.number = self.number + 1
  return self:say "RSET"
end

function talk:quit()
  self:say "QUIT"
  self.client:drop()
end

function talk:starttls()
  local reply = self:say "STARTTLS"
  if not reply or reply.code ~= 220 then return end
  local wrapped = assert(ssl.wrap(self.client.socket,
    { mode = "client", protocol = "any", verify = "none", options = "all" }))
  wrapped:settimeout(15)
  assert(wrapped:dohandshake())
  self.client.socket = wrapped
end

-- ---- their courses ----

local COURSES = {}
local function course(name, run, only) COURSES[#COURSES + 1] = { name = name, run = run, only = only } end

local POINTS = {
  { "before HELO", function() end },
  { "after HELO", function(t) t:ehlo() end },
  { "after MAIL", function(t) t:ehlo() t:mail() end },
  { "after RCPT", function(t) t:ehlo() t:mail() t:rcpt() end },
  { "after a message", function(t) t:ehlo() t:message() end },
}

local function finish_message(t, point)
  if point == "before HELO" then t:ehlo() end
  if point == "after MAIL" then t:message "rcpt" elseif point == "after RCPT" then t:message "data" else t:message() end
  t:quit()
end

course("one message", function(t) t:ehlo() t:message() t:quit() end)
course("HELO instead of EHLO", function(t) t:ehlo "HELO" t:message() t:quit() end)
course("five messages", function(t) t:ehlo() for _ = 1, 5 do t:message() end t:quit() end)
course("a session without a message", function(t) t:ehlo() t:quit() end)
course("no HELO at all", function(t)
  t:say(("MAIL FROM:<%s@one.example>"):format(t.name))
  t:message "rcpt"
  t:quit()
end)
for _, point in ipairs(POINTS) do
  local where, go = unpack(point)
  course("RSET " .. where, function(t) go(t) t:say "RSET" t:ehlo() t:message() t:quit() end)
  course("RSET twice " .. where, function(t) go(t) t:say "RSET" t:say "RSET" t:ehlo() t:message() t:quit() end)
  course("EHLO again " .. where, function(t) go(t) t:ehlo() t:message() t:quit() end)
  if os.getenv "SLOW" or where == "after RCPT" then -- Sendmail sleeps a second at each
    course("HELO twice " .. where, function(t) go(t) t:ehlo "HELO" t:ehlo "HELO" t:message() t:quit() end)
  end
  course("QUIT " .. where, function(t) go(t) t:quit() end)
  course("the client vanishes " .. where, function(t) go(t) t.client:drop(true) end)
  for _, command in ipairs { "NOOP", "VRFY bob", "EXPN all", "NONSENSE", "NONSENSE with some words", "BADARG:<" } do
    course(command .. " " .. where, function(t) go(t) t:say(command) finish_message(t, where) end)
  end
  course("ETRN and an empty line " .. where,
    function(t) go(t) t:say "ETRN one.example" t:say "" finish_message(t, where) end)
  course("RCPT, DATA and MAIL out of order " .. where, function(t)
    if where == "after MAIL" then t:say "DATA" end
    if where == "before HELO" or where == "after HELO" or where == "after a message" then
      go(t)
      t:say "RCPT TO:<nobody@two.example>"
      t:say "DATA"
    else
      go(t)
      t:mail()
    end
    finish_message(t, where)
  end)
end
course("an invalid MAIL", function(t) t:ehlo(
  ) t:say "MAIL FROM:<ann@one.example" t:say "MAIL ann" t:say "RSET" t:message() t:quit() end)
course("an invalid RCPT", function(t) t:ehlo() t:mail() t:say "RCPT TO:<>" t:say "RCPT bob" t:message "rcpt" t:quit(
  ) end)
course("a recipient with unknown parameters", function(t)
  t:ehlo() t:mail() t:say "RCPT TO:<bob@two.example> X-WHAT=1" t:message "rcpt" t:quit()
end)
course("a line of 5000 bytes", function(t) t:ehlo() t:say("NOOP " .. ("x"):rep(5000)) t:message() t:quit() end)
course("binary bytes for a command", function(t) t:ehlo() t:say "\1\2\255\254 \200" t:message() t:quit() end)

for where, bytes in pairs {
  ["after DATA"] = "", ["in the header"] = "Subject: cut short\r\nX-A: ", ["after the header"] = "Subject: cut "
    .. "short\r\n\r\n",
  ["in the body"] = "Subject: cut short\r\n\r\nsome text\r\nand", ["before the last dot"] = "Subject: cut "
    .. "short\r\n\r\nsome text\r\n",
  ["in a large body"] = "Subject: cut short\r\n\r\n" .. ("some text\r\n"):rep(20000),
} do
  for _, hard in ipairs { false, true } do
    course(("the client vanishes %s by %s"):format(where, hard and "reset" or "end"), function(t)
      t:ehlo() t:mail() t:rcpt() t:say "DATA"
      t:send(bytes)
      t.client:drop(hard)
    end)
  end
end

course("envelope in one write", function(t)
  t:ehlo()
  t:send(("MAIL FROM:<ann@one.example>\r\nRCPT TO:<%s>\r\nDATA\r\n"):format(t:own()))
  t:hear(3)
  t:send(passage.wire_form(t:content()))
  t:hear()
  t:quit()
end)
course("one message's end and the next one's envelope in one write", function(t)
  t:ehlo()
  t:mail() t:rcpt() t:say "DATA"
  local first = passage.wire_form(t:content())
  t:send(first .. ("MAIL FROM:<ann@one.example>\r\nRCPT TO:<%s>\r\nDATA\r\n"):format(t:own()))
  t:hear(4)
  t:send(passage.wire_form(t:content()))
  t:hear()
  t:quit()
end)
course("the whole dialogue in one write", function(t)
  local envelope = "MAIL FROM:<ann@one.example>\r\nRCPT TO:<%s>\r\nDATA\r\n"
  local first, first_data = envelope:format(t:own()), passage.wire_form(t:content())
  local second, second_data = envelope:format(t:own()), passage.wire_form(t:content())
  t:ehlo()
  t:send(first .. first_data .. "NOOP\r\nRSET\r\n" .. second .. second_data .. "QUIT\r\n")
  t:hear(11)
  t.client:drop()
end)
course("commands byte by byte", function(t)
  -- EHLO has its reply before MAIL: Sendmail may take commands that follow EHLO at once for an error (554 5.5.0).
  for _, line in ipairs { ("EHLO %s.example\r\n"):format(t.name), "MAIL FROM:<ann@one.example>\r\n" } do
    for byte in line:gmatch "." do t:send(byte) end
    t:hear()
  end
  t:message "rcpt"
  t:quit()
end)

course("STARTTLS and a second EHLO", function(t) t:ehlo() t:starttls() t:ehlo() t:message() t:message() t:quit() end)
course("STARTTLS without a second EHLO", function(t) t:ehlo() t:starttls() t:message() t:quit() end)
course("STARTTLS after a message", function(t) t:ehlo() t:message() t:starttls() t:ehlo() t:message() t:quit() end)
course("STARTTLS in an envelope", function(t) t:ehlo() t:mail() t:starttls() t:ehlo() t:message() t:quit() end)
course("STARTTLS twice", function(t) t:ehlo() t:starttls() t:ehlo() t:say "STARTTLS" t:message() t:quit() end)
course("STARTTLS and a client that vanishes",
  function(t) t:ehlo() t:starttls() t:ehlo() t:mail() t:rcpt() t.client:drop() end)
course("STARTTLS with trailing words", function(t) t:ehlo() t:say "STARTTLS now" t:message() t:quit() end)

-- One message by BDAT, cut as given.
local function bdat(t, sizes, is_last_apart)
  t:mail() t:rcpt()
  local data, at = t:content(), 1
  for _, size in ipairs(sizes) do
    t:send(("BDAT %d\r\n"):format(size) .. data:sub(at, at + size - 1))
    t:hear()
    at = at + size
  end
  if is_last_apart then
    t:send(("BDAT %d\r\n"):format(#data - at + 1) .. data:sub(at))
    t:hear()
    t:say "BDAT 0 LAST"
  else
    t:send(("BDAT %d LAST\r\n"):format(#data - at + 1) .. data:sub(at))
    t:hear()
  end
end
course("BDAT in one piece", function(t) t:ehlo() bdat(t, {}) t:quit() end, "postfix")
course("BDAT of one byte, then the rest", function(t) t:ehlo() bdat(t, { 1 }) t:quit() end, "postfix")
course("BDAT cut in every way", function(t)
  t:ehlo()
  bdat(t, { 1, 3, 24, 1, 1, 10, 40, 2 })
  bdat(t, { 35, 36 })
  bdat(t, { 34, 1, 1 })
  t:quit()
end, "postfix")
course("BDAT 0 LAST", function(t) t:ehlo() bdat(t, { 20, 20 }, true) bdat(t, {}, true) t:quit() end, "postfix")
course("BDAT and DATA in turn", function(t) t:ehlo() bdat(t, { 10 }) t:message() bdat(t, {}) t:quit() end, "postfix")
course("BDAT in one write with the envelope", function(t)
  t:ehlo()
  local own, data = t:own(), t:content()
  t:send(("MAIL FROM:<ann@one.example>\r\nRCPT TO:<%s>\r\nBDAT 20\r\n%sBDAT %d LAST\r\n%sNOOP\r\n"):format(own,
    data:sub(1, 20), #data - 20, data:sub(21)))
  t:hear(5)
  t:quit()
end, "postfix")
-- An unfinished message.
local function begin_bdat(t)
  t:ehlo() t:mail() t:rcpt()
  t:send "BDAT 12\r\nSubject: a\r\n"
  t:hear()
end
course("RSET between pieces", function(t)
  begin_bdat(t)
  t:say "RSET"
  t:message()
  t:quit()
end, "postfix")
course("a command between pieces", function(t)
  begin_bdat(t)
  t:say "NOOP"
  t:say "NONSENSE"
  t:say "DATA"
  t:say "RSET"
  t:message()
  t:quit()
end, "postfix")
course("BDAT without an envelope", function(t)
  t:ehlo()
  t:send "BDAT 12 LAST\r\nSubject: a\r\n"
  t:hear()
  t:message()
  t:quit()
end, "postfix")
course("the client vanishes in a piece", function(t)
  t:ehlo() t:mail() t:rcpt()
  t:send "BDAT 1000\r\nSubject: a\r\n"
  t.client:drop()
end, "postfix")
course("the client vanishes between pieces", function(t)
  begin_bdat(t)
  t.client:drop()
end, "postfix")

course("XCLIENT: another client, and its login", function(t)
  t:ehlo()
  t:say "XCLIENT NAME=spike.porcupine.example ADDR=168.100.189.2 PORT=4711"
  t:ehlo()
  t:message()
  t:say "XCLIENT LOGIN=ann ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]"
  t:ehlo()
  t:message()
  t:quit()
end, "postfix")
course("XCLIENT in an envelope", function(t)
  t:ehlo() t:mail() t:rcpt()
  t:say "XCLIENT ADDR=192.0.2.1"
  t:say "RSET"
  t:message()
  t:quit()
end, "postfix")

-- ---- running them ----

local function certificate(directory)
  process.run(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mx.moonmilter.example -keyout %s/key.pem "
    .. "-out %s/cert.pem && chmod 600 %s/key.pem"):format(directory, directory, directory))
end

local function tls_settings(kind, directory)
  if kind == "postfix" then
    return { smtpd_tls_cert_file = directory .. "/cert.pem", smtpd_tls_key_file = directory .. "/key.pem",
      smtpd_tls_security_level = "may", smtpd_authorized_xclient_hosts = "127.0.0.0/8, 168.100.189.2, [2001:db8::1]",
      mynetworks = "127.0.0.0/8, 168.100.189.2, 192.0.2.1, [2001:db8::1]" }
  end
  return { confSERVER_CERT = directory .. "/cert.pem", confSERVER_KEY = directory .. "/key.pem",
    confCACERT = directory .. "/cert.pem", confCACERT_PATH = directory, confTLS_SRV_OPTIONS = "V" }
end

-- Runs all courses: the replies to the clients and the delivered messages, as one text by name.
local function run_all(mta, orders)
  local talks, sent = {}, {}
  for at, entry in ipairs(COURSES) do
    if not entry.only or entry.only == mta.kind then
      local t = begin(mta, ("session-%03d"):format(at), at, orders)
      local ok, problem = pcall(entry.run, t)
      if not ok then t.heard[#t.heard + 1] = "(" .. tostring(problem) .. ")" end
      t.client:drop()
      talks[entry.name] = t
      for number, message in pairs(t.sent) do sent[number] = message end
    end
  end
  local arrived = passage.gather(mta, sent)
  local outcomes = {}
  for name, t in pairs(talks) do
    local lines = { table.concat(t.heard, "\n") }
    for number = math.floor(t.number / 10) * 10 + 1, t.number do
      local message = arrived[number]
      lines[#lines + 1] = message and ("arrived: %s -> %s\n%s"):format(message.sender, message.recipients, message.data)
        or "lost " .. number
    end
    outcomes[name] = table.concat(lines, "\n")
  end
  return outcomes
end

-- Names of courses by their number, for the records.
local function course_of(session)
  local entry = COURSES[tonumber(session:match "%d+")]
  return entry and entry.name or session
end

local function differences(got, wanted)
  local list = {}
  for name, text in pairs(wanted) do
    if got[name] ~= text then list[#list + 1] = name .. ": " .. passage.parting(got[name], text) end
  end
  table.sort(list)
  return list
end

for _, mta_module in ipairs { postfix, sendmail } do
  local kind = mta_module.kind
  describe(("sessions on %s"):format(kind), function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then return pending(why) end
    local mta, directory, plain, with_libmilter, libmilter_diaries

    setup(function()
      directory = process.directory()
      certificate(directory)
      mta = mta_module.start { sink = exact_sink, settings = tls_settings(kind, directory) }
      plain = run_all(mta)
    end)
    teardown(function()
      if mta then mta:stop() end
      os.execute(("rm -rf '%s'"):format(directory))
    end)

    -- libmilter treats a command between BDAT pieces as out of order: it calls its abort handler and goes on.
    local ABORTED_BY_LIBMILTER = "a command between pieces"

    local function count(texts)
      local n = 0
      for _ in pairs(texts) do n = n + 1 end
      return n
    end

    local function through(f, orders)
      mta:set_milters { f.milter }
      return run_all(mta, orders)
    end

    it("deliver messages without a milter, encrypted sessions included", function()
      assert.matches("\n250[^\n]*\n221", plain["one message"])
      assert.matches("\n220[^\n]*\n250.*arrived.*arrived", plain["STARTTLS and a second EHLO"])
      if kind == "postfix" then assert.matches("arrived.*arrived.*arrived", plain["BDAT cut in every way"]) end
    end)

    it("are the same with an echo on libmilter", function()
      local f = filter.echo { unix = kind == "sendmail" }
      finally(function() f:stop() end)
      with_libmilter = through(f)
      libmilter_diaries = assert(passage.wait_diaries(f, count(passage.diaries(f:log()))))
      assert.same({}, differences(with_libmilter, plain))
    end)

    it("are the same with an echo on moonmilter, which receives the same", function()
      local f = filter.host("spec/mta/echo.lua", { unix = kind == "sendmail" })
      finally(function() f:stop() end)
      local outcomes = through(f)
      assert.same({}, differences(outcomes, plain))
      local diaries = assert(passage.wait_diaries(f, count(libmilter_diaries)))
      local named, wanted = {}, {}
      for session, text in pairs(diaries) do named[course_of(session)] = text end
      for session, text in pairs(libmilter_diaries) do wanted[course_of(session)] = text end
      if kind == "postfix" then
        assert.matches("\nabort\nunknown NONSENSE\n", wanted[ABORTED_BY_LIBMILTER])
        wanted[ABORTED_BY_LIBMILTER] = wanted[ABORTED_BY_LIBMILTER]:gsub("\nabort(\nunknown)", "%1")
      end
      assert.same({}, differences(named, wanted))
    end)

    local MODES = {
      { "edit everything", "eom add X-New v", "eom change 1 Subject changed", "eom delete 1 Date",
        "eom insert 0 X-Top v", "eom from <new@one.example>", "eom addrcpt <x.OWN>",
        "eom body new first\\n.new second\\n" },
      { "reject at end of header", "eoh reply 554 5.7.1 not this|nor that" },
      -- with SLOW=1:
      { "delete the recipient and add another", "eom delrcpt <OWN>", "eom addrcpt <x.OWN>" },
      { "reject at end of message", "eom add X-Half v", "eom reply 550 5.7.9 no thanks" },
      { "tempfail at a field", "header tempfail" },
      { "discard at the body", "body discard" },
      { "accept at end of header", "eoh accept" },
      { "hang up at end of message", "eom reply 421 4.7.1 going away" },
    }
    for at = 1, os.getenv "SLOW" and #MODES or 2 do
      local name, orders = MODES[at][1], { unpack(MODES[at], 2) }
      it(("are the same with moonmilter and libmilter when the filters %s"):format(name), function()
        local peer = filter.stand_in { unix = kind == "sendmail" }
        local host = filter.host("spec/mta/stand_in.lua", { unix = kind == "sendmail" })
        finally(function()
          peer:stop()
          host:stop()
        end)
        local wanted = through(peer, orders)
        assert.same({}, differences(through(host, orders), wanted))
      end)
    end
  end)
end
