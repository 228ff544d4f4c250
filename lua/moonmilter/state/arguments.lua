--- Arguments of a store's methods: a mistake raises at the line of the script.
local arguments = {}

local LARGEST_TTL = 1e10 -- seconds, three centuries

--- The key. For a method that a script calls.
function arguments.key(call, key)
  if type(key) ~= "string" then
    error(("%s: the key is a %s; it must be a string"):format(call, type(key)), 3)
  end
  return key
end

--- Seconds or nil. level: of the caller's caller, as for error().
function arguments.ttl(call, ttl, level)
  if ttl ~= nil and not (type(ttl) == "number" and ttl > 0 and ttl <= LARGEST_TTL) then
    error(("%s: ttl is %s; give seconds above 0"):format(call, tostring(ttl)), level + 1)
  end
  return ttl
end

--- What set() and add() write.
function arguments.value(call, value)
  if value == nil then
    error(("%s: the value is nil%s"):format(call, call == "set" and "; use delete() to remove a key" or ""), 3)
  end
  return value
end

function arguments.by(by)
  if by ~= nil and type(by) ~= "number" then
    error(("incr: cannot add a %s; give a number"):format(type(by)), 3)
  end
  return by or 1
end

function arguments.update(fn)
  if type(fn) ~= "function" then
    error(("update: fn is a %s; it must be a function"):format(type(fn)), 3)
  end
end

return arguments
