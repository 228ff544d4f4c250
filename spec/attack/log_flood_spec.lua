--- A peer that makes the host log as fast as it can: the log stays small, and says what is missing.
--- SLOW=1 also waits for what the log says ten seconds later.
local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"

local packet = mta_client.packet
local SLOW = os.getenv "SLOW"
local LONG = ("x"):rep(3000)            -- of an address: a line of 3 KB for a packet of 3 KB

--- Sends `bytes` and reads whatever comes, until the host has answered a last macro-free command or closed.
local function pump(mta, bytes)
  mta.socket:settimeout(0)
  local at = 1
  local deadline = host.now() + 30
  while at <= #bytes and host.now() < deadline do
    local sent, why, partial = mta.socket:send(bytes, at)
    at = (sent or partial or at - 1) + 1
    if why == "closed" then break end
    mta.socket:receive(65536)
    local _, end_of_it = mta.socket:receive(1)
    if end_of_it == "closed" then break end
  end
  mta.socket:settimeout(20)
end

local function count(text, what) return select(2, text:gsub(what, "")) end

describe("a peer that floods the log", function()
  local h

  after_each(function() h:stop() end)

  it("with aborted messages and refused recipients is held back", function()
    h = host.start { unix = true, log = true, scripts = { ["10-rcpt.lua"] = [[
      function on_rcpt(ctx) return ctx:reject "no" end]] }, arguments = { "--log_rate=10K" } }
    local flood = assert(h:connect(60))
    flood:envelope "helo"
    local one = packet("M", "<" .. LONG .. "@one.example>\0") .. packet("R", "<" .. LONG .. "@two.example>\0"):rep(3)
      .. packet "A"
    pump(flood, one:rep(500))           -- more than 8 MB of lines
    host.sleep(0.5)
    assert.is_true(#h:log_file() < 640 * 1024, #h:log_file() .. " bytes of log for 10 KB a second")
    flood:close()
  end)

  it("leaves room for the outcomes of other messages", function()
    h = host.start { unix = true, log = true, scripts = { ["10-rcpt.lua"] = [[
      function on_rcpt(ctx, recipient) if #recipient > 1000 then return ctx:reject "no" end end]] },
      arguments = { "--log_rate=10K" } }
    local flood, other = assert(h:connect(60)), assert(h:connect(60))
    flood:envelope "helo"
    pump(flood, (packet("M", "<a@one.example>\0") .. packet("R", "<" .. LONG .. "@two.example>\0"):rep(3)
      .. packet "A"):rep(500))
    for i = 1, 100 do assert.equal("continue", other:message("Q" .. i).kind) end
    host.sleep(0.5)
    local text = h:log_file()
    for i = 1, 100 do assert.truthy(text:find("queue_id=Q" .. i .. " ", 1, true), "message " .. i) end
    assert.is_true(count(text, "info recipient ") < 200)
    flood:close()
    other:quit()
  end)

  it("with outcomes alone is held back, too, and how many of them is logged", function()
    h = host.start { unix = true, log = true, scripts = { ["10-pass.lua"] = "function on_eom(ctx) end" },
      arguments = { "--log_rate=2K" } }
    local flood = assert(h:connect(60))
    flood:envelope "helo"
    pump(flood, (packet("M", "<" .. LONG .. "@one.example>\0") .. packet("R", "<b@two.example>\0") .. packet "T"
      .. packet "N" .. packet "E"):rep(300))
    host.sleep(0.5)
    assert.is_true(#h:log_file() < 160 * 1024, #h:log_file() .. " bytes of log for 2 KB a second")
    flood:close()
    if not SLOW then return end
    local held_back, messages
    assert.truthy(host.wait_until(20, function()
      held_back, messages = h:log_file():match "log mta=\"this machine\" held_back=(%d+) messages=(%d+)"
      return held_back
    end, "the number of lines that are missing"))
    assert.equal(held_back, messages)
    assert.equal(300, tonumber(messages) + count(h:log_file(), "info message "))
  end)

  it("with warnings of ever new kinds gets a fixed number of lines", function()
    h = host.start { unix = true, log = true, scripts = { ["10-warn.lua"] = [[
      local milter = require "moonmilter"
      function on_mail(ctx, sender) milter.log.warn(sender) end]] }, arguments = { "--log_level=warn" } }
    local mta = assert(h:connect(60))
    mta:envelope "helo"
    for i = 1, 2000 do
      mta:command("M", ("<kind-%d@one.example>\0"):format(i))
      mta:abort()
    end
    mta:quit()
    local lines = count(h:log_file(), "warn script ")
    assert.is_true(lines >= 32 and lines <= 2 * 232, lines .. " lines")
    if not SLOW then return end
    assert.truthy(host.wait_until(20, function() return h:log_file():find("warnings of many kinds", 1, true) end,
      "the number of lines that are missing"))
  end)

  it("is not held back when log_rate is 0", function()
    h = host.start { unix = true, log = true, scripts = { ["10-pass.lua"] = "function on_eom(ctx) end" },
      arguments = { "--log_rate=0" } }
    local mta = assert(h:connect(60))
    mta:envelope "helo"
    pump(mta, (packet("M", "<" .. LONG .. "@one.example>\0") .. packet "A"):rep(400))
    assert.truthy(host.wait_until(10, function() return count(h:log_file(), "aborted=yes") == 400 end, "all lines"))
    mta:close()
  end)
end)
