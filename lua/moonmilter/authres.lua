--- Authentication-Results (RFC 8601): what other hosts found out about a message, and what this one found out.
---
--- Readers downstream trust the field, so a host must remove every instance that claims to be its own before it adds
--- one (RFC 8601 5). `strip` errs on the safe side: a field whose authserv-id is unclear counts as ours when some
--- reader could take it for ours.
local address = require "moonmilter.address"
local bound = require "moonmilter.mail.bound"
local token = require "moonmilter.mail.token"

local authres = {}

---@class moonmilter.AuthResults
---@field authserv_id string
---@field version integer       1 unless written otherwise
---@field results moonmilter.AuthResult[]  empty: "none" (RFC 8601 2.2 no-result)
---@field raw string|nil

---@class moonmilter.AuthResult
---@field method string         lower case: "spf", "dkim", "dmarc", "arc", "auth", "iprev", …
---@field method_version integer|nil
---@field result string         lower case: "pass", "fail", "none", …
---@field reason string|nil
---@field comment string|nil    the first comment after the result
---@field properties moonmilter.AuthProperty[]

---@class moonmilter.AuthProperty
---@field type string      "smtp", "header", "body", "policy", …
---@field property string  "mailfrom", "d", …
---@field value string

local function fail(text, position)
  return nil, "authres: " .. text, position
end

local function at(text, tokens, i)
  return tokens[i] and tokens[i].start or #text + 1
end

-- Tokens from i up to one of `ends`, or the next blank: "mail.example.org", "user@example.org", "abc+/=".
local function read_run(text, tokens, i, ends)
  local first = i
  while tokens[i] and not ends[tokens[i].kind] and (i == first or not tokens[i].blank) do
    i = i + 1
  end
  if i == first then
    return nil, i
  end
  if i == first + 1 and tokens[first].kind == "quoted" then
    return tokens[first].text, i
  end
  return text:sub(tokens[first].start, tokens[i - 1].stop), i
end

-- Tokens from i up to "=", blanks and comments between them allowed: method, "/" version, ptype "." property.
local function read_key(tokens, i)
  local parts, first = {}, i
  while tokens[i] and tokens[i].kind ~= "=" and tokens[i].kind ~= ";" do
    parts[#parts + 1] = tokens[i].text
    i = i + 1
  end
  if i == first or not tokens[i] or tokens[i].kind ~= "=" then
    return nil, i
  end
  return table.concat(parts), i
end

local value_ends = { [";"] = true }

-- One resinfo, i after its ";".
local function read_result(text, tokens, i)
  local start = at(text, tokens, i)
  local key
  key, i = read_key(tokens, i)
  local method, version_at = (key or ""):match("^([%w-]+)()")
  local version = method and key:match("^/?(%d*)$", version_at)
  if not version then
    method = nil
  end
  if not method then
    return fail("method \"=\" result expected (RFC 8601 2.2)", start)
  end
  local value
  value, i = read_run(text, tokens, i + 1, value_ends)
  if not value then
    return fail(("result missing after %s="):format(method), at(text, tokens, i))
  end
  local result = {
    method = method:lower(), method_version = tonumber(version), result = value:lower(), properties = {},
  }
  local after_result = i
  while tokens[i] and tokens[i].kind ~= ";" do
    start = at(text, tokens, i)
    key, i = read_key(tokens, i)
    if not key then
      return fail("property \"=\" value expected (RFC 8601 2.2)", start)
    end
    value, i = read_run(text, tokens, i + 1, value_ends)
    value = value or ""
    local type_, property = key:match("^([^.]+)%.(.+)$")
    if type_ then
      result.properties[#result.properties + 1] = { type = type_:lower(), property = property, value = value }
    elseif key:lower() == "reason" then
      result.reason = value
    else
      return fail(("\"%s\" is neither reason nor ptype.property"):format(key), start)
    end
  end
  return result, i, after_result
end

--- Read a value of the field.
---@param text string
---@return moonmilter.AuthResults|nil
---@return string|nil text
---@return integer|nil position
---@return "length"|nil code
function authres.parse(text)
  if #text > bound.FIELD_MAX then
    return bound.fault("authres", text, bound.FIELD_MAX)
  end
  local tokens = token.lex(text, "mime")
  if tokens.unclosed then
    return fail(tokens.unclosed .. " not closed", tokens.unclosed_at)
  end
  local id, i = read_run(text, tokens, 1, value_ends)
  if not id then
    return fail("authserv-id missing", 1)
  end
  local out = { authserv_id = id, version = 1, results = {}, raw = text }
  if tokens[i] and tokens[i].kind ~= ";" then
    out.version = tonumber(tokens[i].text)
    if not out.version then
      return fail("version number or \";\" expected after the authserv-id", tokens[i].start)
    end
    i = i + 1
  end
  if not tokens[i] then
    return fail("\";\" expected after the authserv-id (RFC 8601 2.2)", #text + 1)
  end
  local next_comment = 1
  while tokens[i] do
    if tokens[i].kind ~= ";" then
      return fail("\";\" expected", tokens[i].start)
    end
    i = i + 1
    local word = tokens[i]
    local is_none = word and word.text:lower() == "none" and (not tokens[i + 1] or tokens[i + 1].kind == ";")
    if is_none then
      i = i + 1
    elseif word and word.kind ~= ";" then
      local result, after, comment_at = read_result(text, tokens, i)
      if not result then
        return nil, after, comment_at
      end
      i = after
      while tokens.comments[next_comment] and tokens.comments[next_comment].before < comment_at do
        next_comment = next_comment + 1
      end
      local comment = tokens.comments[next_comment]
      if comment and comment.before <= i then
        result.comment = comment.text
      end
      out.results[#out.results + 1] = result
    end -- else: a superfluous ";", which is common
  end
  return out
end

local function spell(value, what)
  if type(value) ~= "string" or value:find("[%z\1-\31\127]") then
    error(("format: %s has a control character or is not a string"):format(what), 3)
  end
  -- RFC 8601 2.2 pvalue: local-part@domain needs no quotes; tspecials and blanks do
  if value ~= "" and not value:find("[ ()<>,;:\\\"/%[%]?=]") and not value:find("@[^@]*@") then
    return value
  end
  return '"' .. value:gsub('[\\"]', "\\%0") .. '"'
end

--- Write a value of the field, unfolded (header.format folds it).
---@param t moonmilter.AuthResults|{ authserv_id: string, results: table[] }
---@return string
function authres.format(t)
  local out = { spell(t.authserv_id, "authserv-id") .. (t.version and t.version ~= 1 and " " .. t.version or "") }
  for _, r in ipairs(t.results) do
    if not tostring(r.method):find("^[%w-]+$") or not tostring(r.result):find("^[%w-]+$") then
      error(("format: \"%s=%s\": method and result are keywords (RFC 8601 2.2)"):format(tostring(r.method),
        tostring(r.result)), 2)
    end
    local words = { r.method .. (r.method_version and "/" .. r.method_version or "") .. "=" .. r.result }
    if r.comment then
      if r.comment:find("[%z\1-\31\127]") then
        error("format: comment has a control character", 2)
      end
      words[#words + 1] = "(" .. r.comment:gsub("[()\\]", "\\%0") .. ")"
    end
    if r.reason then
      words[#words + 1] = "reason=" .. '"' .. spell(r.reason, "reason"):gsub('^"(.*)"$', "%1") .. '"'
    end
    for _, p in ipairs(r.properties or {}) do
      if not tostring(p.type):find("^[%w-]+$") or not tostring(p.property):find("^[%w._-]+$") then
        error(("format: \"%s.%s\" is not a ptype.property"):format(tostring(p.type), tostring(p.property)), 2)
      end
      words[#words + 1] = p.type .. "." .. p.property .. "=" .. spell(p.value, p.type .. "." .. p.property)
    end
    out[#out + 1] = table.concat(words, " ")
  end
  if #t.results == 0 then
    out[2] = "none"
  end
  return table.concat(out, "; ")
end

local function same_id(a, b)
  return a:lower() == b:lower() or address.same_domain(a, b)
end

--- Could a reader take this field for one of `authserv_id`'s? Also true when it cannot be parsed and the id is among
--- its first words, or when it is longer than a parser reads (128 KiB).
---@param value string
---@param authserv_id string
---@return boolean
function authres.claims(value, authserv_id)
  local parsed = authres.parse(value)
  if parsed then
    return same_id(parsed.authserv_id, authserv_id)
  end
  if #value > bound.FIELD_MAX then
    return true
  end
  local head = value:match("^[^;]*"):lower()
  if head:find(authserv_id:lower(), 1, true) then
    return true
  end
  for word in head:gmatch("[^%s\"()/]+") do
    if same_id(word, authserv_id) then
      return true
    end
  end
  return false
end

--- Delete every Authentication-Results field that claims to come from this host (RFC 8601 5). Fields of other hosts
--- stay, and so do ARC-Authentication-Results: they are sealed, and deleting one breaks the chain (RFC 8617 5.2).
---@param headers table  ctx.headers or a header.block: a list of fields
--- Raises when the list is truncated: a field that is not in it cannot be deleted, and would be believed.
---@param authserv_id string|string[]  ours; several when a cluster uses several
---@return integer deleted
function authres.strip(headers, authserv_id)
  if headers.truncated then
    error("strip: the header has more fields than the list shows, so not all that claim to be ours can be deleted", 2)
  end
  local ids = type(authserv_id) == "table" and authserv_id or { authserv_id }
  local doomed = {}
  for _, field in ipairs(headers) do
    if field.name:lower() == "authentication-results" then
      for _, id in ipairs(ids) do
        if authres.claims(field.value, id) then
          doomed[#doomed + 1] = field
          break
        end
      end
    end
  end
  for _, field in ipairs(doomed) do
    field:delete()
  end
  return #doomed
end

return authres
