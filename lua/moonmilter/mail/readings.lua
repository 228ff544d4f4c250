--- What the value of a parameter says to mail readers, when they do not agree.
--- `boundary=b (x)` is "b" to one reader and "b (x)" to another. Each finds other parts, so a filter must know both.
--- The first reading is ours; the others are what at least one of Python's email package (either policy), GMime,
--- postal-mime and simple-minded readers takes.
local folding = require "moonmilter.mail.folding"

local readings = {}

local function trim(text)
  local first = text:find "[^ \t]" or #text + 1
  local last = #text
  while last >= first and (text:byte(last) == 32 or text:byte(last) == 9) do
    last = last - 1
  end
  return text:sub(first, last)
end

-- Without comments, and without quotes
local function texts(text, tokens, first, last)
  local out = {}
  for i = first, last do
    local t = tokens[i]
    out[#out + 1] = t.kind == "quoted" and t.text or text:sub(t.start, t.stop)
  end
  return table.concat(out)
end

-- As it stands in the field, comments and all.
local function spelled(text, start, stop)
  return trim(folding.unfold(text:sub(start, stop)))
end

-- A quoted string, and what may follow it.
local function of_quoted(text, tokens, first, last, whole)
  local quoted = tokens[first]
  local is_open = tokens.unclosed_at == quoted.start
  local inner = folding.unfold(text:sub(quoted.start + 1, is_open and quoted.stop or quoted.stop - 1))
  local others = {}
  if inner:find("\\", 1, true) then -- RFC 2045 5.1; ours keeps the backslashes of Windows paths
    others[1] = inner:gsub("\\(.)", "%1")
  end
  if is_open then -- some readers end it at a ";", for others the quote is part of the value
    local cut = whole:match "^[^;]*"
    others[#others + 1], others[#others + 2] = trim(cut:sub(2)), trim(cut)
  elseif #whole > quoted.stop - quoted.start + 1 then
    others[#others + 1], others[#others + 2] = texts(text, tokens, first, last), whole
  end
  return quoted.text, others
end

-- Without quotes: a token, strictly, but `filename=my file.pdf` is common.
local function of_unquoted(text, tokens, first, last, whole)
  local without_end = spelled(text, tokens[first].start, tokens[last].stop)
  local others = { whole, texts(text, tokens, first, last) }
  others[#others + 1] = without_end:match "^[^ \t(,\"]*"
  if without_end:find "^'" and without_end:find "'$" then
    others[#others + 1] = without_end:sub(2, -2)
  end
  return without_end, others
end

--- The value whose tokens are [first, last], after an "=".
---@param text string
---@param tokens moonmilter.Tokens
---@param first integer
---@param last integer
---@param stop integer  the last byte before ";", the next parameter or the end
---@return string value
---@return string[] others  may hold the value, too
function readings.of(text, tokens, first, last, stop)
  local read = tokens[first].kind == "quoted" and of_quoted or of_unquoted
  return read(text, tokens, first, last, spelled(text, tokens[first - 1].stop + 1, stop))
end

return readings
