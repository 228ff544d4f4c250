--- %-templates of pgsql_table(5), mysql_table(5) and ldap_table(5): %s %u %d %S %U %D %1 … %9 and %%. In a query all
--- stand for parts of the key; in result_format the small ones for parts of the value. A key or value that lacks a part
--- which a template of the map uses gives nothing, as in Postfix.
local template = {}

-- letter -> what it uses, in a query and in result_format
local USES = {
  query = { s = "", S = "", u = "key_user", U = "key_user", d = "key_domain", D = "key_domain" },
  result = { s = "", S = "", u = "value_user", U = "key_user", d = "value_domain", D = "key_domain" },
}

local Templates = {}
Templates.__index = Templates

--- The templates of one map: what one of them uses counts for all.
function template.new()
  return setmetatable({ labels = 0 }, Templates)
end

--- A list of texts and { letter }, in turn, text first.
---@param text string
---@param where "query"|"result"
---@param name string  of the parameter, for the error that it raises
function Templates:parse(text, where, name)
  local parts, at = { "", is_plain = text == "%s" }, 1
  while true do
    local percent = text:find("%", at, true)
    parts[#parts] = parts[#parts] .. text:sub(at, (percent or 0) - 1)
    if not percent then
      return parts
    end
    local letter = text:sub(percent + 1, percent + 1)
    at = percent + 2
    if letter == "%" then
      parts[#parts] = parts[#parts] .. "%"
    elseif letter:find "[1-9]" then
      self.labels = math.max(self.labels, tonumber(letter))
      self.key_domain = true
      parts[#parts + 1], parts[#parts + 2] = { letter }, ""
    elseif USES[where][letter] then
      self[USES[where][letter]] = true
      parts[#parts + 1], parts[#parts + 2] = { letter }, ""
    else
      error(("%s: there is no %%%s; write %%s, %%u, %%d, %%1 to %%9, or %%%% for a percent sign"):format(name,
        letter), 0)
    end
  end
end

-- User and domain at the last "@"; without one, only the whole as user.
local function split(address)
  local user, domain = address:match "^(.*)@([^@]*)$"
  return user or address, domain, domain and user == ""
end

local function labels_of(domain)
  local labels = {}
  for label in domain:gmatch "[^.]+" do
    labels[#labels + 1] = label
  end
  return labels
end

--- The parts of a key, by letter; nil: it lacks one that is needed.
---@param key string
---@return table<string, string>?
function Templates:parts_of(key)
  local user, domain, has_no_user = split(key)
  if self.key_domain and (domain or "") == "" or self.key_user and has_no_user then
    return nil
  end
  local parts = { S = key, U = user, D = domain }
  local labels = self.labels > 0 and labels_of(domain) or {}
  if #labels < self.labels then
    return nil
  end
  for n = 1, self.labels do
    parts[tostring(n)] = labels[#labels + 1 - n]
  end
  return parts
end

--- The query with the parts of a key as a list: text and value in turn, text first.
---@param parsed table
---@param parts table<string, string>
function template.fill(parsed, parts)
  local filled = {}
  for i, one in ipairs(parsed) do
    filled[i] = i % 2 == 1 and one or parts[one[1]:upper()]
  end
  return filled
end

--- A value in the result format; nil: it lacks a part.
function Templates:format(parsed, value, parts)
  if parsed.is_plain then
    return value
  end
  local user, domain, has_no_user = split(value)
  if self.value_domain and (domain or "") == "" or self.value_user and has_no_user then
    return nil
  end
  local own = { s = value, u = user, d = domain }
  local words = {}
  for i, one in ipairs(parsed) do
    words[i] = i % 2 == 1 and one or own[one[1]] or parts[one[1]]
  end
  return table.concat(words)
end

return template
