--- A host's own part of a limit that several hosts share: what it lets pass is counted here, too, so that it knows its
--- own count when the server fails. The part is one of `hosts` equal ones, and at least one unit.
local core = require "moonmilter.core"

local share = {}

local Share = {}
Share.__index = Share

--- name: of the limit. interval and capacity: of the whole limit. on_down: "local", "open" or "tempfail".
function share.new(name, interval, capacity, hosts, on_down)
  -- no limit can have this name
  local take, fill = core.limit.new(name .. "/own:", interval * hosts, math.max(1, capacity / hosts))
  return setmetatable({ name = name, take = take, fill = fill, interval = interval * hosts, on_down = on_down }, Share)
end

--- Counts what passed, or was given back.
function Share:note(key, count)
  self.take(key, count)
end

function Share:reset(key)
  return self.fill(key)
end

--- What take() answers while the server fails.
---@return boolean ok, moonmilter.limit.State state
function Share:decide(key, count, text, code)
  local ok, remaining, retry_after, crossed
  if self.on_down == "local" then
    ok, remaining, retry_after, crossed = self.take(key, count)
  end
  core.metric.fallback(self.name, ok ~= nil and "local" or "down")
  if ok ~= nil then
    return ok, { remaining = remaining, retry_after = retry_after, crossed = crossed, state = "local", text = text,
      code = code }
  end
  -- the host's own table cannot be used either: a limit that is down stops no mail unless it is told to
  return self.on_down ~= "tempfail", { remaining = 0, retry_after = self.interval, crossed = false, state = "down",
    text = text, code = code }
end

return share
