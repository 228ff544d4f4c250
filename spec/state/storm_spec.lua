-- Many takes over workers that are reloaded and killed meanwhile: the sums are right. SLOW=1 for 100,000 takes.
local socket = require "socket"

local host = require "spec.support.host"

local EACH = 250 -- takes at each MAIL
local MAILS = os.getenv "SLOW" and 400 or 120
local TAKES = EACH * MAILS
local LIMIT = TAKES / 2
local CONNECTIONS = 8 -- that take at the same time

-- Each MAIL takes and counts many times, and is answered how many it got.
local TAKER = ([[
  local limit, store = require "moonmilter.limit", require "moonmilter.store"
  local ffi = require "ffi"
  ffi.cdef "int getpid(void);"
  local out = limit.new { name = "out", rate = "1/1d", burst = LIMIT }
  local tally = store.open "tally"
  require "moonmilter.log".info "'MARK=0'"
  function on_mail(ctx)
    local got, asked = 0, 0
    for _ = 1, EACH do
      local ok, state = out:take "everybody"
      assert(state.state == "shared", state.text)
      tally:incr(ok and "passed" or "refused")
      got = got + (ok and 1 or 0)
    end
    tally:incr("pid" .. ffi.C.getpid())
    return ctx:tempfail(451, "4.7.1", ("got %d"):format(got))
  end ]]):gsub("LIMIT", LIMIT):gsub("EACH", EACH)

describe(TAKES .. " takes", function()
  local h
  after_each(function() if h then h:stop() end end)

  local function connect()
    local mta = host.wait_until(10, function() return h:connect(10) end, "a connection")
    return mta:envelope("helo").kind == "continue" and mta or nil
  end

  -- Each sender is another one: a message that was there when several workers were killed would be refused unseen.
  -- Every fifth round each connection is a new one, so that old and new generations take side by side.
  local function send(connections, round)
    for i = 1, CONNECTIONS do
      if connections[i] and (round + i) % 5 == 0 then
        connections[i]:close()
        connections[i] = nil
      end
      connections[i] = connections[i] or connect()
      if connections[i] then connections[i]:send("M", ("<ann-%d-%d@one.example>\0"):format(round, i)) end
    end
  end

  -- -> units that were got; answers and lost ones are counted in sums
  local function read(connections, sums)
    for i = 1, CONNECTIONS do
      local reply = connections[i] and connections[i]:reply() or { kind = "closed" }
      local got = reply.kind == "reply" and reply.text:match "got (%d+)"
      if got then
        sums.got, sums.answers = sums.got + got, sums.answers + 1
      else
        assert.equal("closed", reply.kind, reply.text)
        sums.lost, connections[i] = sums.lost + 1, nil
      end
    end
  end

  -- Sends so many MAILs that all were answered; strike(round) while they take.
  local function storm(strike)
    local connections, sums = {}, { got = 0, answers = 0, lost = 0 }
    local round = 0
    while sums.answers < MAILS do
      round = round + 1
      send(connections, round)
      strike(round)
      read(connections, sums)
    end
    for _, mta in pairs(connections) do mta:close() end
    return sums
  end

  local function shared()
    local used = h:ctl("limit", "show", "out", "everybody"):match "full_in=(%d+)"
    local tally, workers = {}, 0
    for key, value in h:ctl("store", "dump", "tally"):gmatch "key=(%w+) ttl=never value=(%d+)" do
      tally[key] = tonumber(value)
      if key:find "^pid" then workers = workers + 1 end
    end
    local torn = tally.passed + tally.refused
    for key, value in pairs(tally) do
      if key:find "^pid" then torn = torn - EACH * value end
    end
    return { used = math.ceil(tonumber(used) / 86400), passed = tally.passed, refused = tally.refused,
      workers = workers, torn = torn }
  end

  local function reload(round)
    h:write { ["10-taker.lua"] = TAKER:gsub("MARK=%d+", "MARK=" .. round) }
    h:signal "SIGHUP"
    if round % 3 == 0 then -- the others come while it goes on
      host.wait_until(20, function() return h:log():find("'MARK=" .. round .. "'", 1, true) end, "generation " .. round)
    end
  end

  it("let pass exactly what the limit says in a storm of reloads", function()
    h = host.start { workers = 4, scripts = { ["10-taker.lua"] = TAKER }, life = 600 }
    local sums = storm(reload)
    local state = shared()
    assert.same({ LIMIT, LIMIT, LIMIT, 0 }, { sums.got, state.used, state.passed, sums.lost })
    assert.equal(EACH * sums.answers - LIMIT, state.refused)
    assert.equal(0, state.torn)
    assert.is_true(state.workers > 1, "one worker served all")
    assert.is_true(select(2, h:log():gsub("'MARK=", "")) >= 6, "hardly any reload")
  end)

  it("do so while workers are killed: what passed and what was taken differ by the dead at most", function()
    h = host.start { workers = 4, scripts = { ["10-taker.lua"] = TAKER }, life = 600 }
    local deaths = 0
    local sums = storm(function(round)
      local pids = h:workers()
      if round % 2 == 0 and #pids > 1 then
        socket.sleep(round % 7 / 3000)
        deaths = deaths + 1
        host.kill(pids[round % #pids + 1], "SIGKILL")
      end
      reload(round)
    end)
    local state = shared()
    local said = ("%d deaths, %d got, %d lost, %d passed, %d torn"):format(deaths, sums.got, sums.lost, state.passed,
      state.torn)
    assert.equal(LIMIT, state.used, said)
    assert.is_true(state.passed <= LIMIT and state.passed >= LIMIT - deaths, said)
    assert.is_true(sums.got <= state.passed and sums.got >= state.passed - EACH * sums.lost, said)
    assert.is_true(deaths >= 3 and sums.lost >= 1, said)
  end)
end)
