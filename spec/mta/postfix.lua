--- A private Postfix on loopback: its own configuration, queue and data directories, no chroot, no syslog. All accepted
--- mail goes to an smtp-sink, so a spec can examine the delivered messages.
---
---   local pf = postfix.start { milters = { "inet:127.0.0.1:10025" }, settings = { milter_command_timeout = "5s" } }
---   local client = smtp.connect(pf.port)
---   ...
---   local message = assert(pf:wait_delivered(1, 10))[1]
---   pf:stop()
local lfs = require "lfs"

local process = require "spec.support.process"
local sink = require "spec.mta.sink"

local postfix = { kind = "postfix", accepts = "250 2.0.0" }
local methods = { kind = "postfix" }
methods.__index = methods

--- Why Postfix cannot run here, or nil.
function postfix.unavailable()
  if require "posix.unistd".geteuid() ~= 0 then return "Postfix starts as root only" end
  if not process.which "postfix" then return "postfix is not installed: run spec/mta/install" end
end

--- Postfix 3.10 (seen with 3.10.13 of Debian 13) asks milters about an unknown command, with its arguments, and gives
--- the client a milter's 4xx, but answers 500 5.5.2 instead of a milter's 5xx. 3.7 gives either.
function postfix.heeds_unknown()
  local pipe = io.popen "postconf -d -h mail_version"
  local major, minor = pipe:read("*a"):match "^(%d+)%.(%d+)"
  pipe:close()
  return tonumber(major) * 100 + tonumber(minor) < 310
end

local SERVICES = [[
127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
]]

-- A milter as main.cf expects it: "inet:127.0.0.1:10025" or { "inet:...", default_action = "accept", ... }.
local function milter_list(list)
  local items = {}
  for i, item in ipairs(list or {}) do
    if type(item) == "table" then
      local parts = { item[1] }
      for name, value in pairs(item) do
        if name ~= 1 then parts[#parts + 1] = ("%s=%s"):format(name, value) end
      end
      item = "{ " .. table.concat(parts, ", ") .. " }"
    end
    items[i] = item
  end
  return table.concat(items, ", ")
end

-- Postfix rereads a main.cf until it is two seconds old, in case it is half written.
local function cool_down(self)
  process.run(("touch -d '1 minute ago' %s/etc/main.cf"):format(self.directory))
end

---@class postfix.Options
---@field milters? (string|table)[]      smtpd_milters
---@field non_smtpd_milters? (string|table)[]
---@field settings? table<string, string|number>  any other main.cf parameter
---@field default_action? string         milter_default_action ("tempfail")
---@field protocol? string|integer       milter_protocol (Postfix's default, 6)
---@field life? number                   seconds after which it ends in any case (600)
---@field sink? table                    module of the next hop (spec.mta.sink)

---@param options? postfix.Options
function postfix.start(options)
  options = options or {}
  local directory = process.directory()
  local self = setmetatable({ directory = directory, port = process.free_port() }, methods)
  for _, name in ipairs { "etc", "queue", "data" } do assert(lfs.mkdir(directory .. "/" .. name)) end
  process.run(("chown postfix %s/data"):format(directory))
  self.sink = (options.sink or sink).start(directory)
  local next_hop = ("smtp:[127.0.0.1]:%d"):format(self.sink.port)
  local settings = {
    compatibility_level = "3.6",
    queue_directory = directory .. "/queue",
    data_directory = directory .. "/data",
    maillog_file = directory .. "/maillog",
    maillog_file_prefixes = directory,
    inet_interfaces = "127.0.0.1",
    inet_protocols = "ipv4",
    myhostname = "mx.moonmilter.example",
    myorigin = "moonmilter.example",
    mydestination = "",
    mynetworks = "127.0.0.0/8",
    smtpd_relay_restrictions = "permit_mynetworks, reject",
    default_transport = next_hop,
    relay_transport = next_hop,
    local_transport = next_hop,
    disable_dns_lookups = "yes",
    smtp_host_lookup = "native",
    alias_maps = "",
    alias_database = "",
    notify_classes = "",
    in_flow_delay = "0",
    smtpd_client_connection_count_limit = "0",
    smtpd_error_sleep_time = "0",
    smtpd_junk_command_limit = "1000",
    smtpd_hard_error_limit = "1000",
    smtpd_soft_error_limit = "1000",
    smtpd_timeout = "60s",
    message_size_limit = "52428800",
    mailbox_size_limit = "0",
    smtpd_milters = milter_list(options.milters),
    non_smtpd_milters = milter_list(options.non_smtpd_milters),
    milter_default_action = options.default_action or "tempfail",
  }
  if options.protocol then settings.milter_protocol = options.protocol end
  for name, value in pairs(options.settings or {}) do settings[name] = value end
  local lines = {}
  for name, value in pairs(settings) do lines[#lines + 1] = ("%s = %s\n"):format(name, value) end
  table.sort(lines)
  process.write_file(directory .. "/etc/main.cf", table.concat(lines))
  process.write_file(directory .. "/etc/master.cf", SERVICES:format(self.port))
  cool_down(self)
  self.child = process.start({ assert(process.which "postfix"), "-c", directory .. "/etc", "start-fg" },
    { output = directory .. "/output", remove = directory, life = options.life })
  local ok, text = pcall(process.wait_port, self.port, 20, true)
  if not ok then
    text = ("Postfix: %s\n%s\n%s"):format(text, self.child:text(), self:log())
    self:stop()
    error(text, 2)
  end
  return self
end

--- The log so far.
function methods:log()
  return process.read_file(self.directory .. "/maillog") or ""
end

--- Changes main.cf and makes Postfix read it; sessions that begin afterwards see it.
---@param settings table<string, string|number>
function methods:configure(settings)
  for name, value in pairs(settings) do
    process.run(("postconf -c %s/etc -e '%s = %s'"):format(self.directory, name, value))
    cool_down(self)
  end
  -- An smtpd that waits for a client may serve one more with the old configuration: it must be gone. A serving one
  -- stays.
  local master = assert(process.read_file(self.directory .. "/queue/pid/master.pid")):match "%d+"
  local before = process.children(master, "smtpd")
  process.run(("postfix -c %s/etc reload"):format(self.directory))
  process.wait_until(2, function()
    for _, pid in ipairs(before) do
      if lfs.attributes("/proc/" .. pid) then return false end
    end
    return true
  end)
  assert(process.wait_port(self.port, 10, true))
end

--- Uses other milters from now on.
function methods:set_milters(list)
  self:configure { smtpd_milters = milter_list(list) }
end

--- Submits a message as a local user would with sendmail(1): the path of non_smtpd_milters.
function methods:submit(message)
  local path = process.write_file(self.directory .. "/submit", message.data)
  process.run(("/usr/sbin/sendmail -C %s/etc -f '%s' -- %s <%s"):format(self.directory, message.from,
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

local function in_queue(self, name)
  return process.files(("%s/queue/%s"):format(self.directory, name))
end

--- Queue ids of messages on hold.
function methods:held()
  local list = {}
  for i, path in ipairs(in_queue(self, "hold")) do list[i] = path:match "[^/]+$" end
  return list
end

--- Number of messages between acceptance and delivery.
function methods:queued()
  local count = 0
  for _, name in ipairs { "maildrop", "incoming", "active", "deferred" } do count = count + #in_queue(self, name) end
  return count
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

--- Releases held messages.
function methods:release()
  process.run(("postsuper -c %s/etc -H ALL"):format(self.directory))
  self:flush()
end

--- Tries to deliver deferred messages.
function methods:flush()
  process.run(("postqueue -c %s/etc -f"):format(self.directory))
end

--- Ends Postfix, its sink and all that they started, and removes their files.
function methods:stop()
  self.sink:stop()
  self.child:stop()
end

return postfix
