--- Options of a call: checks names and types, fills in defaults.
local core = require "moonmilter.core"

local options = {}

---@class moonmilter.OptionRow
---@field [1] string  its type
---@field [2] any     its default
---@field also string?  another type that it may have

local function is_of(value, row)
  return type(value) == row[1] or type(value) == row.also
end

--- A copy of `given` with the defaults; raises when one is unknown or of the wrong type.
---@param call string  "redis.new", for the error
---@param given table
---@param rows table<string, moonmilter.OptionRow>
---@param level integer  of the error, as for error(): 2 is the caller's caller
---@return table
function options.check(call, given, rows, level)
  local checked = {}
  for name, value in pairs(given) do
    local row = rows[name]
    if not row then
      error(("%s: unknown option %q%s"):format(call, tostring(name), core.suggest(tostring(name), rows)), level + 1)
    end
    if not is_of(value, row) then
      error(("%s: %s is a %s; it must be a %s"):format(call, name, type(value), row[1]), level + 1)
    end
    checked[name] = value
  end
  for name, row in pairs(rows) do
    if checked[name] == nil then
      checked[name] = row[2]
    end
  end
  return checked
end

return options
