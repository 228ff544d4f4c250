--- Exploration: one test many times over, with the bytes cut at every place and the client giving up at every place.
local blame = require "moonmilter.testing.blame"
local library = require "moonmilter.testing.library"

local explore = {}

-- Numbers 1..n, all or `limit` of them spread evenly.
local function spread(n, limit)
  local list = {}
  local step = math.max(1, n / limit)
  for i = 0, math.min(n, limit) - 1 do
    list[#list + 1] = math.floor(i * step) + 1
  end
  return list
end

local function copy(options, changes)
  local merged = {}
  for key, v in pairs(options) do
    merged[key] = v
  end
  for key, v in pairs(changes) do
    merged[key] = v
  end
  return merged
end

-- The steps of a plain message, after any of which a client may change its mind.
local STEPS = {
  { "mail", function(mta) mta:mail "gone@example.org" end },
  { "rcpt", function(mta) mta:rcpt "nobody@example.com" end },
  { "second rcpt", function(mta) mta:rcpt "someone@example.com" end },
  { "data", function(mta) mta:data() end },
  { "header", function(mta) mta:header("Subject", "given up") end },
  { "eoh", function(mta) mta:eoh() end },
  { "body", function(mta) mta:body "given up\r\n" end },
}

-- How far a client gets that goes away before its message.
local GREETING = {
  { "the offer", function() end },
  { "connect", function(mta) mta:connect() end },
  { "helo", function(mta)
    mta:connect()
    if not mta.over then -- refused
      mta:helo()
    end
  end },
}

-- Plays the first n steps of a message that is then given up. False when the filter ended it earlier.
local function play(mta, n)
  for i = 1, n do
    if not mta.sender or (STEPS[i][1] == "data" and mta.taken == 0) then
      if i > 1 then
        return false
      end
    end
    STEPS[i][2](mta)
  end
  return mta.sender ~= nil
end

local function run(start, options, changes, what, fn, before)
  local mta = start(copy(options, changes))
  mta.explore_before = before and function(self)
    self.explore_before = nil
    before(self)
  end
  local ok, err = xpcall(function()
    fn(mta)
    if mta.session ~= nil then
      mta:quit()
    end
  end, blame.traced)
  local position = mta.position
  mta:close()
  if ok then
    return position
  end
  if type(err) == "string" then
    error(("explored: %s: %s"):format(what, err), 0)
  elseif type(err) == "table" and err.message then -- an assertion of luassert
    err.message = ("explored: %s: %s"):format(what, tostring(err.message))
  end
  error(err, 0)
end

--- Runs fn(mta) with packets whole, byte by byte, cut in two at every byte, after a message given up at every stage and
--- beside a session that goes away at every stage; each time with a new host.
---@param limit integer  cuts at most
---@return integer  how often fn was run
function explore.run(start, options, fn, limit)
  local runs = 2
  local size = run(start, options, { split = "whole" }, "whole packets", fn)
  run(start, options, { split = 1 }, "byte by byte", fn)
  for _, at in ipairs(spread(size - 1, limit)) do
    run(start, options, { split = { at = at } }, ("cut after byte %d of %d"):format(at, size), fn)
    runs = runs + 1
  end
  for _, step in ipairs(GREETING) do
    run(start, options, {}, "beside a session that vanished after " .. step[1], fn, function(mta)
      local other = mta:another()
      step[2](other)
      other:vanish()
    end)
    runs = runs + 1
  end
  for n = 1, #STEPS do
    run(start, options, {}, "after a message given up after " .. STEPS[n][1], fn, function(mta)
      if play(mta, n) then
        mta:abort()
      end
      library.player_count_from(mta.player.pointer, 0)
    end)
    run(start, options, {}, "beside a session that vanished after " .. STEPS[n][1], fn, function(mta)
      local other = mta:another()
      if play(other, n) or not library.feed_is_finished(other.session) then
        other:vanish()
      end
    end)
    runs = runs + 2
  end
  return runs
end

return explore
