--- The Author Domain of a message (RFC 9989 5.3.1): the one domain that its From names. Readers disagree about odd
--- From fields, and attacks live from that: the checker sees one address, the mail reader shows another. So a field is
--- in doubt when some reader could show an address of another domain as the author's.
local address = require "moonmilter.address"
local encoded_word = require "moonmilter.encoded_word"
local recent = require "moonmilter.identity.recent"

local author = {}

local PLAIN_BYTES = 200 -- of a value that is looked at without the grammar
local KEPT_BYTES = 1000 -- of a value whose domain is kept

-- A message's From is read at the end of its header, for early look-ups, and again by DMARC.
local kept = recent.new(100)

-- A name that DNS can have, in A-labels: letters, digits, hyphens, and underscores, which some hosts have.
local function is_host_name(name)
  if #name <= 63 and name:find "^[%w_-][%w._-]*$" and not name:find("..", 1, true) then
    return true -- most names; no label is too long
  elseif #name > 253 or name:find "[^%w._-]" or name:find("..", 1, true) or name:find "^%." then
    return false
  end
  for label in name:gmatch "[^.]+" do
    if #label > 63 then
      return false
    end
  end
  return name ~= ""
end

--- A domain as DMARC compares it: A-labels, lower case, without the last dot (RFC 9989 4.4, 5.3.1).
---@param domain any
---@return string? name  nil when it is no domain name, an address literal for one
function author.name_of(domain)
  if type(domain) ~= "string" or #domain > 1020 then
    return nil
  end
  local name = address.domain_to_ascii((domain:gsub("%.$", "")))
  return name and is_host_name(name) and name or nil
end

local name_of = author.name_of

-- Does a text name a domain, after an "@", that is not `name`?
local function names_another(text, name)
  for domain in text:gmatch "@([^%s@<>()%[%],;:\"]*)" do
    if name_of(domain) ~= name then
      return true
    end
  end
  return false
end

-- Why a reader could take this mailbox for one of another domain; nil when no reader does.
local function doubt_of(mailbox, name, is_strict)
  if mailbox.is_unbalanced then
    return "a quote, parenthesis or bracket is not closed"
  elseif mailbox.route then
    return "it has a source route"
  elseif mailbox.local_part:find "[@<>,;%s]" then
    return "the local part looks like another address"
  end
  for _, comment in ipairs(mailbox.comments or {}) do
    if names_another(comment, name) then
      return "a comment holds another address"
    end
  end
  -- a quoted name with an address in it is what mailing lists write; an unquoted one is read as an address by some
  if not is_strict and mailbox.has_address_in_name and names_another(mailbox.name or "", name) then
    return "the name holds another address, not quoted"
  end
end

-- The one domain of mailboxes. -> name; nil, text
local function common_domain(mailboxes)
  local common
  for _, mailbox in ipairs(mailboxes) do
    local name = name_of(mailbox.domain)
    if not name then
      return nil, "From names an address without a domain name"
    elseif common and common ~= name then
      return nil, "From names several domains"
    end
    common = name
  end
  if not common then
    return nil, "From has no address that can be read"
  end
  return common
end

local function read(value)
  local list = address.mailboxes(value, { mode = "strict" })
  if list then
    return list, true
  end
  return address.mailboxes(value) or {}, false
end

local function doubt_of_errors(list, name)
  for _, fault in ipairs(list.errors or {}) do
    if names_another(encoded_word.decode(fault.source), name) then
      return "a part that cannot be read holds another address"
    end
  end
end

-- Some readers decode encoded words before they look for addresses.
local function doubt_of_decoded(value, name)
  if not value:find("=?", 1, true) then
    return nil
  end
  local list = address.mailboxes(encoded_word.decode(value)) or {}
  for _, mailbox in ipairs(list) do
    if name_of(mailbox.domain) ~= name then
      return "an encoded word holds another address"
    end
  end
  return doubt_of_errors(list, name)
end

local function doubt_of_all(value, list, name, is_strict)
  for _, mailbox in ipairs(list) do
    local doubt = doubt_of(mailbox, name, is_strict)
    if doubt then
      return doubt
    end
  end
  return doubt_of_errors(list, name) or doubt_of_decoded(value, name)
end

-- The domain of a value that all readers read alike: Ann Lee <ann@example.org>, "Ann Lee" <ann@example.org>. Most are,
-- and the grammar takes ten times as long. nil: the grammar decides.
local function plain_domain(value)
  if #value > PLAIN_BYTES or value:find("..", 1, true) then
    return nil
  end
  local open, close, domain = value:match '^("?)[%w .-]*("?) ?<%w[%w+_.-]*@([%w.-]+)>$'
  if not domain or open ~= close or domain:find "^[.-]" or domain:find "[.-]$" or value:find(".@", 1, true) then
    return nil
  end
  return name_of(domain)
end

-- { name, why }
local function read_domain(value)
  local list, is_strict = read(value)
  local name, why = common_domain(list)
  if not name then
    return { nil, why }
  end
  return { name, doubt_of_all(value, list, name, is_strict) }
end

--- The domain of From.
---@param values string|string[]  the values of all fields called From, as received
---@return string? name  in A-labels, lower case; nil when there is not exactly one field with exactly one domain
---@return string? why  without a name: what is wrong; with one: why some readers could see another domain
function author.domain(values)
  values = type(values) == "table" and values or { values }
  if #values ~= 1 then
    return nil, #values == 0 and "the message has no From" or "the message has several From fields"
  end
  local value = values[1]
  local plain = plain_domain(value)
  if plain then
    return plain
  end
  local known = kept:get(value)
  if not known then
    known = read_domain(value)
    if #value <= KEPT_BYTES then
      kept:keep(value, known)
    end
  end
  return known[1], known[2]
end

return author
