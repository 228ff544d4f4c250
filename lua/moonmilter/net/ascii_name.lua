--- Host names as DNS, TLS and HTTP have them: A-labels (RFC 5890 2.3.2.1). An MTA with SMTPUTF8 hands over U-labels.
local codec = require "moonmilter.codec"

--- The name with each label in ASCII; a name that is in ASCII stays as it is.
---@param name any  what is not a string is left to the caller's checks
---@return any name, string? text, "badname"? code
local function ascii_name(name)
  if type(name) ~= "string" or not name:find "[\128-\255]" then
    return name
  end
  local ascii, text = codec.idna_to_ascii(name)
  if not ascii then
    return nil, text, "badname"
  end
  return ascii
end

return ascii_name
