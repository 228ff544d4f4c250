-- Sinks of events of a host with two workers, and a real web server that takes them, fails, and is gone: what arrives,
-- what comes twice, what the log says. SLOW=1 for more.
-- Takes long.
local process = require "spec.support.process"
local posix_signal = require "posix.signal"
local sinks = require "spec.event.sinks"
local socket = require "socket"

local ROUNDS = os.getenv "SLOW" and 30 or 4

describe("events for a web server", function()
  local run
  before_each(function() run = sinks.new() end)
  after_each(function() run:close() end)

  local function no_secrets(...)
    for _, text in ipairs { ... } do
      assert.is_nil(text:find("TOKENSECRET", 1, true) or text:find("QUERYSECRET", 1, true)
        or text:find("PATHSECRET", 1, true), text)
    end
  end

  it("arrive over TLS, with the token, and are told of once by both workers", function()
    run:receive()
    run:start()
    assert.equal(100, run:put(100, "a"))
    assert.equal(100, run:put(100, "b"))
    run:wait_taken(200)
    local requests = process.read_file(run.directory .. "/requests")
    assert.matches("^200 %d+ /PATHSECRET%?key=QUERYSECRET Bearer TOKENSECRET\n", requests)
    local row = run:wait_events("an empty spool", function(row) return row.waiting == 0 end)
    assert.same({ "s", 200, 200, 0, 0, 0 }, { row.sink, row.put, row.sent, row.failed, row.dropped, row.set_aside })
    assert.equal(0, (select(2, run:taken())))
    assert.matches('moonmilter_events_total{milter="default",sink="s",result="sent"} 200', (run.h:ctl "metrics"))
  end)

  it("wait while it fails, whatever it says, and are in the log once; secrets are not", function()
    run:receive()
    run:start()
    run:mode "503"
    assert.equal(50, run:put(50, "a"))
    local _, text = run:wait_events("the error", function(_, text) return text:find("HTTP 503", 1, true) end)
    for _, words in ipairs { "401", "301", "slow 4", "half", "500", "429 1" } do
      local had = #process.read_file(run.directory .. "/requests")
      run:mode(words)
      process.wait_until(20, function()
        return #process.read_file(run.directory .. "/requests") > had
      end, words)
    end
    no_secrets(text, run.h:log(), (run:events()) and run.h:ctl "events")
    run:mode "ok"
    assert(process.wait_until(20, function() return run.h:log():find("takes events again", 1, true) end, "the log"))
    assert.equal(50, (run:taken()))
    local log = run.h:log()
    assert.equal(1, select(2, log:gsub("events wait, and more are kept", "")), log)
    assert.matches('event sink s: https://localhost:%d+: HTTP 503: %*%*%*%?%*%*%* Bearer %*%*%*', log)
    run:wait_events("no error", function(row, all) return row.waiting == 0 and not all:find "HTTP" end)
  end)

  it("are not sent before the time of Retry-After", function()
    run:receive()
    run:start()
    run:mode "503 3"
    local function requests() return process.read_file(run.directory .. "/requests") or "" end
    assert.equal(1, run:put(1, "a"))
    assert(process.wait_until(10, function() return requests() ~= "" end))
    local began = os.time()
    run:mode "ok"
    run:wait_taken(1)
    assert.is_true(os.time() - began >= 2)
  end)

  it("that it does not take are set aside, one by one, and the others arrive", function()
    run:receive()
    run:start()
    run:mode "poison"
    run:put(100, "a")
    run:put(1, "poison")
    run:put(100, "b")
    run:put(1, "poison-2")
    run:put(50, "c")
    run:wait_taken(250)
    local row = run:wait_events("all", function(row) return row.waiting == 0 and row.set_aside == 2 end)
    assert.same({ 2, 250, 252 }, { row.failed, row.sent, row.put })
    local aside = run.h:ctl("store", "dump", "event.s", "f:")
    assert.matches('"tag":"poison"', (aside:gsub("\\x22", '"')))
    assert.matches("refuses the event [%x-]+, which is set aside: HTTP 400", run.h:log())
    no_secrets(run.h:log())
  end)

  it("are kept when it refuses all of them: that is no fault of theirs", function()
    run:receive()
    run:start()
    run:mode "400"
    run:put(300, "a")
    run:wait_events("the error", function(_, text) return text:find("refuses every event", 1, true) end)
    run:mode "ok"
    run:wait_taken(290)
    local row = run:wait_events("all", function(row) return row.waiting == 0 end)
    assert.equal(300, row.sent + row.set_aside)
    assert.equal(10, row.set_aside)
  end)

  it("come twice when its answer is lost, with the same ids", function()
    run:receive()
    run:start()
    run:mode "cut"
    run:put(20, "a")
    assert(process.wait_until(20, function()
      return (process.read_file(run.directory .. "/requests") or ""):find "cut"
    end, "a request"))
    run:mode "ok"
    run:wait_taken(20)
    run:wait_events("all", function(row) return row.waiting == 0 end)
    local count, doubles = run:taken() -- raises when an event has two ids
    assert.equal(20, count)
    assert.is_true(doubles >= 20, tostring(doubles))
  end)

  it("survive reloads, killed workers, a killed host and a restart while it is down", function()
    run:start()
    local kept = 0
    for round = 1, ROUNDS do
      kept = kept + run:put(50, "r" .. round)
      run.h:write(run:script())
      assert.equal(0, select(2, run.h:ctl "reload"))
    end
    kept = kept + run:put(50, "w")
    run:wait_events("all", function(row) return row.waiting == kept end) -- a tenth of a second
    for _, pid in ipairs(run.h:workers()) do posix_signal.kill(pid, posix_signal.SIGKILL) end
    kept = kept + run:put(50, "after-worker")
    run:wait_events("all", function(row) return row.waiting == kept end)
    run:kill_host()
    run:start()
    kept = kept + run:put(50, "after-host")
    run:stop_host() -- SIGTERM: what was put just now is written
    run:start()
    assert.equal(kept, run:events().waiting)
    run:receive()
    run:wait_taken(kept)
    assert.equal(kept, (run:taken()))
  end)

  it("go on when the worker that sends is killed in the middle of a delivery", function()
    run:receive()
    run:start()
    run:mode "slow 0.2"
    local kept = 0
    for round = 1, ROUNDS do
      kept = kept + run:put(50, "r" .. round)
      run:wait_events("all", function(row) return row.put == kept end)
      socket.sleep(0.3)
      for _, pid in ipairs(run.h:workers()) do posix_signal.kill(pid, posix_signal.SIGKILL) end
      run.h:wait_serving(2, 20)
    end
    run:mode "ok"
    run:wait_taken(kept)
    run:wait_events("all", function(row) return row.waiting == 0 end)
    assert.equal(kept, (run:taken()))
  end)

  it("beyond max are dropped, counted, and in the log once; below it none is lost", function()
    local web = ('to = "http://localhost:%d/in", max = "1MB"'):format(run.port)
    run:start(web, { filler = 1000 })
    local put, kept = 0, 0
    for round = 1, 20 do
      put, kept = put + 100, kept + run:put(100, "r" .. round)
      if round % 5 == 0 then socket.sleep(0.2) end
    end
    local row = run:wait_events("the drops", function(row) return row.waiting + row.dropped == put end)
    assert.is_true(row.dropped > 0 and row.waiting >= 300, ("%d waiting"):format(row.waiting))
    local log = run.h:log()
    local lines = select(2, log:gsub("events are dropped: its spool has", ""))
    assert.is_true(lines >= 1 and lines <= 2, log) -- one for each worker
    run:receive "plain"
    run:wait_taken(row.waiting)
    assert.equal(5, run:put(5, "again"))
    run:wait_taken(row.waiting + 5)
    run:wait_events("all", function(now) return now.waiting == 0 end)
    assert.equal(row.waiting + 5, (run:taken()))
    assert.is_true(kept >= row.waiting)
  end)

  it("are all there: a hundred thousand, over reloads and a restart", function()
    local all = os.getenv "SLOW" and 1000000 or 100000
    run:receive()
    run:start()
    local kept = 0
    for round = 1, 100 do
      kept = kept + run:put(all / 100, "r" .. round)
      if round % 25 == 0 then
        run.h:write(run:script())
        assert.equal(0, select(2, run.h:ctl "reload"))
      elseif round == 60 then
        run:stop_host()
        run:start()
      end
    end
    assert.equal(all, kept)
    run:wait_taken(all, 60)
    assert.equal(all, (run:taken()))
  end)
end)
