--- Parameters: `value; name=value; …` (RFC 2045 5.1, RFC 2183, RFC 2231), read and written.
local bound = require "moonmilter.mail.bound"
local charset = require "moonmilter.charset"
local encoded_word = require "moonmilter.encoded_word"
local folding = require "moonmilter.mail.folding"
local readings = require "moonmilter.mail.readings"
local token = require "moonmilter.mail.token"
local word = require "moonmilter.mail.word"

local params = {}

local LINE_WANTED = 78 -- characters without the line end, RFC 5322 2.1.1
local LINE_MAX = 998

---@class moonmilter.Parameters
---@field value  string   before the first ";", lower case: "text/plain", "attachment"
---@field params table<string, string>  by lower-case name; RFC 2231 forms joined under the base name. Decoded to UTF-8,
--- but for those that are words of a protocol (boundary, charset …): these are the bytes of the field
---@field order  string[] names in order
---@field raw    string
---@field conflicts table<string, true>|nil  names that were given several values: twice, or in an RFC 2231 form and plain
---@field others table<string, string[]>|nil  what else a mail reader may take for boundary, filename or name
---@field defects table<string, true>|nil  "duplicate-parameter", "bad-parameter" (its name is not a token), "unclosed",
--- "text-after-value", "no-value", "no-semicolon", "odd-value" (quotes, comments or blanks in the value before the
--- parameters), "ambiguous-parameter" (there are others), "bad-continuation", "over-length" (not all of it is read)

-- Values of these are compared byte for byte, or looked up in a registry: nobody decodes them for display, and an
-- encoded word in one is only bytes that look like one (RFC 2045 5.1, RFC 2046, RFC 2387, RFC 1847, RFC 3676, RFC
-- 6522).
local literal = {}
for name in ("boundary charset type start start-info protocol micalg format delsp report-type id number total "
  .. "access-type site directory mode server expiration permission size version method component profile smime-type "
  .. "x-unix-mode creation-date modification-date read-date conversions padding handling"):gmatch "%S+" do
  literal[name] = true
end

-- What a mail reader finds in a message depends on these: all readings of them are kept, of all their spellings.
local has_others = { boundary = true, filename = true, name = true }

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Collects the RFC 2231 pieces of one name; `piece` is { text, is_extended }. Join neighbours before decoding "%XX":
-- some writers cut inside one. -> bytes, label of their charset
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
  return table.concat(bytes), label ~= "" and label or nil
end

-- RFC 2231 pieces, joined where neighbours are of one kind: -> list of { text, is_extended }, is there a word in one?
local function runs_of(segments)
  local runs, has_word = {}, false
  local first = segments[0] and 0 or 1
  local i = first
  while segments[i] do
    local text, is_extended = segments[i][1], segments[i][2]
    local run = runs[#runs]
    if not run or run.is_extended ~= is_extended then
      run = { is_extended = is_extended }
      runs[#runs + 1] = run
    end
    run[#run + 1] = is_extended and i == first and text:match("^[^']*'[^']*'(.*)$") or text
    i = i + 1
  end
  for _, run in ipairs(runs) do
    run.text = table.concat(run)
    has_word = has_word or word.is_in(run.text)
  end
  return runs, has_word
end

-- What the pieces of one name show; join_segments gives bytes and label. Encoded words do not belong there, and mail
-- readers decode them, whole in a piece or cut by pieces.
local function shown_text(segments, bytes, label)
  local runs, has_word = runs_of(segments)
  if not has_word then
    return (charset.to_utf8(bytes, label))
  end
  local out = {}
  for i, run in ipairs(runs) do
    local text = run.is_extended and percent_decode(run.text) or run.text
    out[i] = word.is_in(run.text) and encoded_word.decode(text) or charset.to_utf8(text, label)
  end
  return table.concat(out)
end

-- ---- the text, cut into parameters ----

-- May a parameter begin at token i, although no ";" is before it? `is_value`: the text before the parameters is being
-- read. In an unquoted file name "a b=c.txt" it may not: the parameter would have to be one that we know.
local function begins_parameter(tokens, i, is_value)
  local t, before = tokens[i], tokens[i - 1]
  if t.kind ~= "atom" or not tokens[i + 1] or tokens[i + 1].kind ~= "=" or not before then
    return false
  end
  if before.kind == "quoted" or before.kind == "," and (is_value or tokens[i - 2].kind == "quoted") then
    return true
  end
  local name = t.text:lower():match "^[^*]*"
  local after = tokens[i + 2]
  return t.blank and (is_value or literal[name] or name == "filename" or name == "name"
    or after ~= nil and after.kind == "quoted")
end

-- The text before the parameters: -> text, index of what ends it
local function read_value(tokens, defects)
  local value, i = "", 1
  while tokens[i] and tokens[i].kind ~= ";" and not begins_parameter(tokens, i, true) do
    local t, before = tokens[i], tokens[i - 1]
    local is_apart = i > 1 and t.blank and t.kind == "atom" and before.kind == "atom"
    local is_end = t.kind == "," and tokens[i + 1] and begins_parameter(tokens, i + 1, true)
    if not is_end and #value <= LINE_MAX then -- no media type is longer
      -- at most 998 bytes: asked above
      value = value .. (is_apart and " " or "") .. t.text
    end
    if t.kind == "quoted" or i > 1 and t.blank then
      defects["odd-value"] = true
    end
    i = i + 1
  end
  local comment = tokens.comments[1]
  if comment and comment.before < i then
    defects["odd-value"] = true
  end
  return value, i
end

-- The tokens before "=" are [first, last]: -> name, its first token
local function read_name(text, tokens, first, last, defects)
  local pieces = {}
  for at = first, math.min(last, first + 8) do
    pieces[#pieces + 1] = tokens[at].text:sub(1, 16):lower()
  end
  local joined = table.concat(pieces)
  if last > first and has_others[joined] then -- "boun(x)dary", for readers that drop comments first
    defects["bad-parameter"] = true
    return joined, first
  end
  if last > first and tokens[last].kind == "atom" and tokens[last].blank then -- words that are no parameter, and no ";"
    defects["no-value"], defects["no-semicolon"] = true, true
    first = last
  end
  return text:sub(tokens[first].start, tokens[last].stop):lower(), first
end

-- A parameter without a value: for Python, "boundary" alone is an empty one.
local function without_value(name, defects)
  defects["no-value"] = true
  if name.text:lower() == "boundary" then
    return { name = "boundary", text = "", others = {}, start = name.start, stop = name.stop }
  end
end

-- One parameter, i on the first token after ";": -> its row or nil, next i. A row has name, text, others, and the bytes
-- [start, stop] of the parameter in the text; `first` is the token that begins its value, `is_cut` says that no ";"
-- ends it.
local function read_parameter(text, tokens, i, defects)
  local first = i
  while tokens[i] and tokens[i].kind ~= "=" and tokens[i].kind ~= ";" do
    i = i + 1
  end
  if not tokens[i] or tokens[i].kind == ";" or i == first then
    while tokens[i] and tokens[i].kind ~= ";" do
      i = i + 1
    end
    return without_value(tokens[first], defects), i
  end
  local row = {}
  row.name, first = read_name(text, tokens, first, i - 1, defects)
  row.start, i = tokens[first].start, i + 1
  local begin = i
  while tokens[i] and tokens[i].kind ~= ";" and (i == begin or not begins_parameter(tokens, i)) do
    i = i + 1
  end
  row.first, row.stop = begin, tokens[i - 1].stop
  row.is_cut = tokens[i] and tokens[i].kind ~= ";"
  defects["no-semicolon"] = defects["no-semicolon"] or row.is_cut or nil
  if i == begin then
    row.text, row.others = "", {}
    return row, i
  end
  local last = row.is_cut and tokens[i - 1].kind == "," and i - 1 > begin and i - 2 or i - 1
  row.text, row.others = readings.of(text, tokens, begin, last, tokens[i] and tokens[i].start - 1 or #text)
  defects["text-after-value"] = defects["text-after-value"] or tokens[begin].kind == "quoted" and last > begin or nil
  return row, i
end

-- What a reader takes for the value that sees no parameter where we saw one: to the next ";"
local function uncut(text, tokens, first, i)
  while tokens[i] and tokens[i].kind ~= ";" do
    i = i + 1
  end
  return folding.unfold(text:sub(tokens[first].start, tokens[i - 1].stop))
end

-- ---- what they say ----

local function note_others(into, key, list)
  if has_others[key] then
    into.others[key] = into.others[key] or {}
    for _, text in ipairs(list) do
      table.insert(into.others[key], text)
    end
  end
end

-- Adds one parameter to those read: `into` is { plain, extended, order, conflicts, others, spans, defects }. An RFC
-- 2231 form is kept by its base name and number.
local function note_parameter(into, row)
  local name, text = row.name, row.text
  local base, index, star = name:match("^([^*]+)%*(%d*)(%*?)$")
  index = tonumber(index) or (base and star == "" and 0)
  local is_numbered = base and index
  local key = is_numbered and base or name
  local segments = is_numbered and (into.extended[base] or { count = 0 })
  local is_known = into.plain[key] ~= nil or into.extended[key] ~= nil
  local before = is_numbered and segments[index] and segments[index][1] or not is_numbered and into.plain[name]
  if not is_numbered then
    note_others(into, key, row.others)
  end
  if before then
    into.defects["duplicate-parameter"] = true
    into.conflicts[key] = into.conflicts[key] or before ~= text or nil
    note_others(into, key, { text })
    return
  end
  into.spans[key] = into.spans[key] or {}
  table.insert(into.spans[key], row)
  if not is_known then
    into.order[#into.order + 1] = key
  end
  if not is_numbered then
    into.plain[name] = text
    return
  end
  segments[index] = { text, star == "*" or name:sub(-1) == "*" }
  segments.count = segments.count + 1
  into.extended[base] = segments
end

-- All parameters, `i` on the first ";" or the first parameter.
local function read_parameters(text, tokens, i, defects)
  local into = { plain = {}, extended = {}, order = {}, conflicts = {}, others = {}, spans = {}, defects = defects }
  if tokens[i] and tokens[i].kind ~= ";" then
    defects["no-semicolon"] = true
  end
  while tokens[i] do
    i = tokens[i].kind == ";" and i + 1 or i
    if tokens[i] and tokens[i].kind ~= ";" then
      local row
      row, i = read_parameter(text, tokens, i, defects)
      if row and not row.name:find("^[%w!#$&+%.^_`{|}~%%*'-]+$") then
        defects["bad-parameter"] = true
        row.name = row.name:gsub("[^%w*-]", "") -- some readers leave out what is no letter
        row = has_others[row.name:match "^[^*]*"] and row
      end
      if row then
        if row.is_cut and has_others[row.name] and not into.plain[row.name] then -- once a name: the time is linear
          table.insert(row.others, uncut(text, tokens, row.first, i))
        end
        note_parameter(into, row)
      end
    end
  end
  return into
end

-- The values: decoded for display, or the bytes of a word of a protocol.
local function decode_all(found, defects)
  local decoded = {}
  for name, text in pairs(found.plain) do
    -- RFC 2047 5 forbids encoded words here; senders use them anyway
    local is_bytes = literal[name] and not (has_others[name] and text:find("=?", 1, true))
    local shown = is_bytes and text or encoded_word.decode(text)
    decoded[name] = literal[name] and text:gsub("[%z\r\n]", " ") or shown
    note_others(found, name, literal[name] and { text, shown, text:match "^%Z*", text:match "^<(.*)>$" } or {})
  end
  for name, segments in pairs(found.extended) do
    local bytes, label = join_segments(segments, defects)
    local shown = shown_text(segments, bytes, label):gsub("[%z\r\n]", " ")
    local joined = literal[name] and bytes:gsub("[%z\r\n]", " ") or shown
    found.conflicts[name] = found.conflicts[name] or decoded[name] and decoded[name] ~= joined or nil
    note_others(found, name, { shown, literal[name] and bytes or nil })
    if literal[name] and (not segments[0] or segments[0][1] == "") then
      note_others(found, name, { segments[0] and segments[0][1] or "" }) -- some readers stop at the first piece
    end
    note_others(found, name, { decoded[name] })
    decoded[name] = joined
  end
  return decoded
end

-- The readings that differ from the value, each once; nil when there are none.
local function distinct_others(found, decoded)
  local out = {}
  for name, list in pairs(found.others) do
    local seen = { [decoded[name]] = true }
    for _, text in ipairs(list) do
      text = literal[name] and text or encoded_word.decode(text)
      if not seen[text] then
        seen[text] = true
        out[name] = out[name] or {}
        table.insert(out[name], text)
      end
    end
  end
  return next(out) and out or nil
end

local function read(text)
  local defects
  text, defects = bound.cut(text)
  local tokens = token.lex(text, "mime")
  defects = defects or {}
  defects.unclosed = tokens.unclosed and true or nil
  local value, i = read_value(tokens, defects)
  if #value > LINE_MAX then
    defects["over-length"] = true
  end
  return value, read_parameters(text, tokens, i, defects), text
end

--- Parse a value with parameters. Never fails: what cannot be read is left out and named in `defects`. Of parameters
--- with the same name the first counts; an RFC 2231 form takes precedence over the plain one (RFC 6266 4.3 gives the
--- reason). A parameter also begins where only its ";" is missing.
---@param text string
---@return moonmilter.Parameters
function params.read(text)
  local value, found = read(text)
  local defects = found.defects
  local decoded = decode_all(found, defects)
  local others = distinct_others(found, decoded)
  defects["ambiguous-parameter"] = others and true
  return {
    value = value:lower(), params = decoded, order = found.order, raw = text, others = others,
    defects = next(defects) and defects or nil, conflicts = next(found.conflicts) and found.conflicts or nil,
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

-- Mail may hold what no field may: such bytes are left out when its own values are written again.
local function clean(text)
  return (text:gsub("[%z\r\n]", ""))
end

-- The parameter's spelling in `raw`, unless it holds what no field may.
local function kept_spelling(raw, parameter)
  local pieces = params.source(raw, parameter)
  for _, piece in ipairs(pieces or {}) do
    if piece:find("[%z\r\n]") then
      return nil
    end
  end
  return pieces
end

--- Write a value with parameters, folded. A parameter whose value is unchanged since `raw` was read keeps its spelling;
--- if it cannot be written so, CR, LF and NUL are left out, and so is a parameter without a valid name.
---@param t moonmilter.Parameters|{ value: string, params: table<string, string> }
---@param name? string  the field's name, for the first line; default "Content-Disposition"
---@return string
function params.format(t, name)
  local before = t.raw and params.read(t.raw)
  local is_safe = before and not before.defects
  local out = { before and clean(t.value) or t.value }
  for _, parameter in ipairs(params_in_order(t)) do
    local value = t.params[parameter]
    local is_unchanged = before ~= nil and before.params[parameter] == value
    local is_name = parameter:find("^[%w!#$&+%.^_`{|}~%%*'-]+$") ~= nil
    if not is_name and not is_unchanged then
      error(("format: \"%s\" is not a parameter name (RFC 2045 5.1)"):format(parameter), 2)
    end
    local spelled = is_safe and is_unchanged and kept_spelling(t.raw, parameter)
    if is_name and not spelled then
      spelled = spell_parameter(parameter, is_unchanged and clean(value) or value)
    end
    for _, piece in ipairs(spelled or {}) do
      out[#out + 1] = piece
    end
  end
  return (folding.fold(name or "Content-Disposition", table.concat(out, "; ")))
end

--- The bytes of one parameter as written in a value: one piece, or several for an RFC 2231 continuation.
---@param raw string
---@param wanted string  lower-case base name
---@return string[]|nil
function params.source(raw, wanted)
  local _, found, text = read(raw)
  local out = {}
  for i, row in ipairs(found.spans[wanted] or {}) do
    out[i] = folding.unfold(text:sub(row.start, row.stop))
  end
  return out[1] and out or nil
end

-- Readers take these for the type, too (GMime: "multipart" is multipart/mixed); what they show must not hide.
local function lenient_type(t)
  local value = t.value:gsub("%s+", "")
  if value:find("=?", 1, true) then -- Python decodes words here
    value = encoded_word.decode(t.raw:match "^[^;]*"):lower():gsub("%s+", "")
  end
  if value:find "^multipart" and t.params.boundary then
    return value:match "^multipart/[%w.+-]+" or "multipart/mixed"
  end
  return value:match "^message/rfc822" or value:match "^message/global" or "text/plain"
end

-- The boundaries that a program finds which only searches for the word: quotes and comments that are out of order do
-- not stop it.
local function add_found_boundaries(t)
  local raw = bound.cut(t.raw):sub(1, 2 * LINE_MAX)
  if not raw:lower():find "^[^;]*multipart" then
    return
  elseif not t.value:find "^[^/%s]+/[^/%s]+$" then
    t.value = "multipart"
  end
  for at in raw:lower():gmatch "boundary[%s*%d]*=%s*()" do
    local text = raw:match("^\"([^\"]*)", at) or raw:match("^[^;\"%s]*", at)
    if not t.params.boundary then
      t.params.boundary = text
    elseif t.params.boundary ~= text then
      t.others = t.others or {}
      t.others.boundary = t.others.boundary or {}
      table.insert(t.others.boundary, text)
    end
  end
end

--- Content-Type (RFC 2045 5). Anything but `type/subtype` has the defect "bad-type" and means text/plain (RFC 2045
--- 5.2), unless it begins like a multipart with a boundary, or a message.
---@param text string
---@return moonmilter.Parameters  also with `type` and `subtype`
function params.content_type(text)
  local t = params.read(text)
  if t.defects and (t.defects.unclosed or t.defects["text-after-value"]) then
    add_found_boundaries(t)
  end
  t.type, t.subtype = t.value:match("^([^/%s?]+)/([^/%s?]+)$")
  if not t.type then
    t.defects = t.defects or {}
    t.defects["bad-type"] = true
    t.value = lenient_type(t)
    t.type, t.subtype = t.value:match("^([^/]+)/(.*)$")
  end
  return t
end

--- The name of an attachment, however it is written: Content-Disposition filename, filename* (RFC 2231), filename*0…
--- (continued), an encoded word or raw 8-bit in quotes, or Content-Type name in any of these forms.
---@param disposition moonmilter.Parameters|nil
---@param content_type moonmilter.Parameters|nil
---@return string|nil
function params.attachment_name(disposition, content_type)
  return disposition and disposition.params.filename or content_type and content_type.params.name or nil
end

return params
