--- A private Sendmail on loopback, unpacked from Debian's packages by spec/mta/install (they conflict with postfix and
--- are not installed). Same interface as postfix.lua; all accepted mail goes to an smtp-sink.
---
--- Two oddities: Sendmail sleeps a minute at start when its host name has no dot, so it runs in a UTS namespace with a
--- name that has one; and it refuses milter sockets below directories that others may write to, so all its files are
--- below /run.
local lfs = require "lfs"

local process = require "spec.support.process"
local sink = require "spec.mta.sink"

local sendmail = { kind = "sendmail", accepts = "250 2.0.0" }
local methods = { kind = "sendmail" }
methods.__index = methods

local HOST = "mx.moonmilter.example"

local function root()
  return os.getenv "MM_MTA_CACHE" or lfs.currentdir() .. "/build/mta"
end

local function program() return root() .. "/sendmail/usr/libexec/sendmail/sendmail" end

--- Why Sendmail cannot run here, or nil.
function sendmail.unavailable()
  if require "posix.unistd".geteuid() ~= 0 then return "Sendmail starts as root only" end
  if not lfs.attributes(program()) then return "sendmail is not unpacked: run spec/mta/install" end
  if not process.which "smtp-sink" then return "smtp-sink is not installed: run spec/mta/install" end
end

-- One line for m4. A milter is a socket, "inet:127.0.0.1:10025" as in Postfix or "inet:10025@127.0.0.1" as in Sendmail,
-- or a table { socket, F = "T", T = "R:5s" }.
local function milter_line(i, item, flags, times)
  if type(item) ~= "table" then item = { item } end
  local spec = item[1]:gsub("^inet:([%d%.]+):(%d+)$", "inet:%2@%1")
  local line = "S=" .. spec
  local f = item.F or flags
  if f ~= "" then line = line .. ", F=" .. f end
  local t = item.T or times
  if t then line = line .. ", T=" .. t end
  return ("INPUT_MAIL_FILTER(`filter%d', `%s')dnl"):format(i, line)
end

local CONFIGURATION = [[
divert(-1)dnl
include(`%(cf)/m4/cf.m4')dnl
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `%(host)')dnl
define(`confBIND_OPTS', `')dnl
define(`confSERVICE_SWITCH_FILE', `%(directory)/service.switch')dnl
define(`QUEUE_DIR', `%(directory)/queue')dnl
define(`ALIAS_FILE', `%(directory)/aliases')dnl
define(`HELP_FILE', `%(directory)/helpfile')dnl
define(`STATUS_FILE', `%(directory)/statistics')dnl
define(`confPID_FILE', `%(directory)/pid')dnl
define(`confCT_FILE', `-o %(directory)/trusted-users')dnl
define(`confCW_FILE', `-o %(directory)/local-host-names')dnl
define(`confDEF_USER_ID', `8:8')dnl
define(`confDEAD_LETTER_DROP', `%(directory)/dead.letter')dnl
define(`confPRIVACY_FLAGS', `noexpn,novrfy,noetrn')dnl
define(`confTO_IDENT', `0')dnl
define(`confBAD_RCPT_THROTTLE', `0')dnl
define(`confMAX_DAEMON_CHILDREN', `0')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confDELIVERY_MODE', `%(delivery)')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confMILTER_LOG_LEVEL', `14')dnl
define(`confDONT_PROBE_INTERFACES', `true')dnl
define(`RELAY_MAILER_ARGS', `TCP $h %(sink)')dnl
define(`SMTP_MAILER_ARGS', `TCP $h %(sink)')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h %(sink)')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`MAIL_HUB', `relay:[127.0.0.1]')dnl
define(`LOCAL_RELAY', `relay:[127.0.0.1]')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`promiscuous_relay')dnl
DAEMON_OPTIONS(`Name=spec, Family=inet, Addr=127.0.0.1, Port=%(port)')dnl
%(milters)
%(settings)
MAILER(`local')dnl
MAILER(`smtp')dnl
]]

---@class sendmail.Options
---@field milters? (string|table)[]   sockets; a table may add F= and T= ({ "inet:127.0.0.1:10025", F = "4" })
---@field flags? string               F= of milters that name none ("T": tempfail; "" for none)
---@field times? string               T= of milters that name none ("C:10s;S:10s;R:10s;E:5m", the defaults but for C)
---@field settings? table<string, string>  m4 definitions, such as confMAX_MESSAGE_SIZE
---@field delivery? string            delivery mode ("background")
---@field life? number                seconds after which it ends in any case (600)
---@field sink? table                module of the next hop (spec.mta.sink)

local function write_configuration(self, options)
  local directory = self.directory
  local milters = {}
  for i, item in ipairs(self.milters) do
    milters[i] = milter_line(i, item, options.flags or "T", options.times or "C:10s;S:10s;R:10s;E:5m")
  end
  local settings = {}
  for name, value in pairs(options.settings or {}) do
    settings[#settings + 1] = ("define(`%s', `%s')dnl"):format(name, value)
  end
  local values = {
    cf = root() .. "/sendmail/usr/share/sendmail/cf",
    directory = directory, host = HOST, port = self.port, sink = self.sink.port,
    delivery = options.delivery or "background",
    milters = table.concat(milters, "\n"), settings = table.concat(settings, "\n"),
  }
  process.write_file(directory .. "/sendmail.mc", (CONFIGURATION:gsub("%%%((%w+)%)", values)))
  process.run(("m4 -D_CF_DIR_=%s/ %s/sendmail.mc >%s/sendmail.cf"):format(values.cf, directory, directory))
end

local function launch(self)
  self.child = process.start({
    "unshare", "-u", "sh", "-c", 'hostname "$0" && exec "$@"', HOST,
    program(), "-bD", "-q1m", "-C" .. self.directory .. "/sendmail.cf", "-X" .. self.directory .. "/transcript",
  }, { output = self.directory .. "/output", life = self.life, remove = self.directory })
  local ok, text = pcall(process.wait_port, self.port, 20, true)
  if not ok then
    text = ("Sendmail: %s\n%s"):format(text, self.child:text())
    self:stop()
    error(text, 3)
  end
end

---@param options? sendmail.Options
function sendmail.start(options)
  options = options or {}
  local directory = process.directory()
  local self = setmetatable({
    directory = directory, port = process.free_port(), options = options, milters = options.milters or {},
    life = options.life,
  }, methods)
  assert(lfs.mkdir(directory .. "/queue"))
  process.run(("chmod 700 %s/queue"):format(directory))
  process.write_file(directory .. "/service.switch", "hosts files\naliases files\n")
  for _, name in ipairs { "aliases", "helpfile", "statistics", "transcript" } do
    process.write_file(directory .. "/" .. name, "")
  end
  self.sink = (options.sink or sink).start(directory)
  write_configuration(self, options)
  launch(self)
  return self
end

--- The transcript of its SMTP connections so far; there is no syslog here.
function methods:log()
  return (process.read_file(self.directory .. "/transcript") or "") .. (self.child and self.child:text() or "")
end

--- Uses other milters from now on: restarts Sendmail.
function methods:set_milters(list)
  self.milters = list
  self.child:stop(true)
  write_configuration(self, self.options)
  launch(self)
end

--- Submits a message with -bs, as a local program that speaks SMTP over a pipe. (`sendmail -t` bypasses milters.)
function methods:submit(message)
  local path = process.write_file(self.directory .. "/submit", message.data)
  process.run(("%s -C%s/sendmail.cf -f '%s' -- %s <%s"):format(program(), self.directory, message.from,
    table.concat(message.to, " "), path))
end

--- Waits until n messages (that no earlier call returned) are at the sink, and returns all of them.
---@return table[]? messages  sender, recipients, data, headers, body: see sink.lua
function methods:wait_delivered(n, seconds)
  return self.sink:wait(n, seconds)
end

--- Waits for the one message that holds `text`, a token that only it has.
function methods:wait_message(text, seconds)
  return self.sink:wait_for(text, seconds)
end

--- The one message that holds `text`, if it is there now.
function methods:message(text)
  return self.sink:take(text)
end

local function in_queue(self, pattern)
  local list = {}
  for _, path in ipairs(process.files(self.directory .. "/queue")) do
    local name = path:match "[^/]+$"
    if name:match(pattern) then list[#list + 1] = name end
  end
  return list
end

--- Queue ids of quarantined messages (their queue files begin with "hf").
function methods:held()
  local list = in_queue(self, "^hf")
  for i, name in ipairs(list) do list[i] = name:sub(3) end
  return list
end

--- Number of messages between acceptance and delivery.
function methods:queued()
  return #in_queue(self, "^[qt]f")
end

--- Waits until the queue is empty. A message that has not reached the sink by then never will.
function methods:wait_idle(seconds)
  return process.wait_until(seconds or 10, function() return self:queued() == 0 end, "an empty queue")
end

--- Messages at the sink that no call has returned yet, once the queue is empty.
function methods:delivered()
  assert(self:wait_idle())
  return assert(self.sink:wait(0, 0))
end

local function run_queue(self, argument)
  process.run(("unshare -u sh -c 'hostname %s; exec %s -C%s/sendmail.cf %s'"):format(HOST, program(), self.directory,
    argument))
end

--- Releases quarantined messages.
function methods:release()
  run_queue(self, "-qQ -Q") -- lifts the quarantine of every quarantined message
  self:flush()
end

--- Tries to deliver deferred messages.
function methods:flush()
  run_queue(self, "-q")
end

--- Ends Sendmail, its sink and all that they started, and removes their files.
function methods:stop()
  self.sink:stop()
  self.child:stop()
end

return sendmail
