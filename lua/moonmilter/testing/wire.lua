--- Milter packets and bits, as far as a test speaks them (the whole protocol is in the library).
local bit = require "bit"

local wire = {}

wire.ALL_ACTIONS, wire.ALL_STEPS = 0x1ff, 0x1fffff
wire.RCPT_REJECTED, wire.SKIP, wire.LEADING_SPACE = 0x800, 0x400, 0x100000

-- letter of a command: what it is called, the bit that switches it off, the bit that makes it silent
wire.commands = {
  C = { name = "connect", off = 0x01, silent = 0x1000 },
  H = { name = "helo", off = 0x02, silent = 0x2000 },
  M = { name = "mail", off = 0x04, silent = 0x4000 },
  R = { name = "rcpt", off = 0x08, silent = 0x8000 },
  T = { name = "data", off = 0x200, silent = 0x10000, since = 4 },
  L = { name = "header", off = 0x20, silent = 0x80 },
  N = { name = "eoh", off = 0x40, silent = 0x40000 },
  B = { name = "body", off = 0x10, silent = 0x80000 },
  U = { name = "unknown", off = 0x100, silent = 0x20000, since = 3 },
  E = { name = "eom", off = 0, silent = 0 },
}

-- letter of a final reply
wire.verdicts = {
  c = "continue", a = "accept", r = "reject", t = "tempfail", d = "discard", s = "skip", y = "reply",
}

function wire.has(mask, flag)
  return bit.band(mask, flag) ~= 0
end

function wire.u32(n)
  return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
    bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

function wire.read_u32(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

function wire.packet(letter, data)
  return wire.u32(#data + 1) .. letter .. data
end

--- Strings that end with NUL, as a list.
function wire.texts(data)
  local list = {}
  for text in data:gmatch "([^%z]*)%z" do
    list[#list + 1] = text
  end
  return list
end

local ADDRESS_EDITS = { ["+"] = "add_recipient", ["2"] = "add_recipient", ["-"] = "delete_recipient",
  e = "change_from" }

--- An edit as a list: its name as scripts know it, then its arguments as a script would write them.
function wire.edit(letter, data, leading_space)
  local function without_space(text)
    return leading_space and text:sub(1, 1) == " " and text:sub(2) or text
  end
  local texts = wire.texts(data)
  if letter == "h" then
    return { "add_header", texts[1], without_space(texts[2]) }
  elseif letter == "i" or letter == "m" then
    local index
    index, texts = wire.read_u32(data, 1), wire.texts(data:sub(5))
    if letter == "i" then
      return { "insert_header", index, texts[1], without_space(texts[2]) }
    elseif texts[2] == "" then
      return { "delete_header", texts[1], index }
    end
    return { "change_header", texts[1], index, without_space(texts[2]) }
  elseif letter == "b" then
    return { "replace_body", data }
  elseif letter == "q" then
    return { "quarantine", texts[1] }
  end
  return { ADDRESS_EDITS[letter], texts[1], texts[2] }
end

return wire
