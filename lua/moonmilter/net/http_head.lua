--- The header lines of an HTTP answer: text to tables.
local http_head = {}

local headers_meta = {
  __index = function(self, name)
    return type(name) == "string" and rawget(self, name:lower()) or nil
  end,
}

-- Fields, each with its continuation lines joined by a blank (RFC 9112 5.2). Lines that are not fields are left out.
local function unfold(text)
  local list, last = {}, nil
  for line in text:gmatch "[^\r\n]+" do
    local name, at = line:match "^([^:%s]+)%s*:%s*()"
    local is_fold = line:find "^[ \t]"
    if is_fold then
      if last then
        last[#last + 1] = line:match("^(.*%S)", line:find "%S" or 1)
      end
    elseif name then
      last = { line:match("^(.*%S)", at) } -- empty: none
      list[#list + 1] = { name = name, value = last }
    else
      last = nil
    end
  end
  for _, field in ipairs(list) do
    field.value = table.concat(field.value, " ")
  end
  return list
end

--- One table by lower-case name, case-blind, values of the same name joined as RFC 9110 5.3 allows; and the list as
--- received. Folded values are joined. Lines that are not fields are left out.
---@param text string  lines end with CRLF or LF
---@return table<string, string> headers
---@return { name: string, value: string }[] list
function http_head.read(text)
  local list, values_of = unfold(text), {}
  for _, field in ipairs(list) do
    local key = field.name:lower()
    local values = values_of[key] or {}
    values[#values + 1], values_of[key] = field.value, values
  end
  local headers = {}
  for key, values in pairs(values_of) do
    headers[key] = table.concat(values, ", ")
  end
  return setmetatable(headers, headers_meta), list
end

return http_head
