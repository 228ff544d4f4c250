--- The header lines of an HTTP answer: text to tables.
local http_head = {}

local headers_meta = {
  __index = function(self, name)
    return type(name) == "string" and rawget(self, name:lower()) or nil
  end,
}

--- One table by lower-case name, case-blind, values of the same name joined as RFC 9110 5.3 allows; and the list as
--- received. Lines that are not fields are left out.
---@param text string  lines end with CRLF or LF
---@return table<string, string> headers
---@return { name: string, value: string }[] list
function http_head.read(text)
  local list, values_of = {}, {}
  for line in text:gmatch "[^\r\n]+" do
    local name, at = line:match "^([^:%s]+)%s*:%s*()"
    if name then
      local value, key = line:match("^(.*%S)", at) or "", name:lower()
      list[#list + 1] = { name = name, value = value }
      local values = values_of[key] or {}
      values[#values + 1], values_of[key] = value, values
    end
  end
  local headers = {}
  for key, values in pairs(values_of) do
    headers[key] = table.concat(values, ", ")
  end
  return setmetatable(headers, headers_meta), list
end

return http_head
