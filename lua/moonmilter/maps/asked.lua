--- A map of a service whose answers are noted, for `moonmilter ctl maps`: how many came, how many failed, and how long
--- they took. It stands below the cache of a map: what the cache answers is not asked.
local core = require "moonmilter.core"

local asked = {}

local now, note = core.now, core.service.note

-- What has failed without the service: it was never asked.
local UNASKED = { bad_key = true }

local Asked = {}
Asked.__index = Asked

---@param key string
---@return any value
---@return string? text
---@return string? code
function Asked:get(key)
  local began_at = now()
  local value, text, code = self.source:get(key)
  if not UNASKED[code] then
    asked.note(self.service, began_at, value, text)
  end
  return value, text, code
end

function Asked:info()
  return self.source:info()
end

function Asked:close()
  if self.service then
    core.service.close(self.service)
    self.service = nil
  end
  if self.source.close then
    self.source:close()
  end
end

--- Notes one answer.
---@param service userdata?  of asked.open
---@param began_at number  when the question was asked
---@param value any
---@param text string?  of a failure
function asked.note(service, began_at, value, text)
  if service then
    local outcome = value ~= nil and "found" or text == nil and "none" or "failed"
    note(service, outcome, now() - began_at, value == nil and text or nil)
  end
end

--- A service by its label, "kind:name"; nil: this host notes nothing.
---@param label string  without passwords
---@return userdata?
function asked.open(label)
  return core.service.open(label:match "^(.-):(.*)$")
end

---@param source table
---@param label string
function asked.new(source, label)
  local self = setmetatable({ source = source, service = asked.open(label) }, Asked)
  if source.each then
    self.each = function() return source:each() end
  end
  return self
end

return asked
