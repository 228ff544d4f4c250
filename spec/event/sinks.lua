--- What the specs of events share: a host whose script puts events, a receiver, and what has reached it.
local host = require "spec.support.host"
local process = require "spec.support.process"
local posix_signal = require "posix.signal"

local sinks = {}

-- MAIL FROM:<100.tag@x> puts 100 events, each with its number and the tag; the reply says how many were kept.
local SCRIPT = [[
  local event = require "moonmilter.event"
  local sink = event.sink{ name = "s", flush = 0.05, retry = 1, %s }
  function on_mail(ctx, sender)
    local count, tag = sender:match "^(%%d+)%%.([%%w-]+)@"
    local kept = 0
    for i = 1, tonumber(count) do
      if sink:put{ n = i, tag = tag, filler = ("x"):rep(%d) } then kept = kept + 1 end
    end
    return ctx:reject(550, "5.7.1", tostring(kept))
  end
  -- %d ]]

local Run = {}
Run.__index = Run

--- A directory with certificates, and nothing running yet.
function sinks.new()
  local directory = process.directory()
  process.run(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout good.key "
    .. "-out good.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"):format(directory))
  process.run(("mkdir %s/out %s/state && chmod 777 %s/out && chown nobody %s/state && chmod 700 %s/state"):format(
    directory, directory, directory, directory, directory))
  return setmetatable({ directory = directory, port = process.free_port(), versions = 0 }, Run)
end

function Run:receive(...)
  local output = self.directory .. "/receiver.out"
  process.write_file(output, "")
  self.server = process.start({ "python3", "spec/event/receiver.py", self.directory, tostring(self.port), ... },
    { output = output, life = 300 })
  assert(process.wait_until(20, function() return process.read_file(output):find "ready" end, "the receiver"))
end

function Run:mode(words)
  process.write_file(self.directory .. "/mode.tmp", words)
  os.rename(self.directory .. "/mode.tmp", self.directory .. "/mode")
end

function Run:stop_receiver()
  if self.server then self.server:stop() end
  self.server = nil
end

function Run:script(options, filler)
  self.versions = self.versions + 1
  self.options, self.filler = options or self.options, filler or self.filler or 0
  return { ["10-events.lua"] = SCRIPT:format(self.options, self.filler, self.versions) }
end

--- options: of the sink, as Lua; default: the web server of this run.
function Run:start(options, more)
  more = more or {}
  local web = ('to = "https://localhost:%d/PATHSECRET?key=QUERYSECRET", token = "TOKENSECRET", ca = "%s/good.pem", '
    .. 'timeout = 2'):format(self.port, self.directory)
  self.h = host.start { workers = more.workers or 2, arguments = { "--state_dir=" .. self.directory .. "/state" },
    scripts = self:script(options or self.options or web, more.filler), life = 300 }
  if (more.workers or 2) > 0 then self.h:wait_serving(more.workers or 2, 20) end
end

function Run:stop_host()
  if self.h then self.h:stop() end
  self.h = nil
end

--- Kills the master and its workers at once.
function Run:kill_host()
  local pids = self.h:workers()
  table.insert(pids, 1, self.h:pid())
  for _, pid in ipairs(pids) do posix_signal.kill(pid, posix_signal.SIGKILL) end
  self:stop_host()
end

function Run:close()
  self:stop_host()
  self:stop_receiver()
  process.run("rm -rf " .. self.directory)
end

--- Puts events from one connection; how many were kept. nil: the connection broke.
function Run:put(count, tag)
  local mta = host.wait_until(20, function() return self.h:connect() end, "a connection")
  local ok, reply = pcall(function()
    mta:envelope "helo"
    return mta:mail(("%d.%s@x"):format(count, tag))
  end)
  mta:close()
  return ok and reply.text and tonumber(reply.text:match "(%d+)$") or nil
end

--- Of the events in some texts: "tag/n" -> id; how many came twice. Raises for a line that is no event, and when one
--- event has two ids.
function sinks.read(...)
  local found, count, doubles, ids = {}, 0, 0, {}
  for _, text in ipairs { ... } do
    assert(text == "" or text:sub(-1) == "\n", "the last line has no end")
    for line in text:gmatch "[^\n]*" do
      local id = line:match '^{"id":"([%x-]+)","time":"[%d:TZ.-]+","host":"[^"]+",'
      local n, tag = line:match '"n":(%d+)', line:match '"tag":"([^"]+)"'
      if line ~= "" then
        assert(id and n and tag and line:sub(-1) == "}", line)
        local key = tag .. "/" .. n
        assert(found[key] == nil or found[key] == id, "two ids for one event")
        assert(ids[id] == nil or ids[id] == key, "two events with one id")
        doubles = doubles + (found[key] and 1 or 0)
        count = count + (found[key] and 0 or 1)
        found[key], ids[id] = id, key
      end
    end
  end
  return count, doubles, found
end

-- The web server may be writing the last line just now.
function Run:taken()
  return sinks.read((process.read_file(self.directory .. "/taken") or ""):match "^.*\n" or "")
end

--- Waits until so many different events have reached the web server.
function Run:wait_taken(count, seconds)
  process.wait_until(seconds or 30, function() return (self:taken()) >= count end, function()
    return ("%d events; %d came\n%s\n%s"):format(count, (self:taken()), self.h and self.h:log() or "",
      self.h and self.h:ctl "events" or "")
  end)
end

--- The row of `ctl events`.
function Run:events()
  local text, row = self.h:ctl "events", {}
  for key, value in text:gmatch "([%w_]+)=(%S+)" do row[key] = tonumber(value) or value end
  return row, text
end

function Run:wait_events(what, condition)
  local row, text
  process.wait_until(20, function()
    row, text = self:events()
    return condition(row, text)
  end, function() return what .. "; the last answer:\n" .. text end)
  return row, text
end

return sinks
