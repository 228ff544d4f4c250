--- A message body that is kept: in memory up to a limit, then in an unlinked temporary file; read as string, lines or
--- parts, and rewritten part by part. `ctx:body{…}` gives one; outside the host, feed it yourself.
---
--- Bytes are as the milter protocol carries them: CRLF line ends (LF is understood). Offsets count from 0. A rewrite
--- copies what it does not touch byte for byte, and never holds more than a chunk in memory.
local parts = require "moonmilter.mail.parts"
local rewrite = require "moonmilter.mail.rewrite"
local ffi = require "ffi"

local body = {}

local CHUNK_BYTES = 64 * 1024
local MAX_MEMORY = 1024 * 1024
local TEMPORARY = (os.getenv "TMPDIR" or "/tmp") .. "/moonmilter.XXXXXX"

ffi.cdef "int mkstemp(char *template); int close(int fd); char *strerror(int error);"

---@class moonmilter.BodyOptions
---@field max_memory? integer  bytes kept in memory before a temporary file takes over; default 1 MiB
---@field max_size?   integer  bytes; default: no limit but the MTA's
---@field over? "truncate"|"accept"|"tempfail"|"reject"  what happens past max_size; default "reject"
---@field headers? table  the message's header fields, in order ({ name, value } each): parts() needs them
local known_options = { max_memory = "number", max_size = "number", over = "string", headers = "table" }
local over_choices = { truncate = true, accept = true, tempfail = true, reject = true }

---@class moonmilter.Body
---@field is_truncated boolean
local Body = {}
Body.__index = Body

--- What is wrong with options, or nil.
---@param options table
---@return string|nil text
function body.check_options(options)
  if type(options) ~= "table" then
    return ("options are a %s; give a table"):format(type(options))
  end
  for name, value in pairs(options) do
    if known_options[name] ~= type(value) then
      return known_options[name] and ("option %s is a %s; it must be a %s"):format(name, type(value),
        known_options[name]) or ("there is no option %s; there are max_memory, max_size, over "
          .. "and headers"):format(tostring(name))
    elseif known_options[name] == "number" and (value < 0 or value ~= value) then
      return ("option %s = %s; give bytes, 0 or more"):format(name, tostring(value))
    end
  end
  if options.over and not over_choices[options.over] then
    return ("over = \"%s\"; use truncate, accept, tempfail or reject"):format(options.over)
  end
end

---@param options? moonmilter.BodyOptions
---@return moonmilter.Body
function body.new(options)
  options = options or {}
  local why = body.check_options(options)
  if why then
    error("body: " .. why, 2)
  end
  return setmetatable({
    max_memory = options.max_memory or MAX_MEMORY, max_size = options.max_size or math.huge,
    over = options.over or "reject", headers = options.headers or {},
    pieces = {}, offsets = {}, bytes = 0, is_truncated = false,
    make = body.new, -- for mail.parts, which cannot require this module
  }, Body)
end

-- A file without a name, which no other process can open: created with mode 0600 in TMPDIR or /tmp and unlinked at
-- once. "e" is O_CLOEXEC, which io.tmpfile lacks: programs that a script starts must not inherit other people's mail.
local function temporary_file()
  local name = ffi.new("char[?]", #TEMPORARY + 1, TEMPORARY)
  local fd = ffi.C.mkstemp(name)
  if fd < 0 then
    return nil, ("%s: %s"):format(TEMPORARY, ffi.string(ffi.C.strerror(ffi.errno())))
  end
  name = ffi.string(name)
  local file, why = io.open(name, "w+be")
  ffi.C.close(fd)
  os.remove(name)
  return file, why
end

local function spill(self)
  local file, why = temporary_file()
  if not file then
    return nil, "body: cannot create a temporary file: " .. tostring(why), "tempfail"
  end
  local ok
  ok, why = file:write(table.concat(self.pieces))
  if not ok then
    file:close()
    return nil, "body: temporary file: " .. tostring(why), "tempfail"
  end
  self.file, self.pieces = file, nil
  return true
end

-- A body that the host keeps has a guard: false in another session's handler, which a script may have handed it to.
local function check_own(self, what)
  if self.guard and not self.guard() then
    error(what .. ": the body belongs to a message of another session", 3)
  end
end

--- Take a chunk of the body.
---@param chunk string
---@return true|nil ok
---@return string|nil text
---@return "accept"|"tempfail"|"reject"|nil verdict  past max_size: `over`; "tempfail" too when the disk fails
function Body:feed(chunk)
  if self.is_closed then
    error("feed: the body is closed", 2)
  end
  check_own(self, "feed")
  if self.is_finished then
    error("feed: the body is already finished", 2)
  end
  if self.is_truncated then
    return true
  end
  if self.bytes + #chunk > self.max_size then
    if self.over ~= "truncate" then
      return nil, ("body: over max_size %d"):format(self.max_size), self.over
    end
    self.is_truncated = true
    chunk = chunk:sub(1, self.max_size - self.bytes)
  end
  if chunk == "" then
    return true
  end
  if not self.file and self.bytes + #chunk > self.max_memory then
    local ok, why, code = spill(self)
    if not ok then
      return nil, why, code
    end
  end
  if self.file then
    local ok, why = self.file:write(chunk)
    if not ok then
      return nil, "body: temporary file: " .. tostring(why), "tempfail"
    end
  else
    self.pieces[#self.pieces + 1] = chunk
  end
  self.bytes = self.bytes + #chunk
  return true
end

--- Discard what was fed, and begin again.
function Body:restart()
  if self.is_closed then
    error("restart: the body is closed; it lasts as long as its message", 2)
  end
  check_own(self, "restart")
  self:close()
  self.pieces, self.bytes = {}, 0
  self.is_truncated, self.is_finished, self.is_closed = false, false, false
end

--- No more chunks come. Only now can the body be read.
---@return true|nil ok, string|nil text, "tempfail"|nil code
function Body:finish()
  if self.is_finished then
    return true
  end
  check_own(self, "finish")
  if self.file then
    local ok, why = self.file:flush()
    if not ok then
      return nil, "body: temporary file: " .. tostring(why), "tempfail"
    end
  else
    self.memory = table.concat(self.pieces)
    self.pieces = nil
  end
  self.is_finished = true
  return true
end

local function check_readable(self, what)
  if self.is_closed then
    error(what .. ": the body is closed; it lasts as long as its message", 3)
  elseif not self.is_finished then
    error(what .. ": the body is not finished; read it at end of message", 3)
  elseif self.guard and not self.guard() then
    error(what .. ": the body belongs to a message of another session", 3)
  end
end

---@return integer bytes  kept so far (after "truncate": not the whole message)
function Body:size()
  return self.bytes
end

--- Bytes [offset, offset + count).
---@param offset integer
---@param count integer
---@return string bytes  fewer at the end
function Body:read(offset, count)
  check_readable(self, "read")
  count = math.min(count, self.bytes - offset)
  if count <= 0 then
    return ""
  end
  if self.memory then
    return self.memory:sub(offset + 1, offset + count)
  end
  self.file:seek("set", offset)
  local bytes = self.file:read(count)
  if not bytes or #bytes < count then
    error("read: the temporary file lost bytes", 2) -- never pass on a shortened message as if it were complete
  end
  return bytes
end

--- The bytes of a range in pieces of at most 64 KiB.
---@param first? integer  offset, default 0
---@param last? integer   offset after the last byte, default size()
---@return fun(): string|nil
function Body:chunks(first, last)
  check_readable(self, "chunks")
  local at = first or 0
  last = math.min(last or self.bytes, self.bytes)
  return function()
    if at >= last then
      return nil
    end
    local bytes = self:read(at, math.min(CHUNK_BYTES, last - at))
    at = at + #bytes
    return bytes
  end
end

--- Everything as one string. Mind the size.
---@return string
function Body:string()
  check_readable(self, "string")
  return self:read(0, self.bytes)
end

--- Lines without their line ends.
---@return fun(): string|nil
function Body:lines()
  check_readable(self, "lines")
  local next_chunk = self:chunks()
  local chunk, at, begun = next_chunk(), 1, nil
  return function()
    while chunk do
      local line_end = chunk:find("\n", at, true)
      if line_end then
        local line = chunk:sub(at, line_end - 1)
        if begun then
          begun[#begun + 1] = line
          line, begun = table.concat(begun), nil
        end
        at = line_end + 1
        return line:byte(-1) == 13 and line:sub(1, -2) or line
      end
      if at <= #chunk then
        begun = begun or {}
        begun[#begun + 1] = chunk:sub(at)
      end
      chunk, at = next_chunk(), 1
    end
    if begun then
      local line = table.concat(begun)
      begun = nil
      return line
    end
  end
end

--- Free memory and file. The host does so at the end of the message.
function Body:close()
  if self.is_closed then
    return
  end
  check_own(self, "close")
  if self.file then
    self.file:close()
  end
  for _, kept in ipairs(self.decoded or {}) do
    kept.content:close()
  end
  self.file, self.memory, self.pieces, self.decoded, self.is_closed = nil, nil, nil, nil, true
end

--- Every part in order, the message itself first. Content is read on demand.
---@param limits? { max_depth: integer, max_parts: integer, max_header_bytes: integer }
---@return moonmilter.StoredPart[]|nil parts
---@return string|nil text
---@return "limit"|nil code
function Body:parts(limits)
  check_readable(self, "parts")
  return parts.of(self, limits)
end

--- Begin a rewrite.
---@return moonmilter.Edit
function Body:edit()
  check_readable(self, "edit")
  if self.is_truncated then
    error("edit: the body was truncated at max_size; rewriting it would lose the rest of the message", 2)
  end
  return rewrite.of(self)
end

return body
