--- A peer that makes a little progress for ever, and peers that take all the places: each step has an end, and each
--- listener and each MTA has its part.
-- Takes long.
local lfs = require "lfs"
local socket = require "socket"

local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"
local process = require "spec.support.process"

local packet = mta_client.packet
--- Reads 8 KB a second, through so small a window that the host's kernel has room for more every second or two.
local SLOW_READER = [[
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
s.connect(("127.0.0.1", int(sys.argv[1])))
s.sendall(bytes.fromhex(sys.argv[2]))
while s.recv(1024):
    time.sleep(0.125)
]]

local PASS = { ["10-pass.lua"] = "function on_eom(ctx) end" }

--- Each peer sends one byte of its bytes every half second, until all are closed; false when one was served to the end.
local function trickle(peers)
  local open = #peers
  for at = 1, 40 do
    for _, peer in ipairs(peers) do
      if not peer.is_closed then
        peer.mta.socket:settimeout(0)
        local _, why = peer.mta.socket:send(peer.bytes:sub(at, at))
        local _, at_end = peer.mta.socket:receive(1)
        peer.is_closed = why == "closed" or at_end == "closed"
        if peer.is_closed then open = open - 1 end
      end
    end
    if open == 0 then return true end
    host.sleep(0.5)
  end
  return false
end

local COMMAND = packet("M", "<someone-with-a-long-name@one.example>\0")

describe("a peer that trickles", function()
  local h, other

  after_each(function()
    h:stop()
    if other then other:stop() end
    other = nil
  end)

  it("gets no more time for each byte: to negotiate, for a packet, for a command", function()
    h = host.start { scripts = PASS, arguments = { "--negotiate_timeout=1", "--read_timeout=1" } }
    other = host.start { scripts = PASS, arguments = { "--idle_timeout=1", "--read_timeout=3600" } }
    local mute, in_packet, in_command = assert(h:dial()), assert(h:connect()), assert(other:connect())
    in_packet:envelope "helo"
    in_command:envelope "helo"
    assert.is_true(trickle {
      { mta = mute, bytes = packet("O", "\0\0\0\6\0\0\1\255\0\0\0\0") .. COMMAND },
      { mta = in_packet, bytes = COMMAND },
      { mta = in_command, bytes = COMMAND },
    })
    assert.truthy(h:wait_log "negotiate_timeout")
    assert.truthy(h:wait_log "read_timeout")
    assert.truthy(other:wait_log "idle_timeout")
    for _, mta in ipairs { mute, in_packet, in_command } do mta:close() end
  end)

  it("may take its time between packets, and send many that are each in time", function()
    h = host.start { unix = true, scripts = { ["10-wait.lua"] = [[
      local milter = require "moonmilter"
      function on_header(ctx, name) if name == "X-Wait" then milter.sleep(0.5) end end]] },
      arguments = { "--read_timeout=1" } }
    local mta = assert(h:connect())
    mta:envelope "data"
    -- while a handler waits, whole and half packets come
    assert(mta.socket:send(packet("L", "X-Wait\0v\0")))
    host.sleep(0.1)
    local field = packet("L", "X-Field\0v\0")
    assert(mta.socket:send(field:rep(2) .. field:sub(1, 9)))
    host.sleep(0.1)
    assert(mta.socket:send(field:sub(10)))
    for _ = 1, 4 do assert.equal("continue", mta:reply().kind) end
    -- pieces that never end where a packet ends: some packet is unfinished all the time
    local bytes = packet("L", "X-Long\0" .. ("v"):rep(40) .. "\0"):rep(30)
    local at, replies = 1, 0
    while at <= #bytes do
      assert(mta.socket:send(bytes:sub(at, at + 106)))
      at = at + 107
      host.sleep(0.1)
    end
    for _ = 1, 30 do
      assert.equal("continue", mta:reply().kind)
      replies = replies + 1
    end
    host.sleep(1.7)                     -- longer than read_timeout: no packet is unfinished
    assert.equal("continue", mta:eoh().kind)
    assert.equal("continue", mta:eom().kind)
    assert.equal(30, replies)
    mta:quit()
  end)

  it("must read an answer at a least rate", function()
    h = host.start { scripts = { ["10-large.lua"] = [[
      local body = ("0123456789abcdef"):rep(65536 * 10)
      function on_eom(ctx) ctx:replace_body(body) end]] }, arguments = { "--write_timeout=2" } }
    local directory = process.directory()
    local bytes = packet("O", "\0\0\0\6\0\0\1\255\0\0\0\0") .. packet("M", "<a@one.example>\0")
      .. packet("R", "<b@two.example>\0") .. packet "T" .. packet "N" .. packet "E"
    local slow = process.start({ "python3", "-c", SLOW_READER, tostring(h.port), (bytes:gsub(".", function(c)
      return ("%02x"):format(c:byte())
    end)) }, { output = directory .. "/output", remove = directory, grace = 1 })
    local steady = assert(h:connect())
    steady:envelope "body"
    steady:send "E"
    local began, read = host.now(), 0
    while host.now() - began < 12 and not h:log():find("write_timeout", 1, true) do
      if read < 10000000 then read = read + #(assert(steady.socket:receive(250000))) end
      host.sleep(0.125)
    end
    assert.truthy(h:wait_log "write_timeout")
    while read < 10000000 do read = read + #(assert(steady.socket:receive(250000))) end
    local _, closed = h:log():gsub("write_timeout", "")
    assert.equal(1, closed)
    steady:close()
    slow:stop()
  end)
end)

--- A host with two milters, each with its own socket.
local function two_milters(settings)
  local directory = process.directory()
  assert(lfs.mkdir(directory .. "/scripts"))
  process.run(("chown nobody %s 2>/dev/null || true"):format(directory))
  process.write_file(directory .. "/scripts/10-pass.lua", PASS["10-pass.lua"])
  local configuration = process.write_file(directory .. "/moonmilter.conf", ([[
    listen = "unix:%s/a.sock"
    scripts = "scripts"
    workers = 0
    milter.b = { listen = "unix:%s/b.sock" }
    %s]]):format(directory, directory, settings))
  local child = process.start({ host.program(), "run", "--owners=nobody", "-c", configuration }, {
    output = directory .. "/output", remove = directory, grace = 5, life = 60 })
  assert(child:wait_text("moonmilter: ready", 10))
  return child, directory .. "/a.sock", directory .. "/b.sock"
end

describe("listeners", function()
  it("keep room for each other: a flood at one does not lock the other out", function()
    local child, a, b = two_milters "max_sessions = 16"
    local open = {}
    for _ = 1, 14 do open[#open + 1] = assert(mta_client.connect(a)) end -- 2 of 16 are kept for the other
    local waiting = assert(mta_client.dial(a, 0.5))
    waiting:send("O", "\0\0\0\6\0\0\1\255\0\0\0\0")
    assert.is_nil((waiting:read()))
    assert.truthy(child:wait_text("kept for other listeners", 5))
    local others = { assert(mta_client.connect(b, 5)), assert(mta_client.connect(b, 5)) }
    for _, mta in ipairs(others) do assert.equal("continue", mta:message().kind) end
    open[1]:quit()                      -- a place of its own is free again
    waiting.socket:settimeout(5)
    assert.equal("O", (waiting:read()))
    for i = 2, #open do open[i]:quit() end
    for _, mta in ipairs(others) do mta:quit() end
    waiting:quit()
    child:stop()
  end)

  it("may use what the others have left over of max_sessions", function()
    local child, a, b = two_milters "max_sessions = 16"
    local open = { assert(mta_client.connect(b)), assert(mta_client.connect(b)) }
    for _ = 1, 14 do open[#open + 1] = assert(mta_client.connect(a)) end
    for _, mta in ipairs(open) do assert.equal("continue", mta:message().kind) end
    for _, mta in ipairs(open) do mta:quit() end
    child:stop()
  end)
end)

--- An address of this machine that is not loopback; nil: it has none.
local function own_address()
  local udp = socket.udp()
  local ok = udp:setpeername("192.0.2.1", 9)
  local address = ok and udp:getsockname()
  udp:close()
  return address and not address:match "^127%." and address ~= "0.0.0.0" and address or nil
end

describe("one MTA on another machine", function()
  it("has at most max_sessions_per_mta sessions; this machine may have more", function()
    local address = own_address()
    if not address then pending "this machine has no address but loopback ones" return end
    local h = host.start { scripts = PASS, unready = true, arguments = { "--max_sessions_per_mta=3", "-s",
      "inet:" .. process.free_port() .. "@" .. address } }
    assert(h.child:wait_text("moonmilter: ready", 10))
    local port = tonumber(h.argv[#h.argv - 1]:match ":(%d+)@")
    local function dial()
      local tcp = socket.tcp()
      tcp:settimeout(5)
      assert(tcp:connect(address, port))
      assert(tcp:send(packet("O", "\0\0\0\6\0\0\1\255\0\0\0\0")))
      return tcp, tcp:receive(5)
    end
    local open = {}
    for i = 1, 3 do
      local answer
      open[i], answer = dial()
      assert.truthy(answer)
    end
    local refused, answer = dial()
    assert.is_nil(answer)
    refused:close()
    assert.truthy(h:wait_log "max_sessions_per_mta")
    local here = {}
    for i = 1, 5 do here[i] = assert(h:connect()) end
    open[1]:close()
    local again
    assert.truthy(host.wait_until(3, function()
      again, answer = dial()
      return answer
    end, "the place is free again"))
    again:close()
    for i = 2, 3 do open[i]:close() end
    for _, mta in ipairs(here) do mta:quit() end
    h:stop()
  end)
end)
