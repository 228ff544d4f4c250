--- Which keys to look up for a mailbox and for a network address, in the order of Postfix (access(5), canonical(5)).
local address = {}

local NULL_SENDER = "<>" -- smtpd_null_access_lookup_key

local DOMAIN_MAX = 255 -- bytes of a domain (RFC 5321 4.5.3.1.2); a longer one has no parents that a table could have

-- Names that Postfix never splits at a delimiter (split_addr.c).
local UNSPLIT = { ["mailer-daemon"] = true, ["double-bounce"] = true }

-- "\"a b\"" -> "a b": tables have local parts without quotes, as Postfix does.
local function unquoted(text)
  local inner = text:match '^"(.*)"$'
  return inner and inner:gsub("\\(.)", "%1") or text
end

-- "user+ext" -> "user"; nil: there is no extension.
local function without_extension(user, delimiters)
  if delimiters == "" or UNSPLIT[user:lower()] then
    return nil
  end
  local first
  for i = 1, #delimiters do
    local at = user:find(delimiters:sub(i, i), 1, true)
    first = at and math.min(at, first or at) or first
  end
  return first and first > 1 and user:sub(1, first - 1) or nil
end

-- owner-list and list-request are names of a mailing list, not extensions (owner_request_special).
local function is_special(user, delimiters)
  if not delimiters:find("-", 1, true) then
    return false
  end
  user = user:lower()
  return user:find "^owner%-." ~= nil or user:find ".%-request$" ~= nil
end

-- A local part in quotes can read like a key of another sort: "ann@example.org"@elsewhere.example is not Ann.
local function reads_otherwise(user)
  return user:find("@", 1, true) ~= nil or user:find "^%." ~= nil or user == NULL_SENDER
end

-- The domain, and ".parent" for each domain above it.
local function add_domains(keys, domain)
  keys[#keys + 1] = domain
  if domain:find "^%[" or #domain > DOMAIN_MAX then
    return -- an address has no parents
  end
  local parent = domain:match "^[^.]+(%..+)$"
  while parent do
    keys[#keys + 1] = parent
    parent = parent:match "^%.[^.]+(%..+)$"
  end
end

--- Keys of a mailbox, the most special first: user+ext@domain, user@domain, user+ext, user, @domain, domain, .parent.
--- A user alone that has an "@", begins with a dot or is "<>" is left out.
---@param mailbox string  with or without domain; "" is the null sender
---@param delimiters string  recipient_delimiter: characters that begin an extension; "": none do
---@return string[]
function address.keys(mailbox, delimiters)
  mailbox = mailbox:match "^<(.*)>$" or mailbox
  if mailbox == "" then
    return { NULL_SENDER }
  end
  local user, domain = mailbox:match "^(.*)@([^@]*)$"
  user = unquoted(user or mailbox)
  domain = domain and domain:gsub("%.$", "")
  local short = not is_special(user, delimiters) and without_extension(user, delimiters) or nil
  local keys = {}
  local function add(key)
    keys[#keys + 1] = key
  end
  if domain and domain ~= "" then
    add(user .. "@" .. domain)
    if short then
      add(short .. "@" .. domain)
    end
  end
  for _, alone in ipairs { user, short } do
    if not reads_otherwise(alone) then
      add(alone)
    end
  end
  if domain and domain ~= "" then
    add("@" .. domain)
    add_domains(keys, domain)
  end
  return keys
end

--- Keys of an IP address: the whole, then without the last number again and again, as a text (access(5)).
---@param ip string  as cidr.address writes it
---@return string[]
function address.networks(ip)
  local is_inet6 = ip:find(":", 1, true) ~= nil
  local keys, key = { ip }, ip
  while true do
    key = is_inet6 and key:match "^(.*):" or not is_inet6 and key:match "^(.*)%." or nil
    if not key or key == "" then
      return keys
    end
    keys[#keys + 1] = key
  end
end

return address
