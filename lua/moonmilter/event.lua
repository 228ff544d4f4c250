--- Events for other systems: lines of JSON that reach a web server, a file or a stream of a Redis server, at least
--- once, also when it is down for a day.
--
--   local sink = event.sink{ to = "https://collect.example/mail", token = host.settings.token }
--   function on_done(ctx, result)
--     sink:put{ from = ctx.sender, verdict = result.verdict, queue_id = ctx.queue_id }
--   end
--
-- put() never waits: the event goes into a store that all workers share and that survives reloads, killed workers and
-- restarts (the spool). One worker sends what is in it, in batches (state/spool.lua). What finds no room below `max` is
-- dropped and counted.
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"
local receiver = require "moonmilter.net.receiver"
local spool = require "moonmilter.state.spool"

local event = {}

local raw = core.event
local line_of = raw.line

local EVENT_MAX = 65536 -- bytes of an event as JSON
local GATHERED_MAX, GATHERED_BYTES = 500, 256 * 1024 -- events, bytes that a worker gathers before it writes them
local LOOK_AGAIN = 0.1 -- seconds after which a full spool is tried again
local BATCH_MAX = 10000 -- ORDER EVENT_BATCH: host/bind/event.c
local UNITS = { B = 1, KB = 2 ^ 10, MB = 2 ^ 20, GB = 2 ^ 30 }

local ROWS = {
  to = { "string" }, -- "https://…", "file:/PATH", "redis://HOST/STREAM"
  name = { "string" }, -- default: made of `to`
  spool = { "boolean" }, -- on the disk, in state_dir; default: if there is one
  max = { "number", 64 * 2 ^ 20, also = "string" }, -- bytes of the spool
  batch = { "number", 500 }, -- events that are sent at once
  flush = { "number", 1 }, -- seconds that an event waits for others
  timeout = { "number", 10 }, -- seconds of one delivery
  retry = { "number", 60 }, -- most seconds between two tries
  -- web servers
  token = { "string" }, -- Authorization: Bearer
  headers = { "table" },
  ca = { "string" }, certificate = { "string" }, key = { "string" }, verify = { "boolean", true },
  -- streams
  maxlen = { "number", 1000000 }, -- entries that the stream keeps, about
}
local OF_WEB = { "token", "headers", "certificate", "key" }

---@class moonmilter.event.Sink
---@field name string
---@field to string  the receiver, without secrets
local Sink = {}
Sink.__index = Sink

-- ---- options ----

-- event.sink raises it at the script's line.
local function fail(format, ...)
  error("event.sink: " .. format:format(...), 0)
end

local function read_max(max)
  if type(max) == "string" then
    local n, unit = max:match "^(%d+) ?(%u*)$"
    if not n or not UNITS[unit == "" and "B" or unit] then
      fail("max is %q; write \"64MB\", with KB, MB or GB, or a number of bytes", max)
    end
    max = tonumber(n) * UNITS[unit == "" and "B" or unit]
  end
  if not (max >= 2 ^ 20 and max <= 2 ^ 36) then
    fail("max is %s; give 1 MB to 64 GB", tostring(max))
  end
  return max
end

local function check_number(options, name, least, most)
  if not (options[name] >= least and options[name] <= most) then
    fail("%s is %s; give %g to %g", name, tostring(options[name]), least, most)
  end
end

-- The default name is part of the spool's: another path is another sink. Of a URL the path may be a secret.
local function name_of(to)
  local words = {}
  for word in to.shown:gsub("^%a+:", ""):gmatch "[%w_.]+" do
    words[#words + 1] = word
  end
  local name = table.concat(words, "-"):gsub("^%.+", ""):sub(1, 36)
  if to.id == to.shown then
    return name
  end
  return name .. ("-%02x%02x%02x%02x"):format(core.hash.digest("sha256", to.id):byte(1, 4))
end

local function check_options(given)
  if type(given) == "string" then
    given = { to = given }
  elseif type(given) ~= "table" then
    fail("expected a table of options, got a %s", type(given))
  end
  if type(given.spool) == "string" then
    fail("spool is true (on the disk, in state_dir of moonmilter.conf), or false (in memory only)")
  end
  local options = options_of.check("event.sink", given, ROWS, 3)
  if not options.to then
    fail("to is missing: the receiver, \"https://…\", \"file:/PATH\" or \"redis://HOST/STREAM\"")
  end
  for _, name in ipairs(OF_WEB) do
    if given[name] ~= nil and not options.to:find "^https?:" then
      fail("%s is for web servers", name)
    end
  end
  return options
end

local function check_ranges(options)
  check_number(options, "batch", 1, BATCH_MAX)
  check_number(options, "flush", 0.01, 3600)
  check_number(options, "timeout", 0.1, 300)
  check_number(options, "retry", 0.1, 3600)
  check_number(options, "maxlen", 1, 2 ^ 40)
  if options.name and (not options.name:find "^[%w_-][%w_.-]*$" or #options.name > 48) then
    fail("name is %q; it has 1 to 48 letters, digits, \"_\", \"-\" and \".\"", options.name)
  end
end

-- ---- sinks ----

local known = {} -- name -> Sink, of this generation

local function is_durable(options)
  if options.spool ~= nil then
    return options.spool
  end
  return core.store.directory() ~= nil
end

local function open(sink, options)
  local number, shared = raw.open("event." .. sink.name, read_max(options.max), is_durable(options))
  if not number then
    fail("sink %s: %s", sink.name, shared)
  end
  sink.number, sink.is_real = number, shared and not core.shadow
  if not sink.is_real then -- check, try, tests and shadows: nothing is sent
    return
  end
  local place, text = raw.place(number)
  if not place then
    fail("sink %s: %s", sink.name, text)
  end
  sink.place = place
  spool.start(sink)
end

local function make(options)
  options = check_options(options)
  check_ranges(options)
  local to = receiver.new(options, fail)
  local name = options.name or name_of(to)
  if known[name] then
    if known[name].receiver.id ~= to.id then
      fail("sink %s goes to %s already; give this one another name", name, known[name].to)
    end
    return known[name]
  end
  local sink = setmetatable({ name = name, to = to.shown, receiver = to, max = tostring(options.max),
    batch = math.floor(options.batch), flush = options.flush, retry = options.retry, ids = {}, lines = {}, bytes = 0,
    dropped = 0, random = ("%08x"):format(core.random() * 2 ^ 32), count = 0 }, Sink)
  open(sink, options)
  known[name] = sink
  return sink
end

--- Opens a sink, at the top level of a script or in on_load. Scripts that name the same sink share it.
---@param options moonmilter.event.Options|string
---@return moonmilter.event.Sink
function event.sink(options)
  local ok, sink = pcall(make, options)
  if not ok then
    error(type(sink) == "string" and sink:match "event%.sink: .*$" or sink, 2)
  end
  return sink
end

--- Puts an event: a table of strings, numbers, booleans and tables of those. Never waits, and a receiver that is down
--- is no failure. Returns the event's id; when it cannot be kept, nil, a text and a code: "full", "size" (over 64 KB),
--- "busy", "io".
---@param fields table
---@return string? id, string? text, string? code
function Sink:put(fields)
  self.count = self.count + 1
  local id, line, code = line_of(self.random, self.count, raw.host, fields, EVENT_MAX)
  if not id then
    spool.drop(self, 1, code)
    return nil, line, code
  elseif core.shadow then
    return id
  elseif not self.is_real then
    return raw.show(self.name, line, fields, id)
  elseif self.full_at and core.now() - self.full_at < LOOK_AGAIN then
    spool.drop(self, 1, "full")
    return nil, "the spool is full", "full"
  end
  local ids = self.ids
  local n = #ids + 1
  ids[n], self.lines[n] = id, line
  self.bytes = self.bytes + #line
  raw.count(self.name, "put", 1)
  if n >= GATHERED_MAX or self.bytes >= GATHERED_BYTES or self.full_at or not self.gathers then
    local ok, why = spool.write(self)
    if not ok and why ~= "busy" then
      return nil, "the event cannot be kept", why
    end
  end
  return id
end

--- What the sink is doing, for all workers: { name, to, waiting, bytes, oldest (seconds), set_aside, put, sent, failed,
--- dropped, error }. The counts begin with the host; error is the last failure of the receiver, while it lasts.
---@return moonmilter.event.Info
function Sink:info()
  local waiting, bytes, oldest, aside, failure = raw.state(self.number)
  local info = { name = self.name, to = self.to, waiting = waiting or 0, bytes = waiting and bytes or 0,
    set_aside = waiting and aside or 0, oldest = waiting and oldest and math.max(0, core.now() - oldest) or nil,
    error = failure }
  if not waiting then
    info.error = bytes
  end
  for _, result in ipairs { "put", "sent", "failed", "dropped" } do
    info[result] = raw.counted(self.name, result)
  end
  return info
end

return event
