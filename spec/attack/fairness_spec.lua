--- One connection that sends more than its share: the others are served meanwhile, and no worker is killed for it.
--- SLOW=1 also lets timers and tasks come due together.
-- Takes long.
local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local packet = mta_client.packet

--- A server that sends short lines as fast as they are taken.
local CHATTY = [[
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
while True:
    peer, _ = server.accept()
    try:
        while True:
            peer.sendall(b"line\r\n" * 20000)
    except OSError:
        peer.close()
]]

--- A handler that computes for `ms` milliseconds of wall time.
local BUSY = [[
local ffi = require "ffi"
ffi.cdef "struct fair_ts { long s, ns; }; int clock_gettime(int, struct fair_ts *);"
local ts = ffi.new "struct fair_ts"
local function now()
  ffi.C.clock_gettime(1, ts)
  return tonumber(ts.s) * 1e3 + tonumber(ts.ns) / 1e6
end
local function busy(ms)
  local stop = now() + ms
  while now() < stop do end
end
]]

--- Seconds of the slowest of `count` messages, sent one after another.
local function slowest(mta, count)
  local worst = 0
  for _ = 1, count do
    local began = host.now()
    assert.equal("continue", mta:message().kind)
    worst = math.max(worst, host.now() - began)
  end
  return worst
end

local function begin_message(mta)
  mta:envelope "data"
end

describe("a connection that sends thousands of packets at once", function()
  local h

  after_each(function() h:stop() end)

  it("does not hold up the others, and all its packets are answered in order", function()
    h = host.start { unix = true, scripts = { ["10-busy.lua"] = BUSY .. [[
      function on_header(ctx, name, value) if name == "X-Busy" then busy(1) end end
      function on_eom(ctx) ctx:add_header("X-Seen", tostring(#ctx.headers)) end]] },
      arguments = { "--cpu_session=60" } }
    local greedy, other = assert(h:connect(60)), assert(h:connect(60))
    other:envelope "helo"
    other.has_greeted = true
    begin_message(greedy)
    local fields, began = 800, host.now()
    assert(greedy.socket:send(packet("L", "X-Busy\0v\0"):rep(fields) .. packet "N" .. packet "E"))
    host.sleep(0.1)                     -- the host is in the middle of it
    local worst = slowest(other, 5)
    for i = 1, fields + 1 do assert.equal("continue", greedy:reply().kind, "reply " .. i) end
    local last, took = greedy:reply(), host.now() - began
    assert.is_true(worst < took / 2, ("a message of another session took %.2f of %.2f s"):format(worst, took))
    assert.equal("continue", last.kind)
    assert.matches("X%-Seen%z *" .. fields, last.edits[1])
    greedy:quit()
    other:quit()
  end)

  it("gets the worker killed neither alone nor as one of many", function()
    h = host.start { workers = 1, scripts = { ["10-busy.lua"] = BUSY .. [[
      function on_header(ctx, name, value) if name == "X-Busy" then busy(4) end end]] },
      arguments = { "--hang_timeout=1", "--cpu_session=60" } }
    local pid = h:workers()[1]
    local many = {}
    for i = 1, 4 do
      many[i] = assert(h:connect(60))
      begin_message(many[i])
    end
    -- 360 fields of 4 ms: together they take longer than hang_timeout
    local all = packet("L", "X-Busy\0v\0"):rep(90) .. packet "N" .. packet "E"
    for _, mta in ipairs(many) do assert(mta.socket:send(all)) end
    for _, mta in ipairs(many) do
      for _ = 1, 92 do assert.equal("continue", mta:reply().kind) end
      mta:quit()
    end
    assert.equal(pid, h:workers()[1])
    assert.is_nil(h:log():find("hang_timeout", 1, true))
  end)

  it("gets each end of message answered before the next message is looked at", function()
    h = host.start { unix = true, scripts = { ["10-large.lua"] = [[
      local body = ("0123456789abcdef"):rep(65536 * 4)
      function on_eom(ctx) ctx:replace_body(body) end]] } }
    local base = host.memory(h:pid())
    local greedy = assert(h:connect(60))
    greedy:envelope "helo"
    local one = packet("M", "<a@one.example>\0") .. packet("R", "<b@two.example>\0") .. packet "T" .. packet "N"
      .. packet "E"
    local messages = 60                 -- with 4 MB of new body each
    assert(greedy.socket:send(one:rep(messages)))
    host.sleep(1)
    local grown = host.memory(h:pid()) - base
    assert.is_true(grown < 60 * 1024, grown .. " KiB for answers that nobody reads")
    for i = 1, messages do
      for _ = 1, 4 do assert.equal("continue", greedy:reply().kind) end
      local last = greedy:reply()
      assert.equal("continue", last.kind)
      assert.equal(65, #last.edits, "message " .. i)
    end
    greedy:quit()
  end)

  it("is served on when a handler in the middle waits, or the peer aborts", function()
    h = host.start { unix = true, scripts = { ["10-wait.lua"] = BUSY .. [[
      local milter = require "moonmilter"
      function on_header(ctx, name, value)
        if name == "X-Busy" then busy(2) end
        if name == "X-Wait" then milter.sleep(0.05) end
      end
      function on_abort(ctx) milter.log.info "aborted here" end]] }, arguments = { "--cpu_session=60" } }
    local mta = assert(h:connect(60))
    begin_message(mta)
    local mixed = packet("L", "X-Busy\0v\0"):rep(9) .. packet("L", "X-Wait\0v\0")
    assert(mta.socket:send(mixed:rep(10) .. packet "N" .. packet "E"))
    for i = 1, 102 do assert.equal("continue", mta:reply().kind, "reply " .. i) end
    begin_message(mta)
    assert(mta.socket:send(packet("L", "X-Busy\0v\0"):rep(40) .. packet "A" .. packet("M", "<next@one.example>\0")))
    for i = 1, 41 do assert.equal("continue", mta:reply().kind, "reply " .. i) end
    assert.truthy(h:wait_log "aborted here")
    mta:quit()
  end)

  it("is named in the log when one turn of the loop took long", function()
    h = host.start { workers = 1, scripts = { ["10-busy.lua"] = BUSY .. [[
      function on_mail(ctx) busy(30) end
      function on_helo(ctx, name) if name:find "holds" then busy(500) end end]] },
      arguments = { "--cpu_session=60" } }
    local many, holds = {}, assert(h:connect(60))
    holds:greet()
    for i = 1, 30 do
      many[i] = assert(h:connect(60))
      many[i]:envelope "helo"
    end
    holds:send("H", "holds.example\0")  -- meanwhile all the others' packets come: they are served in one turn
    host.sleep(0.1)
    for _, mta in ipairs(many) do mta:send("M", "<a@one.example>\0") end
    for _, mta in ipairs(many) do
      assert.equal("continue", mta:reply().kind)
      mta:quit()
    end
    assert.truthy(h:wait_log "slow_turn")
    local line = h:log():match "[^\n]*slow_turn[^\n]*"
    assert.matches("session=%x+%-%x+", line)
    assert.matches("10%-busy%.lua", line)
    assert.matches("handler=on_mail", line)
    holds:quit()
  end)
end)

describe("a server that sends faster than a script reads", function()
  it("does not make the script hold its worker", function()
    local directory, port = process.directory(), process.free_port()
    local server = process.start({ "python3", "-c", CHATTY, tostring(port) }, { output = directory .. "/output",
      remove = directory, grace = 1 })
    assert(server:wait_text("listens", 5))
    local h = host.start { unix = true, scripts = { ["10-lines.lua"] = ([[
      local milter = require "moonmilter"
      local socket = require "moonmilter.socket"
      function on_mail(ctx)
        if not ctx.sender:find "greedy" then return end
        local s = assert(socket.connect { host = "127.0.0.1", port = %d })
        local stop = milter.now() + 2
        while milter.now() < stop do
          local line = assert(s:receive())
          if line ~= "line" then error("wrong line: " .. line) end
        end
        s:close()
      end]]):format(port) }, arguments = { "--cpu_session=60" } }
    local greedy, other = assert(h:connect(60)), assert(h:connect(60))
    greedy:envelope "helo"
    other:envelope "helo"
    greedy:send("M", "<greedy@one.example>\0")
    host.sleep(0.3)
    local worst = slowest(other, 5)
    assert.is_true(worst < 1.2, ("a message of another session took %.2f s"):format(worst))
    assert.equal("continue", greedy:reply().kind)
    assert.is_nil(h:log():find("script_error", 1, true))
    greedy:quit()
    other:quit()
    h:stop()
    server:stop()
  end)
end)

if not os.getenv "SLOW" then return end

describe("timers that fire together", function()
  local h

  after_each(function() h:stop() end)

  it("do not hold up other sessions", function()
    h = host.start { unix = true, scripts = { ["10-timers.lua"] = BUSY .. [[
      local milter = require "moonmilter"
      local at
      function on_mail(ctx)
        if not ctx.sender:find "greedy" then return end
        at = at or milter.now() + 1
        milter.sleep(at - milter.now())
        busy(30)
      end]] }, arguments = { "--cpu_session=60" } }
    local many, other = {}, assert(h:connect(60))
    other:envelope "helo"
    for i = 1, 80 do
      many[i] = assert(h:connect(60))
      many[i]:envelope "helo"
    end
    for _, mta in ipairs(many) do mta:send("M", "<greedy@one.example>\0") end
    host.sleep(1.1)                     -- 80 sessions have 30 ms of work each, all at the same moment
    local worst = slowest(other, 1)
    assert.is_true(worst < 1.6, ("a message of another session took %.2f s"):format(worst))
    for _, mta in ipairs(many) do
      assert.equal("continue", mta:reply().kind)
      mta:quit()
    end
    other:quit()
  end)
end)

describe("tasks that become ready together", function()
  local h

  after_each(function() h:stop() end)

  it("do not hold up other sessions", function()
    h = host.start { unix = true, scripts = { ["10-tasks.lua"] = BUSY .. [[
      local milter = require "moonmilter"
      function on_data(ctx)
        if not ctx.sender:find "greedy" then return end
        for i = 1, 700 do milter.spawn(busy, 3) end
        milter.sleep(3)
      end]] }, arguments = { "--cpu_session=60" } }
    local greedy, other = assert(h:connect(60)), assert(h:connect(60))
    other:envelope "helo"
    greedy:envelope "helo"
    greedy:mail "greedy@one.example"
    greedy:rcpt()
    greedy:send "T"
    host.sleep(0.1)
    local worst = slowest(other, 2)
    assert.is_true(worst < 1, ("a message of another session took %.2f s"):format(worst))
    greedy:close()
    other:quit()
  end)
end)
