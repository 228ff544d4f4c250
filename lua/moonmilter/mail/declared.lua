--- What a part's header declares: its type, encoding, names. Where the header leaves a choice to mail readers, the part
--- is what the most lenient of them takes it for, so that nothing hides, and `defects` names the choice.
local bound = require "moonmilter.mail.bound"
local header = require "moonmilter.header"
local transfer = require "moonmilter.mail.transfer"

local declared = {}

local BOUNDARY_MAX = 998 -- characters; RFC 2046 5.1.1 says 70, but writers exceed it
declared.BOUNDARY_MAX = BOUNDARY_MAX

local is_message = { ["message/rfc822"] = true, ["message/global"] = true, ["message/news"] = true }
declared.is_message = is_message

local function add_defects(part, defects)
  for name in pairs(defects or {}) do
    part.defects[name] = true
  end
end

local function is_multipart(content_type)
  return content_type.value:sub(1, 10) == "multipart/"
end

-- All fields of a name, read by a parser. What the header says twice is a defect, and more so when it differs.
local function read_all(part, name, read)
  local out, first = {}, nil
  local fields = part.headers:all(name)
  for i, field in ipairs(fields) do
    local spelled = fields[2] and field.value:lower():gsub("%s+", "")
    first = first or spelled
    local t, before_cr = read((field.value:gsub("\r", ""))), field.value:match "^([^\r]*)\r"
    out[#out + 1] = t -- for some readers a bare CR is nothing, for others it ends the line
    out[#out + 1] = before_cr and read(before_cr)
    add_defects(part, t.defects)
    part.defects["repeated-field"] = part.defects["repeated-field"] or i > 1 or nil
    part.defects["conflicting-field"] = part.defects["conflicting-field"] or spelled ~= first or nil
  end
  return out
end

-- Of several types the first counts, as with Python's email and most readers; but another one that has parts, or else a
-- message, must not be hidden by it.
local function choose_type(types)
  local message
  for _, t in ipairs(types) do
    if is_multipart(t) and t.params.boundary then
      return t
    end
    message = message or is_message[t.value] and t
  end
  return message or types[1]
end

-- A boundary as it occurs in the body: without blanks at its end (RFC 2046 5.1.1). An empty one is taken literally,
-- with delimiters "--" and "----": readers do so, and parts hidden this way must be seen.
local function add_boundary(part, set, text)
  local stop = #text
  while stop > 0 and (text:byte(stop) == 32 or text:byte(stop) == 9) do
    stop = stop - 1
  end
  if stop == 0 or stop > BOUNDARY_MAX then
    part.defects["bad-boundary"] = true
    part.defects["long-boundary"] = part.defects["long-boundary"] or stop > 0 or nil
  end
  if stop <= BOUNDARY_MAX then
    -- at most 998 bytes: asked above
    local all_blanks = text:sub(1, stop):match "^(.-)%s*$" -- Python takes these for blanks, too
    set[text:sub(1, stop)], set[all_blanks] = true, true
  end
end

-- Every boundary that a mail reader may take.
local function boundaries_of(part, types)
  local set = {}
  for _, t in ipairs(types) do
    if t.params.boundary then
      add_boundary(part, set, t.params.boundary)
    end
    for _, text in ipairs(t.others and t.others.boundary or {}) do
      add_boundary(part, set, text)
    end
  end
  part.defects["no-boundary"] = next(set) == nil and not part.defects["bad-boundary"] or nil
  part.defects["conflicting-boundary"] = next(set, (next(set))) ~= nil or nil
  return set
end

local function set_type(part, parent, types)
  if not types[1] then
    local is_digest = parent and parent.type == "multipart/digest"
    types[1] = header.content_type(is_digest and "message/rfc822" or "text/plain")
  end
  local chosen = choose_type(types)
  part.type, part.params, part.charset = chosen.value, chosen.params, chosen.params.charset
  part.is_multipart = is_multipart(chosen)
  if part.is_multipart then
    part.boundaries = boundaries_of(part, types)
  end
  local defects = chosen.defects or {}
  local is_odd = defects["bad-type"] or defects["odd-value"] or defects["no-semicolon"] or defects.unclosed
  part.defects["ambiguous-type"] = is_odd and (part.is_multipart or is_message[part.type]) or nil
  part.defects["partial-message"] = part.type == "message/partial" or nil
end

local function read_encoding(text)
  local read, defects = bound.cut(text)
  local name, is_odd = transfer.read(read)
  defects = defects or {}
  defects["odd-encoding"] = is_odd or nil
  return { value = name, defects = defects }
end

local function set_encoding(part, list)
  part.encoding = list[1] and list[1].value or "7bit"
  for i = 2, #list do -- readers of the other field decode otherwise
    part.defects["odd-encoding"] = part.defects["odd-encoding"] or list[i].value ~= part.encoding or nil
  end
end

-- The first name of all that there are, and whether another reader may take another one.
local function set_names(part, dispositions, types)
  local names, conflicts = {}, nil
  for _, list in ipairs { dispositions, types } do
    for _, t in ipairs(list) do
      local key = list == types and "name" or "filename"
      names[#names + 1] = t.params[key]
      conflicts = conflicts or t.conflicts and t.conflicts[key]
    end
  end
  part.filename = names[1]
  for i = 2, #names do
    conflicts = conflicts or names[i] ~= names[1]
  end
  part.defects["conflicting-name"] = conflicts or nil
  for _, t in ipairs(dispositions) do
    part.disposition = part.disposition or t.value
    part.is_attachment = part.is_attachment or t.value == "attachment"
  end
  part.is_attachment = not part.is_multipart and (part.is_attachment or part.filename ~= nil)
end

local function set_id(part)
  local id = part.headers:get "Content-ID"
  if not id then
    return
  end
  local found, _, _, code = header.message_id(id)
  part.id = found
  part.defects["over-length"] = part.defects["over-length"] or code == "length" or nil
end

--- A part by its header.
---@param parent moonmilter.Part|nil
---@param block moonmilter.Block
---@param path string
---@param depth integer
---@return moonmilter.Part
function declared.part(parent, block, path, depth)
  local part = {
    path = path, depth = depth, parent = parent, headers = block, size = 0, defects = {}, is_attachment = false,
    is_sealed = parent ~= nil and (parent.is_sealed or parent.type == "multipart/signed"
      or parent.type == "multipart/encrypted"),
  }
  local types = read_all(part, "Content-Type", header.content_type)
  set_type(part, parent, types)
  set_encoding(part, read_all(part, "Content-Transfer-Encoding", read_encoding))
  set_names(part, read_all(part, "Content-Disposition", header.params), types)
  set_id(part)
  for _, field in ipairs(block) do
    part.defects["nul-in-header"] = part.defects["nul-in-header"] or field.value:find("%z") and true or nil
    part.defects["cr-in-header"] = part.defects["cr-in-header"] or field.value:find("\r", 1, true) and true or nil
  end
  return part
end

return declared
