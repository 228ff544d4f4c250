--- Where in the world an address is, and whose network it belongs to: files of MaxMind's format (*.mmdb).
--
--   local countries = geo.open "/var/lib/GeoIP/GeoLite2-Country.mmdb"
--   local found, text, code = countries:get(ctx.client.ip)
--   if found and found.country == "XX" then … elseif code then … nobody knows … end
--
-- The host follows the files: geoipupdate, or whatever replaces them, needs no reload.
local core = require "moonmilter.core"
local file = require "moonmilter.maps.file"
local options_of = require "moonmilter.runtime.options"

local geo = {}

local look, type_of = core.map.geo, core.map.geo_type

local FILES_MAX = 8

local OPTIONS = {
  every = { "number", 60 }, -- seconds between looks for a new file, where the kernel does not tell
}

-- Where facts are in a record: of MaxMind's databases and those of others (DB-IP, IPinfo), the first that is there.
local FACTS = {
  country = { { "country", "iso_code" }, { "country_code" }, { "country" }, { "registered_country", "iso_code" } },
  continent = { { "continent", "code" }, { "continent_code" }, { "continent" } },
  city = { { "city", "names", "en" }, { "city" } },
  asn = { { "autonomous_system_number" }, { "asn" } },
  org = { { "autonomous_system_organization" }, { "as_name" }, { "organization" } },
}

---@class moonmilter.Geo
local Geo = {}
Geo.__index = Geo

--- Opens one file, or several whose facts are put together, the first before the others. Call it while the script
--- loads. Raises when a file cannot be read.
---@param paths string|string[]  absolute
---@param options moonmilter.geo.Options?
---@return moonmilter.Geo
function geo.open(paths, options)
  options = options_of.check("geo.open", options or {}, OPTIONS, 2)
  paths = type(paths) == "table" and paths or { paths }
  if #paths == 0 or #paths > FILES_MAX then
    error(("geo.open: %d files; give 1 to %d"):format(#paths, FILES_MAX), 2)
  end
  local self = setmetatable({ sources = {} }, Geo)
  for i, path in ipairs(paths) do
    if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
      error(("geo.open: file %d is %s; give an absolute path"):format(i, type(path) == "string" and path
        or "a " .. type(path)), 2)
    end
    local ok, source = pcall(file.open, path, { kind = "mmdb", every = options.every, shrink = 1 })
    if not ok then
      self:close()
      error(type(source) == "string" and ("geo.open: %s: %s"):format(path, source) or source, 2)
    end
    self.sources[i] = source
  end
  return self
end

local function at(record, path)
  for _, name in ipairs(path) do
    record = type(record) == "table" and record[name] or nil
  end
  return type(record) ~= "table" and record or nil
end

local function add_facts(facts, record)
  for name, paths in pairs(FACTS) do
    for _, path in ipairs(paths) do
      facts[name] = facts[name] or at(record, path)
    end
  end
end

-- Calls a function with each record of an address. -> was there one? | nil, text, code
local function each_record(self, call, ip, fn)
  if type(ip) ~= "string" then
    error(("%s: the address is a %s; it must be a string"):format(call, type(ip)), 3)
  elseif not self.sources then
    error(("%s: it is closed"):format(call), 3)
  end
  local is_there = false
  for _, source in ipairs(self.sources) do
    local record, text, code = look(source.handle, ip)
    if record then
      is_there = true
      fn(record)
    elseif text then
      return nil, ("%s: %s"):format(source.path, text), code
    end
  end
  return is_there
end

--- What is known: { country =, continent =, city =, asn =, org = }. Facts that no file has are nil.
---@param ip string
---@return moonmilter.geo.Facts? facts  nil alone: the address is in no file
---@return string? text
---@return moonmilter.geo.Code? code
function Geo:get(ip)
  local facts = {}
  local is_there, text, code = each_record(self, "get", ip, function(record)
    add_facts(facts, record)
  end)
  if not is_there then
    return nil, text, code
  end
  facts.asn = facts.asn and tonumber((tostring(facts.asn):gsub("^[Aa][Ss]", "")))
  return facts
end

--- All that the files have about an address, as they have it; of several files the first that has it.
---@param ip string
---@return table? record  nil alone: the address is in no file
---@return string? text
---@return moonmilter.geo.Code? code
function Geo:raw(ip)
  local first
  local is_there, text, code = each_record(self, "raw", ip, function(record)
    first = first or record
  end)
  if not is_there then
    return nil, text, code
  end
  return first
end

--- About each file: path, type ("GeoLite2-Country"), built (seconds since 1970), age (seconds since this worker took
--- it), error (why the file as it is now is not in force).
---@return moonmilter.geo.Info[]
function Geo:info()
  local list = {}
  for i, source in ipairs(self.sources or {}) do
    local info = source:info()
    local kind, built = type_of(source.handle)
    list[i] = { path = source.path, type = kind, built = kind and built, age = info.age, error = info.error }
  end
  return list
end

--- Closes the files; they are also closed when the script ends.
function Geo:close()
  for _, source in ipairs(self.sources or {}) do
    source:close()
  end
  self.sources = nil
end

return geo
