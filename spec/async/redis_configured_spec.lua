-- redis = { … } of moonmilter.conf: one server for every script that names none.
local host = require "spec.support.host"
local inside = require "spec.async.run"
local process = require "spec.support.process"
local world = require "spec.async.world"

local function check(lines, script)
  local directory = process.directory()
  finally(function() process.run("rm -rf " .. directory) end)
  process.write_file(directory .. "/a.lua", script or "function on_mail() end")
  process.write_file(directory .. "/moonmilter.conf", 'listen = "unix:' .. directory .. '/m.sock" scripts = "a.lua"\n'
    .. lines)
  local pipe = io.popen(("%s check -c %s/moonmilter.conf 2>&1; echo status $?"):format(host.program(), directory))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("redis = { … } of the configuration", function()
  local redis
  setup(function() redis = world.redis "--requirepass secret" end)
  teardown(function() redis.close() end)

  it("is the server of redis.new(), stores and limits that name none", function()
    assert.equal("PONG|true|1|shared|true|refused", inside.body({ redis = redis.port }, [[
      local redis = require "moonmilter.redis"
      local s = require "moonmilter.store".open("c", { engine = "redis" })
      local l = require "moonmilter.limit".new { name = "c", rate = "9/h", shared = "hosts" }
      local other = redis.new { port = 1 }
      return show(redis.new():ping(), redis.new() == redis.new(), s:incr "k", select(2, l:take "k").state,
        redis.new():get "moonmilter:store:c:k" == "1", select(3, other:ping()))
    ]], { set = { ('redis={ port = %d, password = "secret" }'):format(redis.port) } }))
  end)

  it("is checked whether or not a script uses it", function()
    assert.matches('moonmilter.conf: redis: unknown option "hots"; did you mean "host"', check 'redis = { hots = "a" }')
    assert.matches("status 78", check 'redis = { sentinels = { "a" } }')
    assert.matches("all scripts load.*status 0", check 'redis = { sentinels = { "a" }, master = "m" }')
    assert.matches("redis: .a. does not fit; write a table", check 'redis = "a"')
  end)

  it("may be that of one milter", function()
    local text = check([[redis = { host = "a" }
      milter.out = { listen = "inet:10999@127.0.0.1", redis = { cluster = { "b:7000" } } }]], [[
      local r = require "moonmilter.redis".new()
      function on_load(host) require "moonmilter.log".warn("%s uses %s", host.name, r.name) end
      function on_mail() end]])
    assert.matches("default uses a:6379", text)
    assert.matches("out uses b:7000", text)
  end)
end)
