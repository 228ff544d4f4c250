-- A peer that makes the host hold as much as it can, against memory_held: the worker stays below it, others are served,
-- the attacker is answered with a temporary failure or read no further, and everything is given back.
-- Takes long.
local host = require "spec.support.host"
local mta_client = require "spec.support.mta_client"

local MARGIN = 24 * 1024 -- kilobytes: the program itself grows a little, and glibc keeps some of what is freed

local PASS = { ["10-pass.lua"] = [[
  function on_connect() end
  function on_rcpt() end
  function on_header() end
  function on_eom(ctx) ctx:add_header("X-Passed", "yes") end
]] }

local function start(held, options)
  options = options or {}
  options.scripts = options.scripts or PASS
  options.unix = true -- the kernel takes few bytes of what a peer does not read
  options.arguments = { ("--memory_held=%dM"):format(held), unpack(options.arguments or {}) }
  return host.start(options)
end

local function status(h) return h:status()[1] end

--- A stranger's message goes through, with its edit.
local function assert_served(h)
  local mta = assert(h:connect())
  local reply = mta:message()
  assert.equal("continue", reply.kind)
  assert.equal(1, #reply.edits)
  mta:quit()
end

--- What the worker held at once, in bytes, stayed below the limit, but for what one read brings.
local function assert_bounded(h, held, rss_before)
  assert.is_true(status(h).held_peak <= (held + 1) * 2 ^ 20, "held_peak " .. status(h).held_peak)
  if host.program():find "asan" then return end -- AddressSanitizer keeps what is freed
  local grown = host.memory(h:pid()) - rss_before
  assert.is_true(grown < held * 1024 + MARGIN, grown .. " kB more")
end

local function assert_given_back(h)
  host.wait_until(10, function() return status(h).held_bytes == 0 end,
    function() return "held_bytes to be 0, not " .. status(h).held_bytes end)
end

describe("the memory of a worker", function()
  local h

  after_each(function() h:stop() end)

  it("is not filled by one session's recipients, which are refused one by one", function()
    h = start(8)
    local before, refused = host.memory(h:pid()), 0
    local mta = assert(h:connect())
    mta:envelope "mail"
    local parameters = ("x"):rep(60000)
    for i = 1, 170 do
      local kind = mta:command("R", ("<%d@two.example>\0%s\0"):format(i, parameters)).kind
      refused = refused + (kind == "tempfail" and 1 or 0)
    end
    assert.is_true(refused > 70, refused .. " refused")
    assert_served(h)
    assert_bounded(h, 8, before)
    assert.truthy(h:wait_log "limit=memory_held")
    assert.equal("tempfail", mta:header("Subject", "one fact too many").kind)
    host.wait_until(10, function() return status(h).held_bytes < 200 end, "what the message held to be given back")
    mta:quit()
    assert_given_back(h)
    assert.equal(1, select(2, h:log():gsub("limit=memory_held", "")))
    if os.getenv "SLOW" then assert.truthy(h:wait_log("there is room again", 20)) end
  end)

  it("is not filled by new bodies that nobody reads", function()
    h = start(32, { scripts = { ["10-replace.lua"] = [[
      local text = ("x"):rep(4 * 2 ^ 20)
      function on_eom(ctx)
        if ctx.sender:find "evil" then ctx:replace_body(text) end
        ctx:add_header("X-Passed", "yes")
      end
    ]] } })
    assert_served(h)
    local before, open = host.memory(h:pid()), {}
    for i = 1, 20 do
      open[i] = assert(h:connect())
      open[i]:greet()
      open[i]:helo()
      open[i]:mail "evil@one.example"
      open[i]:rcpt()
      open[i]:send "E"
    end
    assert.truthy(h:wait_log "memory_held: this worker holds")
    assert_served(h)
    assert_bounded(h, 32, before)
    local kinds = {}
    for i = 1, 20 do
      local kind = open[i]:reply().kind
      kinds[kind] = (kinds[kind] or 0) + 1
      open[i]:quit()
    end
    assert.is_true(kinds.continue >= 4 and kinds.reply >= 10, -- a reply: 451 4.3.0
      ("%s accepted, %s refused"):format(kinds.continue, kinds.reply))
    assert_given_back(h)
  end)

  it("is not filled by many sessions that each hold macros, a header and a part of a packet", function()
    h = start(8)
    local before, open = host.memory(h:pid()), {}
    local part = mta_client.packet("L", "X-Long\0" .. ("v"):rep(60000) .. "\0"):sub(1, 50000)
    local kinds = {}
    for i = 1, 150 do
      local mta = assert(h:connect())
      open[i] = mta
      mta.socket:settimeout(5)
      for stage in ("CM"):gmatch "." do mta:macros(stage, { j = ("m"):rep(30000) }) end
      local reply
      for _, step in ipairs { "greet", "mail", "rcpt", "header" } do
        reply = step == "header" and mta:header("X-One", ("v"):rep(20000)) or mta[step](mta)
        if reply.kind ~= "continue" then break end
      end
      kinds[reply.kind] = (kinds[reply.kind] or 0) + 1
      mta.socket:settimeout(0)
      mta.socket:send(part)
    end
    host.sleep(0.3)
    assert.is_true(kinds.continue > 10 and kinds.tempfail > 10,
      ("%s accepted, %s refused"):format(kinds.continue, kinds.tempfail))
    assert_served(h)
    assert_bounded(h, 8, before)
    assert.truthy(h:wait_log "limit=memory_held")
    if os.getenv "SLOW" then
      assert.truthy(h:wait_log("no memory for the rest of its packet", 20))
      assert_served(h)
    end
    for _, mta in ipairs(open) do mta:close() end
    assert_given_back(h)
  end)

  it("is not filled by what is sent ahead of handlers that wait", function()
    h = start(16, { scripts = { ["10-wait.lua"] = [[
      local milter = require "moonmilter"
      function on_helo(ctx, name) if name == "evil.example" then milter.sleep(3) end end
      function on_unknown() end
      function on_eom(ctx) ctx:add_header("X-Passed", "yes") end
    ]] } })
    local before, open, sent = host.memory(h:pid()), {}, 0
    local ahead = mta_client.packet("U", ("x"):rep(60000) .. "\0"):rep(16)
    for i = 1, 40 do
      open[i] = assert(h:connect())
      open[i]:greet()
      open[i]:send("H", "evil.example\0")
      open[i].socket:settimeout(0)
    end
    local at, till = {}, host.now() + 1.5
    while host.now() < till do
      for i, mta in ipairs(open) do
        local last, why, partial = mta.socket:send(ahead, (at[i] or 0) + 1)
        at[i] = last or (why == "timeout" and partial) or #ahead
      end
      host.sleep(0.02)
    end
    for i = 1, 40 do sent = sent + at[i] end
    assert_served(h)
    assert_bounded(h, 16, before)
    assert.is_true(status(h).held_bytes > 8 * 2 ^ 20 and sent < 40 * #ahead * 0.9)
    for _, mta in ipairs(open) do mta:close() end
    assert_given_back(h)
  end)

  it("is shown by ctl status and ctl sessions, as JSON, too", function()
    h = start(64)
    local mta = assert(h:connect())
    mta:macros("C", { j = ("m"):rep(60000) })
    mta:envelope "mail"
    host.wait_until(5, function() return status(h).held_bytes > 60000 end)
    local row, session = status(h), h:sessions()[1]
    assert.is_true(session.held > 60000 and row.held_largest >= session.held and row.held_peak >= row.held_bytes)
    local json = h:ctl("--json", "status")
    for _, key in ipairs { "held_bytes", "held_peak", "held_largest" } do
      assert.truthy(json:match('"' .. key .. '": ?%d+'), json)
    end
    mta:quit()
    assert_given_back(h)
  end)
end)

describe("an answer from a server or a program", function()
  local world = require "spec.async.world"
  local h, servers

  before_each(function() servers = world.servers() end)
  after_each(function()
    h:stop()
    servers.stop()
  end)

  it("that does not fit ends with the code \"memory\" or \"limit\", and the message goes on", function()
    h = start(8, { scripts = { ["10-ask.lua"] = ([[
      local http, process = require "moonmilter.http", require "moonmilter.process"
      local socket = require "moonmilter.socket"
      function on_eom(ctx)
        local _, _, code = http.get("http://127.0.0.1:%d/big?20000000", { max_body = 30000000 })
        ctx:add_header("X-HTTP", tostring(code))
        local ok, _, why = process.run{ argv = { "head", "-c", "9000000", "/dev/zero" },
          max_output = 10000000 }
        ctx:add_header("X-Process", tostring(ok and ok.status) .. " " .. tostring(why))
      end
    ]]):format(servers.http) } })
    local before = host.memory(h:pid())
    local mta = assert(h:connect())
    local reply = mta:message()
    assert.equal("continue", reply.kind)
    local text = table.concat(reply.edits, "\n"):gsub("%z", ":")
    assert.matches("X%-HTTP: ?memory:", text)
    assert.not_matches("X%-Process: ?0", text)
    mta:quit()
    assert_bounded(h, 8, before)
    assert_given_back(h)
  end)
end)
