-- Metrics of a host with workers: exact over workers, reloads and killed workers; the host's own.
local host = require "spec.support.host"
local page = require "spec.metric.page"
local posix_signal = require "posix.signal"
local process = require "spec.support.process"

local MESSAGES = os.getenv "SLOW" and 4000 or 200

local COUNTING = [[
  local metric = require "moonmilter.metric"
  local mails = metric.counter("mails", { by = { "sender" }, max_series = 5 })
  local sizes = metric.histogram("sizes", { buckets = { 1, 10 } })
  function on_mail(ctx, sender)
    mails:inc(sender)
    sizes:observe(4)
  end
  -- %d
]]

describe("with four workers", function()
  local h
  after_each(function() if h then h:stop() end h = nil end)

  -- MAIL over so many connections -> how many were answered, and how many were sent and not answered
  local function mails(count, between)
    local answered, open = 0, 0
    for i = 1, count do
      local mta = host.wait_until(10, function() return h:connect() end, "a connection")
      local sent = false
      local ok, reply = pcall(function()
        mta:envelope "helo"
        sent = true
        return mta:mail "ann@example.org"
      end)
      mta:close()
      if ok and reply.kind == "continue" then answered = answered + 1 elseif sent then open = open + 1 end
      if between then between(i) end
    end
    return answered, open
  end

  local COUNT = 'mails_total{milter="default",sender="ann@example.org"}'

  it("counts are exact over workers and reloads", function()
    h = host.start { scripts = { ["a.lua"] = COUNTING:format(0) }, workers = 4 }
    local answered = mails(MESSAGES, function(i)
      if i % 50 == 0 then
        h:write { ["a.lua"] = COUNTING:format(i) }
        assert.equal(0, select(2, h:ctl "reload"))
      end
    end)
    local samples = page.of(h)
    assert.equal(MESSAGES, answered)
    assert.equal(MESSAGES, samples[COUNT])
    assert.equal(MESSAGES, samples['sizes_count{milter="default"}'])
    assert.equal(4 * MESSAGES, samples['sizes_sum{milter="default"}'])
    assert.equal(MESSAGES, samples.moonmilter_sessions_total)
    assert.equal(MESSAGES / 50, samples['moonmilter_reloads_total{result="ok"}'])
  end)

  it("nothing that was answered is lost when workers are killed", function()
    h = host.start { scripts = { ["a.lua"] = COUNTING:format(0) }, workers = 4 }
    local killed = 0
    local answered, open = mails(MESSAGES, function(i)
      local pids = h:workers()
      if i % 20 == 0 and pids[2] then
        killed = killed + 1
        posix_signal.kill(pids[1 + i / 20 % #pids], posix_signal.SIGKILL)
      end
    end)
    local samples
    host.wait_until(10, function()
      samples = page.of(h)
      return samples.moonmilter_worker_deaths_total == killed
    end, "all deaths")
    assert.is_true(samples[COUNT] >= answered and samples[COUNT] <= answered + open,
      ("%d counted, %d answered, %d open"):format(samples[COUNT], answered, open))
    assert.is_true(killed >= 3, ("%d killed"):format(killed))
    assert.is_true(samples.moonmilter_sessions_total >= answered, ("%d sessions"):format(
      samples.moonmilter_sessions_total))
  end)

  it("a gauge is the sum of the workers that live, or one for the host", function()
    h = host.start { workers = 4, scripts = { ["a.lua"] = [[
      local metric = require "moonmilter.metric"
      local each = metric.gauge "each"
      local one = metric.gauge("one", { of = "host" })
      function on_load() each:set(10) one:set(10) end
      function on_mail() end ]] } }
    local samples = page.of(h)
    assert.equal(40, samples['each{milter="default"}'])
    assert.equal(10, samples['one{milter="default"}'])
    local pids = h:workers()
    posix_signal.kill(pids[1], posix_signal.SIGKILL)
    host.wait_until(10, function() return #h:workers() == 4 and h:workers()[4] ~= pids[4] end, "a new worker")
    host.wait_until(10, function() return (page.of(h))['each{milter="default"}'] == 40 end, "40 again")
  end)

  it("two workers that make a series at the same time make no second one on the page", function()
    h = host.start { workers = 4, scripts = { ["a.lua"] = [[
      local seen = require("moonmilter.metric").counter("seen", { by = { "i" }, max_series = 1000 })
      function on_mail() for i = 1, 1000 do seen:inc(i) end end ]] } }
    local connections = {}
    for i = 1, 8 do
      connections[i] = h:connect()
      connections[i]:envelope "helo"
    end
    for i = 1, 8 do connections[i]:send("M", "<ann@one.example>\0") end
    for i = 1, 8 do assert.equal("continue", connections[i]:reply().kind) connections[i]:close() end
    local samples = page.of(h)          -- reads no series twice
    local sum = 0
    for i = 1, 1000 do sum = sum + (samples[('seen_total{milter="default",i="%d"}'):format(i)] or 0) end
    sum = sum + (samples['seen_total{milter="default",i="other"}'] or 0)
    assert.equal(8000, sum)
  end)
end)

describe("the host's own metrics", function()
  local h
  after_each(function() if h then h:stop() end h = nil end)

  it("count messages by verdict and script, time stages, handlers and waits", function()
    h = host.start { workers = 2, scripts = { ["10-check.lua"] = [[
      local milter = require "moonmilter"
      function on_mail(ctx, sender)
        if sender == "bad@one.example" then return ctx:reject "no" end
      end
      function on_rcpt(ctx) milter.sleep(0.02) end
      function on_eom(ctx) if ctx.message.fails then error "x" end end ]] } }
    for _ = 1, 3 do
      local mta = h:connect()
      mta:message()
      mta:quit()
    end
    local mta = h:connect()
    mta:envelope "helo"
    mta:mail "bad@one.example"
    mta:quit()
    mta = h:connect()
    mta:envelope "rcpt"
    mta:close()
    local samples
    host.wait_until(10, function()
      samples = page.of(h)
      return samples['moonmilter_messages_total{milter="default",verdict="aborted",script=""}']
        and samples['moonmilter_stage_seconds_count{milter="default",stage="rcpt"}'] == 4
    end, "an aborted message, and times")
    assert.equal(3, samples['moonmilter_messages_total{milter="default",verdict="continue",script=""}'])
    assert.equal(1, samples['moonmilter_messages_total{milter="default",verdict="reject",script="10-check"}'])
    assert.equal(1, samples['moonmilter_messages_total{milter="default",verdict="aborted",script=""}'])
    assert.equal(5, samples['moonmilter_stage_seconds_count{milter="default",stage="mail"}'])
    assert.equal(4, samples['moonmilter_stage_seconds_count{milter="default",stage="rcpt"}'])
    assert.equal(4, samples['moonmilter_handler_seconds_count{milter="default",script="10-check",handler="on_rcpt"}'])
    assert.equal(4, samples['moonmilter_wait_seconds_count{milter="default",kind="sleep"}'])
    assert.equal(0, samples['moonmilter_stage_seconds_bucket{milter="default",stage="rcpt",le="0.01"}'])
    local slept = samples['moonmilter_wait_seconds_sum{milter="default",kind="sleep"}']
    assert.is_true(slept >= 0.078 and slept < 2, tostring(slept))
    local stage = samples['moonmilter_stage_seconds_sum{milter="default",stage="rcpt"}']
    assert.is_true(stage >= 0.078 and stage < 2, tostring(stage))
    assert.equal(2, samples.moonmilter_workers)
    assert.equal(1, samples.moonmilter_generation)
    host.wait_until(5, function() return (page.of(h)).moonmilter_lua_memory_bytes > 100000 end, "memory of Lua")
  end)
end)

describe("the time when a map was loaded", function()
  local h, path
  setup(function() path = process.directory() .. "/list" end)
  after_each(function() if h then h:stop() end h = nil end)
  teardown(function() process.run("rm -rf " .. path:match "^(.*)/") end)

  it("is in the metrics, for all workers once, and is that of the version that serves", function()
    process.write_file(path, "a 1\n")
    process.run("touch -d '1 hour ago' " .. path)
    h = host.start { workers = 2, scripts = { ["a.lua"] = ([[
      local list = require "moonmilter.map".open("texthash:%s", { settle = 0.05 })
      function on_mail(_, sender) list:get(sender) end
    ]]):format(path) } }
    h:wait_serving(2, 10)
    local name = ('moonmilter_map_loaded_timestamp_seconds{milter="default",map="texthash:%s"}'):format(path)
    local first = page.of(h)[name]
    assert.is_true(math.abs(os.time() - first) < 60)
    host.kill(h:workers()[1], "SIGKILL") -- the next worker has the same version: it is not loaded anew
    h:wait_serving(2, 10)
    assert.equal(first, page.of(h)[name])
    process.write_file(path, "a 1\nb 2\n")
    assert(process.wait_until(10, function() return page.of(h)[name] > first end, "the new version's time"))
  end)
end)
