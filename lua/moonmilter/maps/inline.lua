--- inline:{ key=value, { key=value with blanks } }: a map in the spec, as in Postfix (inline: of DATABASE_README).
local spec = require "moonmilter.maps.spec"

local inline = {}

local ENTRIES_MAX = 100000

local Source = {}
Source.__index = Source

-- The place after the "}" that closes the "{" at a place; nil: none does.
local function after_braces(text, at)
  local depth = 0
  while true do
    at = text:find("[{}]", at)
    if not at then
      return nil
    end
    depth = depth + (text:sub(at, at) == "{" and 1 or -1)
    at = at + 1
    if depth == 0 then
      return at
    end
  end
end

-- "{ … }" -> "…" without outer blanks; raises when it is not that.
local function inside(text)
  text = spec.trim(text)
  local after = text:sub(1, 1) == "{" and after_braces(text, 1)
  if not after then
    error('write inline:{ key=value, { key=value with blanks } }; a "}" is missing', 0)
  elseif after <= #text then
    error(("%q follows the last \"}\""):format(text:sub(after)), 0)
  end
  return spec.trim(text:sub(2, -2))
end

-- The next entry from a place, and the place after it. Braces hold blanks and commas together.
local function next_entry(text, at)
  at = text:find("[^,%s]", at)
  if not at then
    return nil
  elseif text:sub(at, at) == "{" then
    local after = after_braces(text, at)
    if not after then
      error(('a "}" is missing after %q'):format(text:sub(at, at + 30)), 0)
    end
    return inside(text:sub(at, after - 1)), after
  end
  local last = at
  while last <= #text and not text:find("^[,%s]", last) do
    last = text:sub(last, last) == "{" and after_braces(text, last) or last + 1
  end
  return text:sub(at, last - 1), last
end

-- "key = value", where the key may be in double quotes.
local function split(entry)
  local quoted, rest = entry:match '^"([^"]*)"(.*)$'
  local key, value = (rest or entry):match "^([^=]*)=(.*)$"
  key = key and spec.trim(key)
  if not key or (quoted or key) == "" or quoted and key ~= "" then
    error(("%q is no entry; write key=value"):format(entry), 0)
  end
  return quoted or key, spec.trim(value)
end

---@return string? value
function Source:get(key)
  return self.entries[key]
end

function Source:info()
  return { entries = self.count }
end

function Source:each()
  return next, self.entries, nil
end

--- Opens it; raises a text when it is not written so.
---@param argument string
---@param options { folds: boolean }
function inline.open(argument, options)
  local self = setmetatable({ entries = {}, count = 0 }, Source)
  local body, at = inside(argument), 1
  while true do
    local entry, after = next_entry(body, at)
    if not entry then
      break
    end
    local key, value = split(entry)
    key = options.folds and key:lower() or key
    if self.entries[key] ~= nil then
      error(("the key %q is there twice"):format(key), 0)
    end
    self.entries[key], self.count, at = value, self.count + 1, after
    if self.count > ENTRIES_MAX then
      error(("more than %d entries; use a file"):format(ENTRIES_MAX), 0)
    end
  end
  if self.count == 0 then
    error("the map is empty; write at least one key=value", 0)
  end
  return self
end

return inline
