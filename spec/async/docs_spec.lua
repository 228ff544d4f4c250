-- A false doc is a bug: every script in the manual of the waiting modules runs against real servers.
local fake_mta = require "spec.support.fake_mta"
local world = require "spec.async.world"

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("the scripts in the manual", function()
  local servers, redis
  setup(function() servers, redis = world.servers(), world.redis() end)
  teardown(function()
    redis.close()
    servers.stop()
  end)

  -- The servers named in the manual, and those that replace them here.
  local function ours(code)
    return (code:gsub('host = "dict%.example", port = 2628', ('host = "127.0.0.1", port = %d'):format(servers.talk))
      :gsub('host = "tls%.example", port = 6514', ('host = "127.0.0.1", port = %d'):format(servers.tls))
      :gsub("/etc/moonmilter/ca%.pem", servers.directory .. "/ca.pem")
      :gsub('host = "redis%.example"', ('port = %d'):format(redis.port))
      :gsub("http://%w+%.example/", ("http://127.0.0.1:%d/"):format(servers.http)))
  end

  for _, page in ipairs { "socket", "http", "redis" } do
    local path = "docs/" .. page .. ".md"
    local number = 0
    for code in read_file(path):gmatch "```lua\n(.-)```" do
      number = number + 1
      it(("run: %s, number %d"):format(path, number), function()
        local mta = fake_mta.start { script = ours(code) }
        finally(function() mta:close() end)
        mta:begin()
        local reply = mta:message()
        assert.equal("", table.concat(mta:log_lines "script_error"))
        assert.is_true(reply.kind == "continue" or reply.kind == "none", reply.text or reply.kind)
        assert.same({}, mta:log_lines "script")
      end)
    end
  end
end)
