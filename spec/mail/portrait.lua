--- A message as a few lines of text that show how the modules read it. Specs compare portraits.
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"

local portrait = {}

local function sorted(set)
  local names = {}
  for name in pairs(set) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, ",")
end

--- Printable text: bytes other than printable ASCII as \ddd.
function portrait.printable(text)
  return (text:gsub("[%z\1-\31\127-\255\\]", function(c) return ("\\%03d"):format(c:byte()) end))
end

function portrait.mailboxes(list)
  local out = {}
  for i, m in ipairs(list) do
    out[i] = (m.name and m.name ~= "" and m.name .. " " or "") .. "<" .. m.address .. ">"
      .. (m.group and " in " .. m.group or "")
  end
  for _, e in ipairs(list.errors or {}) do
    out[#out + 1] = "!" .. e.code .. "@" .. e.position
  end
  return table.concat(out, " | ")
end

function portrait.part(part)
  local line = { "part", part.path, part.type }
  if part.filename then
    line[#line + 1] = "name=" .. part.filename
  end
  if not part.is_multipart then
    line[#line + 1] = "size=" .. part.size
  end
  if part.kind then
    line[#line + 1] = "kind=" .. part.kind
  end
  if next(part.defects) then
    line[#line + 1] = "defects=" .. sorted(part.defects)
  end
  if part.content and not part.is_multipart and (not part.parts or not part.parts[1]) then
    line[#line + 1] = "begins=" .. portrait.printable(part.content:sub(1, 24))
  end
  return table.concat(line, " ")
end

--- Lines for the header of a message.
function portrait.header(block)
  local out = {}
  for _, name in ipairs { "From", "To", "Cc", "Reply-To", "Resent-From" } do
    local field = block:field(name)
    if field then
      local list, _, position, code = field:addresses()
      out[#out + 1] = name:lower() .. ": " .. (list and portrait.mailboxes(list) or "!" .. code .. "@" .. position)
    end
  end
  local subject, date, id = block:field "Subject", block:field "Date", block:field "Message-ID"
  if subject then
    out[#out + 1] = "subject: " .. subject:text()
  end
  if date then
    local when, why = date:date()
    out[#out + 1] = "date: " .. (when and when.epoch .. (when.offset < 0 and "-" or "+") .. math.abs(when.offset)
      or "!" .. why)
  end
  if id then
    out[#out + 1] = "id: " .. (header.message_id(id.value) or "!")
  end
  return out
end

--- The whole portrait.
---@param message string
---@return string
function portrait.message(message)
  local block = header.block(message)
  local out = portrait.header(block)
  local root, why, code = mime.parse(message)
  if not root then
    out[#out + 1] = "!" .. code .. " " .. why
    return table.concat(out, "\n")
  end
  local function walk(part)
    out[#out + 1] = portrait.part(part)
    for _, child in ipairs(part.parts or {}) do
      walk(child)
    end
  end
  walk(root)
  return table.concat(out, "\n")
end

--- The same through the streaming walker at a given chunk size: parts only, no content.
function portrait.streamed(message, size)
  local out, seen = {}, {}
  local walker = mime.walker {
    with_header = true,
    on_part = function(part)
      seen[#seen + 1] = part
    end,
  }
  for i = 1, #message, size do
    local ok, _, code = walker:body(message:sub(i, i + size - 1))
    if not ok then
      return "!" .. code
    end
  end
  local root, _, code = walker:eom()
  if not root then
    return "!" .. code
  end
  for i, part in ipairs(seen) do
    out[i] = portrait.part(part) .. (" %s %s %s"):format(tostring(part.header_start), tostring(part.body_start),
      tostring(part.body_stop))
  end
  return table.concat(out, "\n")
end

function portrait.read_file(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- Every message of the corpus, hand-made and generated: name -> message.
function portrait.corpus()
  local out = {}
  for _, case in ipairs(require "hand") do
    out[case.name] = portrait.read_file("spec/mail/corpus/hand/" .. case.name .. ".eml")
  end
  for _, case in ipairs(require "generate".all()) do
    out[case.name] = case.message
  end
  return out
end

return portrait
