--- Maps of files: text tables, which all workers of a host share in memory, databases and tables of patterns. The host
--- follows the file: a new version is read and checked aside, then takes the place of the old one (host/map/tables.h).
local core = require "moonmilter.core"
local wait = require "moonmilter.runtime.wait"

local file = {
  opens_later = false, -- maps may be opened while scripts run: for commands, which serve nobody
}

local raw = core.map
local get, settle = raw.get, wait.wrap(raw.wait)

-- Kinds without a list of keys.
local PATTERNS = { regexp = true, pcre = true }

local Source = {}
Source.__index = Source

---@return string? value, string? text, string? code
function Source:get(key)
  return get(self.handle, key)
end

--- All entries, as an iterator over keys and values. Raises when they cannot be read.
function Source:each()
  local keys, values = raw.all(self.handle)
  if not keys then
    error(("%s:%s: %s"):format(self.kind, self.path, values), 2)
  end
  local at = 0
  return function()
    at = at + 1
    return keys[at], values[at]
  end
end

--- { path =, entries =, version =, age =, modified =, error = }: entries is nil where they are not counted; age is
--- seconds since the file in force was changed; error says why the file as it is now is not in force.
function Source:info()
  return raw.info(self.handle)
end

function Source:close()
  raw.close(self.handle)
end

-- A column has a name or a number.
local function word(column)
  return column ~= nil and tostring(column) or nil
end

--- Opens the map of a file and waits for its first version. Raises when it cannot be read.
---@param path string  absolute; for kind "inline": the table itself
---@param options table  kind and, optional, shrink every settle empty text_max key_column value_column separator
---   header query steps (host/map/table.h, host/map/tables.h); fold = false: keys differ by case; later: opened by a
---   module of our own while the scripts run
function file.open(path, options)
  local handle, text = raw.open(options.kind, path, {
    shrink = options.shrink, every = options.every, settle = options.settle, empty = options.empty,
    text_max = options.text_max, keeps_case = options.fold == false, key_column = word(options.key_column),
    value_column = word(options.value_column), separator = options.separator, header = options.header,
    query = options.query, steps = options.steps, later = options.later or file.opens_later,
  })
  if handle then
    settle(handle)
    text = raw.failure(handle)
  end
  if text then
    error(text, 0) -- the caller knows the spec
  end
  local source = { handle = handle, kind = options.kind, path = path }
  if PATTERNS[options.kind] then
    source.each = false
  end
  return setmetatable(source, Source)
end

return file
