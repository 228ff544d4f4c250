--- A limit of several hosts for which no message waits. A host counts by itself, and its flusher tells the server a few
--- times a second what it has let pass; the reply is what all others have. It decides on the last reply and its own
--- count since. What passed too much is a debt on the server, so that the rate holds in the long run.
local core = require "moonmilter.core"
local flusher = require "moonmilter.state.flusher"
local gcra = require "moonmilter.state.gcra"
local tasks = require "moonmilter.runtime.tasks"

local soon = {}

local Soon = {}
Soon.__index = Soon

--- of: { name, interval, capacity, server, share }; nil and what is wrong
function soon.new(of)
  local text
  of.flusher, text = flusher.of(of.server)
  if not of.flusher then
    return nil, text
  end
  of.prefix = of.name .. ":" -- of keys on this host
  return setmetatable(of, Soon)
end

local function state_of(ok, remaining, retry_after, crossed)
  return ok, { remaining = remaining, retry_after = retry_after, crossed = crossed, state = "shared" }
end

-- The host's own count decides. The reason is known in the worker that tells the server.
local function without_server(self, key, count, text, code)
  return self.share:decide(key, count, self.server:trouble(gcra.PREFIX .. self.prefix .. key) or text, code)
end

--- Takes count units, or none. Does not wait.
---@return boolean ok, moonmilter.limit.State state
function Soon:take(key, count)
  local ok, remaining, retry_after, crossed = self.flusher:take(self.prefix .. key, count, self.interval, self.capacity)
  if ok == nil then
    return without_server(self, key, count, remaining, retry_after)
  elseif ok then
    self.share:note(key, count)
  end
  return state_of(ok, remaining, retry_after, crossed)
end

--- What take(key, count) would answer.
---@return boolean ok, moonmilter.limit.State state
function Soon:look(key, count)
  local ok, remaining, retry_after, crossed = self.flusher:take(self.prefix .. key, count, self.interval, self.capacity,
    true)
  if ok == nil then
    return without_server(self, key, 0, remaining, retry_after)
  end
  return state_of(ok, remaining, retry_after, crossed)
end

--- Gives back what take() has taken unless the message passes.
function Soon:hold(key, count, state)
  local is_shared = state.state == "shared"
  self.flusher.held = self.flusher.held + 1
  tasks.at_end(function()
    self.flusher.held = self.flusher.held - 1
    if core.has_passed() then
      return
    elseif is_shared then
      self:take(key, -count)
    else
      self.share:note(key, -count)
    end
  end)
end

--- Fills a bucket. Waits for the server.
function Soon:reset(key)
  self.share:reset(key)
  return self.flusher:fill(self.prefix .. key)
end

return soon
