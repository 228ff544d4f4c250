-- A wait ends at once when the MTA aborts, goes away, or the host stops: first the operation waited for, then one error
-- inside, so that cleanup runs; after that the handler cannot wait any more.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"
local support = require "spec.async.support"
local lib = require("spec.support.testlib").load "moonmilter.h"

local HEAD = 'local milter = require "moonmilter"\n'
local SESSIONS = tonumber(os.getenv "STRESS") or 3000

local function notes(owner)
  local list = {}
  for _, line in ipairs(owner:log_lines "script") do
    list[#list + 1] = line:match 'text="([^"]*)"' or line:match "text=(%S+)"
  end
  return table.concat(list, ",")
end

describe("a handler that waits", function()
  local mta

  local WATCHED = HEAD .. [[
    function on_rcpt(ctx)
      local ok, err = pcall(milter.sleep, 60)
      milter.log.info("%s %s", tostring(milter.cancelled(err) ~= nil), tostring(err))
      milter.log.info("%s", tostring(pcall(milter.sleep, 0)))
      ctx:reject("swallowed")
    end
    function on_abort() milter.log.info("abort") end
    function on_close() milter.log.info("close") end
    function on_done() milter.log.info("done") end
  ]]

  before_each(function()
    mta = fake_mta.start { script = WATCHED }
    mta:begin()
    mta:mail()
    mta:feed(fake_mta.packet("R", "<a@b>\0"))
    mta.owner:turn(0.01)
  end)

  after_each(function()
    mta:close()
  end)

  it("is ended by an abort; the session goes on", function()
    mta:abort()
    assert.equal("true cancelled: abort,false,abort", notes(mta.owner))
    assert.same({}, mta:output())
    mta:mail()
    mta:feed(fake_mta.packet("R", "<a@b>\0"))
    assert.is_true(mta:is_waiting())
    assert.is_false(mta:is_finished())
  end)

  it("is ended by an abort that follows other packets", function()
    mta:feed(fake_mta.packet("R", "<c@d>\0") .. fake_mta.packet "T")
    mta:abort()
    assert.equal("true cancelled: abort,false,abort", notes(mta.owner))
  end)

  it("is ended by a lost connection", function()
    mta:vanish()
    assert.equal("true cancelled: disconnect,false,abort,close", notes(mta.owner))
    assert.is_true(mta:is_finished())
  end)

  it("is ended by a quit in the middle", function()
    mta:quit()
    assert.equal("true cancelled: disconnect,false,abort,close", notes(mta.owner))
  end)

  it("is not woken later by the operation it waited for", function()
    mta:abort()
    local before = notes(mta.owner)
    for _ = 1, 5 do
      mta.owner:turn(0.01)
    end
    assert.equal(before, notes(mta.owner))
  end)
end)

describe("every session cancelled at a random wait", function()
  local STRESS = HEAD .. [[
    local dns, process = require "moonmilter.dns", require "moonmilter.process"
    local balance, ended, alive = 0, {}, setmetatable({}, { __mode = "k" })
    local random = math.random

    -- A resource that must be released, whatever happens.
    local function held(fn)
      balance = balance + 1
      local ok, err = pcall(fn)
      balance = balance - 1
      if not ok then
        local cancelled = milter.cancelled(err)
        local reason = cancelled and cancelled.reason or tostring(err)
        ended[reason] = (ended[reason] or 0) + 1
        error(err, 0)
      end
    end

    local wait
    local kinds = {
      function() milter.sleep(random() / 200) end,
      function() milter.spawn(wait):wait() end,
      function() milter.spawn(wait):wait(random() / 500) end,
      function() milter.timeout(random() / 500, wait) end,
      function() milter.all { wait, function() milter.sleep(random() / 300) end } end,
      function() milter.any { wait, function() milter.sleep(random() / 300) end } end,
      function() local t = milter.spawn(wait) milter.sleep(random() / 500) t:cancel() end,
      function() coroutine.wrap(function() wait() end)() end,
      function() milter.at_end(function() end) milter.sleep(0) end,
      function() milter.spawn(wait) end,
      function() milter.sleep(1) end,   -- past every deadline
      function() dns.a("silent" .. random(50) .. ".example") end,
      function() dns.a("slow" .. random(50) .. ".example") end,
      function() dns.a("n" .. random(2000) .. ".bulk") end,
      function() process.run { argv = { "sleep", random() < 0.5 and "0" or "60" }, timeout = random() / 50 } end,
      function() dns.txt("big" .. random(50) .. ".example") end,
      function() dns.dnsbl("127.0.0.2", { "bl.example", "silent.example", "slow.example" }, { timeout = random() / 100 }) end,
    }
    function wait() held(function() kinds[random(#kinds)]() end) end

    local function handler(ctx)
      alive[coroutine.running()] = true
      held(function() wait() if random() < 0.05 then error("of the script", 0) end end)
      if random() < 0.1 then ctx:tempfail("enough") end
    end

    function on_unknown(ctx, line)
      if line ~= "report" then return handler(ctx) end
      collectgarbage() collectgarbage()
      local reasons, coroutines = {}, 0
      for _ in pairs(alive) do coroutines = coroutines + 1 end
      for reason in pairs(ended) do reasons[#reasons + 1] = reason end
      table.sort(reasons)
      ctx:tempfail(("%d|%s|%d|%d"):format(balance, table.concat(reasons, " "):gsub(":%s*", " "), coroutines,
        collectgarbage("count")))
    end

    on_connect, on_helo, on_mail, on_rcpt, on_data, on_eoh, on_body, on_eom = handler, handler, handler, handler, handler,
      handler, handler, handler
    on_done, on_abort, on_close = held and function() pcall(wait) end, function() pcall(wait) end, function() pcall(wait) end
  ]]

  local packet = fake_mta.packet
  local flow = {
    packet("C", "host\0" .. "4" .. "\1\2" .. "192.0.2.1\0"), packet("H", "host\0"), packet("M", "<a@b>\0"),
    packet("R", "<c@d>\0"), packet "T", packet("L", "Subject\0x\0"), packet "N", packet("B", "body"), packet("E", ""),
    packet("M", "<a@b>\0"), packet("R", "<c@d>\0"), packet "A", packet("U", "NOOP\0"), packet "K",
  }

  local function begin(host)
    local mta = fake_mta.start { host = host }
    mta.position = 0
    return mta
  end

  -- One more packet, or the end: by abort, quit, a broken packet, a lost connection, or the host closing it.
  local function step(mta)
    if mta:is_waiting() and math.random() < 0.97 then
      return true
    end
    local dice = math.random()
    if dice < 0.80 then
      mta.position = mta.position % #flow + 1
      mta:feed(flow[mta.position])
    elseif dice < 0.88 then
      mta:feed(packet "A")
    elseif dice < 0.91 then
      mta:feed(packet "Q")
    elseif dice < 0.94 then
      mta:vanish()
    elseif dice < 0.96 then
      mta:feed(packet("R", ""))
    else
      return false
    end
    lib.mm_feed_consume(mta.session, 1e6)
    return not mta:is_finished()
  end

  local function run(host, count)
    local open, begun = {}, 0
    while begun < count or #open > 0 do
      while #open < 40 and begun < count do
        open[#open + 1] = begin(host)
        begun = begun + 1
      end
      for _ = 1, 6 do
        local i = math.random(#open)
        if not step(open[i]) then
          open[i]:close()
          open[i] = open[#open]
          open[#open] = nil
          if #open == 0 then
            break
          end
        end
      end
      host:turn(math.random() < 0.3 and 0 or 0.002)
    end
    for _ = 1, 30 do
      host:turn(0.002)
    end
  end

  local function report(host)
    local mta = fake_mta.start { host = host }
    local reply = mta:unknown "report"
    mta:close()
    local balance, reasons, coroutines, kilobytes = reply.text:match "^451 4.7.1 (%d+)|([^|]*)|(%d+)|(%d+)$"
    return tonumber(balance), reasons, tonumber(coroutines), tonumber(kilobytes)
  end

  it("releases everything: cleanups, coroutines, memory, descriptors; " .. SESSIONS .. " times", function()
    math.randomseed(tonumber(os.getenv "SEED") or 7)
    local port = process.free_port()
    local server = support.name_server(port)
    finally(function() server:stop() end)
    local host = assert(fake_mta.host { script = STRESS, set = { "stage_deadline=0.01", "eom_deadline=0.01",
      "progress_every=0.004", "log_level=error", "dns_timeout=0.05", "dns_servers=127.0.0.1:" .. port } })
    local fds = support.descriptors()
    run(host, math.ceil(SESSIONS / 3))
    local balance, _, _, before = report(host)
    assert.equal(0, balance)
    run(host, SESSIONS)
    local reasons, coroutines, after
    balance, reasons, coroutines, after = report(host)
    assert.equal(0, balance)
    assert.equal("abort cancelled deadline disconnect ended of the script shutdown timeout", reasons)
    assert.is_true(coroutines <= 1000, coroutines .. " coroutines are kept")
    assert.is_true(after < before + 1500, ("%d KiB of Lua memory after %d before"):format(after, before))
    process.wait_until(5, function() -- killed programs may take some time
      host:turn(0.01)
      return support.descriptors() == fds
    end)
    assert.equal(fds, support.descriptors())
    host:close()
  end)
end)
