local fake_mta = require "spec.support.fake_mta"

local HEAD = 'local milter = require "moonmilter"\nlocal timer = require "moonmilter.timer"\n'

local host

local function serve(source)
  host = assert(fake_mta.host { files = { ["10-a.lua"] = HEAD .. source } })
  return host
end

local function notes()
  local list = {}
  for _, line in ipairs(host:log_lines "script") do
    list[#list + 1] = line:match 'text="([^"]*)"' or line:match "text=(%S+)"
  end
  return list
end

local function turn(seconds)
  local ffi = require "ffi"
  pcall(ffi.cdef, "typedef struct { long sec, nsec; } mm_spec_time; int clock_gettime(int, void *);")
  local function now()
    local t = ffi.new "mm_spec_time[1]"
    ffi.C.clock_gettime(1, t)
    return tonumber(t[0].sec) + tonumber(t[0].nsec) / 1e9
  end
  local limit = now() + seconds
  while now() < limit do
    host:turn(0.005)
  end
end

describe("moonmilter.timer", function()
  after_each(function()
    host:close()
  end)

  it("calls once, later, with its arguments; the function may wait", function()
    serve [[ timer.at(0.02, function(a, b) milter.sleep(0.01) milter.log.info("%s %s", a, b) end, "one", 2) ]]
    assert.same({}, notes())
    turn(0.1)
    assert.same({ "one 2" }, notes())
  end)

  it("outlives the session that started it", function()
    serve [[
      function on_mail(ctx)
        timer.at(0.05, function() milter.log.info("later %s", tostring(pcall(function() return ctx.id end))) end)
      end
    ]]
    local mta = fake_mta.start { host = host }
    mta:begin()
    mta:mail()
    mta:close()
    turn(0.1)
    assert.same({ "later false" }, notes())
  end)

  it("calls repeatedly, without overlap, and goes on after an error", function()
    serve [[
      local running, count = 0, 0
      timer.every(0.01, function()
        running, count = running + 1, count + 1
        milter.sleep(0.015)
        milter.log.info("%d", running)
        running = running - 1
        if count == 1 then error("the first one fails") end
      end)
    ]]
    turn(0.3)
    local list = notes()
    assert.is_true(#list >= 3 and #list <= 14, #list .. " calls")
    for _, line in ipairs(list) do
      assert.is_true(line == "1" or line:find("the first one fails", 1, true) ~= nil, line)
    end
  end)

  it("spreads calls by jitter and begins after `first`", function()
    serve [[
      timer.every(60, function() milter.log.info("first") end, { first = 0.02 })
      timer.every(60, function() milter.log.info("never") end, { jitter = 10 })
    ]]
    turn(0.1)
    assert.same({ "first" }, notes())
  end)

  it("runs once per host in worker 0, which a host of one process is", function()
    serve [[ timer.every(0.01, function() milter.log.info("x") end, { per_host = true }) ]]
    turn(0.05)
    assert.is_true(#notes() >= 1)
  end)

  it("can be cancelled", function()
    serve [[
      local t = timer.at(0.02, function() milter.log.info("never") end)
      function on_load() milter.log.info("%s", tostring(t:cancel())) milter.log.info("%s", tostring(t:cancel())) end
    ]]
    turn(0.05)
    assert.same({ "true", "false" }, notes())
  end)

  it("stops when the next generation takes over; a running function may finish", function()
    serve [[
      timer.every(0.01, function() milter.log.info("old") end)
      timer.at(0.02, function() milter.sleep(0.5) milter.log.info("finished") end)
      function on_mail(ctx) end
    ]]
    local mta = fake_mta.start { host = host } -- keeps the old generation
    turn(0.04)
    host:write("10-a.lua", HEAD .. "")
    assert.equal(2, host:reload())
    local before = #notes()
    turn(0.7)
    local list = notes()
    assert.equal(before + 1, #list)
    assert.equal("finished", list[#list])
    mta:close()
  end)

  it("is ended when its generation is unloaded", function()
    serve [[
      timer.at(0.01, function()
        local ok, err = pcall(milter.sleep, 60)
        milter.log.info("%s", err.reason)
      end)
    ]]
    turn(0.03)
    host:write("10-a.lua", HEAD)
    host:reload()
    assert.same({ "shutdown" }, notes())
  end)

  it("never fires when its reload fails", function()
    serve ""
    host:write("10-a.lua", HEAD .. [[ timer.at(0.01, function() milter.log.info("never") end) error("no") ]])
    assert.equal(1, host:reload())
    turn(0.05)
    assert.same({}, notes())
  end)

  it("reports the caller's mistakes at the caller's line", function()
    local _, err = fake_mta.host { script = HEAD .. "timer.every(0, print)" }
    assert.matches("script.lua:3: timer.every: seconds are 0; give a number of at least 0.001", err)
    _, err = fake_mta.host { script = HEAD .. "timer.every(1, print, { jiter = 1 })" }
    assert.matches("timer.every: jiter", err)
    serve ""
  end)
end)
