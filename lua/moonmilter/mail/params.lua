--- Parameters: `value; name=value; …` (RFC 2045 5.1, RFC 2183, RFC 2231), read and written.
local bound = require "moonmilter.mail.bound"
local charset = require "moonmilter.charset"
local encoded_word = require "moonmilter.encoded_word"
local folding = require "moonmilter.mail.folding"
local token = require "moonmilter.mail.token"
local word = require "moonmilter.mail.word"

local params = {}

local LINE_WANTED = 78 -- characters without the line end, RFC 5322 2.1.1
local LINE_MAX = 998

---@class moonmilter.Parameters
---@field value  string   before the first ";", lower case: "text/plain", "attachment"
---@field params table<string, string>  by lower-case name, decoded to UTF-8; RFC 2231 forms joined under the base name
---@field order  string[] names in order
---@field raw    string
---@field conflicts table<string, true>|nil  names that were given several values: twice, or in an RFC 2231 form and plain
---@field defects table<string, true>|nil  "duplicate-parameter", "bad-parameter" (its name is not a token), "unclosed",
--- "text-after-value", "no-value", "bad-continuation", "over-length" (not all of it is read)

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
  -- not a token, strictly, when it has blanks or specials; but `filename=my file.pdf` is common
  return name, folding.unfold(text:sub(tokens[begin].start, tokens[i - 1].stop)), i
end

-- The text before the first ";": -> text, index of ";" or after the end
local function read_value(tokens)
  local value, i = "", 1
  while tokens[i] and tokens[i].kind ~= ";" do
    local is_apart = i > 1 and tokens[i].blank and tokens[i].kind == "atom" and tokens[i - 1].kind == "atom"
    if #value <= LINE_MAX then -- no media type is longer
      -- at most 998 bytes: asked above
      value = value .. (is_apart and " " or "") .. tokens[i].text
    end
    i = i + 1
  end
  return value, i
end

-- Adds one parameter to those read: `into` is { plain, extended, order, defects }. An RFC 2231 form is kept by its base
-- name and number.
local function note_parameter(into, name, text)
  local base, index, star = name:match("^([^*]+)%*(%d*)(%*?)$")
  index = tonumber(index) or (base and star == "" and 0)
  local is_numbered = base and index
  local key = is_numbered and base or name
  local segments = is_numbered and (into.extended[base] or { count = 0 })
  local is_known = into.plain[key] ~= nil or into.extended[key] ~= nil
  local before = is_numbered and segments[index] and segments[index][1] or not is_numbered and into.plain[name]
  if before then
    into.defects["duplicate-parameter"] = true
    into.conflicts[key] = into.conflicts[key] or before ~= text or nil
    return
  end
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

-- All parameters, `i` on the first ";".
local function read_parameters(text, tokens, i, defects)
  local into = { plain = {}, extended = {}, order = {}, conflicts = {}, defects = defects }
  while tokens[i] do
    i = i + 1 -- past ";"
    if tokens[i] and tokens[i].kind ~= ";" then
      local name, value
      name, value, i = read_parameter(text, tokens, i, defects)
      if name and not name:find("^[%w!#$&+%.^_`{|}~%%*'-]+$") then
        defects["bad-parameter"] = true
      elseif name then
        note_parameter(into, name, value)
      end
    end
  end
  return into
end

--- Parse a value with parameters. Never fails: what cannot be read is left out and named in `defects`. Of parameters
--- with the same name the first counts; an RFC 2231 form takes precedence over the plain one (RFC 6266 4.3 gives the
--- reason).
---@param text string
---@return moonmilter.Parameters
function params.read(text)
  local read, defects = bound.cut(text)
  local tokens = token.lex(read, "mime")
  defects = defects or {}
  defects.unclosed = tokens.unclosed and true or nil
  local value, i = read_value(tokens)
  if #value > LINE_MAX then
    defects["over-length"] = true
  end
  local found = read_parameters(read, tokens, i, defects)
  local decoded = {}
  for name, text_value in pairs(found.plain) do
    -- RFC 2047 5 forbids encoded words here; senders use them anyway
    decoded[name] = encoded_word.decode(text_value)
  end
  for name, segments in pairs(found.extended) do
    local bytes, label = join_segments(segments, defects)
    local joined = shown_text(segments, bytes, label):gsub("[%z\r\n]", " ")
    found.conflicts[name] = found.conflicts[name] or decoded[name] and decoded[name] ~= joined or nil
    decoded[name] = joined
  end
  return {
    value = value:lower(), params = decoded, order = found.order, raw = text,
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
  raw = bound.cut(raw)
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
        out[#out + 1] = folding.unfold(raw:sub(start.start, tokens[i - 1].stop))
      end
    else
      i = i + 1
    end
  end
  return out[1] and out or nil
end

--- Content-Type (RFC 2045 5). Anything but `type/subtype` means text/plain (RFC 2045 5.2), with defect "bad-type".
---@param text string
---@return moonmilter.Parameters  also with `type` and `subtype`
function params.content_type(text)
  local t = params.read(text)
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
function params.attachment_name(disposition, content_type)
  return disposition and disposition.params.filename or content_type and content_type.params.name or nil
end

return params
