--- Sessions that end at any moment of any wait on the outside world. They may leave nothing behind.
local fake_mta = require "spec.support.fake_mta"
local inside = require "spec.async.run"
local world = require "spec.async.world"

local ROUNDS = tonumber(os.getenv "STRESS_ROUNDS" or 1500)
local AT_ONCE = 30

local SCRIPT = [[
  local http = require "moonmilter.http"
  local redis = require "moonmilter.redis"
  local luasocket_http = require "socket.http"
  local r = redis.new{ port = P.redis, pool_size = 8, queue_timeout = 0.05 }
  local host = "127.0.0.1"
  local base = "http://127.0.0.1:" .. P.http
  local kept -- a socket that outlives its session in a variable
  local waits = {
    function() talk("silent 1"):receive() end,
    function() talk("drip 50"):receive "*a" end,
    function() socket.connect{ host = host, port = P.full } end,
    function() talk("sink 3000000"):send(("q"):rep(3000000)) end,
    function() talk("blast 3000000"):receive "*a" end,
    function() talk("silent 1"):starttls{ verify = false } end,
    function()
      local s = assert(socket.connect{ host = host, port = P.tls, tls = { ca = DIR .. "/ca.pem" } })
      talk("blast 500000", s):receive "*a"
    end,
    function()
      local s = socket.connect{ host = host, port = P.talk, pool = { size = 3, queue_timeout = 0.2 } }
      if s then
        talk("echo", s):send "x\n"
        s:receive()
        milter.sleep(math.random() / 50)
        s:setkeepalive()
      end
    end,
    function()
      local u = socket.udp()
      u:setpeername(host, P.udp_silent)
      u:send "x"
      u:receive()
    end,
    function() http.get(base .. "/slow?0.5") end,
    function() http.get(base .. "/endless") end,
    function() http.get(base .. "/redirect?302,/hello", { redirects = 2 }) end,
    function() http.get("https://127.0.0.1:" .. P.https .. "/hello", { ca = DIR .. "/ca.pem" }) end,
    function() luasocket_http.request(base .. "/slow?0.2") end,
    function() r:blpop("nothing", 0.2) end,
    function() r:incr "n" r:pipeline{ { "INCR", "n" }, { "GET", "n" } } end,
    function() r:with(function(conn) conn:call "PING" milter.sleep(0.01) conn:call "PING" end) end,
    function()
      local s = talk "echo"
      milter.spawn(function() s:receive() end)
      milter.spawn(function() milter.sleep(0.01) s:close() end)
      milter.sleep(0.02)
    end,
    function() kept = talk "echo" milter.sleep(0.01) end,
    function() if kept then kept:send "x" kept:receive() end end,
    function()
      milter.timeout(math.random() / 20, function() http.get(base .. "/drip") end)
    end,
    function()
      milter.any{ function() http.get(base .. "/slow?0.3") end, function() talk("silent 1"):receive() end,
        function() milter.sleep(math.random() / 30) end }
    end,
  }
  math.randomseed(7)
  function on_connect()
    if math.random() < 0.2 then
      milter.spawn(function() pcall(waits[math.random(#waits)]) end)
    end
  end
  function on_eom(ctx)
    for _ = 1, math.random(3) do
      pcall(waits[math.random(#waits)])
    end
    milter.sleep(0)
  end
]]

describe("sessions that end in the middle of anything", function()
  local servers, redis
  setup(function()
    servers, redis = world.servers(), world.redis()
    servers.redis = redis.port
  end)
  teardown(function()
    redis.close()
    servers.stop()
  end)

  local function begin(host)
    local mta = fake_mta.start { host = host }
    mta:begin()
    if mta:is_waiting() then
      return mta
    end
    mta:mail()
    mta:rcpt()
    mta:feed(fake_mta.packet("E", ""))
    return mta
  end

  local endings = {
    function(mta) mta:vanish() end,
    function(mta) mta:abort() end,
    function(mta) mta:quit() end,
    function() end,
  }

  it("leave no descriptor, no session and no crash", function()
    local before = world.descriptors()
    local host = assert(fake_mta.host { script = inside.prelude(servers) .. SCRIPT,
      set = { "stage_deadline=2", "eom_deadline=2" } })
    local open = {}
    math.randomseed(42)
    for _ = 1, ROUNDS do
      open[#open + 1] = begin(host)
      for _ = 1, math.random(0, 3) do
        host:turn(math.random() < 0.3 and 0.002 or 0)
      end
      if #open >= AT_ONCE then
        local mta = table.remove(open, math.random(#open))
        endings[math.random(#endings)](mta)
        mta:close()
      end
    end
    local during = world.descriptors()
    for _, mta in ipairs(open) do
      mta:close()
    end
    host:turn(0)
    local after = world.descriptors()
    assert.is_true(after <= before + 90, ("%d descriptors before, %d during, %d after"):format(before, during, after))
    for _, line in ipairs(host:log_lines "script_error") do
      assert.matches("deadline", line)
    end
    host:close()
    assert.equal(before, world.descriptors())
  end)
end)
