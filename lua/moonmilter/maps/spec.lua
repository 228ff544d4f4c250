--- The text that names a map, "kind:argument" as in Postfix's main.cf.
local core = require "moonmilter.core"
local kinds = require "moonmilter.maps.kinds"

local spec = {}

--- What a log may show: without the passwords of URLs and of settings.
---@param text string
---@return string
function spec.without_secrets(text)
  text = text:gsub("(://)([^/@%s]*)@", function(slashes, user)
    return slashes .. user:gsub(":.*", ":***") .. "@"
  end)
  return (text:gsub("(%f[%a]password%s*=%s*)[^%s&;,}]+", "%1***"))
end

--- Without the blanks around it.
---@param text string
---@return string
function spec.trim(text)
  return text:gsub("^%s+", ""):match "^(.*%S)" or ""
end

-- The working directory, under its own name if the environment has it.
local function here()
  local named = os.getenv "PWD"
  return named and named:sub(1, 1) == "/" and named or "/proc/self/cwd"
end

local function absolute(path, directory)
  if path:sub(1, 1) == "/" then
    return path
  elseif not directory then
    return here() .. "/" .. path
  end
  return absolute(directory, nil) .. "/" .. path
end

---@class moonmilter.maps.Spec
---@field kind string
---@field argument string
---@field label string      for logs: without secrets
---@field row table         of maps.kinds

--- Reads a spec.
---@param text string
---@param directory string?  where relative names start; nil: the working directory
---@param has_parameters boolean?  what would be in a file is in the options
---@return moonmilter.maps.Spec? spec
---@return string? text  what is wrong with it
function spec.read(text, directory, has_parameters)
  text = spec.trim(text)
  text = text:match "^proxy:(.*)$" or text -- Postfix's own cache of open tables: this host's workers need none
  local kind, argument = text:match "^([%w_-]+):(.*)$"
  if not kind then
    return nil, ('%q has no kind; write KIND:ARGUMENT, as in "texthash:/etc/postfix/access"'):format(text)
  end
  local row = kinds[kind]
  if not row then
    return nil, ("%q: there is no kind %q%s"):format(spec.without_secrets(text), kind, core.suggest(kind, kinds))
  elseif argument == "" and not (row.parameters and has_parameters) then
    return nil, ("%q: nothing follows the kind; write what to open"):format(text)
  elseif argument:find "%z" then
    return nil, ("%s: a NUL is in the spec"):format(kind)
  end
  argument = row.path and argument ~= "" and absolute(argument, directory) or argument
  return { kind = kind, argument = argument, row = row, label = spec.without_secrets(kind .. ":" .. argument) }
end

return spec
