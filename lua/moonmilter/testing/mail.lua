--- Messages: from a file, from parts, and read back after a filter's edits.
local mail = {}

--- The fields and the body of a message file, LF or CRLF, perhaps with an mbox "From " line.
--- Fields are { name, value }, the value as it is after the colon, folds as LF.
function mail.parse(text)
  text = text:gsub("\r\n", "\n"):gsub("^From [^\n]*\n", "")
  local fields, at = {}, 1
  while true do
    local line, after = text:match("^([^\n]*)\n()", at)
    if not line then
      line, after = text:sub(at), #text + 1
    end
    local name, value = line:match "^([!-9;-~]+)[ \t]*:(.*)$"
    if name then
      local lines, more = { value }, text:match("^[ \t][^\n]*", after)
      while more do
        lines[#lines + 1] = more
        after = after + #more + 1
        more = text:match("^[ \t][^\n]*", after)
      end
      fields[#fields + 1] = { name, table.concat(lines, "\n") }
      at = after
    else
      if #fields == 0 and line ~= "" then
        return nil, ("not a message: its first line is not a header field: %q"):format(line:sub(1, 60))
      end
      if line == "" then
        at = after
      end
      break
    end
  end
  local body = text:sub(at)
  if body ~= "" and body:sub(-1) ~= "\n" then
    body = body .. "\n"
  end
  return fields, (body:gsub("\n", "\r\n"))
end

function mail.read(path)
  local file, why = io.open(path, "rb")
  if not file then
    return nil, why
  end
  local text = file:read "*a"
  file:close()
  local fields, body = mail.parse(text)
  if not fields then
    return nil, path .. ": " .. body
  end
  return fields, body
end

---@class moonmilter.testing.Message
---@field text    string  all of it, lines end with CRLF
---@field headers table[] { name, value } each, the value without the space after the colon, folds as LF
---@field body    string
local Message = {}
Message.__index = Message

--- The n-th (default first) field of a name, case-blind; nil when there is none.
function Message:get(name, n)
  n = n or 1
  for _, field in ipairs(self.headers) do
    if field[1]:lower() == name:lower() then
      n = n - 1
      if n == 0 then
        return field[2]
      end
    end
  end
  return nil
end

--- All values of a name, top to bottom.
function Message:all(name)
  local list = {}
  for _, field in ipairs(self.headers) do
    if field[1]:lower() == name:lower() then
      list[#list + 1] = field[2]
    end
  end
  return list
end

Message.__tostring = function(self)
  return self.text
end

function mail.message(text)
  local fields, body = mail.parse(text)
  if not fields then
    fields, body = {}, text:gsub("^\r\n", "")
  end
  for _, field in ipairs(fields) do
    field[2] = field[2]:gsub("^ ", "")
  end
  return setmetatable({ text = text, headers = fields, body = body }, Message)
end

--- Sender and recipients from the header, as `moonmilter try` guesses them.
function mail.envelope(fields)
  local found = {}
  for _, field in ipairs(fields) do
    local name = field[1]:lower()
    found[name] = found[name] or field[2]
  end
  local function addresses(text)
    local list = {}
    for item in (text or ""):gmatch "[^,]+" do
      local address = item:match "<([^<>]*)>"
      for word in item:gmatch "[^%s<>]+" do
        address = address or word:find("^[^@]+@[^@]") and word
      end
      if address then
        list[#list + 1] = "<" .. address .. ">"
      end
    end
    return list
  end
  local from = addresses(found["return-path"] or found.from)[1] or "<>"
  local to = addresses(found["delivered-to"])
  if #to == 0 then
    to = addresses((found.to or "") .. "," .. (found.cc or ""))
  end
  return from, #to > 0 and to or { "<postmaster>" }
end

return mail
