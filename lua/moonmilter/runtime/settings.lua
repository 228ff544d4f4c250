--- host:require_settings{…}: what a script must find in settings = { … } of moonmilter.conf, asked for while it loads,
-- so that the start or the reload fails and not the first message.
local core = require "moonmilter.core"

--- What on_load gets, with its settings and other fields from C; these are its methods.
---@class moonmilter.Host
local Host = {}

local TYPES = { string = true, number = true, boolean = true, table = true }

-- "number?" -> "number", true
local function kind_of(name, wanted)
  local kind, mark = tostring(wanted):match "^(%l+)(%??)$"
  if not TYPES[kind] then
    error(('require_settings: %s = %q: a type is "string", "number", "boolean" or "table", with "?" if it may be '
      .. 'missing'):format(name, tostring(wanted)), 3)
  end
  return kind, mark == "?"
end

-- What is wrong with one setting; nil: nothing.
local function complaint(given, name, kind, is_optional)
  local value = given[name]
  if value == nil then
    return not is_optional and ("%s is missing%s%s"):format(name, kind and " (a " .. kind .. ")" or "",
      core.suggest(name, given)) or nil
  elseif kind and type(value) ~= kind then
    return ("%s is a %s, not a %s"):format(name, type(value), kind)
  end
end

--- The settings, when all that are wanted are there; else raises one error, at the script's line, that names them all.
---@param wanted table  names of settings; or keys with their types: { "clamd", delay = "number", zone = "string?" }
---@return table settings
function Host:require_settings(wanted)
  if type(wanted) ~= "table" then
    error('require_settings: give a table of names: host:require_settings { "clamd", delay = "number" }', 2)
  end
  local wrong = {}
  for key, value in pairs(wanted) do
    local is_name = type(key) == "number"
    local name, kind, is_optional = tostring(is_name and value or key), nil, false
    if not is_name then
      kind, is_optional = kind_of(name, value)
    end
    wrong[#wrong + 1] = complaint(self.settings, name, kind, is_optional)
  end
  if #wrong > 0 then
    table.sort(wrong)
    error(("settings: %s; set %s in settings = { … } of moonmilter.conf"):format(table.concat(wrong, ", "),
      #wrong == 1 and "it" or "them"), 2)
  end
  return self.settings
end

return Host
