--- Load for the soak: many milter sessions at once from one process, each a coroutine that talks as
--- spec/support/mta_client.lua does, and an echo server for filters that use the network. Every answer is judged.
local socket = require "socket"

local mta_client = require "spec.support.mta_client"

local load = {}

-- ---- sockets that let the other coroutines go on ----

local waiting = { read = {}, write = {} } -- coroutine by socket

local function wait_for(what, raw)
  waiting[what][raw] = coroutine.running()
  coroutine.yield()
end

local cooperative = {}
cooperative.__index = cooperative

local function wrap(raw)
  raw:settimeout(0)
  return setmetatable({ raw = raw }, cooperative)
end

function cooperative:send(data)
  local at = 1
  while at <= #data do
    local last, why, partial = self.raw:send(data, at)
    if not last and why ~= "timeout" then return nil, why end
    at = (last or partial) + 1
    if at <= #data then wait_for("write", self.raw) end
  end
  return #data
end

function cooperative:receive(what)
  local text, why, partial = self.raw:receive(what)
  while not text do
    if why ~= "timeout" then return nil, why end
    wait_for("read", self.raw)
    text, why, partial = self.raw:receive(what, partial)
  end
  return text
end

function cooperative:setoption(...) return self.raw:setoption(...) end
function cooperative:close() return self.raw:close() end

local function run(fn, ...)
  local co = coroutine.create(fn)
  local ok, why = coroutine.resume(co, ...)
  if not ok then error(debug.traceback(co, why), 0) end
  return co
end

--- Resumes every coroutine that can go on, for at most so many seconds.
function load.turn(seconds)
  local readers, writers = {}, {}
  for raw in pairs(waiting.read) do readers[#readers + 1] = raw end
  for raw in pairs(waiting.write) do writers[#writers + 1] = raw end
  local readable, writable = socket.select(readers, writers, seconds)
  for what, list in pairs { read = readable, write = writable } do
    for _, raw in ipairs(list) do
      local co = waiting[what][raw]
      waiting[what][raw] = nil
      if co then
        local ok, why = coroutine.resume(co)
        if not ok then error(debug.traceback(co, why), 0) end
      end
    end
  end
end

local echoes = {} -- open connections of the echo server

--- Closes all connections to the echo server.
function load.hang_up_on_echoes()
  for connection in pairs(echoes) do connection:close() end
end

--- An echo server, line by line; returns its port.
function load.echo_server()
  local listener = assert(socket.bind("127.0.0.1", 0, 64))
  listener:settimeout(0)
  local _, port = listener:getsockname()
  run(function()
    while true do
      wait_for("read", listener)
      local raw = listener:accept()
      while raw do
        run(function(connection)
          echoes[connection] = true
          for line in function() return connection:receive "*l" end do connection:send(line .. "\n") end
          connection:close()
          echoes[connection] = nil
        end, wrap(raw))
        raw = listener:accept()
      end
    end
  end)
  return tonumber(port)
end

-- ---- messages ----

local function is_taken(edits)
  return function(reply) return reply.kind == "continue" and #reply.edits == edits end
end

local function says(text)
  return function(reply) return reply.kind == "reply" and reply.text:find(text, 1, true) == 1 and #reply.edits == 0 end
end

-- The frequency of a kind of message, and its expected result.
local KINDS = {
  { "pass", 20, is_taken(0) },
  { "edit", 15, is_taken(7) },
  { "newbody", 3, function(reply) return reply.kind == "continue" and #reply.edits >= 2 end },
  { "kept", 5, function(reply) return reply.kind == "continue" and #reply.edits >= 1 end },
  { "reject", 8, says "550 5.7.1 no, says the soak" },
  { "tempfail", 6, says "451 4.7.1 later, says the soak" },
  { "discard", 5, function(reply) return reply.kind == "discard" and #reply.edits == 0 end },
  { "raise", 4, says "451 4.3.0" },
  { "deep", 4, says "451 4.3.0" },
  { "sleep", 8, is_taken(1) },
  { "tasks", 5, is_taken(1) },
  { "echo", 6, is_taken(1) },
  { "program", 1, is_taken(1) },
  { "spin", 3 }, -- waits forever; the MTA goes away or aborts
  { "leave", 4 }, -- the MTA goes away somewhere
  { "abort", 4 },
  { "garbage", 1 },
}
local WEIGHT = 0
for _, kind in ipairs(KINDS) do WEIGHT = WEIGHT + kind[2] end

local function choose()
  local at = math.random(WEIGHT)
  for _, kind in ipairs(KINDS) do
    at = at - kind[2]
    if at <= 0 then return kind[1], kind[3] end
  end
end

local LINE = ("the quick brown fox jumps over the lazy dog "):rep(2) .. "\r\n"
local SIZES = { 1, 20, 200, 700 }

local function send_body(mta)
  local size = SIZES[math.random(#SIZES)]
  if math.random(40) == 1 then size = 4000 end -- 360 KB
  local body = LINE:rep(size)
  for at = 1, #body, 65535 do
    local reply = mta:body(body:sub(at, at + 65534))
    if reply.kind ~= "continue" then return reply end
  end
end

-- The commands of a message after MAIL, one by one; ends at the first that is not answered with "continue".
local STEPS = {
  function(mta) return mta:rcpt() end,
  function(mta)
    local reply = mta:rcpt "refused@two.example"
    if reply.kind ~= "reply" then return reply end
  end,
  function(mta) return mta:data() end,
  function(mta) return mta:header("Subject", "soak") end,
  function(mta) return mta:header("X-Old", ("old "):rep(20)) end,
  function(mta) return mta:header("Content-Type", "text/plain") end,
  function(mta) return mta:eoh() end,
  send_body,
}

-- A message up to a step; the reply that ended it earlier, or nil.
local function walk(mta, kind, till)
  mta:macros("M", { i = ("4Q%06x"):format(math.random(0xffffff)) })
  local reply = mta:command("M", ("<%s@one.example>\0SIZE=1000\0"):format(kind))
  for i = 1, till do
    if reply and reply.kind ~= "continue" then return reply end
    reply = STEPS[i](mta)
  end
  if reply and reply.kind ~= "continue" then return reply end
end

local function hang_up(mta)
  if math.random(2) == 1 then mta.socket:setoption("linger", { on = true, timeout = 0 }) end
  mta:close()
end

-- Unusual messages. True: the session goes on.
local ODD = {
  spin = function(mta)
    mta:command("M", "<spin@one.example>\0")
    mta:send("R", "<bob@two.example>\0")
    socket.sleep(0)
    if math.random(2) == 1 then
      mta:abort()
      return true
    end
    hang_up(mta)
  end,
  leave = function(mta)
    walk(mta, "pass", math.random(0, #STEPS))
    if math.random(2) == 1 then mta.socket:send(mta_client.packet("E"):sub(1, 3)) end
    hang_up(mta)
  end,
  abort = function(mta)
    walk(mta, "pass", math.random(0, #STEPS))
    mta:abort()
    return true
  end,
  garbage = function(mta)
    mta.socket:send("GET / HTTP/1.0\r\n\r\n")
    mta.socket:receive(1) -- until the filter hangs up
    mta:close()
  end,
}

local function one_session(counts, where)
  local mta = assert(mta_client.dial(where))
  mta.socket = wrap(mta.socket)
  mta:send("O", "\0\0\0\6\0\0\1\255\0\0\0\0")
  if mta:read() ~= "O" then error "no negotiation" end
  counts.sessions = counts.sessions + 1
  mta:greet()
  mta:helo()
  for _ = 1, math.random(4) do
    local kind, is_right = choose()
    counts.messages = counts.messages + 1
    if ODD[kind] then
      counts.odd = counts.odd + 1
      if not ODD[kind](mta) then return end
    else
      local reply = walk(mta, kind, #STEPS) or mta:command "E"
      if not is_right(reply) then
        counts.wrong = counts.wrong + 1
        counts.example = ("%s: %s %s, %d edits"):format(kind, reply.kind, reply.text or "", #reply.edits)
      end
      mta:abort() -- as Postfix does after each message
    end
  end
  mta:quit()
end

--- Keeps so many sessions going until `is_over()`.
---@return table counts  sessions, messages, odd, wrong, example, running
function load.start(where, sessions, is_over)
  local counts = { sessions = 0, messages = 0, odd = 0, wrong = 0, running = sessions }
  for _ = 1, sessions do
    run(function()
      while not is_over() do one_session(counts, where) end
      counts.running = counts.running - 1
    end)
  end
  return counts
end

return load
