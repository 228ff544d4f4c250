--- A list of header fields: ctx.headers, and moonmilter.mail.block outside a session. Here a field is a table with name
-- and value; its methods come from the module that makes it.
local fields = {}

---@class moonmilter.Headers
---@field truncated boolean  there are more fields, which are not in the list
local Headers = { truncated = false }
Headers.__index = Headers

-- Without this, headers.Subject would silently be nil, as if the message had none.
setmetatable(Headers, { __index = function(_, key)
  if type(key) == "string" then
    error(('headers have no member %q; say headers:get "%s" for a value, headers:field "%s" for the field'):format(key,
      key, key), 2)
  end
end })

local function matches(list, name, level)
  if type(name) ~= "string" then
    error(("ctx.headers: a header's name is a string, not a %s"):format(type(name)), level or 3)
  end
  local wanted, found = name:lower(), {}
  for i = 1, #list do
    if list[i].name:lower() == wanted then
      found[#found + 1] = list[i]
    end
  end
  return found
end

local function nth(list, name, n)
  local found = matches(list, name, 4)
  n = n or 1
  return found[n < 0 and #found + 1 + n or n]
end

--- The n-th field of a name (any case), from 1; negative from the end. nil when there is none.
---@param name string
---@param n integer?  default 1
---@return moonmilter.Field?
function Headers:field(name, n)
  return nth(self, name, n)
end

--- The value of the n-th field of a name; nil when there is none.
---@param name string
---@param n integer?  default 1
---@return string?
function Headers:get(name, n)
  local field = nth(self, name, n)
  return field and field.value
end

--- All fields of a name.
---@param name string
---@return moonmilter.Field[]
function Headers:all(name)
  return matches(self, name)
end

--- How many fields of a name there are.
---@param name string
---@return integer
function Headers:count(name)
  return #matches(self, name)
end

--- for name, value, field in ctx.headers:each() do
function Headers:each()
  local i = 0
  return function()
    i = i + 1
    local field = self[i]
    if field then
      return field.name, field.value, field
    end
  end
end

fields.list_metatable = Headers

return fields
