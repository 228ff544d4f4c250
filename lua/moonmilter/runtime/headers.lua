--- ctx.headers: the list of header fields and its fields. The host makes the tables (host/bind/headers.c), this module
-- gives them methods. Scripts never compute indexes: a field object stays valid when others are inserted or deleted.
-- moonmilter.mail.block makes such a list from text, with its own edits.
local fields = require "moonmilter.mail.fields"

local headers = { list_metatable = fields.list_metatable }

---@class moonmilter.Field
---@field name string   as written
---@field value string  folds as LF, without the space after the colon
---@field raw string    name, colon and value as in the message
local Field = {}

-- The reading methods are loaded on first use, because most scripts never need their grammars.
for _, method in ipairs { "text", "addresses", "date", "params", "parsed" } do
  Field[method] = function(self, ...)
    return require("moonmilter.mail.block").reading[method](self, ...)
  end
end

-- The host refuses a field of another message than the present one: a script may have kept it.
local function edit(name, method, self, ...)
  local err = self.ctx[method](self.ctx, self, ...)
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

headers.field_metatable = {
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

return headers
