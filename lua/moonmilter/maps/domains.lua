--- The parameter `domain` of pgsql_table(5), mysql_table(5) and ldap_table(5): only addresses with one of these domains
--- are asked for, so neither "user" nor "@domain" nor a bare domain is.
local domains = {}

local Domains = {}
Domains.__index = Domains

--- Is this key to be asked for?
---@param key string
function Domains:has(key)
  if not self[1] then
    return true
  end
  local user, domain = key:match "^(.*)@([^@]+)$"
  if not domain or user == "" then
    return false
  end
  for _, row in ipairs(self) do -- the first that matches decides
    if row.name == domain:lower() then
      return row.is_in
    end
  end
  return false
end

--- Of a list of names; "!name" takes one out. Raises a text.
---@param words string[]
function domains.new(words)
  local list = {}
  for i, word in ipairs(words) do
    local marks, name = word:match "^(!*)(.*)$"
    if name:find "[:/]" or name == "" then
      error("domain: write names of domains; files and tables are not read here", 0)
    end
    list[i] = { name = name:lower(), is_in = #marks % 2 == 0 }
  end
  return setmetatable(list, Domains)
end

return domains
