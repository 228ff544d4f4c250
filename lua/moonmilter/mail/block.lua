--- A whole header outside a session (of parts, stored messages, specs), and its fields, with methods to read and edit.
local lpeg = require "lpeg"
local address = require "moonmilter.address"
local datetime = require "moonmilter.datetime"
local encoded_word = require "moonmilter.encoded_word"
local fields = require "moonmilter.mail.fields"
local params = require "moonmilter.mail.params"
local structured = require "moonmilter.mail.structured"

local block = {}

-- How a field is read: `self` is anything with name and value, so the fields of ctx.headers
-- (moonmilter.runtime.headers) use these too.
local reading = {}
block.reading = reading

--- Decoded text: folds undone, encoded words decoded, UTF-8.
---@return string
function reading:text()
  return encoded_word.decode(self.value)
end

--- Mailboxes, with groups expanded. Lenient by default; faults are in `.errors` (see moonmilter.address).
---@param options? { mode: "lenient"|"strict" }
---@return moonmilter.Mailbox[]|nil, string|nil, integer|nil, string|nil
function reading:addresses(options)
  return address.mailboxes(self.value, options)
end

---@return moonmilter.Date|nil, string|nil, integer|nil
function reading:date()
  if self.name:lower() == "received" then
    local date = structured.received(self.value).date
    return date, not date and "received: no date after \";\"" or nil
  end
  return datetime.parse(self.value)
end

---@return moonmilter.Parameters
function reading:params()
  if self.name:lower() == "content-type" then
    return params.content_type(self.value)
  end
  return params.read(self.value)
end

--- As header.parse.
function reading:parsed()
  return structured.parse(self.name, self.value)
end

-- A field outside a session: moonmilter.Field with its own edits.
local Field = {}
Field.__index = Field
for name, method in pairs(reading) do
  Field[name] = method
end

local function check_value(what, value)
  if type(value) ~= "string" then
    error(("%s: text expected, got %s"):format(what, type(value)), 3)
  end
  if value:find("[%z\r]") then
    error(("%s: value has a CR or NUL; folds are LF and a blank"):format(what), 3)
  end
  if value:find("\n[^ \t]") or value:find("\n$") then
    error(("%s: a line of the value does not begin with a blank and would become another header; begin it "
      .. "with a space"):format(what), 3)
  end
  if value:find("\n[ \t]+\n") or value:find("\n[ \t]+$") or value:find("^[ \t]*\n") then
    error(("%s: a line of the value is blank; MTAs may end the headers there"):format(what), 3)
  end
  return value
end

local function check_name(what, name)
  if type(name) ~= "string" or not name:find("^[\33-\57\59-\126]+$") then
    error(("%s: name \"%s\"; use printable ASCII without space or \":\" (RFC 5322 2.2)"):format(what, tostring(name)),
      3)
  end
  return name
end

local function handle_of(field, what)
  if not field.edit then
    error(("%s: this field does not belong to a message that can be edited"):format(what), 3)
  end
  if field.is_deleted then
    error(("%s: %s is already deleted"):format(what, field.name), 3)
  end
  return field.edit
end

--- Replace the value. `value` is the wire form (ASCII, folds as LF): pass text through header.encode, tables through
--- header.format.
---@param value string|table  a table goes through header.format
function Field:set(value)
  local edit = handle_of(self, "set")
  if type(value) == "table" then
    value = structured.format(self.name, value)
  end
  check_value("set", value)
  edit.set(self, value)
  self.value, self.raw = value, self.name .. ": " .. value
end

--- Remove this field only, not others of its name.
function Field:delete()
  local edit = handle_of(self, "delete")
  edit.delete(self)
  self.is_deleted = true
end

--- Put a new field right before this one.
---@param name string
---@param value string
function Field:insert_before(name, value)
  local edit = handle_of(self, "insert_before")
  edit.insert_before(self, check_name("insert_before", name), check_value("insert_before", value))
end

--- A field outside a session, which reads and edits as those of ctx.headers do. Changes are passed to
--- `edit.set(field, value)`, `edit.delete(field)` and `edit.insert_before(field, name, value)`; when one of these
--- raises, the field stays as it was.
---@param t { name: string, value: string, raw?: string, edit?: table }  becomes the field itself
---@return moonmilter.Field
function block.field(t)
  t.raw = t.raw or t.name .. ": " .. t.value
  return setmetatable(t, Field)
end

-- ---- the list of them ----

-- get, field, all, count and each are those of ctx.headers
---@class moonmilter.Block : moonmilter.Headers
local Block = setmetatable({}, { __index = fields.list_metatable })
Block.__index = Block

local function index_of(list, field)
  for i, other in ipairs(list) do
    if other == field then
      return i
    end
  end
end

local function edits_of(list)
  return {
    set = function(field) field.bytes = nil end,
    delete = function(field) table.remove(list, index_of(list, field)) end,
    insert_before = function(field, name, value)
      table.insert(list, index_of(list, field), block.field { name = name, value = value, edit = field.edit })
    end,
  }
end

--- Append a field.
function Block:add(name, value)
  self[#self + 1] = block.field { name = check_name("add", name), value = check_value("add", value), edit = self.edit }
end

--- The bytes of the block: untouched fields as they were read, others as `Name: value` with CRLF.
---@return string
function Block:bytes()
  local out = {}
  for i, field in ipairs(self) do
    out[i] = field.bytes or (field.name .. ": " .. field.value:gsub("\r?\n", "\r\n") .. "\r\n")
  end
  return table.concat(out)
end

-- "Name:" at the start of a line; blanks before the colon are obsolete (RFC 5322 4.5) but read.
local field_start = lpeg.C(lpeg.R("\33\57", "\59\126") ^ 1) * lpeg.S " \t" ^ 0 * ":" * lpeg.Cp()

--- Read a header block, up to its end or the first empty line. Lines may end in CRLF or LF.
---@param text string
---@return moonmilter.Block block
---@return integer after  where the body begins
---@return table<string, true>|nil defects  "continuation-first", "no-separator": a line that is not a field ended the block
function block.read(text)
  local list = setmetatable({}, Block)
  list.edit = edits_of(list)
  local at, size = 1, #text
  local defects
  local lines -- of the field being read
  local start
  local function close(stop)
    if lines then
      local bytes = text:sub(start, stop)
      local name, value_at = lpeg.match(field_start, bytes)
      local raw = bytes:gsub("\r?\n$", "")
      local value = raw:sub(value_at):gsub("\r\n", "\n"):gsub("^[ \t]", "")
      list[#list + 1] = block.field { name = name, value = value, raw = raw, bytes = bytes, edit = list.edit }
      lines = nil
    end
  end
  while at <= size do
    local line_end = text:find("\n", at, true) or size
    local first = text:byte(at)
    local second = text:byte(at + 1)
    if first == 10 or (first == 13 and (second == 10 or second == nil)) then
      close(at - 1)
      return list, line_end + 1, defects
    elseif first == 32 or first == 9 then
      if not lines then
        defects = defects or {}
        defects["continuation-first"] = true
      end
    elseif lpeg.match(field_start, text, at) then
      close(at - 1)
      lines, start = true, at
    elseif not (#list == 0 and not lines and text:sub(at, at + 4) == "From ") then -- an mbox separator is skipped
      close(at - 1)
      defects = defects or {}
      defects["no-separator"] = true
      return list, at, defects
    end
    at = line_end + 1
  end
  close(size)
  return list, size + 1, defects
end

return block
