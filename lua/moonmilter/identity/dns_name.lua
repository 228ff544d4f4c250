--- Names as they are asked for: which text can be a name in DNS, and its spelling.
local ascii_name = require "moonmilter.net.ascii_name"

local dns_name = {}

local NAME_MAX, LABEL_MAX = 253, 63 -- characters, RFC 1035 2.3.4

--- A name with A-labels, in lower case, without the final dot; nil when no such name can exist: an empty label, one of
--- more than 63 bytes, more than 253 in all, control characters, letters that IDNA forbids. Bytes that host names do
--- not have, as in "_spf" or "50%", are fine.
---@param text string
---@return string?
function dns_name.of(text)
  if #text > 4 * NAME_MAX then -- of U-labels, whose A-labels may be shorter
    return nil
  end
  local name = ascii_name(text)
  if not name or name:find "%c" then
    return nil
  end
  if name:sub(-1) == "." then
    name = name:sub(1, -2)
  end
  if #name > NAME_MAX then
    return nil
  end
  local at = 1
  repeat
    local dot = name:find(".", at, true)
    local length = (dot or #name + 1) - at
    if length < 1 or length > LABEL_MAX then
      return nil
    end
    at = dot and dot + 1
  until not dot
  return name:lower()
end

--- The same of a name in an answer, in which moonmilter.dns writes unusual bytes as "\032"; nil also when a label holds
--- a dot.
---@param text string
---@return string?
function dns_name.answered(text)
  if text:find("\\046", 1, true) then
    return nil
  end
  return dns_name.of((text:gsub("\\(%d%d%d)", function(digits) return string.char(tonumber(digits) % 256) end)))
end

--- The domain of a mailbox or of HELO: a name of two or more labels whose last one is not a number, so no address and
--- no address literal (RFC 7208 4.3).
---@param text string
---@return string?
function dns_name.domain(text)
  local name = dns_name.of(text)
  if not name or name:sub(1, 1) == "[" then
    return nil
  end
  local last = name:match "%.([^.]+)$"
  if not last or not last:find "%D" then
    return nil
  end
  return name
end

--- As a question spells it: a backslash would begin an escape (RFC 1035 5.1).
---@param name string
---@return string
function dns_name.spell(name)
  return (name:gsub("\\", "\\092"))
end

return dns_name
