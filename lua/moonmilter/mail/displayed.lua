--- Which parts of a message its reader is shown last as text.
local displayed = {}

-- The root of a multipart/related is the part that `start` names, else the first (RFC 2387 3.2).
local function root_of(part)
  local start = part.params.start
  start = start and start:gsub("[<>%s]", "")
  for _, child in ipairs(start and part.parts or {}) do
    if child.id == start then
      return child
    end
  end
  return part.parts[1]
end

local last_texts

-- The last part in which there is text: a photo may come before the text, an attachment in the middle of it.
local function last_of(part)
  for i = #part.parts, 1, -1 do
    local texts = last_texts(part.parts[i])
    if texts[1] then
      return texts
    end
  end
  return {}
end

local function each_alternative(part)
  local all = {}
  for _, child in ipairs(part.parts) do
    for _, text in ipairs(last_texts(child)) do
      all[#all + 1] = text
    end
  end
  return all
end

local function of_root(part)
  local root = root_of(part)
  return root and last_texts(root) or {}
end

-- A message inside a message is somebody else's: no text in it is the last of this one.
local by_type = { ["multipart/alternative"] = each_alternative, ["multipart/related"] = of_root }

--- Types of which a reader may show text that nobody else can read, let alone change.
displayed.is_sealing = {
  ["multipart/encrypted"] = true, ["application/pkcs7-mime"] = true, ["application/x-pkcs7-mime"] = true,
}

-- Any other multipart is shown as multipart/mixed is (RFC 2046 5.1.3).
function last_texts(part)
  if displayed.is_sealing[part.type] then
    return { part }
  elseif part.is_multipart then
    return (by_type[part.type] or last_of)(part)
  end
  local is_text = part.type == "text/plain" or part.type == "text/html"
  return is_text and not part.is_attachment and { part } or {}
end

--- The texts after which nothing else of the message is read: one, or one in each alternative. A part of a sealing type
--- stands for the text in it.
---@param root moonmilter.StoredPart
---@return moonmilter.StoredPart[]
function displayed.last_texts(root)
  return last_texts(root)
end

return displayed
