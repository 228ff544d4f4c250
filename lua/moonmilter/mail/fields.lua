--- ctx.headers: the list of header fields and its fields. The host makes the tables, this module gives them methods.
-- Indexes never have to be computed: a field knows itself, whatever has been inserted or deleted around it.
-- moonmilter.header makes the same list and the same fields from text (header.block), with edits of its own.
local fields = {}

---@class moonmilter.Field
---@field name string   as written
---@field value string  folds as LF, without the space behind the colon
---@field raw string    name, colon and value as they stand in the message
local Field = {}

-- Reading is moonmilter.header's; that is loaded when first asked for, because most scripts never need its grammars.
for _, method in ipairs { "text", "addresses", "date", "params", "parsed" } do
  Field[method] = function(self, ...)
    return require("moonmilter.header").reading[method](self, ...)
  end
end

local function edit(name, method, self, ...)
  local err = self.ctx[method](self.ctx, self.id, ...)
  if err then
    error(name .. ": " .. err, 3)
  end
end

--- Gives the field a new value.
---@param value string|table  wire text, ASCII with folds as LF (header.encode makes it); a table goes through header.format
function Field:set(value)
  if type(value) == "table" then
    value = require("moonmilter.header").format(self.name, value)
  elseif type(value) ~= "string" then
    error(("set: a value is a string or a table, not a %s"):format(type(value)), 2)
  end
  edit("set", "_field_set", self, value)
  self.value = value
end

--- Deletes the field.
function Field:delete()
  edit("delete", "_field_delete", self)
end

--- Puts a new field before this one.
---@param name string
---@param value string
function Field:insert_before(name, value)
  if type(name) ~= "string" or type(value) ~= "string" then
    error(("insert_before: name and value are strings, not a %s and a %s"):format(type(name), type(value)), 2)
  end
  edit("insert_before", "_field_insert_before", self, name, value)
end

fields.field_metatable = {
  __index = function(self, key)
    if key == "raw" then
      return self.name .. (self.space == false and ":" or ": ") .. self.value
    end
    return Field[key]
  end,
  __tostring = function(self)
    return self.value
  end,
}

---@class moonmilter.Headers
local Headers = {}
Headers.__index = Headers

-- headers.Subject would be nil in silence, as if the message had none.
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
fields.Field = Field

return fields
