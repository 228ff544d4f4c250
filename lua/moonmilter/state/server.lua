--- A Redis server that hosts share, and whether it can be used now. A call that cannot be answered fails at once while
--- the server is known to be down or does not answer others; a task asks in the background until it is back, so that
--- no message waits for a server twice.
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local redis = require "moonmilter.redis"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local server = {}

local now, sleep = core.now, wait.wrap(core.sleep)

local FIRST_DELAY, LONGEST_DELAY = 0.1, 3 -- seconds between two questions to a server that is down
local POLL = 0.2 -- seconds, as long as the client itself leaves the server alone
local PROBE = "moonmilter:probe" -- writing it shows that there is memory and that this is no replica

local OF_THE_CALL = { ERR = true, WRONGTYPE = true, NOSCRIPT = true } -- errors of a key or a script, not of the server

local Server = {}
Server.__index = Server

local known = setmetatable({}, { __mode = "k" }) -- client -> Server

--- The server of a client, or of the options for redis.new.
---@param given moonmilter.Redis|moonmilter.redis.Options|nil
---@return table? server
---@return string? text  what is wrong with the options
function server.of(given)
  local ok, client = true, given
  if not given or not getmetatable(given) then
    ok, client = pcall(redis.new, given)
  end
  if not ok then
    return nil, (tostring(client):gsub("^[^:]+:%d+: ", ""))
  end
  if not known[client] then
    local options = rawget(client, "options")
    known[client] = setmetatable({
      client = client, name = rawget(client, "name") or "redis",
      patience = (options and options.timeout or 1) / 2, -- seconds without any reply before others are held back
      waiting = 0, heard_at = 0,
    }, Server)
  end
  return known[client]
end

-- ---- down, and back ----

local function pause(seconds)
  sleep(seconds * (0.75 + math.random() / 2))
end

local function ask_until_back(self)
  local delay = FIRST_DELAY
  while true do
    pause(delay)
    local reply, text, code = self.client:call("SET", PROBE, "1", "PX", "1000")
    if reply then
      break
    end
    self.why = text or self.why
    delay = code == "down" and POLL or math.min(2 * delay, LONGEST_DELAY)
  end
  log.info("redis %s: is used again", self.name)
  self.why = nil
end

local function go_down(self, text)
  if self.why then
    return
  end
  self.why = text
  local ok, err = pcall(tasks.detach, "generation", ask_until_back, self)
  if not ok then -- no room for a task: the next call asks the server again
    self.why = nil
    text = ("%s (%s)"):format(text, tostring(err))
  end
  log.warn("redis %s: %s; it is not used until it answers", self.name, text)
end

local function is_of_the_call(text, code)
  return code == "busy" or code == "reply" and OF_THE_CALL[text:match "^%u+"]
end

local function finish(self, ok, reply, text, code)
  self.waiting = self.waiting - 1
  if not ok then
    error(reply, 0)
  end
  if text == nil or code == "reply" then
    self.heard_at = now()
  end
  if reply == nil and text and not is_of_the_call(text, code) then
    go_down(self, text)
  end
  return reply, text, code
end

--- Why the server is not used now; nil: it is.
---@return string?
function Server:trouble()
  if self.why then
    return self.why
  end
  if self.waiting > 0 and now() - self.heard_at > self.patience then
    return ("no reply for %g s"):format(self.patience)
  end
end

--- Calls a method of the client: server:use("call", "GET", key).
---@return any reply, string? text, string? code
function Server:use(method, ...)
  local why = self:trouble()
  if why then
    return nil, ("redis %s: %s"):format(self.name, why), "down"
  end
  if self.waiting == 0 then
    self.heard_at = now()
  end
  self.waiting = self.waiting + 1
  return finish(self, pcall(self.client[method], self.client, ...))
end

--- A script that treats its keys one by one and replies with a list that has an entry for each, over many keys.
---@param source string
---@param keys string[]
---@param arguments string[]?  as many for each key
---@return any[] replies        by the number of the key; nil where the call failed
---@return table<integer, { text: string, code: string }> failures  by the number of the key
function Server:each_key(source, keys, arguments)
  local replies, text, code = self:use("script", source, keys, arguments)
  if replies then
    return replies, {}
  end
  local failures, failure = {}, { text = text, code = code }
  for i = 1, #keys do
    failures[i] = failure
  end
  return {}, failures
end

return server
