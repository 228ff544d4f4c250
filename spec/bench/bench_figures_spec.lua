-- `moonmilter bench`: its figures are true, measured at a filter with known times.
local cjson = require "cjson"

local program = os.getenv "MOONMILTER" or "build/moonmilter"

-- Every tenth message waits at its end.
local SCRIPT = [[
  local milter = require "moonmilter"
  local count = 0
  function on_rcpt(ctx) end
  function on_eom(ctx)
    count = count + 1
    if count % 10 == 0 then milter.sleep(0.2) end
    ctx:add_header("X-Count", count)
  end ]]

local function shell(command)
  local pipe = io.popen(command .. "; echo \"status $?\"")
  local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return output, tonumber(status)
end

describe("moonmilter bench", function()
  local directory, pid, to

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert.equal(0, os.execute(("mkdir %s && chmod 755 %s"):format(directory, directory)))
    local file = io.open(directory .. "/filter.lua", "w")
    file:write(SCRIPT)
    file:close()
    to = "unix:" .. directory .. "/milter.sock"
    pid = io.popen(("%s run --workers=1 -s %s %s/filter.lua >%s/log 2>&1 & echo $!"):format(program, to, directory,
      directory)):read "*n"
    shell(("for i in $(seq 100); do test -S %s/milter.sock && break; sleep 0.05; done"):format(directory))
  end)

  teardown(function()
    shell(("kill %d; while kill -0 %d 2>/dev/null; do sleep 0.02; done; rm -rf %s"):format(pid, pid, directory))
  end)

  local function bench(arguments, around)
    local command = ("%s bench --warmup 0 --to %s %s"):format(program, to, arguments)
    return shell(around and around:format(command) or command)
  end

  local function figures(arguments)
    local output, status = bench(arguments .. " --json")
    return cjson.decode(output), status
  end

  it("counts messages, sessions, recipients and edits, and orders the times of each stage", function()
    local json, status = figures "--messages 100 --connections 5 --messages-per-connection 10 --recipients 3 --edits 1"
    assert.equal(0, status)
    assert.equal(100, json.messages)
    assert.equal(100, json.edits)
    assert.equal(0, json.wrong)
    assert.equal(0, json.lost)
    assert.is_true(json.sessions >= 10)
    assert.equal(300, json.stages.rcpt.count)
    assert.equal(100, json.stages.eom.count)
    assert.equal(0, json.stages.helo.count) -- declined by the filter
    for _, times in ipairs { json.message, json.session, json.stages.rcpt, json.stages.eom } do
      assert.is_true(0 < times.p50 and times.p50 <= times.p90 and times.p90 <= times.p99 and times.p99 <= times.max)
    end
    assert.is_true(json.stages.eom.max >= 200000 and json.stages.eom.p99 >= 195000) -- the sleep, in microseconds
    assert.is_true(json.stages.rcpt.p50 < json.stages.eom.p99)
    assert.is_true(json.message.max >= json.stages.eom.max)
  end)

  it("prints the figures as a table", function()
    local output, status = bench "--messages 20"
    assert.equal(0, status)
    assert.matches("\n20 messages in [%d.]+ s: %d+ messages/s; %d+ sessions, 0 aborted, 20 edits", output)
    assert.matches("wrong answers: 0; lost connections: 0\n", output, 1, true)
    assert.matches("milliseconds +count +p50 +p90 +p99 +max\n", output)
    assert.matches("\n  message +20 +[%d.]+ +[%d.]+ +[%d.]+ +[%d.]+\n", output)
    assert.matches("\n  eom +20 +[%d.]+ +[%d.]+ +[%d.]+ +[%d.]+\n", output)
    assert.matches("\nthis bench: CPU [%d.]+ us a message\n", output)
  end)

  it("reports CPU and memory of the process tree", function()
    local json = figures("--messages 200 --pid " .. pid)
    assert.equal(pid, json.process.pid)
    assert.is_true(json.process.processes >= 2) -- the master and its worker
    assert.is_true(json.process.cpu_us > 0 and json.process.cpu_us_per_message > 0)
    assert.is_true(json.process.rss_bytes > json.process.pss_bytes and json.process.pss_bytes > 1000000)
  end)

  it("names wrong answers, and exits with 76", function()
    local output, status = bench "--messages 10 --recipients 2 --expect rcpt=reject 2>&1"
    assert.equal(76, status)
    assert.matches("wrong answers: 20; lost connections: 0", output, 1, true)
    assert.matches("rcpt: answered 'c'", output, 1, true)
  end)

  it("keeps a rate, and counts a message's time from the moment it was due", function()
    local json = figures "--connections 1 --rate 40 --messages 40"
    assert.is_true(json.seconds >= 0.95, json.seconds) -- never faster than the given rate
    json = figures "--connections 1 --rate 1000 --messages 40 --messages-per-connection 0"
    assert.is_true(json.message.max >= 700000) -- four sleeps in a row, and 40 ms in which all were due
    assert.is_true(json.stages.eom.max < json.message.max)
  end)

  it("shows a progress line on a terminal, and none in a pipe", function()
    if select(2, shell "command -v script >/dev/null") ~= 0 then
      pending "needs script(1)"
      return
    end
    local rate = "--rate 20 --messages 30 2>&1"
    assert.matches("\r +1 s +%d+ messages", (bench(rate, "script -qec '%s' /dev/null")))
    assert.is_nil((bench(rate)):find "\r")
  end)
end)
