--- Messages of channels, on a connection of their own. While none come, the server is asked for a sign of life, so that
--- a dead one is noticed.
local core = require "moonmilter.core"
local resp = require "moonmilter.net.resp"

local subscription = {}

local now = core.now

local QUIET = 15 -- seconds without a byte until the server is asked
local EARLY_MAX = 1000 -- messages that come while channels are still being confirmed

---@class moonmilter.redis.Subscription
local Subscription = {}
Subscription.__index = Subscription

local KINDS = { message = true, pmessage = true }

-- What receive() returns for a reply; nil: it is none of ours.
local function read_message(reply)
  if type(reply) ~= "table" or not KINDS[reply[1]] then
    return nil
  elseif reply[1] == "pmessage" then
    return { reply[3], reply[4], reply[2] }
  end
  return { reply[2], reply[3] }
end

local function close(self, text, code)
  self:close()
  return nil, ("redis %s: %s"):format(self.link.node.name, text), code
end

-- One reply. The first byte may take so many seconds, the rest as long as a reply.
local function read(self, seconds)
  local link = self.link
  link.sock:settimeout(math.max(seconds, 0), "t")
  local first, text, _, code = link.sock:receive(1)
  if not first then
    return nil, text, code
  end
  self.heard_at, self.asked_at = now(), nil
  link.deadline = now() + link.node.options.timeout
  local begun = { bytes = link.reader.bytes, line = link.reader.line }
  function begun.line()
    begun.line = link.reader.line
    local line, why, why_code = link.reader.line()
    return line and first .. line, why, why_code
  end
  local ok, reply, reply_code = resp.read(begun)
  if not ok then
    self:close() -- what follows is out of step
    return nil, reply, reply_code == "timeout" and "closed" or reply_code
  end
  return reply
end

-- Waits for a reply, and asks a quiet server meanwhile.
local function next_reply(self, ends)
  local patience = self.link.node.options.timeout
  while true do
    local wakes = self.asked_at and self.asked_at + patience or self.heard_at + QUIET
    local reply, text, code = read(self, math.min(ends, wakes) - now())
    if reply or code ~= "timeout" then
      return reply, text, code
    elseif now() >= ends then
      return nil, text, code
    elseif self.asked_at then
      return nil, ("no sign of life within %g s"):format(patience), "closed"
    end
    local sent, why, why_code = self.link:send("*1\r\n$4\r\nPING\r\n", patience)
    if not sent then
      return nil, why, why_code == "timeout" and "closed" or why_code
    end
    self.asked_at = now()
  end
end

--- The next message. Waits for seconds at most; without seconds until the handler's deadline.
---@param seconds number?
---@return string? channel   nil: none came
---@return string message_or_text
---@return string? pattern_or_code  the pattern that matched; a code: "timeout" (the subscription goes on), "closed", …
function Subscription:receive(seconds)
  if seconds ~= nil and (type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds) then
    error(("receive: %s is no number of seconds; give 0 or more, or nothing"):format(tostring(seconds)), 2)
  end
  local early = self.early[self.early_at]
  if early then
    self.early[self.early_at], self.early_at = nil, self.early_at + 1
    return early[1], early[2], early[3]
  end
  local ends = seconds and now() + seconds or math.huge
  while not self.link.is_closed do
    local reply, text, code = next_reply(self, ends)
    local message = read_message(reply)
    if message then
      return message[1], message[2], message[3]
    elseif code == "timeout" then
      return nil, ("redis %s: no message within %g s"):format(self.link.node.name, seconds), code
    elseif resp.is_error(reply) then
      return close(self, reply.err, reply.code)
    elseif reply == nil then
      return close(self, text, code)
    end
  end
  return nil, "closed", "closed"
end

--- Ends it. Messages that have not been received are lost.
function Subscription:close()
  if not self.link.is_closed then
    self.link:close()
  end
end

--- Subscribes on a link, which is then its own.
---@param verb "SUBSCRIBE"|"PSUBSCRIBE"
---@return moonmilter.redis.Subscription? subscription, string? text, string? code
function subscription.open(link, verb, channels)
  local self = setmetatable({ link = link, early = {}, early_at = 1, heard_at = now() }, Subscription)
  local bytes = {}
  resp.encode({ verb, unpack(channels) }, bytes, 1)
  local patience = link.node.options.timeout
  local sent, text, code = link:send(table.concat(bytes), patience)
  if not sent then
    return nil, text, code
  end
  local ends, missing = now() + patience, #channels
  while missing > 0 do
    local reply
    reply, text, code = next_reply(self, ends)
    if reply == nil or resp.is_error(reply) then
      return close(self, reply and reply.err or text, reply and reply.code or code)
    end
    local message = read_message(reply)
    if message and #self.early < EARLY_MAX then
      self.early[#self.early + 1] = message
    elseif message then
      return close(self, "too many messages before the channels were confirmed", "limit")
    else
      missing = missing - 1
    end
  end
  return self
end

return subscription
