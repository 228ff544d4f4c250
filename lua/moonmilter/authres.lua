--- Authentication-Results (RFC 8601): what other hosts found out about a message, and what this one found out.
---
--- Large senders do not follow the grammar: Microsoft 365 writes no authserv-id and properties without a type. So
--- `parse` reads what is there, and names in `defects` what should not be.
---
--- Readers downstream trust the field, so a host must remove every instance that claims to be its own before it adds
--- one (RFC 8601 5). `strip` errs on the safe side: a field whose authserv-id is unclear counts as ours when some
--- reader could take it for ours.
local lpeg = require "lpeg"
local address = require "moonmilter.address"
local bound = require "moonmilter.mail.bound"
local encoded_word = require "moonmilter.encoded_word"
local token = require "moonmilter.mail.token"

local authres = {}

---@class moonmilter.AuthResults
---@field authserv_id string|nil  nil: none is written
---@field version integer       1 unless written otherwise
---@field instance integer|nil  of ARC-Authentication-Results (RFC 8617 4.1.1)
---@field results moonmilter.AuthResult[]  empty: "none" (RFC 8601 2.2 no-result)
---@field unread string[]|nil   texts between ";" in which there is no result
---@field defects table<string, true>|nil  "no-authserv-id", "no-semicolon" after the authserv-id, "bad-result" (no
--- method "=" result), "bad-property" (a result has `unread`, or a property no type), "unclosed"
---@field raw string|nil

---@class moonmilter.AuthResult
---@field method string         lower case: "spf", "dkim", "dmarc", "arc", "auth", "iprev", …
---@field method_version integer|nil
---@field result string         lower case: "pass", "fail", "none", …
---@field reason string|nil
---@field comment string|nil    the first comment after the result
---@field properties moonmilter.AuthProperty[]
---@field unread string|nil     words that belong to no property

---@class moonmilter.AuthProperty
---@field type string|nil  "smtp", "header", "body", "policy", …; nil where none is written, as in "action=none"
---@field property string  "mailfrom", "d", …
---@field value string

local function fail(text, position)
  return nil, "authres: " .. text, position
end

-- ---- reading ----
-- `p` is { text, tokens, i, defects }: a cursor over tokens, forward only.

local function kind(p, i)
  local t = p.tokens[i or p.i]
  return t and t.kind
end

-- Tokens from the cursor up to ";", or the next blank: "mail.example.org", "user@example.org", "abc+/=".
local function read_run(p)
  local first, tokens = p.i, p.tokens
  while tokens[p.i] and kind(p) ~= ";" and (p.i == first or not tokens[p.i].blank) do
    p.i = p.i + 1
  end
  if p.i == first then
    return nil
  end
  if p.i == first + 1 and tokens[first].kind == "quoted" then
    return tokens[first].text
  end
  return p.text:sub(tokens[first].start, tokens[p.i - 1].stop)
end

-- Does the token at i belong to the one before it: "dkim / 1", "policy . expired" (RFC 8601 2.2 has CFWS there)?
local function is_glued(p, i)
  local t, before = p.tokens[i], p.tokens[i - 1]
  return not t.blank or t.kind == "/" or before.kind == "/" or t.text:sub(1, 1) == "." or before.text:sub(-1) == "."
end

-- What stands before "=": the last word is the key, others belong nowhere. The cursor ends at "=", ";" or the end.
-- -> key, words before it
local function read_key(p)
  local first, key_at = p.i, p.i
  while kind(p) and kind(p) ~= "=" and kind(p) ~= ";" do
    if p.i > first and not is_glued(p, p.i) then
      key_at = p.i
    end
    p.i = p.i + 1
  end
  local tokens = p.tokens
  if kind(p) ~= "=" or p.i == first then
    return nil, p.i > first and p.text:sub(tokens[first].start, tokens[p.i - 1].stop) or nil
  end
  local parts = {}
  for i = key_at, p.i - 1 do
    parts[#parts + 1] = tokens[i].text
  end
  return table.concat(parts), key_at > first and p.text:sub(tokens[first].start, tokens[key_at - 1].stop) or nil
end

local function note_unread(p, result, words)
  if words then
    p.defects["bad-property"] = true
    result.unread = (result.unread and result.unread .. " " or "") .. words
  end
end

-- A key and its value; -> what of it is not a property
local function add_property(p, result, key, value)
  if not key:find "^[%w._-]+$" then
    return key .. "=" .. value
  end
  local type_, property = key:match("^([^.]+)%.(.+)$")
  if key:lower() == "reason" and not result.reason then
    result.reason = value
    return
  end
  p.defects["bad-property"] = p.defects["bad-property"] or not type_ or nil
  result.properties[#result.properties + 1] = { type = type_ and type_:lower(), property = property or key,
    value = value }
end

-- Properties and the reason, up to ";".
local function read_properties(p, result)
  local unread = {}
  while kind(p) and kind(p) ~= ";" do
    local key, words = read_key(p)
    unread[#unread + 1] = words
    if key then
      p.i = p.i + 1
      unread[#unread + 1] = add_property(p, result, key, read_run(p) or "")
    elseif kind(p) == "=" then -- nothing before it
      p.i = p.i + 1
      unread[#unread + 1] = "="
    end
  end
  note_unread(p, result, unread[1] and table.concat(unread, " "))
end

-- "none", alone between ";"
local function skip_none(p)
  local t = p.tokens[p.i]
  if t.text:lower() ~= "none" or kind(p, p.i + 1) ~= nil and kind(p, p.i + 1) ~= ";" then
    return false
  end
  p.i = p.i + 1
  return true
end

-- "dkim/1" -> "dkim", 1
local function split_method(key)
  local method, at = key:match "^([%w_-]+)()"
  if not method then
    return nil
  end
  local version = key:match("^/?(%d*)$", at)
  return version and method or nil, tonumber(version)
end

-- What stands between two ";" is no result: a property of the result before, or unread.
local function read_stray(p, out, first)
  local before = out.results[#out.results]
  p.defects["bad-result"] = true
  p.i = first
  local key = read_key(p)
  if before and key and key:find("^[^.]+%..") then
    p.i = first
    read_properties(p, before)
    return
  end
  while kind(p) and kind(p) ~= ";" do
    p.i = p.i + 1
  end
  out.unread = out.unread or {}
  out.unread[#out.unread + 1] = p.text:sub(p.tokens[first].start, p.tokens[p.i - 1].stop)
end

-- The first comment after the result that ends before token `at`, and before token p.i.
local function comment_after(p, at)
  local comments = p.tokens.comments
  while comments[p.next_comment] and comments[p.next_comment].before < at do
    p.next_comment = p.next_comment + 1
  end
  local comment = comments[p.next_comment]
  return comment and comment.before <= p.i and comment.text or nil
end

-- One resinfo, after its ";".
local function read_result(p, out)
  local first = p.i
  local key, words = read_key(p)
  local method, version = split_method(key or "")
  p.i = p.i + 1
  local value = method and read_run(p)
  local keyword, after = (value or ""):match "^([%w_-]+)[.,]?()"
  if not keyword or after <= #value then
    return read_stray(p, out, first)
  end
  local result = { method = method:lower(), method_version = version, result = keyword:lower(),
    properties = {} }
  local after_result = p.i
  note_unread(p, result, words)
  read_properties(p, result)
  result.comment = comment_after(p, after_result)
  out.results[#out.results + 1] = result
end

-- Does a result stand where the authserv-id should: "spf=pass …"?
local function begins_with_result(p)
  local start = p.i
  local key, words = read_key(p)
  p.i = start
  return key ~= nil and words == nil
end

-- "i=1;", the authserv-id and the version, into `out`.
local function read_head(p, out)
  local tokens = p.tokens
  if kind(p, 2) == "=" and tokens[1].text:lower() == "i" and tokens[3] and tokens[3].text:find "^%d%d?$"
    and kind(p, 4) == ";" then
    out.instance = tonumber(tokens[3].text)
    p.i = 5
  end
  if begins_with_result(p) or kind(p) == ";" or not tokens[p.i] then
    p.defects["no-authserv-id"] = true
    return
  end
  out.authserv_id = read_run(p)
  local t = tokens[p.i]
  if t and t.kind == "atom" and t.text:find "^%d+$" and (kind(p, p.i + 1) ~= "=") then
    out.version = tonumber(t.text)
    p.i = p.i + 1
  end
  p.defects["no-semicolon"] = kind(p) ~= ";" or nil
end

--- Read a value of the field, or of ARC-Authentication-Results. Lenient: what has no place in the grammar is kept, and
--- named in `defects`.
---@param text string
---@return moonmilter.AuthResults|nil  nil: the text has no word, or more than 128 KiB
---@return string|nil text
---@return integer|nil position
---@return "length"|nil code
function authres.parse(text)
  if #text > bound.FIELD_MAX then
    return bound.fault("authres", text, bound.FIELD_MAX)
  end
  local p = { text = text, tokens = token.lex(text, "trace"), i = 1, next_comment = 1, defects = {} }
  if not p.tokens[1] then
    return fail("authserv-id missing", 1)
  end
  p.defects.unclosed = p.tokens.unclosed and true or nil
  local out = { version = 1, results = {}, raw = text }
  read_head(p, out)
  while p.tokens[p.i] do
    if kind(p) == ";" then -- several are common
      p.i = p.i + 1
    elseif not skip_none(p) then
      read_result(p, out)
    end
  end
  out.defects = next(p.defects) and p.defects or nil
  return out
end

-- ---- writing ----

local function spell(value, what, level)
  if type(value) == "string" and (value:find "^[%w._-]+$" or value:find "^[%w._+-]+@[%w._-]+$") then
    return value -- most values
  end
  if type(value) ~= "string" or value:find("[%z\1-\31\127]") then
    error(("format: %s has a control character or is not a string"):format(what), level)
  end
  -- RFC 8601 2.2 pvalue: local-part@domain needs no quotes; tspecials and blanks do
  if value ~= "" and not value:find("[ ()<>,;:\\\"/%[%]?=]") and not value:find("@[^@]*@") then
    return value
  end
  return '"' .. value:gsub('[\\"]', "\\%0") .. '"'
end

local function spell_comment(text)
  if text:find("[%z\1-\31\127]") then
    error("format: comment has a control character", 4)
  end
  return "(" .. text:gsub("[()\\]", "\\%0") .. ")"
end

local function spell_property(p)
  local name = (p.type and p.type .. "." or "") .. tostring(p.property)
  if p.type and not tostring(p.type):find("^[%w_-]+$") or not tostring(p.property):find("^[%w._-]+$") then
    error(("format: \"%s\" is not a ptype.property"):format(name), 4)
  end
  return name .. "=" .. spell(p.value, name, 5)
end

local function spell_result(r)
  if not tostring(r.method):find("^[%w_-]+$") or not tostring(r.result):find("^[%w_-]+$") then
    error(("format: \"%s=%s\": method and result are keywords (RFC 8601 2.2)"):format(tostring(r.method),
      tostring(r.result)), 3)
  end
  local words = { r.method .. (r.method_version and "/" .. r.method_version or "") .. "=" .. r.result }
  words[#words + 1] = r.comment and spell_comment(r.comment) or nil
  if r.reason then
    words[#words + 1] = "reason=" .. '"' .. spell(r.reason, "reason", 4):gsub('^"(.*)"$', "%1") .. '"'
  end
  for _, p in ipairs(r.properties or {}) do
    words[#words + 1] = spell_property(p)
  end
  return table.concat(words, " ")
end

--- Write a value of the field, unfolded (header.format folds it). What parse could not read is not written.
---@param t moonmilter.AuthResults|{ authserv_id: string, results: table[] }
---@return string
function authres.format(t)
  local out = {}
  if t.instance then
    out[1] = ("i=%d"):format(t.instance)
  end
  if t.authserv_id then -- Microsoft 365 writes none
    out[#out + 1] = spell(t.authserv_id, "authserv-id", 3)
      .. (t.version and t.version ~= 1 and " " .. t.version or "")
  elseif not (t.defects and t.defects["no-authserv-id"]) then
    error("format: authserv_id is missing (RFC 8601 2.2)", 2)
  end
  for _, r in ipairs(t.results) do
    out[#out + 1] = spell_result(r)
  end
  if #t.results == 0 then
    out[#out + 1] = "none"
  end
  return table.concat(out, "; ")
end

-- ---- whose is it? ----

-- Characters that nobody sees: soft hyphen, zero-width and directional marks, and blanks that are not ASCII.
local invisible = lpeg.P "\194\160" + "\194\173" + "\225\160\142" + "\226\128" * lpeg.R("\128\143", "\168\175")
  + "\226\129" * lpeg.R "\159\175" + "\227\128\128" + "\239\187\191"
local visible = lpeg.Cs((invisible / "" + 1) ^ 0)
local dots_at_end = lpeg.P "." ^ 1 * -1
local without_dots_at_end = lpeg.Cs((dots_at_end / "" + lpeg.P "." ^ 1 + 1) ^ 0)

local ID_MAX = 1020 -- bytes; no domain is longer, be each of its 255 characters 4 bytes of UTF-8

-- An id as the most lenient reader compares it.
local function bare_id(text)
  text = lpeg.match(visible, (text:gsub('[%z\1-\32\127"\\]', "")))
  if text:find "[\128-\255]" and #text <= ID_MAX then
    text = address.domain_to_ascii(text) or text
  end
  return lpeg.match(without_dots_at_end, text:lower())
end

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- As readers see it that know no comments inside comments: the first ")" ends one.
local flat_comment = lpeg.P "(" * (1 - lpeg.P ")") ^ 0 * (lpeg.P ")" + -1)
local without_comments = lpeg.Cs((flat_comment / " " + 1) ^ 0)

-- What some reader or other makes of a value before it looks for the id.
local views = {
  encoded_word.decode, -- Python's email decodes a whole header first
  encoded_word.decode, -- and whoever reads what that gives may do so again
  percent_decode,
  function(text) return text:match "^[^%z]*" end, -- C ends a text at NUL
  function(text) return text:find "%([^()]*%(" and lpeg.match(without_comments, text) or text end,
}

local function each_view(value)
  local list, is_known = { value }, { [value] = true }
  for _, view in ipairs(views) do
    for i = 1, #list do
      local text = view(list[i])
      if not is_known[text] then
        is_known[text] = true
        list[#list + 1] = text
      end
    end
  end
  return list
end

-- Where the authserv-id can begin: after leading ";" and an ARC instance with or without ";" after it.
local function head_of(p)
  while kind(p) == ";" do
    p.i = p.i + 1
  end
  local t, number = p.tokens[p.i], p.tokens[p.i + 2]
  if t and t.text:lower() == "i" and kind(p, p.i + 1) == "=" and number and number.text:find "^%d+$" then
    p.i = p.i + 3
    while kind(p) == ";" do
      p.i = p.i + 1
    end
  end
  return p.i
end

-- Is the head an id of one word, perhaps a version, and then ";" or the end? Then nobody reads another word as the id.
local function is_plain_head(p)
  local t = p.tokens[p.i]
  if not t or t.kind ~= "atom" and t.kind ~= "quoted" then
    return false
  end
  local following = p.tokens[p.i + 1]
  if following and following.blank and following.kind == "atom" and following.text:find "^%d+$" then
    following = p.tokens[p.i + 2]
  end
  return not following or following.kind == ";"
end

-- A text in which a reader sees the id, into the set `found`: with and without "%2E" that quotes were in.
local function add_id(text, found)
  local id = bare_id(text)
  found[id] = true
  if id:find("%", 1, true) then
    found[bare_id(percent_decode(id))] = true
  end
end

-- Tokens first..last without what stands between them, and as they are written: with quotes, brackets and backslashes.
local function add_run(p, first, last, found)
  local parts = {}
  for i = first, last do
    parts[#parts + 1] = p.tokens[i].text
  end
  local run = table.concat(parts)
  add_id(run, found)
  if parts[1] then
    add_id(p.text:sub(p.tokens[first].start, p.tokens[last].stop), found)
  end
  return run
end

-- The ids that readers can find in one view of a value, into the set `found`.
local function add_ids(text, found)
  local p = { text = text, tokens = token.lex(text, "trace"), defects = {} }
  p.i = 1
  local first = head_of(p)
  local is_plain = is_plain_head(p)
  -- all of it up to ";", for those who split there; and what reads like a host name at its beginning
  add_id(text:match "^[^;]*", found)
  local has_blank = false
  while kind(p) and kind(p) ~= ";" and (p.i == first or is_glued(p, p.i)) do
    if p.tokens[p.i].blank and p.i > first and not has_blank then
      has_blank = true
      add_run(p, first, p.i - 1, found)
    end
    p.i = p.i + 1
  end
  local run = add_run(p, first, p.i - 1, found)
  local name = run:match "^[%w._\128-\255-]*"
  if name:sub(-1) ~= "." then -- else a longer one, spelled oddly
    add_id(name, found)
  end
  p.i = first
  while not is_plain and kind(p) and kind(p) ~= ";" and kind(p) ~= "=" do
    if kind(p, p.i - 1) ~= "@" then
      add_id(p.tokens[p.i].text, found)
    end
    p.i = p.i + 1
  end
end

local function ids_of(value)
  local found = {}
  for _, text in ipairs(each_view(value)) do
    add_ids(text, found)
  end
  return found
end

local function checked_ids(ids, what)
  ids = type(ids) == "table" and ids or { ids }
  for i = 1, math.max(#ids, 1) do
    if type(ids[i]) ~= "string" or bare_id(ids[i]) == "" then
      error(("%s: an authserv-id is a text, not %s"):format(what, ids[i] == "" and "empty" or tostring(ids[i])), 3)
    end
  end
  return ids
end

local function is_claimed(value, ids)
  if #value > bound.FIELD_MAX then
    return true
  end
  local found = ids_of(value)
  for _, id in ipairs(ids) do
    if found[bare_id(id)] then
      return true
    end
  end
  return false
end

--- Could a reader take this field for one of `authserv_id`'s? Readers differ: some decode encoded words or "%2E" first,
--- some know no quoted pairs, comments or A-labels. True when the id in any of these views is ours, when the head is
--- malformed and ours is among its words, and when the value is longer than a parser reads (128 KiB). False when no
--- reader can: the id is another one.
---@param value string
---@param authserv_id string  raises when it is empty
---@return boolean
function authres.claims(value, authserv_id)
  return is_claimed(value, checked_ids(authserv_id, "claims"))
end

--- Delete every Authentication-Results field that claims to come from this host (RFC 8601 5). Fields of other hosts
--- stay, and so do ARC-Authentication-Results: they are sealed, and deleting one breaks the chain (RFC 8617 5.2).
---@param headers table  ctx.headers or a header.block: a list of fields
--- Raises when the list is truncated: a field that is not in it cannot be deleted, and would be believed.
---@param authserv_id string|string[]  ours; several when a cluster uses several; raises when there is none
---@return integer deleted
function authres.strip(headers, authserv_id)
  if headers.truncated then
    error("strip: the header has more fields than the list shows, so not all that claim to be ours can be deleted", 2)
  end
  local ids = checked_ids(authserv_id, "strip")
  local doomed = {}
  for _, field in ipairs(headers) do
    -- some MTAs leave blanks between name and colon in the name
    if field.name:lower():find "^authentication%-results[ \t]*$" and is_claimed(field.value, ids) then
      doomed[#doomed + 1] = field
    end
  end
  for _, field in ipairs(doomed) do
    field:delete()
  end
  return #doomed
end

return authres
