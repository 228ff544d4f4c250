--- Several hosts in this process that share one Redis: the test kit's fake, here on the side of the test, with a clock
--- of its own.
local library = require "moonmilter.testing.library"
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

--- count hosts with the same script. skew: the server's clock is so many seconds fast. While world.fail is set, to
--- { nil, text, code }, the server answers so.
function hosts.start(count, script, options)
  local now, skew = 1700000000, options and options.skew or 0
  local world = setmetatable({ server = hosts.server(now + skew), mtas = {} }, World)
  local function answer(...)
    if world.asked then world.asked() end
    if world.fail then return unpack(world.fail, 1, 3) end
    return world.server.answer(...)
  end
  for i = 1, count do
    world.mtas[i] = testing.start { now = now, script = script, redis = answer }
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

function World.now() return library.testing_now() end

-- All hosts of this process have one clock: the first lets it pass, in short steps, and then each runs what is due.
local STEP, STEPS_MAX = 0.05, 400 -- seconds; of one call

function World:pass(seconds)
  local steps = math.max(1, math.min(math.floor(seconds / STEP + 0.5), STEPS_MAX))
  for _ = 1, steps do
    self.server.clock = self.server.clock + seconds / steps
    self.mtas[1]:pass(seconds / steps)
    for i = 2, #self.mtas do
      self.mtas[i].owner:turn(0)
      self.mtas[i].owner:turn(0)
    end
  end
end

function World:close()
  for _, mta in ipairs(self.mtas) do
    mta:close()
  end
end

return hosts
