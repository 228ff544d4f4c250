--- A message body, kept: in memory up to a point, then in an unlinked temporary file; read as string, lines or parts,
--- and rewritten part by part. This is what stands behind `ctx:body{…}`; outside the host, feed it yourself.
---
--- Bytes are the milter's: CRLF line ends (LF is understood). Offsets count from 0. What a rewrite does not touch comes
--- out byte for byte; rewriting never holds more than a chunk in memory.
local codec = require "moonmilter.codec"
local charset = require "moonmilter.charset"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local ffi = require "ffi"

local body = {}

local CHUNK_BYTES = 64 * 1024
local MAX_MEMORY = 1024 * 1024
local TEMPORARY = (os.getenv "TMPDIR" or "/tmp") .. "/moonmilter.XXXXXX"

ffi.cdef "int mkstemp(char *template); int close(int fd); char *strerror(int error);"

---@class moonmilter.BodyOptions
---@field max_memory? integer  bytes kept in memory before a temporary file takes over; default 1 MiB
---@field max_size?   integer  bytes; default: no limit but the MTA's
---@field over? "truncate"|"accept"|"tempfail"|"reject"  what happens past max_size; default "tempfail"
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
    return ("options are a %s; a table is expected"):format(type(options))
  end
  for name, value in pairs(options) do
    if known_options[name] ~= type(value) then
      return known_options[name] and ("option %s is a %s; a %s is expected"):format(name, type(value),
        known_options[name]) or ("there is no option %s; there are max_memory, max_size, over "
          .. "and headers"):format(tostring(name))
    elseif known_options[name] == "number" and (value < 0 or value ~= value) then
      return ("option %s = %s; bytes, 0 or more"):format(name, tostring(value))
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
    over = options.over or "tempfail", headers = options.headers or {},
    pieces = {}, offsets = {}, bytes = 0, is_truncated = false,
  }, Body)
end

-- A file without a name, which nobody else can open: made with mode 0600 where TMPDIR says or in /tmp, unlinked at
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
    return nil, "body: no temporary file: " .. tostring(why), "tempfail"
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

--- Take a chunk of the body.
---@param chunk string
---@return true|nil ok
---@return string|nil text
---@return "accept"|"tempfail"|"reject"|nil verdict  past max_size: `over`; "tempfail" too when the disk fails
function Body:feed(chunk)
  if self.is_closed then
    error("feed: the body was closed", 2)
  end
  if self.is_finished then
    error("feed: the body was finished before", 2)
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

--- Forget what was taken, and begin again.
function Body:restart()
  self:close()
  self.pieces, self.bytes = {}, 0
  self.is_truncated, self.is_finished, self.is_closed = false, false, false
end

--- No more chunks come. Only now it can be read.
---@return true|nil ok, string|nil text, "tempfail"|nil code
function Body:finish()
  if self.is_finished then
    return true
  end
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
    error("read: the temporary file lost bytes", 2) -- never hand on a shortened message as if it were whole
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
        if line:byte(-1) == 13 then
          line = line:sub(1, -2)
        end
        return line
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

--- Give memory and file back. The host does so at the end of the message.
function Body:close()
  if self.file then
    self.file:close()
  end
  self.file, self.memory, self.pieces, self.is_closed = nil, nil, nil, true
end

-- ---------------------------------------------------------------------------------------------------------------
-- Parts of a stored body

---@class moonmilter.StoredPart : moonmilter.Part
---@field parts moonmilter.StoredPart[]
local StoredPart = {}
StoredPart.__index = StoredPart

local function walk(self, options)
  local walker = mime.walker(options)
  for _, field in ipairs(self.headers) do
    walker:header(field.name, field.value)
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

--- Every part, the message itself first, in the order they stand. Content is read when asked for.
---@param limits? { max_depth: integer, max_parts: integer, max_header_bytes: integer }
---@return moonmilter.StoredPart[]|nil parts
---@return string|nil text
---@return "depth"|"parts"|"header_bytes"|nil code
function Body:parts(limits)
  check_readable(self, "parts")
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

--- The bytes as they stand in the message, still encoded, in pieces.
---@return fun(): string|nil
function StoredPart:raw()
  if not self.body_start then
    error(("raw: part %s is inside an encoded message; it has no bytes of its own"):format(self.path), 2)
  end
  return self.body:chunks(self.body_start, self.body_stop)
end

local decoder_names = {
  base64 = "base64", ["quoted-printable"] = "quoted-printable",
  ["x-uuencode"] = "x-uuencode", ["x-uue"] = "x-uuencode", uuencode = "x-uuencode", uue = "x-uuencode",
}

-- `source` through an object with feed and finish, as an iterator.
local function through(source, filter)
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

--- Decoded content in pieces.
---@return fun(): string|nil
function StoredPart:chunks()
  if not self.body_start then -- inside an encoded message: walk again, and take what belongs to this path
    local out = {}
    walk(self.body, {
      on_part = function(part) return part.path == self.path end,
      on_data = function(_, bytes) out[#out + 1] = bytes end,
    })
    local i = 0
    return function()
      i = i + 1
      return out[i]
    end
  end
  local name = not self.is_multipart and decoder_names[self.encoding]
  if not name then
    return self:raw()
  end
  return through(self:raw(), codec.decoder(name))
end

local function collect(source, max)
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
---@param max? integer  at most so many bytes; default: all
---@return string
function StoredPart:content(max)
  return collect(self:chunks(), max)
end

--- Content of a text part as UTF-8.
---@param max? integer  bytes
---@return string
function StoredPart:text(max)
  local text = collect(through(self:chunks(), charset.converter(self.charset)), max)
  if not charset.name(self.charset) or charset.name(self.charset) == "US-ASCII" then
    return charset.guess(text)
  end
  return (codec.clean_utf8(text)) -- `max` may have cut a character
end

-- ---------------------------------------------------------------------------------------------------------------
-- Rewriting

---@class moonmilter.Edit
---@field changes table[]  { first, last, make }: what stands at [first, last) becomes what make() iterates over
local Edit = {}
Edit.__index = Edit

--- Begin to rewrite.
---@return moonmilter.Edit
function Body:edit()
  check_readable(self, "edit")
  if self.is_truncated then
    error("edit: the body was truncated at max_size; rewriting it would lose the rest of the message", 2)
  end
  return setmetatable({ body = self, changes = {}, fields = {} }, Edit)
end

local function check_part(self, part, what)
  if type(part) ~= "table" or part.body ~= self.body then
    error(what .. ": that is no part of this body", 3)
  end
  if not part.body_start then
    return nil, ("%s: part %s is inside an encoded message and cannot be changed on its own"):format(what, part.path),
      "encoded"
  end
  local first = part.header_start
  if not part.parent then
    first = 0
  end
  for _, change in ipairs(self.changes) do
    if first < change.last and change.first < part.body_stop then
      return nil, ("%s: part %s was changed already, or a part within or around it"):format(what, part.path), "changed"
    end
  end
  return first
end

-- Would a line of this text end a multipart around the part?
local function delimits(part, text)
  local above = part.parent
  while above do
    local boundary = above.params.boundary
    if boundary and ("\n" .. text):find("\n--" .. boundary, 1, true) then
      return true
    end
    above = above.parent
  end
  return false
end

local function one(text)
  return function()
    local out = text
    text = nil
    return out
  end
end

local function chain(list)
  local i = 1
  return function()
    while list[i] do
      local bytes = list[i]()
      if bytes then
        return bytes
      end
      i = i + 1
    end
  end
end

local function crlf(text)
  return (text:gsub("\r?\n", "\r\n"))
end

-- New values (false: none) for fields of a part's header: for the message's own header they are kept for
-- header_changes(), else gives an iterator over the header's bytes, the other fields as they were.
local function change_header(self, part, values)
  local names = {}
  for name in pairs(values) do
    names[#names + 1] = name
  end
  table.sort(names)
  if not part.parent then
    if not part.headers:field "MIME-Version" then -- without it the other fields mean nothing (RFC 2045 4)
      self.fields[#self.fields + 1] = { name = "MIME-Version", value = "1.0" }
    end
    for _, name in ipairs(names) do
      self.fields[#self.fields + 1] = { name = name, value = values[name] or nil }
    end
    return function() end
  end
  local bytes = self.body:read(part.header_start, part.body_start - part.header_start)
  local block = header.block(bytes)
  for _, name in ipairs(names) do
    local list = block:all(name)
    for i = #list, 2, -1 do
      list[i]:delete()
    end
    if list[1] and values[name] then
      list[1]:set(values[name])
    elseif list[1] then
      list[1]:delete()
    elseif values[name] then
      block:add(name, values[name])
    end
  end
  return one(block:bytes() .. "\r\n")
end

local function put(self, first, part, make)
  local following = self.body:read(part.body_stop, 1)
  if following ~= "" and following ~= "\r" and following ~= "\n" then
    -- An empty part: the line end of its header is the delimiter's too (RFC 2046 5.1.1). With content it needs its own.
    local bare = make
    make = function() return chain { bare(), one "\r\n" } end
  end
  self.changes[#self.changes + 1] = { first = first, last = part.body_stop, make = make }
end

--- Put a text part in place of a part, header and all: an attachment is stripped and a note left.
---@param part moonmilter.StoredPart  any part, multiparts and messages included
---@param note string  UTF-8, lines end in LF or CRLF
---@return true|nil ok, string|nil text, string|nil code
function Edit:remove(part, note)
  local first, why, code = check_part(self, part, "remove")
  if not first then
    return nil, why, code
  end
  local content = codec.qp_encode(crlf(codec.clean_utf8(note)))
  local values = {
    ["Content-Type"] = "text/plain; charset=utf-8",
    ["Content-Transfer-Encoding"] = "quoted-printable",
    ["Content-Disposition"] = "inline",
  }
  if not part.parent then
    values["Content-Disposition"] = false
    change_header(self, part, values)
    put(self, first, part, function() return one(content) end)
    return true
  end
  local lines = ("Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: %s\r\n\r\n"):format(
    values["Content-Type"], values["Content-Transfer-Encoding"], values["Content-Disposition"])
  put(self, first, part, function() return one(lines .. content) end)
  return true
end

-- Where HTML ends for the reader: offset of the last "</body" (or "</html") in a stream, nil: neither.
local function html_end(source)
  local found, found_html, offset, tail = nil, nil, 0, ""
  for chunk in source do
    local window = (tail .. chunk):lower()
    local base = offset - #tail
    local at = 1
    while true do
      at = window:find("</", at, true)
      if not at then
        break
      end
      local name = window:sub(at + 2, at + 5)
      if name == "body" then
        found = base + at - 1
      elseif name == "html" then
        found_html = base + at - 1
      end
      at = at + 2
    end
    offset = offset + #chunk
    tail = chunk:sub(-5)
    if #chunk < 5 then
      tail = window:sub(-5)
    end
  end
  return found or found_html
end

-- `source` with `addition` at an offset (nil: at the end, on a line of its own).
local function insert(source, addition, offset)
  local at, is_done, last_byte = 0, false, nil
  return function()
    if is_done then
      return source()
    end
    local chunk = source()
    if chunk and (not offset or at + #chunk < offset) then
      at = at + #chunk
      last_byte = chunk:byte(-1) or last_byte
      return chunk
    end
    is_done = true
    if chunk then
      return chunk:sub(1, offset - at) .. addition .. chunk:sub(offset - at + 1)
    end
    if not offset and last_byte and last_byte ~= 10 then
      return "\r\n" .. addition
    end
    return addition
  end
end

local function escape_html(text)
  return (text:gsub('[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- Characters above ASCII as numeric references, so that HTML in any ASCII-like charset can hold them.
local function number_characters(html)
  return (html:gsub("[\194-\244][\128-\191]+", function(c)
    local code = c:byte(1) % (c:byte(1) < 224 and 32 or c:byte(1) < 240 and 16 or 8)
    for i = 2, #c do
      code = code * 64 + c:byte(i) % 64
    end
    return ("&#%d;"):format(code)
  end))
end

-- What text labelled US-ASCII (or not at all) is written in, as charset.guess, but over a stream.
local function guess_charset(part)
  local converter = charset.converter "utf-8"
  for bytes in part:chunks() do
    converter:feed(bytes)
  end
  local _, replaced = converter:finish()
  return replaced > 0 and "windows-1252" or "utf-8"
end

--- Add UTF-8 text to the end of a text part; in text/html, markup before "</body>". The part keeps its charset and
--- encoding when they can hold the addition; else it becomes UTF-8, quoted-printable.
---@param part moonmilter.StoredPart  a text/* leaf
---@param addition string  for text/html: HTML
---@return true|nil ok
---@return string|nil text
---@return "type"|"sealed"|"encoding"|"charset"|"encoded"|"boundary"|"changed"|nil code  "sealed": inside a signed or encrypted part
function Edit:append(part, addition)
  local first, why, code = check_part(self, part, "append")
  if not first then
    return nil, why, code
  end
  if part.type:sub(1, 5) ~= "text/" then
    return nil, ("append: part %s is %s, no text"):format(part.path, part.type), "type"
  end
  if part.is_sealed then
    return nil, ("append: part %s is signed or encrypted; a change would break that"):format(part.path), "sealed"
  end
  if part.defects["unknown-encoding"] then
    return nil, ("append: part %s has unknown encoding \"%s\""):format(part.path, part.encoding), "encoding"
  end
  local is_html = part.type == "text/html"
  addition = crlf(codec.clean_utf8(addition))
  local name = charset.name(part.charset or "us-ascii")
  if is_html and name ~= "UTF-8" then
    addition = number_characters(addition)
  end
  if delimits(part, addition) then
    return nil, ("append: the text has a line that would end part %s"):format(part.path), "boundary"
  end
  local is_ascii = not addition:find("[\128-\255]")
  local stays = name == "UTF-8" or (is_ascii and (name == nil or charset.is_ascii_superset(part.charset or "us-ascii")))
  local encoding = part.encoding
  if encoding ~= "base64" and encoding ~= "quoted-printable" then
    local has_long_line = ("\n" .. addition):find("\n" .. ("[^\n]"):rep(998)) ~= nil
    local fits = decoder_names[encoding] == nil and stays and not has_long_line and (is_ascii or encoding == "8bit"
      or encoding == "binary")
    encoding = fits and encoding or "quoted-printable"
  end
  if not stays and name == nil then
    return nil, ("append: part %s has unknown charset \"%s\""):format(part.path, part.charset), "charset"
  end
  local from = not stays and (name ~= "US-ASCII" and name or guess_charset(part)) or nil
  local function source()
    local chunks = part:chunks()
    return from and through(chunks, charset.converter(from)) or chunks
  end
  local offset = is_html and html_end(source()) or nil
  local values = {}
  if not stays then
    local parsed = header.content_type(part.headers:get "Content-Type" or "text/plain")
    parsed.params.charset = "utf-8"
    values["Content-Type"] = header.format_params(parsed, "Content-Type")
  end
  if encoding ~= part.encoding then
    values["Content-Transfer-Encoding"] = encoding
  end
  local function content()
    local chunks = insert(source(), addition, offset)
    if encoding == "base64" or encoding == "quoted-printable" then
      chunks = through(chunks, codec.encoder(encoding))
    end
    return chunks
  end
  if next(values) then
    local head = change_header(self, part, values)
    put(self, first, part, function() return chain { head, content() } end)
  else
    put(self, part.body_start, part, content)
  end
  return true
end

-- The parts a reader shows as the message's text, by the structure (RFC 2046 5.1.3, 5.1.4; RFC 2387).
local function displayed(part, out)
  if part.type == "multipart/alternative" then
    for _, child in ipairs(part.parts) do
      displayed(child, out)
    end
  elseif part.type == "multipart/mixed" or part.type == "multipart/related" then
    if part.parts[1] then
      displayed(part.parts[1], out)
    end
  elseif (part.type == "text/plain" or part.type == "text/html") and not part.is_attachment then
    out[#out + 1] = part
  end
  return out
end

--- Add a footer to the message as it is displayed: to its text, or to each of its alternatives, plain and HTML.
---@param footer { text: string, html?: string }  html: default is the text, escaped
---@return integer|nil changed  parts changed; 0 when the message is signed, encrypted or shows no text
---@return string|nil text  the first reason why a part could not be changed
---@return string|nil code
function Edit:footer(footer)
  if type(footer) ~= "table" or type(footer.text) ~= "string" then
    error("footer: { text = …, html = … } expected", 2)
  end
  local parts, why, code = self.body:parts()
  if not parts then
    return nil, why, code
  end
  local html = footer.html or "<p>" .. escape_html(footer.text):gsub("\r?\n", "<br>\r\n") .. "</p>\r\n"
  local changed = 0
  local first_why, first_code
  for _, part in ipairs(displayed(parts[1], {})) do
    local ok, text, reason = self:append(part, part.type == "text/html" and html or footer.text)
    if ok then
      changed = changed + 1
    else
      first_why, first_code = first_why or text, first_code or reason
    end
  end
  return changed, first_why, first_code
end

--- The new body, in pieces, for ctx:replace_body. Untouched bytes are copied.
---@return fun(): string|nil
function Edit:chunks()
  table.sort(self.changes, function(a, b) return a.first < b.first end)
  local list, at = {}, 0
  for _, change in ipairs(self.changes) do
    list[#list + 1] = self.body:chunks(at, change.first)
    list[#list + 1] = change.make()
    at = change.last
  end
  list[#list + 1] = self.body:chunks(at)
  return chain(list)
end

---@return string
function Edit:string()
  return collect(self:chunks())
end

--- What the message's own header needs, when the message itself is the part that changed.
---@return { name: string, value: string|nil }[]  value nil: the field goes
function Edit:header_changes()
  return self.fields
end

--- Do it: edits of the header, then ctx:replace_body. Does nothing when nothing was changed.
---@param ctx table
---@return boolean changed
function Edit:apply(ctx)
  if not self.changes[1] then
    return false
  end
  for _, change in ipairs(self.fields) do
    local field = ctx.headers:field(change.name)
    if field and change.value then
      field:set(change.value)
    elseif field then
      field:delete()
    elseif change.value then
      ctx:add_header(change.name, change.value)
    end
  end
  ctx:replace_body(self:chunks())
  return true
end

return body
