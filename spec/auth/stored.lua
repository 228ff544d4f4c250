--- Stored messages for specs of mail identity: header and body as a milter gets them, and DNS from a table.
local stored = {}

--- The bytes of a file.
function stored.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- A message to a list of fields { name, raw }, with folds as LF, and the body with CRLF.
---@param text string  line ends LF or CRLF
---@return { name: string, raw: string }[] fields
---@return string body
function stored.split(text)
  local fields, at = {}, 1
  text = text:gsub("\r?\n", "\r\n")
  while true do
    local stop = text:find("\r\n", at, true) or #text + 1
    local line = text:sub(at, stop - 1)
    at = stop + 2
    if line == "" then
      return fields, text:sub(at)
    elseif line:find "^[ \t]" and fields[1] then
      fields[#fields].raw = fields[#fields].raw .. "\n" .. line
    else
      fields[#fields + 1] = { name = line:match "^[^:%s]*", raw = line }
    end
  end
end

--- The bytes of a message, with CRLF.
---@param fields { raw: string }[]
---@param body string
---@return string
function stored.join(fields, body)
  local out = {}
  for i, field in ipairs(fields) do
    out[i] = field.raw:gsub("\r?\n", "\r\n") .. "\r\n"
  end
  return table.concat(out) .. "\r\n" .. body
end

--- A function for DNS. Names without an entry do not exist.
---@param zone table<string, string|string[]|{ code: string }>  TXT by lower-case name; { code = "servfail" } fails
---@param asked? string[]  the names asked for
function stored.dns(zone, asked)
  return function(name, kind)
    if asked then
      asked[#asked + 1] = name
    end
    local found = zone[name:lower()]
    if kind ~= "txt" or not found then
      return nil, "no such name", "nxdomain"
    elseif found.code then
      return nil, "told to fail", found.code
    end
    return type(found) == "string" and { found } or found
  end
end

return stored
