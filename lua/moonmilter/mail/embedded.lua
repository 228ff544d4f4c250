--- Files inside the content of a part that MIME knows nothing of: uuencode, yEnc and BinHex in text, and TNEF
-- (winmail.dat). Mail readers show them as attachments.
local codec = require "moonmilter.codec"
local kind = require "moonmilter.mail.kind"

local embedded = {}

local HEAD_BYTES = 2048 -- of an encoded file: enough to decode what kind.of looks at
local LINE_MAX = 512 -- of the line that begins one

-- ---- in text ----

-- n bytes need this many characters, and writers add one or two.
local function is_uu_line(line)
  local first = line:byte()
  if not first or first < 33 or first > 96 then
    return false
  end
  local wanted = math.ceil((first - 32) % 64 / 3) * 4
  return #line - 1 >= wanted - 2 and #line - 1 <= wanted + 2
end

local function decode_uuencode(data)
  return (codec.uu_decode("begin 644 x\n" .. data))
end

local function decode_base64(data)
  return (codec.base64_decode(data))
end

local function of_uuencode(line, data)
  -- at most 512 bytes: LINE_MAX
  local coding, name = line:match "^begin(%-?%w*) +[0-7]* *(.-)%s*$"
  if coding == "-base64" then
    return decode_base64, name
  elseif coding == "" and is_uu_line(data:match "^[^\r\n]*") then
    return decode_uuencode, name
  end
end

local function decode_yenc(data)
  data = data:gsub("^=ypart[^\n]*\n", ""):gsub("\r?\n=y.*$", ""):gsub("[\r\n]", "")
  data = data:gsub("=(.)", function(c) return string.char((c:byte() - 64) % 256) end)
  return (data:gsub(".", function(c) return string.char((c:byte() - 42) % 256) end))
end

local function of_yenc(line)
  -- at most 512 bytes: LINE_MAX
  local name = line:match " name=(.-)%s*$"
  return name and decode_yenc, name
end

local SIXES = {}
for at, c in ("!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"):gmatch "()(.)" do
  SIXES[c:byte()] = at - 1
end

-- RFC 1741: six bits to a character, runs as byte 0x90 count, then a header before the data fork.
local function decode_binhex(data)
  local out, bits, count = {}, 0, 0
  for at = (data:find(":", 1, true) or #data) + 1, #data do
    local six = SIXES[data:byte(at)]
    if six then
      bits, count = bits * 64 + six, count + 6
      if count >= 8 then
        count = count - 8
        out[#out + 1] = string.char(math.floor(bits / 2 ^ count))
        bits = bits % 2 ^ count
      end
    end
  end
  return (table.concat(out):gsub("(.)\144(.)", function(c, n)
    return n == "\0" and c .. "\144" or c:rep(n:byte())
  end))
end

local function split_binhex(bytes)
  local size = bytes:byte() or 0
  return bytes:sub(2, 1 + size), bytes:sub(1 + size + 1 + 20 + 1)
end

local function of_binhex()
  return decode_binhex
end

-- What a line begins with, and how to read what follows: -> decoder, name; nothing when it is no file
local starts = {
  { "\nbegin", "x-uuencode", of_uuencode },
  { "\n=ybegin ", "yenc", of_yenc },
  { "\n(This file must be converted with BinHex", "binhex", of_binhex },
}

---@class moonmilter.EmbeddedFile
---@field encoding "x-uuencode"|"yenc"|"binhex"|"tnef"
---@field name string?
---@field kind string?  type by content

-- The first start in a buffer from a position on: -> position of its "\n", row. `known` has the next start of each row:
-- a row is searched again only from there on, so that all calls together read the buffer once for each row.
local function next_start(buffer, at, known)
  local first, row
  for i, candidate in ipairs(starts) do
    if (known[i] or 0) < at then
      known[i] = buffer:find(candidate[1], at, true) or math.huge
    end
    if known[i] < (first or math.huge) then
      first, row = known[i], candidate
    end
  end
  return first, row
end

local function report(self, row, line, data)
  local decode, name = row[3](line, data)
  if decode and self.may_read() then
    local bytes = decode(data)
    if row[2] == "binhex" then
      name, bytes = split_binhex(bytes)
    end
    self.found { encoding = row[2], name = name ~= "" and name or nil, kind = kind.of(bytes) }
  end
end

-- Reads what is complete. -> the bytes that must wait for more, and how many more are wanted
local function read_text(self, buffer, is_last)
  local at, known = 1, {}
  while not self.is_over do
    local start, row = next_start(buffer, at, known)
    if not start then
      return is_last and "" or buffer:sub(-64), 0
    end
    local line_end = buffer:find("\n", start + 1, true)
    local is_line = line_end and line_end - start <= LINE_MAX
    if not is_last and (line_end or start + LINE_MAX) + HEAD_BYTES > #buffer and (is_line or not line_end) then
      return buffer:sub(start), (line_end or start + LINE_MAX) + HEAD_BYTES - #buffer
    end
    if is_line then
      report(self, row, buffer:sub(start + 1, line_end), buffer:sub(line_end + 1, line_end + HEAD_BYTES))
    end
    at = start + 1
  end
  return "", 0
end

-- ---- TNEF (MS-OXTNEF 2.1) ----

local TNEF = "\120\159\62\34"
local ATTACH_DATA, ATTACH_TITLE = 0x800F, 0x8010

local function u32(bytes, at)
  local a, b, c, d = bytes:byte(at, at + 3)
  return a + b * 256 + c * 65536 + d * 16777216
end

-- Attributes one after the other; of each only the beginning is kept.
local function read_tnef(self, buffer, is_last)
  while not self.is_over do
    if self.skip > 0 then
      local n = math.min(self.skip, #buffer)
      self.skip, buffer = self.skip - n, buffer:sub(n + 1)
    end
    if #buffer < 9 then
      return buffer, 9 - #buffer
    end
    local id, size = u32(buffer, 2) % 65536, u32(buffer, 6)
    local wanted = (id == ATTACH_DATA or id == ATTACH_TITLE) and math.min(size, HEAD_BYTES) or 0
    if #buffer < 9 + wanted and not is_last then
      return buffer, 9 + wanted - #buffer
    end
    local data = buffer:sub(10, 9 + wanted)
    if id == ATTACH_TITLE then
      self.title = data:match "^%Z*"
    elseif id == ATTACH_DATA and self.may_read() then
      self.found { encoding = "tnef", name = self.title, kind = kind.of(data) }
      self.title = nil
    end
    self.skip = 9 + size + 2
  end
  return "", 0
end

-- ---- the finder ----

local Finder = {}
Finder.__index = Finder

--- Looks for files in the decoded content of a leaf.
---@param is_text boolean  else only TNEF is looked for
---@param found fun(file: moonmilter.EmbeddedFile)
---@param may_read fun(): boolean  asked before a file is decoded; false: no more
function embedded.finder(is_text, found, may_read)
  local self
  self = setmetatable({ is_text = is_text, found = found, pieces = {}, size = 0, wanted = #TNEF, skip = 0 }, Finder)
  self.may_read = function()
    self.is_over = self.is_over or not may_read()
    return not self.is_over
  end
  return self
end

local function choose(self, buffer)
  if buffer:sub(1, #TNEF) == TNEF then
    self.read, self.skip = read_tnef, #TNEF + 2
  elseif self.is_text then
    self.read, buffer = read_text, "\n" .. buffer -- the first line, too, begins after a line end
  end
  return buffer
end

local function read(self, is_last)
  local buffer = table.concat(self.pieces)
  if not self.read then
    buffer = choose(self, buffer)
    self.is_over = not self.read
  end
  local rest, wanted = "", 0
  if self.read then
    rest, wanted = self.read(self, buffer, is_last)
  end
  self.pieces, self.size, self.wanted = { rest }, 0, wanted
end

---@param bytes string
function Finder:feed(bytes)
  if self.is_over then
    return
  end
  self.pieces[#self.pieces + 1] = bytes
  self.size = self.size + #bytes
  if self.size >= self.wanted then -- not before: each byte is looked at a bounded number of times
    read(self, false)
  end
end

function Finder:finish()
  if not self.is_over then
    read(self, true)
  end
end

return embedded
