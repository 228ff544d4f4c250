--- A stored body (moonmilter.body), rewritten part by part. Untouched bytes are copied chunk by chunk.
local codec = require "moonmilter.codec"
local charset = require "moonmilter.charset"
local displayed = require "moonmilter.mail.displayed"
local header = require "moonmilter.header"
local html_end = require "moonmilter.mail.html_end"
local parts = require "moonmilter.mail.parts"
local transfer = require "moonmilter.mail.transfer"

local rewrite = {}

---@class moonmilter.Edit
---@field changes table[]  { first, last, make }: the bytes [first, last) are replaced by those that make() iterates over
local Edit = {}
Edit.__index = Edit

--- Begin to rewrite a complete body.
---@param body moonmilter.Body
---@return moonmilter.Edit
function rewrite.of(body)
  return setmetatable({ body = body, changes = {}, fields = {} }, Edit)
end

local function check_part(self, part, what)
  if type(part) ~= "table" or part.body ~= self.body then
    error(what .. ": the part does not belong to this body", 3)
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
      return nil, ("%s: part %s is already changed, or a part inside or around it"):format(what, part.path), "changed"
    end
  end
  return first
end

-- Would a line of this text end a multipart around the part?
local function delimits(part, text)
  local above = part.parent
  while above do
    for boundary in pairs(above.boundaries or {}) do
      if ("\n" .. text):find("\n--" .. boundary, 1, true) then
        return true
      end
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

-- New values (false: none) for fields of a part's header: those of the message's own header are kept for
-- header_changes(); otherwise returns an iterator over the header's bytes, the other fields as they were.
local function change_header(self, part, values)
  local names = {}
  for name in pairs(values) do
    names[#names + 1] = name
  end
  table.sort(names)
  if not part.parent then
    if not part.headers:field "MIME-Version" then -- without it the other fields have no meaning (RFC 2045 4)
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
    -- In an empty part, the line end of the header is also the delimiter's (RFC 2046 5.1.1). With content it needs its
    -- own.
    local bare = make
    make = function() return chain { bare(), one "\r\n" } end
  end
  self.changes[#self.changes + 1] = { first = first, last = part.body_stop, make = make }
end

--- Replace a part, header included, by a text part: strips an attachment and leaves a note.
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

-- `source` with `addition` at an offset (nil: at the end, on a separate line).
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

-- The charset in which text labelled US-ASCII (or not at all) is written: charset.guess, but over a stream.
local function guess_charset(part)
  local converter = charset.converter "utf-8"
  for bytes in part:chunks() do
    converter:feed(bytes)
  end
  local _, replaced = converter:finish()
  return replaced > 0 and "windows-1252" or "utf-8"
end

-- Does every character of a part come through the conversion to UTF-8? What becomes U+FFFD is lost to the reader.
local function converts(part, from)
  local _, _, code = charset.to_utf8("", from)
  if code then -- this system has no converter
    return false
  end
  local converter = charset.converter(from)
  for bytes in part:chunks() do
    converter:feed(bytes)
  end
  local _, replaced = converter:finish()
  converter:close()
  return replaced == 0
end

-- Why a part cannot take an addition: text, code; nothing when it can.
local function refusal(part)
  if part.is_sealed or displayed.is_sealing[part.type] then
    return ("append: part %s is signed or encrypted; a change would break that"):format(part.path), "sealed"
  end
  if part.type:sub(1, 5) ~= "text/" then
    return ("append: part %s is %s, not text"):format(part.path, part.type), "type"
  end
  if part.defects["unknown-encoding"] then
    return ("append: part %s has unknown encoding \"%s\""):format(part.path, part.encoding), "encoding"
  end
end

-- The transfer encoding for part and addition: the part's own when possible.
local function encoding_with(part, addition, stays, is_ascii)
  local encoding = part.encoding
  if encoding == "base64" or encoding == "quoted-printable" then
    return encoding
  end
  local has_long_line = ("\n" .. addition):find("\n" .. ("[^\n]"):rep(998)) ~= nil
  local fits = transfer.decoder_of[encoding] == nil and stays and not has_long_line
    and (is_ascii or encoding == "8bit" or encoding == "binary")
  return fits and encoding or "quoted-printable"
end

-- The fields of a part that becomes UTF-8 (unless its charset stays) in an encoding.
local function new_fields(part, stays, encoding)
  local values = {}
  if not stays then
    local parsed = header.content_type(part.headers:get "Content-Type" or "text/plain")
    parsed.params.charset = "utf-8"
    values["Content-Type"] = header.format_params(parsed, "Content-Type")
  end
  if encoding ~= part.encoding then
    values["Content-Transfer-Encoding"] = encoding
  end
  return values
end

-- Replaces the part by itself with the addition. from: the charset to convert from, nil: none
local function put_with(self, first, part, addition, from, encoding)
  local function source()
    local chunks = part:chunks()
    return from and parts.through(chunks, charset.converter(from)) or chunks
  end
  local offset = part.type == "text/html" and html_end.find(source()) or nil
  local function content()
    local chunks = insert(source(), addition, offset)
    if encoding == "base64" or encoding == "quoted-printable" then
      chunks = parts.through(chunks, codec.encoder(encoding))
    end
    return chunks
  end
  local values = new_fields(part, from == nil, encoding)
  if not next(values) then
    put(self, part.body_start, part, content)
    return
  end
  local head = change_header(self, part, values)
  put(self, first, part, function() return chain { head, content() } end)
end

--- Add UTF-8 text to the end of a text part; in text/html, markup after everything displayed. The part keeps its
--- charset and encoding when they can hold the addition; else it becomes UTF-8, quoted-printable.
---@param part moonmilter.StoredPart  a leaf of type text/*
---@param addition string  for text/html: HTML
---@return true|nil ok
---@return string|nil text
---@return "type"|"sealed"|"encoding"|"charset"|"encoded"|"boundary"|"changed"|nil code  "sealed": inside a signed or encrypted part
function Edit:append(part, addition)
  local first, why, code = check_part(self, part, "append")
  if first then
    why, code = refusal(part)
  end
  if why then
    return nil, why, code
  end
  addition = crlf(codec.clean_utf8(addition))
  local name = charset.name(part.charset or "us-ascii")
  if part.type == "text/html" and name ~= "UTF-8" then
    addition = number_characters(addition)
  end
  if delimits(part, addition) then
    return nil, ("append: the text has a line that would end part %s"):format(part.path), "boundary"
  end
  local is_ascii = not addition:find("[\128-\255]")
  local stays = name == "UTF-8"
    or (is_ascii and (name == nil or charset.is_ascii_superset(part.charset or "us-ascii")))
  if not stays and name == nil then
    return nil, ("append: part %s has unknown charset \"%s\""):format(part.path, part.charset), "charset"
  end
  local from = not stays and (name ~= "US-ASCII" and name or guess_charset(part)) or nil
  if from and not converts(part, from) then
    return nil, ("append: part %s would lose characters: it cannot be converted from %s to utf-8"):format(part.path,
      part.charset or from:lower()), "charset"
  end
  put_with(self, first, part, addition, from, encoding_with(part, addition, stays, is_ascii))
  return true
end

--- Add a footer to the message as it is displayed: after its last text, or after that of each alternative, plain and
--- HTML.
---@param footer { text: string, html?: string }  html: default is the text, escaped
---@return integer|nil changed  number of parts changed; 0 when the message is signed, encrypted or shows no text
---@return string|nil text  the first reason why a part could not be changed; there is one when nothing was changed
---@return string|nil code  as for append, or "no-text"
function Edit:footer(footer)
  if type(footer) ~= "table" or type(footer.text) ~= "string" then
    error("footer: give a table { text = …, html = … }", 2)
  end
  local list, why, code = self.body:parts()
  if not list then
    return nil, why, code
  end
  local html = footer.html or "<p>" .. escape_html(footer.text):gsub("\r?\n", "<br>\r\n") .. "</p>\r\n"
  local changed = 0
  local first_why, first_code
  local texts = displayed.last_texts(list[1])
  if not texts[1] then
    return 0, "footer: the message shows no text of its own", "no-text"
  end
  for _, part in ipairs(texts) do
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
  return parts.collect(self:chunks())
end

--- Changes for the message's own header, when the message itself is the changed part.
---@return { name: string, value: string|nil }[]  value nil: delete the field
function Edit:header_changes()
  return self.fields
end

--- Apply the changes: edits of the header, then ctx:replace_body. Does nothing when there are none.
---@param ctx table
---@return boolean changed
function Edit:apply(ctx)
  if not self.changes[1] then
    return false
  end
  local chunks = self:chunks() -- first of all: it raises when the body's message is over, whose header is gone, too
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
  ctx:replace_body(chunks)
  return true
end

return rewrite
