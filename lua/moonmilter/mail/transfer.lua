--- Transfer encodings by their names (RFC 2045 6.1), in lower case.
local token = require "moonmilter.mail.token"

local transfer = {}

--- Those that leave every byte unchanged.
transfer.is_identity = { [""] = true, ["7bit"] = true, ["8bit"] = true, ["binary"] = true }

--- The names of the other decoders in moonmilter.codec.
transfer.decoder_of = {
  base64 = "base64", ["quoted-printable"] = "quoted-printable",
  ["x-uuencode"] = "x-uuencode", ["x-uue"] = "x-uuencode", uuencode = "x-uuencode", uue = "x-uuencode",
}

local function squeeze(word)
  return (word:gsub("[^%w]", ""))
end

-- "base-64", "quoted_printable", "8-bit": some readers know what is meant
local meant = {}
for _, names in ipairs { transfer.is_identity, transfer.decoder_of } do
  for name in pairs(names) do
    meant[squeeze(name)] = name
  end
end
meant[""] = nil

--- The encoding that a Content-Transfer-Encoding names: the first word that is one which must be decoded, or one that
--- need not, or the first word at all.
---@param text string
---@return string name  in lower case
---@return boolean is_odd  it is not a word alone: mail readers may take the field for something else
function transfer.read(text)
  local alone = text:lower()
  if transfer.is_identity[alone] or transfer.decoder_of[alone] then -- as nearly every message has it
    return alone, false
  end
  local tokens = token.lex(text, "mime")
  local words, plain = {}, nil
  for _, t in ipairs(tokens) do
    if t.kind == "atom" or t.kind == "quoted" then
      for word in t.text:lower():gmatch "[^%s,;]+" do
        words[#words + 1] = word
      end
    end
  end
  local is_odd = #tokens ~= 1 or #words ~= 1 or tokens[1].kind ~= "atom" or tokens.comments[1] ~= nil
  for _, word in ipairs(words) do
    local name = meant[squeeze(word)]
    if transfer.decoder_of[name] then
      return name, is_odd or name ~= word
    end
    plain = plain or name
  end
  local word = words[1] or ""
  return plain or word, is_odd and #tokens > 0 or plain ~= nil and plain ~= word
end

return transfer
