--- Formats of tables (host/map/) for specs, without files that are watched: a table is opened or compiled, and asked.
--
--   local t = tables.open("regexp", path)       -- or nil, why
--   t:get "key"                                 -- "value", nil when it is not there, or nil, why, "limit"/"down"
--   t:close()
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

-- Of C functions that fail, the fault says why. Each format is asked through its row of host/map/formats.c.
local tables = {}

testlib.load "map/image.h"
local lib = testlib.load "map/formats.h"
tables.lib = lib

local Table = {}
Table.__index = Table

local function text_of(s)
  return ffi.new("struct mm_text", s, #s)
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

local function compile(format, source, options, why)
  local writer = lib.mm_image_writer_new()
  local result
  if format.compile(text_of(source), options, writer, why) then
    result = lib.mm_image_keep(writer, ffi.new "struct mm_image_source", why)
  end
  lib.mm_image_writer_free(writer)
  return result
end

---@param name string     a format
---@param path string     of a file; for inline and the like the text itself
---@param options table?  fields of struct mm_table_options; source: the text, instead of a file's
function tables.open(name, path, options)
  local format = lib.mm_table_format_of(name)
  assert(format ~= nil, "there is no format " .. name)
  local why = ffi.new "struct mm_fault"
  local o, source = ffi.new "struct mm_table_options", options and options.source
  for field, value in pairs(options or {}) do
    if field ~= "source" then
      o[field] = value
    end
  end
  local suffix = format.suffix ~= nil and ffi.string(format.suffix) or ""
  local t
  if format.compile ~= nil then
    t = compile(format, source or read(path .. suffix), o, why)
  else
    t = format.open(path .. suffix, o, why)
  end
  if not t or t == nil then
    return nil, ffi.string(why.text)
  end
  return setmetatable({ t = t, why = why, value = ffi.new "struct mm_buffer" }, Table)
end

function Table:get(key)
  self.value.size = 0
  local result = self.t.format.get(self.t, text_of(key), self.value, self.why)
  if result == lib.MM_TABLE_FOUND then
    return ffi.string(self.value.bytes, self.value.size)
  elseif result == lib.MM_TABLE_ERROR then
    return nil, ffi.string(self.why.text), self.why.class == lib.MM_FAULT_RESOURCE and "limit" or "down"
  end
  return nil
end

function Table:count()
  return tonumber(self.t.format.count(self.t))
end

--- All entries in the order of each, as a list of "key=value".
function Table:all()
  local found, list = {}, ffi.new "struct mm_buffer"
  local good = lib.mm_table_list(self.t, list, self.why)
  for entry in ffi.string(list.bytes, list.size):gmatch "(%Z*)%z" do
    found[#found + 1] = entry
  end
  lib.mm_buffer_free(list)
  if not good then
    return nil, ffi.string(self.why.text)
  end
  return found
end

function Table:close()
  lib.mm_buffer_free(self.value)
  self.t.format.close(self.t)
  self.t = nil
end

return tables
