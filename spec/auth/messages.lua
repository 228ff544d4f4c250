--- Messages that are valid on the wire and unpleasant to canonicalise, from a seed.
local messages = {}

local function pick(list)
  return list[math.random(#list)]
end

local WORDS = { "a", "Hello", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "x;y", "a:b", "\"quoted  words\"", "<id@example.org>",
  "b=c", "\195\164\195\182", "\255\254", ("long"):rep(40), ".", "(comment)" }
local BLANKS = { " ", "  ", "\t", " \t ", "\r\n ", "\r\n\t", " \r\n  ", "\t\r\n \t" }

-- The text after the colon: one of the five spacings, words, folds.
local function value()
  local out = { pick { " ", "", "  ", "\t", "\r\n " } }
  for i = 1, math.random(1, 6) do
    out[#out + 1] = (i > 1 and pick(BLANKS) or "") .. pick(WORDS)
  end
  out[#out + 1] = pick { "", "", " ", "\t", "  " }
  return table.concat(out)
end

local NAMES = { "Subject", "To", "Cc", "Reply-To", "Date", "Message-ID", "X-Long-Name", "x", "SUBJECT", "Received",
  "Content-Type", "MIME-Version", "References", "List-Id" }

local function header()
  local fields = {}
  for i = 1, math.random(2, 12) do
    local name = pick(NAMES)
    fields[i] = { name = name, raw = name .. (math.random(60) == 1 and " :" or ":") .. value() }
  end
  table.insert(fields, math.random(#fields + 1), { name = "From",
    raw = pick { "From: Ann <ann@example.org>", "From:  ann@example.org", "FROM:ann@example.org ",
      "from:\t\"Ann,\r\n X\" <ann@example.org>" } })
  return fields
end

local LINES = { "", "", "", " ", "\t", "  \t ", "text", "text ", " text", "two  words", "tab\there", "trailing \t", ".",
  "..", "From here", "\195\164 8-bit \255", ("long line "):rep(90), "=20=\t", "a  b\t\tc  d ", "--boundary",
  ("x"):rep(700) }

local function body()
  local lines = {}
  for i = 1, pick { 0, 1, 2, 5, 20, 60 } do
    lines[i] = pick(LINES) .. "\r\n"
  end
  local text = table.concat(lines)
  return math.random(20) == 1 and text:sub(1, -3) or text -- without a line end
end

--- The n-th message of a seed: fields { name, raw } with folds as CRLF, and the body.
---@param seed integer
---@return { name: string, raw: string }[] fields
---@return string body
function messages.make(seed)
  math.randomseed(seed)
  return header(), body()
end

return messages
