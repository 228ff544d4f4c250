--- Structured fields: values to tables, and back, by the field's name. Every parser keeps `raw`; `format` returns
--- `raw`, byte for byte, as long as the table still has the meaning of `raw`.
local lpeg = require "lpeg"
local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local bound = require "moonmilter.mail.bound"
local datetime = require "moonmilter.datetime"
local encoded_word = require "moonmilter.encoded_word"
local folding = require "moonmilter.mail.folding"
local params = require "moonmilter.mail.params"
local token = require "moonmilter.mail.token"

local structured = {}

local function trim(text)
  return (text:gsub("^[ \t\r\n]+", ""):match("^(.*[^ \t\r\n])")) or ""
end

---@class moonmilter.Received
---@field from string|nil  @field by string|nil  @field via string|nil  @field with string|nil
---@field id string|nil    @field for_ string|nil  the "for" clause ("for" is a reserved word in Lua)
---@field comments table<string, string>  by clause, the first: "from" usually has the client's name and address
---@field remarks { text: string, clause: string|nil }[]  every comment in order; `clause` is nil before the first, and
--- "date" in the date and after it
---@field date moonmilter.Date|nil
---@field defects table<string, true>|nil  "over-length": only its first 128 KiB are read; "unclosed": a quote, comment
--- or bracket; "no-date"; "bad-date": it cannot be read; "no-semicolon" before the date; "repeated-clause": the first
--- counts

local received_clauses = { from = "from", by = "by", via = "via", with = "with", id = "id", ["for"] = "for_" }

local function clause_of(t)
  return t ~= nil and t.kind == "atom" and received_clauses[t.text:lower()] or nil
end

-- Is there a comment between two tokens?
local function is_apart(text, t, following)
  return text:sub(t.stop + 1, following.start - 1):find("(", 1, true) ~= nil
end

-- Does a clause begin at token i, whose clause before it has had a value or not? "from ([192.0.2.1]) by mx" has none;
-- in "from by by mx" a host is called "by", in "from by mx" it has no name.
local function begins_clause(text, tokens, i, has_value)
  local t, following = tokens[i], tokens[i + 1]
  if not clause_of(t) or not t.blank and i > 1 then
    return false
  end
  if has_value or i == 1 or is_apart(text, tokens[i - 1], t) then
    return true
  end
  return following ~= nil and not clause_of(following) and not is_apart(text, t, following)
end

-- The clauses of tokens 1..last, into `out`. -> token index -> clause
local function read_clauses(text, tokens, last, out, defects)
  local clause, from, to, is_ended
  local clause_at = {}
  local function close()
    if clause and from and out[clause] then
      defects["repeated-clause"] = true
    elseif clause and from then
      out[clause] = folding.unfold(text:sub(from, to))
    end
    from, is_ended = nil, false
  end
  for i = 1, last do
    local t = tokens[i]
    if begins_clause(text, tokens, i, clause == nil or from ~= nil) then
      close()
      clause = clause_of(t)
    elseif clause and not from then
      from, to = t.start, t.stop
    elseif clause and not is_ended then
      -- a value ends at its first comment, or a parenthesis without its partner: what follows is commentary too
      is_ended = t.kind == "stray" or is_apart(text, tokens[i - 1], t)
      to = is_ended and to or t.stop
    end
    clause_at[i] = clause
  end
  close()
  return clause_at
end

-- The day of the week or of the month at which a date begins that no ";" introduces: SendGrid writes "id x Thu, 02 Apr
-- 2020 07:53:55.516 +0000 (UTC)". -> date, index of its first token
local DATE_TOKENS = 16

local function unannounced_date(text, tokens)
  for i = #tokens, math.max(1, #tokens - DATE_TOKENS), -1 do
    local word = tokens[i].kind == "atom" and tokens[i].text or ""
    local is_weekday = word:find "^%a%a%a+$" and tokens[i + 1] and tokens[i + 1].kind == ","
    if is_weekday or word:find "^%d%d%d%d%-%d%d%-%d%d" then
      return datetime.parse(text:sub(tokens[i].start)), i
    end
  end
end

-- The date, into `out`. -> how many tokens come before it
local function read_received_date(text, tokens, out, defects)
  local semicolon
  for i, t in ipairs(tokens) do
    semicolon = t.kind == ";" and i or semicolon
  end
  if semicolon then
    out.date = datetime.parse(text:sub(tokens[semicolon].stop + 1))
  end
  if not out.date then
    local date, at = unannounced_date(text, tokens)
    out.date = date
    defects["no-semicolon"] = date and (not semicolon or at > semicolon + 1) or nil
    semicolon = semicolon or date and at
  end
  if not out.date then
    defects[(semicolon and tokens[semicolon + 1]) and "bad-date" or "no-date"] = true
  end
  return (semicolon or #tokens + 1) - 1
end

--- Received (RFC 5321 4.4). Lenient: clauses in any order, unknown words belong to the clause before them, a clause may
--- have a comment only, and a date no ";" before it.
---@param text string
---@return moonmilter.Received
function structured.received(text)
  local out = { comments = {}, remarks = {}, raw = text }
  local read, defects = bound.cut(text)
  defects = defects or {}
  local tokens = token.lex(read, "trace")
  defects.unclosed = tokens.unclosed and true or nil
  local last = read_received_date(read, tokens, out, defects)
  local clause_at = read_clauses(read, tokens, last, out, defects)
  for _, c in ipairs(tokens.comments) do
    local name = c.before > last + 1 and "date" or clause_at[c.before - 1]
    local said = folding.unfold(c.text)
    out.remarks[#out.remarks + 1] = { text = said, clause = name }
    if name and name ~= "date" then
      out.comments[name] = out.comments[name] or said
    end
  end
  out.defects = next(defects) and defects or nil
  return out
end

-- An id is one word of one line; `ids` gives every one, however long: each "<" stops the attempt before it.
local id_char = lpeg.P(1) - lpeg.S "<> \t\r\n"
local an_id = lpeg.P "<" * lpeg.C(id_char ^ 1) * ">"
local ids = lpeg.Ct((an_id + 1) ^ 0)
local first_id = lpeg.P { lpeg.Cp() * an_id + 1 * lpeg.V(1) }

-- The id with blanks and comments inside its brackets (RFC 5322 4.5.4, obsolete).
local function obsolete_id(text)
  local out, start
  for _, t in ipairs(token.lex(text, "address")) do
    if t.kind == "<" then
      out, start = {}, t.start
    elseif t.kind == ">" and out and out[1] then
      return table.concat(out), start
    elseif out then
      out[#out + 1] = t.kind == "quoted" and '"' .. t.text .. '"' or t.kind == "literal" and "[" .. t.text
        .. "]" or t.text
    end
  end
end

-- The id without its brackets, which is seen in the wild.
local function bare_id(text)
  local bare = trim(text)
  local after_at = bare:match("^[^%s<>@]+@()")
  if after_at and bare:find("^[^%s<>]+$", after_at) then
    return bare, 1
  end
end

--- Message-ID, In-Reply-To's first, Content-ID: the id without its angle brackets.
---@param text string  at most 128 KiB, and the id 998 bytes (RFC 5322 2.1.1)
---@return string|nil id
---@return string|nil text
---@return integer|nil position
---@return "syntax"|"length"|nil code
function structured.message_id(text)
  if #text > bound.FIELD_MAX then
    return bound.fault("message-id", text, bound.FIELD_MAX)
  end
  local start, id = lpeg.match(first_id, text)
  if not start then
    id, start = obsolete_id(text)
  end
  if not id then
    id, start = bare_id(text)
  end
  if not id then
    return nil, "message-id: no \"<…>\" found (RFC 5322 3.6.4)", 1, "syntax"
  end
  if #id > bound.LINE_MAX then
    return nil, ("message-id: an id of %d bytes; at most %d are read (RFC 5322 2.1.1)"):format(#id, bound.LINE_MAX),
      start, "length"
  end
  return id
end

--- References, In-Reply-To: every id, in order. Words between them (RFC 5322 4.5.4, obsolete) are skipped. With
--- `defects["over-length"]` an id of more than 998 bytes is left out, or what follows the first 128 KiB.
---@param text string
---@return { [integer]: string, defects: table<string, true>|nil }
function structured.references(text)
  local defects
  text, defects = bound.cut(text)
  local list = {}
  for _, id in ipairs(lpeg.match(ids, text)) do
    if #id <= bound.LINE_MAX then
      list[#list + 1] = id
    else
      defects = { ["over-length"] = true }
    end
  end
  list.defects = defects
  return list
end

---@class moonmilter.ListUrl
---@field uri string
---@field comment string|nil

--- List-Unsubscribe, List-Post and their kin (RFC 2369): the URIs in order of preference; `no` true for "NO". Of a
--- value over 128 KiB the rest is not read: `defects["over-length"]`.
---@param text string
---@return { [integer]: moonmilter.ListUrl, no: boolean|nil, raw: string, defects: table<string, true>|nil }
function structured.list_urls(text)
  local out = { raw = text }
  -- not the token lexer: URIs may hold any of its specials
  local at = 1
  text, out.defects = bound.cut(text)
  local flat = folding.unfold(text)
  while true do
    local first, last, uri = flat:find("<([^<>]*)>", at)
    if not first then
      break
    end
    local stop = flat:find("<", last + 1, true) or #flat + 1
    local comment = flat:sub(last + 1, stop - 1):match("^[ \t]*%(([^()]*)%)")
    out[#out + 1] = { uri = (uri:gsub("%s", "")), comment = comment }
    at = last + 1
  end
  if not out[1] and trim(flat):upper():match("^NO%f[%W]") then
    out.no = true
  end
  return out
end

--- List-Id (RFC 2919): `Name <id.example.org>`.
---@param text string
---@return { id: string, name: string|nil, raw: string }|nil
---@return string|nil text
---@return integer|nil position
---@return "syntax"|"length"|nil code
function structured.list_id(text)
  if #text > bound.FIELD_MAX then
    return bound.fault("list-id", text, bound.FIELD_MAX)
  end
  local flat = folding.unfold(text)
  local first, _, id = flat:find("<([^<>%s]+)>[ \t]*$")
  if not first then
    id = trim(flat)
    if id == "" or id:find("[%s<>]") then
      return nil, "list-id: no \"<…>\" found (RFC 2919 3)", 1, "syntax"
    end
    return { id = id, raw = text }
  end
  local name = trim(flat:sub(1, first - 1))
  name = encoded_word.decode((name:gsub('^"(.*)"$', "%1")))
  return { id = id, name = name ~= "" and name or nil, raw = text }
end

local function parse_date(text)
  local date, why, position, code = datetime.parse(text)
  if date then
    date.raw = text
  end
  return date, why, position, code
end

local function parse_addresses(text)
  local list, why, position, code = address.list(text)
  if list then
    list.raw = text
  end
  return list, why, position, code
end

local function parse_one_id(text)
  local id, why, position, code = structured.message_id(text)
  if not id then
    return nil, why, position, code
  end
  return { id = id, raw = text }
end

local function parse_ids(text)
  local list = structured.references(text)
  list.raw = text
  return list
end

local function format_ids(t, name)
  local out = {}
  for i, id in ipairs(t) do
    if id:find("[<>%s%z]") then
      error(("format: \"%s\" is not a message id"):format(id), 3)
    end
    out[i] = "<" .. id .. ">"
  end
  return (folding.fold(name, table.concat(out, " ")))
end

local function format_list_urls(t, name)
  if t.no then
    return "NO"
  end
  local out = {}
  for i, item in ipairs(t) do
    if item.uri:find("[<>%s%z]") then
      error(("format: \"%s\" is not allowed in <…>"):format(item.uri), 3)
    end
    out[i] = "<" .. item.uri .. ">" .. (item.comment and " (" .. item.comment .. ")" or "")
  end
  return (folding.fold(name, table.concat(out, ", ")))
end

local function format_list_id(t, name)
  local encoded = t.name and address.format { name = t.name, address = "x@x" }:match("^(.*) <x@x>$")
  return (folding.fold(name, (encoded and encoded .. " " or "") .. "<" .. t.id .. ">"))
end

local function format_received(t, name)
  local out = {}
  for _, key in ipairs { "from", "by", "via", "with", "id", "for_" } do
    local comment = t.comments and t.comments[key]
    if t[key] or comment then
      out[#out + 1] = key == "for_" and "for" or key
      out[#out + 1] = t[key]
      out[#out + 1] = comment and "(" .. comment .. ")" or nil
    end
  end
  return (folding.fold(name, table.concat(out, " ") .. (t.date and "; " .. datetime.format(t.date) or "")))
end

local function format_address_list(t, name)
  return (folding.fold(name, address.format_list(t)))
end

-- One row per kind of field: how it is read, how it is written, which names it has.
local kinds = {
  { parse = params.content_type, format = params.format, names = "content-type" },
  { parse = params.read, format = params.format, names = "content-disposition" },
  { parse = parse_addresses, format = format_address_list,
    names = "from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc errors-to "
      .. "return-receipt-to disposition-notification-to" },
  { parse = parse_date, format = function(t) return datetime.format(t) end, names = "date resent-date" },
  { parse = parse_one_id, format = function(t) return "<" .. t.id .. ">" end, names = "message-id resent-message-id "
    .. "content-id" },
  { parse = parse_ids, format = format_ids, names = "references in-reply-to" },
  { parse = structured.list_urls, format = format_list_urls,
    names = "list-unsubscribe list-subscribe list-post list-help list-owner list-archive" },
  { parse = structured.list_id, format = format_list_id, names = "list-id" },
  { parse = structured.received, format = format_received, names = "received" },
  { parse = authres.parse, format = function(t, name) return (folding.fold(name, authres.format(t))) end,
    names = "authentication-results arc-authentication-results" },
}
local kind_of = {}
for _, kind in ipairs(kinds) do
  for name in kind.names:gmatch("%S+") do
    kind_of[name] = kind
  end
end

--- Parse a structured field by its name.
---@param name string  case does not matter
---@param value string
---@return table|nil parsed  with `raw`; the shape depends on the field, see docs/mail-header.md
---@return string|nil text
---@return integer|nil position
---@return string|nil code  "unstructured" when the field has no structure known here
function structured.parse(name, value)
  local kind = kind_of[name:lower()]
  if not kind then
    return nil, ("header: %s has no structure known here; use text()"):format(name), nil, "unstructured"
  end
  return kind.parse(value)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not same(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

--- Write a structured field. An untouched table gives its `raw`, byte for byte; otherwise the value is rewritten and
--- folded (unchanged parameters of Content-Type and Content-Disposition keep their spelling).
---@param name string
---@param parsed table
---@return string value
function structured.format(name, parsed)
  local kind = kind_of[name:lower()]
  if not kind then
    error(("format: %s has no structure known here; use header.encode"):format(name), 2)
  end
  if parsed.raw then
    local before = kind.parse(parsed.raw)
    if before and same(before, parsed) then
      return parsed.raw
    end
  end
  return kind.format(parsed, name)
end

return structured
