--- redis:get:PREFIX and redis:hget:HASH: keys of a Redis server with a prefix, or fields of a hash.
local client = require "moonmilter.redis"

local redis = {}

local CODES = { timeout = "timeout", busy = "timeout" } -- all others: "down"

local Source = {}
Source.__index = Source

---@return string? value, string? text, string? code
function Source:get(key)
  local value, text, code
  if self.hash then
    value, text, code = self.client:call("HGET", self.hash, key)
  else
    value, text, code = self.client:call("GET", self.prefix .. key)
  end
  self.error = text
  if value == nil and text ~= nil then
    return nil, text, text:find "^WRONGTYPE" and "bad_answer" or CODES[code] or "down"
  elseif value == nil or value == false then
    return nil
  end
  return tostring(value)
end

function Source:info()
  return { error = self.error }
end

local function client_of(given)
  if given and getmetatable(given) then
    return given
  end
  local ok, made = pcall(client.new, given)
  if not ok then
    error((tostring(made):gsub("^[^:]+:%d+: ", "")), 0)
  end
  return made
end

--- Opens it; raises a text when the argument is of neither form. Nothing is asked before the first lookup.
---@param argument string
---@param options moonmilter.map.Options
function redis.open(argument, options)
  local verb, rest = argument:match "^(%a+):(.*)$"
  verb = verb and verb:lower()
  if verb ~= "get" and verb ~= "hget" or verb == "hget" and rest == "" then
    error("write redis:get:PREFIX or redis:hget:HASH; the server is that of the configuration, or the option redis", 0)
  end
  return setmetatable({ client = client_of(options.redis), prefix = verb == "get" and rest or nil,
    hash = verb == "hget" and rest or nil }, Source)
end

return redis
