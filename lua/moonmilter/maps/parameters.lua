--- Parameters of a map of a service: a file as pgsql_table(5), mysql_table(5) and ldap_table(5) describe it, or a table
--- of a script. Values are strings. A text that may go into a log never has a value in it: one of them is a password.
local core = require "moonmilter.core"
local log = require "moonmilter.log"

local parameters = {}

local function trimmed(text)
  return text:match("^.*%S", text:find "%S" or #text + 1) or ""
end

-- Lines of "name = value". A line that begins with a blank continues the one before it; comments and empty lines may be
-- in between (postconf(5)).
local function parse(text, path)
  local pieces, name, number, at = {}, nil, 0, 1
  while at <= #text do
    local stop = text:find("\n", at, true) or #text + 1
    local line = text:sub(at, stop - 1)
    number, at = number + 1, stop + 1
    local is_of_value = line:find "%S" and not line:find "^%s*#"
    if is_of_value and line:find "^%s" then
      if not name then
        error(("%s:%d: a line that continues nothing: it begins with a blank"):format(path, number), 0)
      end
      table.insert(pieces[name], trimmed(line))
    elseif is_of_value then
      local equals = line:find("=", 1, true)
      name = equals and trimmed(line:sub(1, equals - 1))
      if not name or not name:find "^[%w_%-]+$" then
        error(("%s:%d: not of the form name = value"):format(path, number), 0)
      end
      pieces[name] = { trimmed(line:sub(equals + 1)) }
    end
  end
  local values = {}
  for key, list in pairs(pieces) do
    values[key] = table.concat(list, " ")
  end
  return values
end

local function read(path, secrets)
  local text, doubt = core.database.read(path)
  if not text then
    error(doubt, 0)
  end
  local values = parse(text, path)
  for _, name in ipairs(secrets) do
    if values[name] and doubt then
      log.warn("%s has a password (%s), and %s", path, name, doubt)
    end
  end
  return values
end

local function of_table(given)
  local values = {}
  for name, value in pairs(given) do
    if type(value) == "table" then
      value = table.concat(value, " ")
    elseif type(value) == "boolean" then
      value = value and "yes" or "no"
    end
    if type(name) ~= "string" or (type(value) ~= "string" and type(value) ~= "number") then
      error(("parameter %s is a %s; give a string"):format(tostring(name), type(value)), 0)
    end
    values[name] = tostring(value)
  end
  return values
end

local Parameters = {}
Parameters.__index = Parameters

--- The text of a parameter; nil: it is not there and has no default.
---@param name string
---@param default string?
function Parameters:text(name, default)
  local value = self.values[name]
  if value == nil or value == "" then
    return default
  end
  return value
end

--- A whole number from 0 on.
function Parameters:number(name, default)
  local value = self:text(name)
  if not value then
    return default
  elseif not value:find "^%d+$" or #value > 9 then
    error(("%s: %s: give a whole number from 0 on"):format(self.name, name), 0)
  end
  return tonumber(value)
end

--- yes or no.
function Parameters:is(name, default)
  local value = self:text(name)
  if not value then
    return default
  elseif value ~= "yes" and value ~= "no" then
    error(("%s: %s: give yes or no"):format(self.name, name), 0)
  end
  return value == "yes"
end

--- Words between blanks and commas.
---@return string[]
function Parameters:words(name, default)
  local words = {}
  for word in (self:text(name, default) or ""):gmatch "[^%s,]+" do
    words[#words + 1] = word
  end
  return words
end

--- Reads them; raises a text. Unknown names are in the log: Postfix ignores them, and a typing error is one, too.
---@param argument string  a path, or "" when options.parameters has them
---@param options { kind: string, parameters: table? }
---@param known table<string, boolean>  names; false: known to Postfix, and without effect here
---@param secrets string[]
function parameters.open(argument, options, known, secrets)
  local self = setmetatable({ name = argument ~= "" and argument or options.kind .. ":" }, Parameters)
  if argument ~= "" then
    self.values = read(argument, secrets)
  elseif options.parameters then
    self.values = of_table(options.parameters)
  else
    error(("give a file, %s:/etc/postfix/…cf, or the parameters as options"):format(options.kind), 0)
  end
  for name in pairs(self.values) do
    if known[name] == nil then
      local text = ("%s: unknown parameter %q%s"):format(self.name, name, core.suggest(name, known))
      if argument == "" then
        error(text, 0)
      end
      log.warn("%s", text)
    end
  end
  return self
end

return parameters
