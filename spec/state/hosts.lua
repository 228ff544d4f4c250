--- Several hosts in this process that share one Redis: the test kit's fake, here on the side of the test, with a clock
--- of its own.
local testing = require "moonmilter.testing"

local hosts = {}

local FAKE = "lua/moonmilter/testing/fake/redis.lua"

--- A server: server:call(command, ...), server.answer for the test kit's `redis`, server.clock, server.calls (EVAL).
function hosts.server(now)
  local server = { clock = now, calls = 0 }
  local fake = assert(loadfile(FAKE))
  local milter = { now = function() return server.clock end }
  setfenv(fake, setmetatable({ require = function() return milter end }, { __index = _G }))
  local redis = fake(function(_, what)
    if what == "keys of the test" then return {} end
    return nil, nil, "not of the test"
  end, function(_, _, ...) return ... end).new()
  function server.answer(command, ...)
    server.calls = server.calls + (command == "EVAL" and 1 or 0)
    return redis:call(command, ...)
  end
  function server.call(_, ...) return redis:call(...) end
  return server
end

local World = {}
World.__index = World

--- count hosts with the same script. skew: their clocks differ by so many seconds at most. While world.fail is set, to
--- { nil, text, code }, the server answers so.
function hosts.start(count, script, options)
  local now = 1700000000
  local world = setmetatable({ server = hosts.server(now), mtas = {} }, World)
  local function answer(...)
    if world.fail then return unpack(world.fail, 1, 3) end
    return world.server.answer(...)
  end
  for i = 1, count do
    local skew = (i * 7919 % 201 - 100) / 100 * (options and options.skew or 0)
    world.mtas[i] = testing.start { now = now + skew, script = script, redis = answer }
  end
  return world
end

--- MAIL on one of them.
function World:mail(number, sender)
  local mta = self.mtas[number]
  local reply = mta:mail(sender)
  if reply.verdict == "continue" then mta:abort() end
  return reply
end

function World:pass(seconds)
  self.server.clock = self.server.clock + seconds
  for _, mta in ipairs(self.mtas) do
    mta:pass(seconds)
  end
end

function World:close()
  for _, mta in ipairs(self.mtas) do
    mta:close()
  end
end

return hosts
