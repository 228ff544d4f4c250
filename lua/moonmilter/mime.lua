--- MIME structure of a message, walked in one pass over chunks (RFC 2045, 2046, 2183, 6532).
---
--- The walker keeps no content: memory is the open parts' headers, one possible delimiter line and one chunk, whatever
--- the size of the message. Every chunking of the same bytes makes the same calls, except that `on_data` may be cut
--- elsewhere.
---
--- Broken mail is walked the way mail readers show it, and `part.defects` names what is wrong; only the limits end a
--- walk with an error. A delimiter line is "--" boundary ["--"] and blanks (RFC 2046 5.1.1); the innermost open
--- multipart with that boundary takes it and closes the parts opened since.
---
--- Defects: bad-type, no-boundary, bad-boundary, start-missing (no delimiter in the multipart), close-missing,
--- no-separator (text where headers should be), continuation-first, unknown-encoding, encoded-multipart, bad-encoding
--- (bytes that do not fit the transfer encoding), truncated (base64 cut short), data-after-padding, repeated-field,
--- encoded-message (it is decoded and walked anyway), over-length (a Content-ID whose id has more than 998 bytes is
--- not read), and those of header.params. Where mail readers may come to other parts or other content than the
--- walker: conflicting-field, conflicting-boundary, conflicting-name, ambiguous-type, odd-encoding, hidden-field,
--- nul-in-header, partial-message (docs/mail-mime.md says what each is).
---
--- Some of them say that a bound of ours hides something (mime.hiding_defects): long-boundary (over 998 characters; its
--- multipart is not split), long-delimiter (a delimiter with so many blanks after it that it is not taken for one),
--- header-truncated, body-truncated (the walker was given less than the message has), over-length.
local codec = require "moonmilter.codec"
local charset = require "moonmilter.charset"
local declared = require "moonmilter.mail.declared"
local embedded = require "moonmilter.mail.embedded"
local header = require "moonmilter.header"
local kind = require "moonmilter.mail.kind"
local transfer = require "moonmilter.mail.transfer"

local mime = {}

---@class moonmilter.Part
---@field path   string   "1" is the message, "1.2" its second part, "1.2.1" that part's first (or the message in it)
---@field depth  integer  1 for the message
---@field parent moonmilter.Part|nil
---@field headers moonmilter.Block
---@field type   string   "text/plain", lower case
---@field params table<string, string>  of Content-Type
---@field boundaries table<string, true>|nil  of a multipart: each boundary that a mail reader may take
---@field charset string|nil  as labelled
---@field encoding string  "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", or as written if unknown
---@field disposition string|nil  "inline", "attachment", …
---@field filename string|nil  in whichever form it is written; see header.attachment_name
---@field id     string|nil  Content-ID
---@field is_multipart boolean
---@field is_attachment boolean  declared as one, or has a name
---@field is_sealed boolean  inside multipart/signed or /encrypted: a change would break it
---@field size   integer   decoded bytes; whole when on_end is called
---@field kind   string|nil  type by content, see mime.kind; known when on_end is called
---@field defects table<string, true>
---@field header_start integer|nil  offsets in the body, from 0: the part's header is [header_start, body_start), its body
---@field body_start integer|nil    [body_start, body_stop); nil inside an encoded message; no header_start for the message
---@field body_stop  integer|nil    itself. The line end before a delimiter belongs to the delimiter.
---@field inside moonmilter.Part|nil  the encoded message that the part is in ...
---@field inner_start integer|nil  ... and where its body is in the decoded content of that: [inner_start, inner_stop)
---@field inner_stop  integer|nil

local MAX_DEPTH = 32
local MAX_PARTS = 1000
local MAX_HEADER_BYTES = 256 * 1024 -- of one part
local DELIMITER_MAX = declared.BOUNDARY_MAX + 128 -- of a line worth looking at: "--", boundary, "--", blanks, line end
local HEAD_BYTES = 1024 -- decoded bytes kept to determine the kind

--- Kinds that the user of a mail reader can start with a click; moonmilter.mail.kind determines the kind.
mime.executable_kinds, mime.kind = kind.executable, kind.of

--- Defects with which one mail reader may find parts that another, and the walker, does not see. Mail from software has
--- none of them.
mime.ambiguous_defects = {
  ["conflicting-field"] = true, ["conflicting-boundary"] = true, ["no-boundary"] = true, ["bad-boundary"] = true,
  ["ambiguous-type"] = true, ["hidden-field"] = true, ["nul-in-header"] = true, ["cr-in-header"] = true,
  ["cr-delimiter"] = true, ["encoded-parts"] = true, ["partial-message"] = true,
}

--- Defects with which a mail reader may find more in the message than the walker did. No honest program writes such
--- mail.
mime.hiding_defects = { ["long-boundary"] = true, ["long-delimiter"] = true, ["header-truncated"] = true,
  ["body-truncated"] = true, ["over-length"] = true }

-- ---- the walker ----

---@class moonmilter.Walker
local Walker = {}
Walker.__index = Walker

-- The first error ends the walk for good; every later call returns it again.
local function stop(walker, text, code)
  walker.failure = { "mime: " .. text, code }
  return nil, walker.failure[1], code
end

local begin_header, open_part, close_down_to

-- Passes decoded bytes of a leaf to the callbacks.
local function deliver(walker, frame, bytes)
  local part = frame.part
  part.size = part.size + #bytes
  if #frame.head < HEAD_BYTES then
    frame.head = frame.head .. bytes:sub(1, HEAD_BYTES - #frame.head)
  end
  if bytes == "" then
    return
  end
  if frame.finder then
    frame.finder:feed(bytes)
  end
  if frame.inner then
    local ok, text, code = frame.inner:body(bytes)
    if not ok then
      walker.failure = walker.failure or { text, code }
    end
  end
  if walker.on_data and frame.is_wanted then
    walker.on_data(part, bytes)
  end
  if frame.converter and frame.is_wanted then
    local text = frame.converter:feed(bytes)
    if text ~= "" then
      walker.on_text(part, text)
    end
  end
end

-- Raw bytes buffer[first..last] of the open part; preambles and epilogues belong to no part.
local function emit(walker, buffer, first, last)
  local frame = walker.frames[#walker.frames]
  if last < first or frame.mode ~= "leaf" then
    return
  end
  local decoder = frame.decoder
  if frame.raw_head and #frame.raw_head < HEAD_BYTES then
    frame.raw_head = frame.raw_head .. buffer:sub(first, math.min(last, first + HEAD_BYTES - 1))
  end
  local is_read = frame.inner or frame.finder or (frame.is_wanted and (walker.on_data or frame.converter))
  if is_read then
    deliver(walker, frame, decoder and decoder:feed(buffer, first, last) or buffer:sub(first, last))
    return
  end
  -- no callback reads it: decode enough for the kind, then only count
  if #frame.head < HEAD_BYTES then
    local middle = math.min(last, first + 2 * HEAD_BYTES - 1)
    deliver(walker, frame, decoder and decoder:feed(buffer, first, middle) or buffer:sub(first, middle))
    first = middle + 1
    if last < first then
      return
    end
  end
  local part = frame.part
  part.size = part.size + (decoder and decoder:count(buffer, first, last) or last - first + 1)
end

local function push(walker, frame)
  walker.frames[#walker.frames + 1] = frame
  for delimiter in pairs(frame.delimiters or {}) do
    walker.delimiters[delimiter] = (walker.delimiters[delimiter] or 0) + 1
    walker.delimiter_count = walker.delimiter_count + 1
  end
end

-- The kind of a leaf. Of one whose encoding readers may read in several ways, or whose header ends at another line for
-- some of them, what it could start for any of them.
local function kind_of(frame)
  local found = kind.of(frame.head)
  if not frame.raw_head or kind.executable[found] then
    return found
  end
  for _, raw in ipairs { frame.raw_head, frame.raw_head:match "\n\r?\n(.*)" } do
    local other = kind.under_any_encoding(raw)
    found = kind.executable[other] and other or found
  end
  return found
end

-- Closes the innermost part; its body ended before offset `at`.
local function pop(walker, at)
  local frames = walker.frames
  local frame = frames[#frames]
  local part = frame.part
  for delimiter in pairs(frame.delimiters or {}) do
    local count = walker.delimiters[delimiter] - 1
    walker.delimiters[delimiter] = count > 0 and count or nil
    walker.delimiter_count = walker.delimiter_count - 1
  end
  if frame.mode == "leaf" then
    if frame.decoder then
      local rest, bad, is_truncated, is_continued = frame.decoder:finish()
      deliver(walker, frame, rest)
      part.defects["bad-encoding"] = bad > 0 or nil
      part.defects.truncated = is_truncated or nil
      part.defects["data-after-padding"] = is_continued or nil
    end
    if frame.converter then
      local text = frame.converter:finish()
      frame.converter:close()
      if text ~= "" and frame.is_wanted then
        walker.on_text(part, text)
      end
    end
    if frame.inner then
      local root, text, code = frame.inner:eom()
      if not root then
        walker.failure = walker.failure or { text, code }
      end
    end
    if frame.finder then
      frame.finder:finish()
    end
    if part.defects["no-separator"] and ("\n" .. frame.head):lower():find("\ncontent%-[%w-]+[ \t]*:") then
      part.defects["hidden-field"] = true
    end
    part.kind = kind_of(frame)
  elseif frame.mode == "preamble" then
    part.defects["start-missing"] = true
    part.defects["encoded-parts"] = part.defects["encoded-multipart"] -- decoded, there may be delimiters
  elseif frame.mode == "children" then
    part.defects["close-missing"] = true
  end
  if part.body_start then
    part.body_stop = math.max(at, part.body_start)
    if frame.mode ~= "leaf" then
      part.size = part.body_stop - part.body_start
    end
  elseif part.inner_start then
    part.inner_stop = math.max(at, part.inner_start)
  end
  frames[#frames] = nil
  if walker.on_end then
    walker.on_end(part)
  end
end

function close_down_to(walker, level, at)
  while #walker.frames > level do
    pop(walker, at)
  end
end

function begin_header(walker, at)
  walker.state = "header"
  walker.lines, walker.header_size, walker.header_start = {}, 0, at
end

-- The walker of an encoded message inside a part: its findings go to the same functions and the same count.
local function walker_inside(walker, part)
  local inner = mime.walker {
    on_part = walker.on_part, on_data = walker.on_data, on_text = walker.on_text, on_end = walker.on_end,
    on_embedded = walker.on_embedded,
    max_depth = walker.max_depth, max_parts = walker.max_parts, max_header_bytes = walker.max_header_bytes,
    with_header = true,
  }
  inner.counts, inner.depth, inner.path = walker.counts, part.depth, part.path .. ".1"
  inner.parent, inner.is_detached = part, true
  return inner
end

-- A multipart: split it at every delimiter that a mail reader may take.
local function split_at_delimiters(frame, part, is_plain)
  if not is_plain then
    part.defects["encoded-multipart"] = true -- RFC 2045 6.4; mail readers ignore the encoding, and so do we
  end
  for boundary in pairs(part.boundaries) do
    frame.mode, frame.delimiters = "preamble", frame.delimiters or {}
    frame.delimiters["--" .. boundary] = true
  end
end

-- How to read a part's body: split it at delimiters, read a header first, or decode it.
local function frame_of(walker, part)
  local frame = { part = part, mode = "leaf", head = "", children = 0, is_wanted = true }
  local is_plain = transfer.is_identity[part.encoding] or false
  local is_message = declared.is_message[part.type] or false
  if part.is_multipart then
    split_at_delimiters(frame, part, is_plain)
    return frame
  end
  local name = transfer.decoder_of[part.encoding]
  part.defects["unknown-encoding"] = not name and not is_plain or nil
  local is_unsure = part.defects["unknown-encoding"] or part.defects["odd-encoding"]
  if is_message then
    part.defects["encoded-parts"] = is_unsure -- read under another encoding, there may be others
  end
  if is_message and not name then
    frame.mode = "message" -- readers that do not know an encoding ignore it
    return frame
  end
  frame.decoder = name and codec.decoder(name)
  frame.raw_head = is_unsure and ""
  if is_message then
    part.defects["encoded-message"] = true -- RFC 2046 5.2.1 forbids it, but mail readers open it: look inside
    frame.inner = walker_inside(walker, part)
  end
  return frame
end

-- A part, or a file inside one, is one more: true, or nil and the limit that it exceeds.
local function count_part(walker)
  walker.counts.parts = walker.counts.parts + 1
  if walker.counts.parts > walker.max_parts then
    return stop(walker, ("more than max_parts %d parts"):format(walker.max_parts), "limit")
  end
  return true
end

-- The position of a new part: path and depth; or nil and the limit that it exceeds.
local function place_of_part(walker, above)
  local is_counted, text, limit = count_part(walker)
  if not is_counted then
    return nil, text, limit
  end
  local depth = (above and above.part.depth or walker.depth) + 1
  if depth > walker.max_depth then
    return stop(walker, ("parts nested deeper than max_depth %d"):format(walker.max_depth), "limit")
  end
  if not above then
    return walker.path, depth
  end
  above.children = above.children + 1
  return above.part.path .. "." .. above.children, depth
end

-- The header of a part is complete; its body begins at offset `at`.
function open_part(walker, block, defects, at)
  local above = walker.frames[#walker.frames]
  local path, depth, code = place_of_part(walker, above)
  if not path then
    return nil, depth, code
  end
  local part = declared.part(above and above.part or walker.parent, block, path, depth)
  for defect in pairs(defects or {}) do
    part.defects[defect] = true
  end
  if walker.is_detached then
    part.inside, part.inner_start = walker.parent, at
  else
    part.header_start, part.body_start = walker.header_start, at
  end
  local frame = frame_of(walker, part)
  push(walker, frame)
  walker.root = walker.root or part
  if walker.on_part and walker.on_part(part) == false then
    frame.is_wanted = false
  end
  if frame.mode == "leaf" and walker.on_text and part.type:sub(1, 5) == "text/" then
    frame.converter = charset.converter(part.charset)
  end
  if frame.mode == "leaf" and walker.on_embedded and frame.is_wanted then
    local is_text = part.type:sub(1, 5) == "text/" or part.type == "application/mac-binhex40"
    frame.finder = embedded.finder(is_text, function(file) walker.on_embedded(part, file) end,
      function() return count_part(walker) end)
  end
  walker.state, walker.is_fresh = "body", true
  if frame.mode == "message" then
    begin_header(walker, at)
  end
  return true
end

-- The open multipart that a line delimits: its level, and whether the line closes it.
local function delimiter_level(walker, line)
  local size = #line
  local byte = line:byte(size)
  while byte == 10 or byte == 13 or byte == 32 or byte == 9 do
    size = size - 1
    byte = line:byte(size)
  end
  line = line:sub(1, size)
  local is_close = false
  if not walker.delimiters[line] then
    line = line:sub(-2) == "--" and line:sub(1, -3) or ""
    is_close = true
    if not walker.delimiters[line] then
      return nil
    end
  end
  for level = #walker.frames, 1, -1 do
    local frame = walker.frames[level]
    if frame.delimiters and frame.delimiters[line] and frame.mode ~= "epilogue" then
      return level, is_close
    end
  end
  return nil
end

-- A delimiter line: the part before it ended at offset `data_stop`, the line itself begins at `start`.
-- -> how many bytes of it are consumed. The line end after a close delimiter is not: it may
-- belong to an outer delimiter.
local function on_delimiter(walker, level, is_close, data_stop, start, line)
  close_down_to(walker, level, data_stop)
  walker.frames[level].mode = is_close and "epilogue" or "children"
  if not is_close then
    begin_header(walker, start + #line)
    return #line
  end
  walker.state, walker.is_fresh = "body", false
  return #line - (line:sub(-2) == "\r\n" and 2 or line:find "[\r\n]$" and 1 or 0)
end

local function end_header(walker, at)
  local text = table.concat(walker.lines)
  walker.lines = nil
  local block, _, defects = header.block(text)
  return open_part(walker, block, defects, at)
end

local field_start = "^[\33-\57\59-\126]+[ \t]*:"

-- One line of a part's header, line end included. -> how much of it is consumed: 0 when the body begins with it.
local function header_line(walker, line, at)
  local first = line:byte()
  if first == 45 then -- "-"
    local level, is_close = delimiter_level(walker, line)
    if level then -- a part that consists of headers only
      local ok, text, code = end_header(walker, at)
      if not ok then
        return nil, text, code
      end
      return on_delimiter(walker, level, is_close, at, at, line)
    end
  end
  if first == 10 or first == 13 and (#line == 1 or line:byte(2) == 10) then
    local ok, text, code = end_header(walker, at + #line)
    if not ok then
      return nil, text, code
    end
    return #line
  end
  local is_field = first == 32 or first == 9 or line:find(field_start)
    or (#walker.lines == 0 and line:sub(1, 5) == "From ")
  if not is_field then
    local ok, text, code = end_header(walker, at)
    if not ok then
      return nil, text, code
    end
    local frame = walker.frames[#walker.frames]
    frame.part.defects["no-separator"], frame.raw_head = true, ""
    return 0
  end
  walker.header_size = walker.header_size + #line
  if walker.header_size > walker.max_header_bytes then
    return stop(walker, ("header of a part is over max_header_bytes %d"):format(walker.max_header_bytes),
      "limit")
  end
  walker.lines[#walker.lines + 1] = line
  return #line
end

-- How many bytes at the end could begin a line end and delimiter: "\r", "\r\n", "\r\n-" or without "\r" or "\n".
local function tail_size(buffer, first)
  local n = #buffer
  if n >= first and buffer:byte(n) == 45 then
    n = n - 1
    if n < first or buffer:byte(n) ~= 10 and buffer:byte(n) ~= 13 then
      return 0
    end
  end
  if n >= first and buffer:byte(n) == 10 then
    n = n - 1
  end
  if n >= first and buffer:byte(n) == 13 then
    n = n - 1
  end
  return #buffer - n
end

-- A line that is too long for a delimiter, but begins with one and then has only blanks, as far as we look: some
-- readers take it for one, so its multipart says that there may be parts which we do not see.
local function note_long_line(walker, buffer, line)
  local level = delimiter_level(walker, buffer:sub(line, line + DELIMITER_MAX - 1))
  if level then
    walker.frames[level].part.defects["long-delimiter"] = true
  end
end

-- Where the next line with "--" begins, from `search` on. Some readers end lines at a bare CR, too. `known` holds where
-- the next CR of such a line is, so that all searches together read the buffer once.
local function next_dashes(buffer, search, known)
  local line_end = buffer:find("\n--", search, true)
  if known.cr < search then
    known.cr = buffer:find("\r--", search, true) or math.huge
  end
  if known.cr < (line_end or math.huge) then
    line_end = known.cr
  end
  return line_end and line_end + 1
end

-- The line at `line` as far as it may be a delimiter: -> text; nil: it is too long, or (second result) must wait for
-- more.
local function dashed_line(buffer, line, is_last)
  local size = #buffer
  local stop_at = buffer:find("\n", line, true) or (is_last and size) or nil
  local head = buffer:sub(line, math.min(stop_at or size, line + DELIMITER_MAX - 1))
  local cr = head:find "\r[^\r\n]"
  if cr then
    return head:sub(1, cr)
  elseif not stop_at and size - line < DELIMITER_MAX then
    return nil, true
  end
  return stop_at and stop_at - line < DELIMITER_MAX and head or nil
end

-- The last byte before the line end that belongs to the delimiter at `line`.
local function data_end(walker, buffer, at, line)
  if line == at and walker.is_fresh then
    return line - 1
  elseif buffer:byte(line - 1) == 13 then
    return line - 2
  end
  return buffer:byte(line - 2) == 13 and line - 2 > at - 1 and line - 3 or line - 2
end

-- A line with "--" in a body: -> next position when it is a delimiter
local function take_delimiter(walker, buffer, at, line, text)
  local level, is_close = delimiter_level(walker, text)
  if not level then
    return nil
  end
  if text:find "\r$" or line > 1 and buffer:byte(line - 1) == 13 then
    walker.frames[level].part.defects["cr-delimiter"] = true
  end
  local data_stop = data_end(walker, buffer, at, line)
  emit(walker, buffer, at, data_stop)
  return line + on_delimiter(walker, level, is_close, walker.base + data_stop, walker.base + line - 1, text)
end

-- Body bytes from `at` on, up to and including the next delimiter line. -> next position, or nil: the rest must wait
-- for more bytes.
local function walk_body(walker, buffer, at, is_last)
  local size = #buffer
  if walker.delimiter_count == 0 then
    emit(walker, buffer, at, size)
    walker.is_fresh = false
    return size + 1
  end
  local search, line, known = at, nil, { cr = 0 }
  if walker.is_fresh then
    if size - at < 1 and not is_last and buffer:byte(at) == 45 then
      return nil
    end
    if buffer:sub(at, at + 1) == "--" then
      line = at
    end
  end
  while true do
    line = line or next_dashes(buffer, search, known)
    if not line then
      break
    end
    local text, must_wait = dashed_line(buffer, line, is_last)
    if must_wait then
      local data_stop = data_end(walker, buffer, at, line)
      emit(walker, buffer, at, data_stop)
      walker.is_fresh = walker.is_fresh and data_stop < at
      return nil, data_stop + 1
    end
    local following = text and take_delimiter(walker, buffer, at, line, text)
    if following then
      return following
    elseif not text then
      note_long_line(walker, buffer, line)
    end
    search, line = line, nil
  end
  local keep = is_last and 0 or tail_size(buffer, at)
  emit(walker, buffer, at, size - keep)
  walker.is_fresh = walker.is_fresh and size - keep < at
  return nil, size - keep + 1
end

-- Walks the buffer; bytes that must wait for more go to walker.held.
local function walk(walker, buffer, is_last)
  local at, size = 1, #buffer
  while at <= size and not walker.failure do
    if walker.state == "header" then
      local line_end = buffer:find("\n", at, true) or (is_last and size) or nil
      if not line_end then
        if walker.header_size + size - at + 1 > walker.max_header_bytes then
          return stop(walker, ("header of a part is over max_header_bytes %d"):format(walker.max_header_bytes),
            "limit")
        end
        break
      end
      local consumed, text, code = header_line(walker, buffer:sub(at, line_end), walker.base + at - 1)
      if not consumed then
        return nil, text, code
      end
      at = at + consumed
    else
      local following, from = walk_body(walker, buffer, at, is_last)
      at = following or from or at
      if not following then
        break
      end
    end
  end
  if walker.failure then
    return nil, walker.failure[1], walker.failure[2]
  end
  walker.held = at > size and "" or buffer:sub(at)
  walker.base = walker.base + at - 1
  return true
end

--- A header field of the message, in order, before eoh. (Not with `with_header`.)
---@param name string
---@param value string  as the MTA delivers it
function Walker:header(name, value)
  if self.block then
    self.block[#self.block + 1] = header.field { name = name, value = value }
  end
end

--- All fields of a list: ctx.headers, or a header.block. When the list is truncated, the message's part says so.
---@param list moonmilter.Headers
function Walker:headers(list)
  for _, field in ipairs(list) do
    self:header(field.name, field.value)
  end
  if list.truncated then
    self:note "header-truncated"
  end
end

--- A defect of the message itself that the caller knows of, before eoh.
---@param defect string
function Walker:note(defect)
  self.noted = self.noted or {}
  self.noted[defect] = true
end

--- End of the message's header: the body follows.
---@return true|nil, string|nil text, string|nil code
function Walker:eoh()
  if self.failure then
    return nil, self.failure[1], self.failure[2]
  end
  if self.state ~= "start" then
    return true
  end
  local block = self.block
  self.block = nil
  return open_part(self, block, self.noted, 0)
end

--- Some of the body (with `with_header`: of the whole message).
---@param chunk string
---@return true|nil ok
---@return string|nil text
---@return "limit"|nil code  a limit was passed; the walk is over
function Walker:body(chunk)
  if self.failure then
    return nil, self.failure[1], self.failure[2]
  end
  if self.state == "start" then
    local ok, text, code = self:eoh()
    if not ok then
      return nil, text, code
    end
  end
  -- Collect a header line that comes in many small chunks: otherwise each chunk would copy all those before it.
  if self.state == "header" and not chunk:find("\n", 1, true) then
    self.waiting[#self.waiting + 1] = chunk
    self.waiting_size = self.waiting_size + #chunk
    if self.waiting_size + self.header_size <= self.max_header_bytes then
      return true
    end
    chunk = ""
  end
  if self.waiting[1] then
    chunk = table.concat(self.waiting) .. chunk
    self.waiting, self.waiting_size = {}, 0
  end
  return walk(self, self.held ~= "" and self.held .. chunk or chunk, false)
end

--- The end. Closes everything that is open.
---@return moonmilter.Part|nil root  the message itself
---@return string|nil text
---@return string|nil code
function Walker:eom()
  if self.state == "over" then
    return self.root
  end
  local ok, text, code = self:body("")
  if ok then
    ok, text, code = walk(self, self.held .. table.concat(self.waiting), true)
  end
  if ok and self.state == "header" then
    ok, text, code = end_header(self, self.base)
    while ok and self.state == "header" do -- an empty message inside a message
      ok, text, code = end_header(self, self.base)
    end
  end
  if not ok then
    return nil, text, code
  end
  close_down_to(self, 0, self.base)
  if self.failure then
    return nil, self.failure[1], self.failure[2]
  end
  self.state = "over"
  return self.root
end

--- Walk a message.
---@class moonmilter.WalkerOptions
---@field on_part? fun(part: moonmilter.Part): boolean|nil  its header is known; return false to skip its content
---@field on_data? fun(part: moonmilter.Part, bytes: string)  decoded content of a leaf, in pieces
---@field on_text? fun(part: moonmilter.Part, text: string)  content of a text part as UTF-8, in pieces
---@field on_embedded? fun(part: moonmilter.Part, file: moonmilter.EmbeddedFile)  a file that is not a part of its own
---@field on_end?  fun(part: moonmilter.Part)  size, kind and defects are known; inner parts before outer ones
---@field max_depth? integer         parts within parts, the message itself is 1; default 32
---@field max_parts? integer         default 1000
---@field max_header_bytes? integer  of one part; default 262144
---@field with_header? boolean       body() gets the whole message, header included
local known_options = {
  on_part = "function", on_data = "function", on_text = "function", on_end = "function", on_embedded = "function",
  max_depth = "number", max_parts = "number", max_header_bytes = "number", with_header = "boolean",
}

---@param options? moonmilter.WalkerOptions
---@return moonmilter.Walker
function mime.walker(options)
  local walker = {
    max_depth = MAX_DEPTH, max_parts = MAX_PARTS, max_header_bytes = MAX_HEADER_BYTES,
    frames = {}, delimiters = {}, delimiter_count = 0, counts = { parts = 0 }, depth = 0, path = "1",
    state = "start", held = "", base = 0, waiting = {}, waiting_size = 0, is_fresh = true,
  }
  for name, value in pairs(options or {}) do
    if known_options[name] ~= type(value) then
      error(known_options[name] and ("walker: option %s is a %s; it must be a %s"):format(name, type(value),
        known_options[name]) or ("walker: there is no option %s; there are on_part, on_data, on_text, on_end, "
          .. "on_embedded, max_depth, max_parts, max_header_bytes "
        .. "and with_header"):format(tostring(name)), 2)
    end
    walker[name] = value
  end
  setmetatable(walker, Walker)
  if walker.with_header then
    begin_header(walker, 0)
  else
    walker.block = header.block("")
  end
  return walker
end

--- A whole message as a tree, all in memory: for small messages and specs. Parts get `parts` (their children), leaves
--- `content` (decoded bytes).
---@param message string  header and body
---@param options? moonmilter.WalkerOptions  limits only
---@return moonmilter.Part|nil root
---@return string|nil text
---@return string|nil code
function mime.parse(message, options)
  local pieces = {}
  local walker_options = {
    with_header = true,
    on_part = function(part)
      part.parts = {}
      if part.parent then
        table.insert(part.parent.parts, part)
      end
      pieces[part] = {}
    end,
    on_data = function(part, bytes) table.insert(pieces[part], bytes) end,
    on_end = function(part)
      if not part.is_multipart or #pieces[part] > 0 then
        part.content = table.concat(pieces[part])
      end
      pieces[part] = nil
    end,
  }
  for name, value in pairs(options or {}) do
    walker_options[name] = value
  end
  local walker = mime.walker(walker_options)
  local ok, text, code = walker:body(message)
  if not ok then
    return nil, text, code
  end
  return walker:eom()
end

return mime
