--- Header fields: values to text and tables, and back.
---
--- A value is what the MTA hands a milter: no name, no leading blank, folds as LF (CRLF is understood too). Every
--- parser keeps `raw`, and `header.format` gives `raw` back, byte for byte, as long as the table
--- still means what `raw` says.
local lpeg = require "lpeg"
local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local charset = require "moonmilter.charset"
local datetime = require "moonmilter.datetime"
local encoded_word = require "moonmilter.encoded_word"
local fields = require "moonmilter.mail.fields"
local token = require "moonmilter.mail.token"

local header = {}

local LINE_WANTED = 78 -- characters without the line end, RFC 5322 2.1.1
local LINE_MAX = 998
local SEGMENTS_MAX = 1000 -- highest number of an RFC 2231 continuation that is read

-- ---------------------------------------------------------------------------------------------------------------
-- Text

--- Decode encoded words (RFC 2047); see moonmilter.encoded_word.
header.decode = encoded_word.decode

--- Encode unstructured text as a header value, folded so that `name: value` fits.
---@param text string  raises on CR, LF, NUL
---@param name? string  the field's name, for the length of the first line; default "Subject"
---@return string value
function header.encode(text, name)
  if text:find("[%z\r\n]") then
    error("encode: text has a CR, LF or NUL; a header value is one line", 2)
  end
  name = name or "Subject"
  return (header.fold(name, encoded_word.encode(text, #name + 2)))
end

--- Undo folds: the line ends go, the blanks after them stay (RFC 5322 2.2.3).
---@param value string
---@return string
function header.unfold(value)
  return (value:gsub("\r?\n", ""))
end

local blank = lpeg.S " \t"
local fold_pieces = lpeg.Ct((lpeg.C(blank ^ 0 * (1 - blank) ^ 1) + lpeg.C(blank ^ 1)) ^ 0)

--- Fold a value so that no line passes 78 characters where that is possible. Breaks stand only before blanks that are
--- there anyway, never where a line of nothing but blanks would come out (RFC 5322 3.2.2; some MTAs take such a line
--- for the end of the headers), never right after "Name:" (Exchange and old Sendmails lose the value), and are LF
--- alone, as both MTAs want it from a milter. So `unfold(fold(name, value)) == value`.
---@param name string
---@param value string  one line
---@return string value
---@return boolean is_within_limits  false: a word is so long that a line passes 998 (RFC 5322 2.1.1)
function header.fold(name, value)
  local out, column, is_within = {}, #name + 2, true
  local pieces = lpeg.match(fold_pieces, header.unfold(value))
  for i, piece in ipairs(pieces) do
    local is_foldable = i > 1 and piece:find("^[ \t]+[^ \t]")
    if is_foldable and column + #piece > LINE_WANTED then
      out[#out + 1] = "\n"
      column = 0
    end
    out[#out + 1] = piece
    column = column + #piece
    is_within = is_within and column <= LINE_MAX
  end
  return table.concat(out), is_within
end

-- ---------------------------------------------------------------------------------------------------------------
-- Parameters: `value; name=value; …` (RFC 2045 5.1, RFC 2183, RFC 2231)

---@class moonmilter.Parameters
---@field value  string   before the first ";", lower case: "text/plain", "attachment"
---@field params table<string, string>  by lower-case name, decoded to UTF-8; RFC 2231 forms joined under the base name
---@field order  string[] names in the order they stand
---@field raw    string
---@field defects table<string, true>|nil  "duplicate-parameter", "bad-parameter" (its name is no token), "unclosed",
--- "text-after-value", "no-value", "bad-continuation"

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Collects the RFC 2231 pieces of one name; `piece` is { text, is_extended }. Neighbours are joined before "%XX" is
-- decoded: some writers cut inside one.
local function join_segments(segments, defects)
  local bytes, run, label = {}, {}, nil
  local first = segments[0] and 0 or 1 -- some senders count from 1
  local i = first
  while segments[i] do
    local text, is_extended = segments[i][1], segments[i][2]
    if is_extended and i == first then
      local name, rest = text:match("^([^']*)'[^']*'(.*)$")
      if name then
        label, text = name, rest
      end
    end
    run[#run + 1] = text
    if not is_extended then
      bytes[#bytes + 1] = text
      run = {}
    elseif not segments[i + 1] or not segments[i + 1][2] then
      bytes[#bytes + 1] = percent_decode(table.concat(run))
      run = {}
    end
    i = i + 1
  end
  if segments.count ~= i - first then
    defects["bad-continuation"] = true
  end
  return (charset.to_utf8(table.concat(bytes), label ~= "" and label or nil))
end

-- Tokens of one parameter, i on its name: -> name, value, next i
local function read_parameter(text, tokens, i, defects)
  local name_token = tokens[i]
  local first = i
  while tokens[i] and tokens[i].kind ~= "=" and tokens[i].kind ~= ";" do
    i = i + 1
  end
  local name = text:sub(name_token.start, tokens[i - 1] and tokens[i - 1].stop or name_token.stop):lower()
  if not tokens[i] or tokens[i].kind == ";" or i == first then
    defects["no-value"] = true
    while tokens[i] and tokens[i].kind ~= ";" do
      i = i + 1
    end
    return nil, nil, i
  end
  i = i + 1
  local begin = i
  while tokens[i] and tokens[i].kind ~= ";" do
    i = i + 1
  end
  if i == begin then
    return name, "", i
  end
  if tokens[begin].kind == "quoted" then
    if i > begin + 1 then
      defects["text-after-value"] = true
    end
    return name, tokens[begin].text, i
  end
  -- not a token, strictly, when it has blanks or specials; but `filename=my file.pdf` is everywhere
  return name, header.unfold(text:sub(tokens[begin].start, tokens[i - 1].stop)), i
end

--- Parse a value with parameters. Never fails: what cannot be read is left out and named in `defects`. Of a parameter
--- given twice the first counts; an RFC 2231 form counts more than the plain one (RFC 6266 4.3 has the reason).
---@param text string
---@return moonmilter.Parameters
function header.params(text)
  local tokens = token.lex(text, "mime")
  local defects, plain, extended, order = {}, {}, {}, {}
  if tokens.unclosed then
    defects.unclosed = true
  end
  local i = 1
  while tokens[i] and tokens[i].kind ~= ";" do
    i = i + 1
  end
  local value = ""
  for k = 1, i - 1 do
    value = value .. (k > 1 and tokens[k].blank and tokens[k].kind == "atom" and tokens[k - 1].kind == "atom" and " "
      or "") .. tokens[k].text
    if #value > LINE_MAX then
      break -- no media type is that long, and adding up one by one must stay cheap
    end
  end
  while tokens[i] do
    i = i + 1 -- past ";"
    if tokens[i] and tokens[i].kind ~= ";" then
      local name, text_value
      name, text_value, i = read_parameter(text, tokens, i, defects)
      if name and not name:find("^[%w!#$&+%.^_`{|}~%%*'-]+$") then
        defects["bad-parameter"] = true
      elseif name then
        local base, index, star = name:match("^([^*]+)%*(%d*)(%*?)$")
        index = tonumber(index) or (base and star == "" and 0)
        if base and index and index <= SEGMENTS_MAX then
          local is_extended = star == "*" or name:sub(-1) == "*"
          local segments = extended[base] or { count = 0 }
          if not extended[base] and not plain[base] then
            order[#order + 1] = base
          end
          extended[base] = segments
          if segments[index] then
            defects["duplicate-parameter"] = true
          else
            segments[index] = { text_value, is_extended }
            segments.count = segments.count + 1
          end
        elseif plain[name] then
          defects["duplicate-parameter"] = true
        else
          if not extended[name] then
            order[#order + 1] = name
          end
          plain[name] = text_value
        end
      end
    end
  end
  local params = {}
  for name, text_value in pairs(plain) do
    -- RFC 2047 5 forbids encoded words here; senders use them all the same
    params[name] = encoded_word.decode(text_value)
  end
  for name, segments in pairs(extended) do
    params[name] = join_segments(segments, defects):gsub("[%z\r\n]", " ")
  end
  return {
    value = value:lower(), params = params, order = order, raw = text,
    defects = next(defects) and defects or nil,
  }
end

-- One parameter as it is written: token, quoted string, or RFC 2231 where it is not ASCII or too long for a line.
local function spell_parameter(name, value)
  if value:find("[%z\r\n]") then
    error(("format: parameter %s has a CR, LF or NUL"):format(name), 4)
  end
  local is_long = #name + #value > LINE_WANTED - 6
  if not value:find("[^\32-\126]") and not value:find("=?", 1, true) and not is_long then
    if value ~= "" and not value:find("[ ()<>@,;:\\\"/%[%]?=]") then
      return { name .. "=" .. value }
    end
    return { name .. '="' .. value:gsub('[\\"]', "\\%0") .. '"' }
  end
  local encoded = value:gsub("[^%w!#$&+%.^_`{|}~-]", function(c) return ("%%%02X"):format(c:byte()) end)
  if #encoded + #name + #"*=UTF-8''" < LINE_WANTED - 2 then
    return { name .. "*=UTF-8''" .. encoded }
  end
  local out, rest = {}, "UTF-8''" .. encoded
  local room = LINE_WANTED - #name - #"*000*=; "
  local at = 1
  while at <= #rest do
    local stop = at + math.max(room, 10) - 1
    -- never inside "%XX"
    if rest:sub(stop, stop) == "%" then
      stop = stop - 1
    elseif rest:sub(stop - 1, stop - 1) == "%" then
      stop = stop - 2
    end
    out[#out + 1] = ("%s*%d*=%s"):format(name, #out, rest:sub(at, stop))
    at = stop + 1
  end
  return out
end

local function params_in_order(t)
  local names, seen = {}, {}
  for _, name in ipairs(t.order or {}) do
    if t.params[name] and not seen[name] then
      names[#names + 1], seen[name] = name, true
    end
  end
  local added = {}
  for name in pairs(t.params) do
    if not seen[name] then
      added[#added + 1] = name
    end
  end
  table.sort(added)
  for _, name in ipairs(added) do
    names[#names + 1] = name
  end
  return names
end

--- Write a value with parameters, folded. A parameter that still has the value `raw` gave it keeps its spelling.
---@param t moonmilter.Parameters|{ value: string, params: table<string, string> }
---@param name? string  the field's name, for the first line; default "Content-Disposition"
---@return string
function header.format_params(t, name)
  local before = t.raw and header.params(t.raw)
  local is_safe = before and not before.defects
  local out = { t.value }
  for _, parameter in ipairs(params_in_order(t)) do
    if not parameter:find("^[%w!#$&+%.^_`{|}~%%*'-]+$") then
      error(("format: \"%s\" is no parameter name (RFC 2045 5.1)"):format(parameter), 2)
    end
    local value = t.params[parameter]
    local spelled
    if is_safe and before.params[parameter] == value then
      spelled = header.parameter_source(t.raw, parameter)
    end
    for _, piece in ipairs(spelled or spell_parameter(parameter, value)) do
      out[#out + 1] = piece
    end
  end
  return (header.fold(name or "Content-Disposition", table.concat(out, "; ")))
end

--- The bytes of one parameter as they stand in a value: one piece, or several for an RFC 2231 continuation.
---@param raw string
---@param wanted string  lower-case base name
---@return string[]|nil
function header.parameter_source(raw, wanted)
  local tokens = token.lex(raw, "mime")
  local out, i = {}, 1
  while tokens[i] do
    if tokens[i].kind == ";" then
      local start = tokens[i + 1]
      i = i + 1
      while tokens[i] and tokens[i].kind ~= ";" do
        i = i + 1
      end
      if start and start.kind ~= ";" and start.text:lower():match("^[^*]+") == wanted then
        out[#out + 1] = header.unfold(raw:sub(start.start, tokens[i - 1].stop))
      end
    else
      i = i + 1
    end
  end
  return out[1] and out or nil
end

--- Content-Type (RFC 2045 5). What is no `type/subtype` means text/plain (RFC 2045 5.2), with defect "bad-type".
---@param text string
---@return moonmilter.Parameters  with `type` and `subtype` besides
function header.content_type(text)
  local t = header.params(text)
  t.type, t.subtype = t.value:match("^([^/%s]+)/([^/%s]+)$")
  if not t.type then
    t.defects = t.defects or {}
    t.defects["bad-type"] = true
    t.type, t.subtype, t.value = "text", "plain", "text/plain"
  end
  return t
end

--- The name of an attachment, however it is written: Content-Disposition filename, filename* (RFC 2231), filename*0…
--- (continued), an encoded word or raw 8-bit in quotes, or Content-Type name in any of these forms.
---@param disposition moonmilter.Parameters|nil
---@param content_type moonmilter.Parameters|nil
---@return string|nil
function header.attachment_name(disposition, content_type)
  return disposition and disposition.params.filename or content_type and content_type.params.name or nil
end

-- ---------------------------------------------------------------------------------------------------------------
-- Other structured fields

local function trim(text)
  return (text:gsub("^[ \t\r\n]+", ""):match("^(.*[^ \t\r\n])")) or ""
end

---@class moonmilter.Received
---@field from string|nil  @field by string|nil  @field via string|nil  @field with string|nil
---@field id string|nil    @field for_ string|nil  the "for" clause ("for" is a word of Lua)
---@field comments table<string, string>  by clause: "from" usually has the client's name and address
---@field date moonmilter.Date|nil

local received_clauses = { from = "from", by = "by", via = "via", with = "with", id = "id", ["for"] = "for_" }

--- Received (RFC 5321 4.4). Lenient: clauses in any order, unknown words stay in the clause before them.
---@param text string
---@return moonmilter.Received
function header.received(text)
  local tokens = token.lex(text, "mime")
  local out = { comments = {}, raw = text }
  local last_semicolon
  for i, t in ipairs(tokens) do
    if t.kind == ";" then
      last_semicolon = i
    end
  end
  if last_semicolon then
    out.date = datetime.parse(text:sub(tokens[last_semicolon].stop + 1))
  end
  local clause, from, to, is_ended
  local clause_at = {} -- token index -> clause, for comments
  local function close()
    if clause and from and not out[clause] then
      out[clause] = header.unfold(text:sub(from, to))
    end
    from, is_ended = nil, false
  end
  for i = 1, (last_semicolon or #tokens + 1) - 1 do
    local t = tokens[i]
    local key = t.kind == "atom" and received_clauses[t.text:lower()]
    if key and (t.blank or i == 1) and not (from == nil and clause) and not out[key] then
      close()
      clause = key
    elseif clause and not from then
      from, to = t.start, t.stop
    elseif clause and not is_ended then
      -- a value ends at its first comment: what follows is commentary too
      is_ended = text:sub(to + 1, t.start - 1):find("(", 1, true) ~= nil
      to = is_ended and to or t.stop
    end
    clause_at[i] = clause
  end
  close()
  for _, c in ipairs(tokens.comments) do
    local name = clause_at[c.before - 1]
    if name and not out.comments[name] then
      out.comments[name] = header.unfold(c.text)
    end
  end
  return out
end

local id_char = lpeg.P(1) - lpeg.S "<> \t\r\n"
local an_id = lpeg.P "<" * lpeg.C(id_char ^ 1) * ">"
local ids = lpeg.Ct((an_id + 1) ^ 0)
-- "<<<<…" would try an_id at each "<" and stop at the next one: linear. "<aaaa" is walked twice at most per "<".

--- Message-ID, In-Reply-To's first, Content-ID: the id without its angle brackets.
---@param text string
---@return string|nil id
---@return string|nil text
---@return integer|nil position
function header.message_id(text)
  local first = lpeg.match(ids, text)[1]
  if first then
    return first
  end
  -- blanks and comments inside the brackets (RFC 5322 4.5.4, obsolete)
  local out
  for _, t in ipairs(token.lex(text, "address")) do
    if t.kind == "<" then
      out = {}
    elseif t.kind == ">" and out and out[1] then
      return table.concat(out)
    elseif out then
      out[#out + 1] = t.kind == "quoted" and '"' .. t.text .. '"' or t.kind == "literal" and "[" .. t.text
        .. "]" or t.text
    end
  end
  local bare = trim(text)
  if bare:match("^[^%s<>]+@[^%s<>]+$") then -- brackets forgotten; seen in the wild
    return bare
  end
  return nil, "message-id: no \"<…>\" found (RFC 5322 3.6.4)", 1
end

--- References, In-Reply-To: every id, in order. Words between them (RFC 5322 4.5.4, obsolete) are passed over.
---@param text string
---@return string[]
function header.references(text)
  return lpeg.match(ids, text)
end

---@class moonmilter.ListUrl
---@field uri string
---@field comment string|nil

--- List-Unsubscribe, List-Post and their kin (RFC 2369): the URIs in order of preference; `no` true for "NO".
---@param text string
---@return { [integer]: moonmilter.ListUrl, no: boolean|nil, raw: string }
function header.list_urls(text)
  local out = { raw = text }
  -- not the token lexer: URIs may hold any of its specials
  local at = 1
  local flat = header.unfold(text)
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
function header.list_id(text)
  local flat = header.unfold(text)
  local first, _, id = flat:find("<([^<>%s]+)>[ \t]*$")
  if not first then
    id = trim(flat)
    if id == "" or id:find("[%s<>]") then
      return nil, "list-id: no \"<…>\" found (RFC 2919 3)", 1
    end
    return { id = id, raw = text }
  end
  local name = trim(flat:sub(1, first - 1))
  name = encoded_word.decode((name:gsub('^"(.*)"$', "%1")))
  return { id = id, name = name ~= "" and name or nil, raw = text }
end

local function parse_date(text)
  local date, why, position = datetime.parse(text)
  if date then
    date.raw = text
  end
  return date, why, position
end

local function parse_addresses(text)
  local list, why, position, code = address.list(text)
  if list then
    list.raw = text
  end
  return list, why, position, code
end

local function parse_one_id(text)
  local id, why, position = header.message_id(text)
  if not id then
    return nil, why, position
  end
  return { id = id, raw = text }
end

local function parse_ids(text)
  local list = header.references(text)
  list.raw = text
  return list
end

local function format_ids(t, name)
  local out = {}
  for i, id in ipairs(t) do
    if id:find("[<>%s%z]") then
      error(("format: \"%s\" is no message id"):format(id), 3)
    end
    out[i] = "<" .. id .. ">"
  end
  return (header.fold(name, table.concat(out, " ")))
end

local function format_list_urls(t, name)
  if t.no then
    return "NO"
  end
  local out = {}
  for i, item in ipairs(t) do
    if item.uri:find("[<>%s%z]") then
      error(("format: \"%s\" cannot stand in <…>"):format(item.uri), 3)
    end
    out[i] = "<" .. item.uri .. ">" .. (item.comment and " (" .. item.comment .. ")" or "")
  end
  return (header.fold(name, table.concat(out, ", ")))
end

local function format_list_id(t, name)
  local encoded = t.name and address.format { name = t.name, address = "x@x" }:match("^(.*) <x@x>$")
  return (header.fold(name, (encoded and encoded .. " " or "") .. "<" .. t.id .. ">"))
end

local function format_received(t, name)
  local out = {}
  for _, key in ipairs { "from", "by", "via", "with", "id", "for_" } do
    if t[key] then
      out[#out + 1] = (key == "for_" and "for" or key) .. " " .. t[key]
      if t.comments and t.comments[key] then
        out[#out + 1] = "(" .. t.comments[key] .. ")"
      end
    end
  end
  return (header.fold(name, table.concat(out, " ") .. (t.date and "; " .. datetime.format(t.date) or "")))
end

local function format_address_list(t, name)
  return (header.fold(name, address.format_list(t)))
end

-- One row per kind of field: how it is read, how it is written, which names it has.
local kinds = {
  { parse = header.content_type, format = header.format_params, names = "content-type" },
  { parse = header.params, format = header.format_params, names = "content-disposition" },
  { parse = parse_addresses, format = format_address_list,
    names = "from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc errors-to "
      .. "return-receipt-to disposition-notification-to" },
  { parse = parse_date, format = function(t) return datetime.format(t) end, names = "date resent-date" },
  { parse = parse_one_id, format = function(t) return "<" .. t.id .. ">" end, names = "message-id resent-message-id "
    .. "content-id" },
  { parse = parse_ids, format = format_ids, names = "references in-reply-to" },
  { parse = header.list_urls, format = format_list_urls,
    names = "list-unsubscribe list-subscribe list-post list-help list-owner list-archive" },
  { parse = header.list_id, format = format_list_id, names = "list-id" },
  { parse = header.received, format = format_received, names = "received" },
  { parse = authres.parse, format = function(t, name) return header.fold(name, authres.format(t)) end,
    names = "authentication-results" },
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
function header.parse(name, value)
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

--- Write a structured field. An untouched table gives its `raw` back, byte for byte; otherwise the value is written
--- anew and folded (unchanged parameters of Content-Type and Content-Disposition keep their spelling).
---@param name string
---@param parsed table
---@return string value
function header.format(name, parsed)
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

-- ---------------------------------------------------------------------------------------------------------------
-- Fields that parse and edit themselves

-- How a field is read: `self` is anything with name and value, so the host's fields
-- (moonmilter.mail.fields) use these too.
local reading = {}
header.reading = reading

--- Decoded text: folds undone, encoded words decoded, UTF-8.
---@return string
function reading:text()
  return encoded_word.decode(self.value)
end

--- Mailboxes, groups opened. Lenient unless told otherwise; faults are in `.errors` (see moonmilter.address).
---@param options? { mode: "lenient"|"strict" }
---@return moonmilter.Mailbox[]|nil, string|nil, integer|nil, string|nil
function reading:addresses(options)
  return address.mailboxes(self.value, options)
end

---@return moonmilter.Date|nil, string|nil, integer|nil
function reading:date()
  local kind = kind_of[self.name:lower()]
  if kind and kind.parse == header.received then
    local date = header.received(self.value).date
    return date, not date and "received: no date after \";\"" or nil
  end
  return datetime.parse(self.value)
end

---@return moonmilter.Parameters
function reading:params()
  if self.name:lower() == "content-type" then
    return header.content_type(self.value)
  end
  return header.params(self.value)
end

--- As header.parse.
function reading:parsed()
  return header.parse(self.name, self.value)
end

-- A field outside of a session: moonmilter.Field with edits of its own.
local Field = {}
Field.__index = Field
for name, method in pairs(reading) do
  Field[name] = method
end

local function check_value(what, value)
  if type(value) ~= "string" then
    error(("%s: text expected, got %s"):format(what, type(value)), 3)
  end
  if value:find("[%z\r]") then
    error(("%s: value has a CR or NUL; folds are LF and a blank"):format(what), 3)
  end
  if value:find("\n[^ \t]") or value:find("\n$") then
    error(("%s: a line of the value does not begin with a blank; it would become another header"):format(what), 3)
  end
  if value:find("\n[ \t]+\n") or value:find("\n[ \t]+$") or value:find("^[ \t]*\n") then
    error(("%s: a line of the value is blank; MTAs may end the headers there"):format(what), 3)
  end
  return value
end

local function check_name(what, name)
  if type(name) ~= "string" or not name:find("^[\33-\57\59-\126]+$") then
    error(("%s: name \"%s\"; use printable ASCII without space or \":\" (RFC 5322 2.2)"):format(what, tostring(name)),
      3)
  end
  return name
end

local function handle_of(field, what)
  if not field.edit then
    error(("%s: this field belongs to no message that can be edited"):format(what), 3)
  end
  if field.is_deleted then
    error(("%s: %s was deleted before"):format(what, field.name), 3)
  end
  return field.edit
end

--- Replace the value. `value` is the wire form (ASCII, folds as LF): give text through header.encode, tables through
--- header.format.
---@param value string|table  a table goes through header.format
function Field:set(value)
  local edit = handle_of(self, "set")
  if type(value) == "table" then
    value = header.format(self.name, value)
  end
  check_value("set", value)
  edit.set(self, value)
  self.value, self.raw = value, self.name .. ": " .. value
end

--- Remove this field, and no other of its name.
function Field:delete()
  local edit = handle_of(self, "delete")
  edit.delete(self)
  self.is_deleted = true
end

--- Put a new field right before this one.
---@param name string
---@param value string
function Field:insert_before(name, value)
  local edit = handle_of(self, "insert_before")
  edit.insert_before(self, check_name("insert_before", name), check_value("insert_before", value))
end

--- A field outside of a session, which reads and edits as those of ctx.headers do. `edit` is told of changes:
--- `edit.set(field, value)`, `edit.delete(field)`, `edit.insert_before(field, name, value)`; these may raise, then the
--- field stays as it was.
---@param t { name: string, value: string, raw?: string, edit?: table }  becomes the field itself
---@return moonmilter.Field
function header.field(t)
  t.raw = t.raw or t.name .. ": " .. t.value
  return setmetatable(t, Field)
end

-- ---------------------------------------------------------------------------------------------------------------
-- A whole block: headers outside a session (parts, stored messages, specs)

-- get, field, all, count and each are those of ctx.headers
---@class moonmilter.Block : moonmilter.Headers
local Block = setmetatable({}, { __index = fields.list_metatable })
Block.__index = Block

local function index_of(block, field)
  for i, other in ipairs(block) do
    if other == field then
      return i
    end
  end
end

local function block_edits(block)
  return {
    set = function(field) field.bytes = nil end,
    delete = function(field) table.remove(block, index_of(block, field)) end,
    insert_before = function(field, name, value)
      table.insert(block, index_of(block, field), header.field { name = name, value = value, edit = field.edit })
    end,
  }
end

--- Append a field.
function Block:add(name, value)
  self[#self + 1] = header.field { name = check_name("add", name), value = check_value("add", value), edit = self.edit }
end

--- The bytes of the block: untouched fields as they were read, others as `Name: value` with CRLF.
---@return string
function Block:bytes()
  local out = {}
  for i, field in ipairs(self) do
    out[i] = field.bytes or (field.name .. ": " .. field.value:gsub("\r?\n", "\r\n") .. "\r\n")
  end
  return table.concat(out)
end

-- "Name:" at the start of a line; blanks before the colon are obsolete (RFC 5322 4.5) but read.
local field_start = lpeg.C(lpeg.R("\33\57", "\59\126") ^ 1) * blank ^ 0 * ":" * lpeg.Cp()

--- Read a header block, up to its end or the first empty line. Lines may end in CRLF or LF.
---@param text string
---@return moonmilter.Block block
---@return integer after  where the body begins
---@return table<string, true>|nil defects  "continuation-first", "no-separator": a line that is no field ended the block
function header.block(text)
  local block = setmetatable({}, Block)
  block.edit = block_edits(block)
  local at, size = 1, #text
  local defects
  local lines -- of the field being read
  local start
  local function close(stop)
    if lines then
      local bytes = text:sub(start, stop)
      local name, value_at = lpeg.match(field_start, bytes)
      local raw = bytes:gsub("\r?\n$", "")
      local value = raw:sub(value_at):gsub("\r\n", "\n"):gsub("^[ \t]", "")
      block[#block + 1] = header.field { name = name, value = value, raw = raw, bytes = bytes, edit = block.edit }
      lines = nil
    end
  end
  while at <= size do
    local line_end = text:find("\n", at, true) or size
    local first = text:byte(at)
    local second = text:byte(at + 1)
    if first == 10 or (first == 13 and (second == 10 or second == nil)) then
      close(at - 1)
      return block, line_end + 1, defects
    elseif first == 32 or first == 9 then
      if not lines then
        defects = defects or {}
        defects["continuation-first"] = true
      end
    elseif lpeg.match(field_start, text, at) then
      close(at - 1)
      lines, start = true, at
    elseif not (#block == 0 and not lines and text:sub(at, at + 4) == "From ") then -- an mbox separator is passed over
      close(at - 1)
      defects = defects or {}
      defects["no-separator"] = true
      return block, at, defects
    end
    at = line_end + 1
  end
  close(size)
  return block, size + 1, defects
end

return header
