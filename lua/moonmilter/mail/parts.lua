--- The parts of a stored body (moonmilter.body): found by the walker, their content read on demand.
local codec = require "moonmilter.codec"
local charset = require "moonmilter.charset"
local mime = require "moonmilter.mime"
local transfer = require "moonmilter.mail.transfer"

local parts = {}

---@class moonmilter.StoredPart : moonmilter.Part
---@field parts moonmilter.StoredPart[]
local StoredPart = {}
StoredPart.__index = StoredPart

local function walk(self, options)
  local walker = mime.walker(options)
  walker:headers(self.headers)
  if self.is_truncated then
    walker:note "body-truncated"
  end
  local ok, text, code = walker:eoh()
  for chunk in self:chunks() do
    if not ok then
      break
    end
    ok, text, code = walker:body(chunk)
  end
  if not ok then
    return nil, text, code
  end
  return walker:eom()
end

--- Every part in order, the message itself first. Content is read on demand.
---@param self moonmilter.Body
---@param limits? { max_depth: integer, max_parts: integer, max_header_bytes: integer }
---@return moonmilter.StoredPart[]|nil parts
---@return string|nil text
---@return "limit"|nil code
function parts.of(self, limits)
  local list = {}
  local options = {
    on_part = function(part)
      part.parts, part.body = {}, self
      list[#list + 1] = setmetatable(part, StoredPart)
      if part.parent then
        table.insert(part.parent.parts, part)
      end
      return false
    end,
  }
  for name, value in pairs(limits or {}) do
    options[name] = value
  end
  local root, text, code = walk(self, options)
  if not root then
    return nil, text, code
  end
  return list
end

--- The bytes as they are in the message, still encoded, in pieces.
---@return fun(): string|nil
function StoredPart:raw()
  if not self.body_start then
    error(("raw: part %s is inside an encoded message and has no raw bytes; use chunks() or "
      .. "content()"):format(self.path), 2)
  end
  return self.body:chunks(self.body_start, self.body_stop)
end

-- `source` through an object with feed and finish, as an iterator.
function parts.through(source, filter)
  local is_over = false
  return function()
    while not is_over do
      local chunk = source()
      local made
      if chunk then
        made = filter:feed(chunk)
      else
        is_over = true
        made = filter:finish()
      end
      if made ~= "" then
        return made
      end
    end
  end
end

local DECODED_MAX = 32 -- encoded messages whose content is kept at a time: as many as are inside each other

-- The decoded content of `part` as a body of its own, of at most `room` bytes in memory.
local function decode(part, room)
  local content = part.body.make { max_memory = math.max(room, 0) }
  content.guard = part.body.guard
  local ok, why = true, nil
  for bytes in part:chunks() do
    ok, why = content:feed(bytes)
    if not ok then
      break
    end
  end
  if ok then
    ok, why = content:finish()
  end
  if not ok then
    content:close()
    error(("part %s: %s"):format(part.path, why), 0)
  end
  return content
end

-- The content of an encoded message: decoded once, however many parts of it are read. Together these bodies keep no
-- more in memory than the body itself may; the one used longest ago goes first.
local function decoded(part)
  local body = part.body
  local list = body.decoded or { uses = 0 }
  body.decoded = list
  list.uses = list.uses + 1
  local oldest, room = nil, body.max_memory
  for _, kept in ipairs(list) do
    if kept.path == part.path then
      kept.used = list.uses
      return kept.content
    end
    room = room - (kept.content.file and 0 or kept.content:size())
    oldest = (not oldest or kept.used < oldest.used) and kept or oldest
  end
  local content = decode(part, room)
  local row = #list == DECODED_MAX and oldest or {}
  row.path, row.content, row.used = part.path, content, list.uses
  if row ~= oldest then
    list[#list + 1] = row
  end
  return content
end

--- Decoded content in pieces.
---@return fun(): string|nil
function StoredPart:chunks()
  local source
  if self.body_start then
    source = self:raw()
  else
    source = decoded(self.inside):chunks(self.inner_start, self.inner_stop)
  end
  local name = not self.is_multipart and transfer.decoder_of[self.encoding]
  return name and parts.through(source, codec.decoder(name)) or source
end

-- Pieces as one string, of at most `max` bytes.
function parts.collect(source, max)
  local out, size = {}, 0
  for bytes in source do
    out[#out + 1] = bytes
    size = size + #bytes
    if max and size >= max then
      return table.concat(out):sub(1, max)
    end
  end
  return table.concat(out)
end

--- Decoded content as a string.
---@param max? integer  bytes at most; default: all
---@return string
function StoredPart:content(max)
  return parts.collect(self:chunks(), max)
end

--- Content of a text part as UTF-8.
---@param max? integer  bytes
---@return string
function StoredPart:text(max)
  local text = parts.collect(parts.through(self:chunks(), charset.converter(self.charset)), max)
  if not charset.name(self.charset) or charset.name(self.charset) == "US-ASCII" then
    return charset.guess(text)
  end
  return (codec.clean_utf8(text)) -- `max` may have cut a character
end

return parts
