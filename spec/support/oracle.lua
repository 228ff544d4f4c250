--- A second opinion on every byte that a filter sends: both MTAs' rules at once, the stricter of the two wherever they
--- differ (protocol 3.1 to 3.4, 3.7 to 3.14, 4.4, 4.5). Written from the protocol alone, without code of the host.
--
-- It sees both directions. It raises an error for what it does not accept, so a spec that talks through fake_mta fails.
local oracle = {}

local Oracle = {}
Oracle.__index = Oracle

local bit = require "bit"

local function has(mask, flag)
  return bit.band(mask, flag) ~= 0
end

local function read_u32(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function fail(format, ...)
  error("oracle: " .. format:format(...), 0)
end

-- letter -> bit that promises silence (protocol 4.3); E and O are always answered
local ANSWERED = {
  C = 0x1000, H = 0x2000, M = 0x4000, R = 0x8000, T = 0x10000, L = 0x80, N = 0x40000, B = 0x80000,
  U = 0x20000, E = 0, O = 0,
}
local MESSAGE = { M = true, R = true, T = true, L = true, N = true, B = true, E = true }

function oracle.new()
  return setmetatable({
    to = "", from = "", open = {}, spare = 0, steps = 0, actions = 0, edits = 0, last_body = "", packets = 0,
  }, Oracle)
end

-- Takes whole packets from a buffer and passes them to `visit`.
local function packets(buffer, limit, visit)
  local at = 1
  while #buffer - at >= 4 do
    local length = read_u32(buffer, at)
    if length < 1 or length > limit then
      return buffer:sub(at), length
    end
    if #buffer - at < 3 + length then
      break
    end
    visit(buffer:sub(at + 4, at + 4), buffer:sub(at + 5, at + 3 + length))
    at = at + 4 + length
  end
  return at == 1 and buffer or buffer:sub(at)
end

-- ---- what the MTA sends ----

local function note_command(self, letter, data)
  if letter == "O" then
    self.version = nil
    self.offered = #data >= 12 and { version = read_u32(data, 1), actions = read_u32(data, 5),
      steps = read_u32(data, 9) } or nil
  elseif letter == "A" or letter == "Q" or letter == "K" then
    -- open commands may have been given up; whether they were answered before is a matter of timing
    for _, command in ipairs(self.open) do
      command.optional = command.optional or letter ~= "A" or MESSAGE[command.letter]
    end
  end
  local is_silent = self.version and ANSWERED[letter] and has(self.steps, ANSWERED[letter])
  if ANSWERED[letter] and not is_silent then
    self.open[#self.open + 1] = { letter = letter }
  end
end

-- The oldest command that expects an answer. Which commands are silent is known once the offer, the very first command,
-- is answered.
local function first_open(self)
  local open = self.open
  while open[1] and open[1].letter ~= "O" and has(self.steps, ANSWERED[open[1].letter]) do
    table.remove(open, 1)
  end
  return open[1]
end

-- Drops the commands before a command with one of those letters, as long as they may have been given up. `spare`
-- answers were counted for commands that had been given up; they belong to later ones.
local function give_up(self, letters)
  local first = first_open(self)
  while first and not letters:find(first.letter, 1, true) and (first.optional or self.spare > 0) do
    if not first.optional then
      self.spare = self.spare - 1
    end
    table.remove(self.open, 1)
    first = first_open(self)
  end
  return first
end

--- Bytes on their way to the filter. Not judged: specs deliberately send garbage.
function Oracle:to_filter(bytes)
  if self.closed then
    return
  end
  local rest, bad = packets(self.to .. bytes, 0x7fffffff, function(letter, data) note_command(self, letter, data) end)
  self.to = bad and "" or rest
end

--- The filter has hung up: no answer is due any more.
function Oracle:hung_up()
  self.closed = true
  if #self.from > 0 then
    fail("the connection closed in the middle of a packet of %d bytes", #self.from)
  end
end

--- Nothing waits: every command that expects an answer must have received it.
function Oracle:at_rest()
  if self.closed then
    return
  end
  local owed = {}
  for _, command in ipairs(self.open) do
    if not command.optional and not has(self.steps, ANSWERED[command.letter]) then
      owed[#owed + 1] = command.letter
    end
  end
  if #owed > self.spare then
    fail("no answer to %s", table.concat(owed, " "))
  end
  self.open, self.spare = {}, 0
end

-- ---- what the filter sends ----

local function strings(letter, data, count)
  if data:sub(-1) ~= "\0" then
    fail("%s: the last string has no NUL", letter)
  end
  local list = {}
  for text in data:gmatch("([^%z]*)%z") do
    list[#list + 1] = text
  end
  if #list ~= count then
    fail("%s: %d strings instead of %d", letter, #list, count)
  end
  return list
end

local function check_name(letter, name)
  if #name == 0 or name:find("[^\33-\126]") or name:find(":", 1, true) then
    fail("%s: header name %q", letter, name)
  end
end

local function check_value(self, letter, value, may_be_empty)
  if value == "" then
    return may_be_empty or fail("%s: empty value", letter)
  end
  if value:find("[%z\r]") then
    fail("%s: CR or NUL in the value %q", letter, value)
  end
  if has(self.steps, 0x100000) and value:sub(1, 1) ~= " " then
    fail("%s: the space after the colon is missing in %q", letter, value)
  end
  if value:find("\n[^ \t]") or value:sub(-1) == "\n" then
    fail("%s: a line break that is not a fold in %q", letter, value)
  end
  if (value .. "\n"):find("\n[ \t]+\n") then
    fail("%s: a folded line of blanks in %q", letter, value)
  end
  for line in value:gmatch("[^\n]+") do
    if #line > 2048 + 2 then
      fail("%s: a line of %d bytes", letter, #line)
    end
  end
end

local function check_address(letter, address, may_be_null)
  local bare = address:match("^<(.*)>$")
  if not bare then
    fail("%s: address %q has no angle brackets", letter, address)
  end
  if bare == "" then
    return may_be_null or fail("%s: a null address", letter)
  end
  if bare:find("[%c\127]") then
    fail("%s: control byte in address %q", letter, bare)
  end
  local outside = bare:gsub('"([^"\\]*(\\.[^"\\]*)*)"', ""):gsub('\\.', ""):gsub('"[^"]*"', "")
  if outside:find("[<>,; ()\"]") then
    fail("%s: address %q is more than one address", letter, bare)
  end
end

local function check_params(letter, params)
  if params == "" or params:find("[%c\127]") then
    fail("%s: parameters %q", letter, params)
  end
  local known = letter == "e" and { RET = 1, ENVID = 1, AUTH = 1, SIZE = 1, BODY = 1, SMTPUTF8 = 1 }
    or { NOTIFY = 1, ORCPT = 1 }
  for word in params:gmatch("%S+") do
    if not known[word:match("^[^=]*"):upper()] then
      fail("%s: parameter %q", letter, word)
    end
  end
end

-- Postfix 2026 on one side, Sendmail's format strings on the other (protocol 3.4).
local function check_reply_text(data)
  local text = data:sub(1, -2)
  if data:sub(-1) ~= "\0" or text:find("%z") then
    fail("y: one NUL at the end, no other: %q", data)
  end
  local code, lines = text:sub(1, 3), {}
  for line in (text .. "\r\n"):gmatch("(.-)\r\n") do
    lines[#lines + 1] = line
  end
  if not code:find("^[45]%d%d$") then
    fail("y: code %q", code)
  end
  for i, line in ipairs(lines) do
    if line:find("[\r\n]") then
      fail("y: bare CR or LF in %q", line)
    end
    if line:sub(1, 3) ~= code or line:sub(4, 4) ~= (i < #lines and "-" or " ") then
      fail("y: line %d of %d is %q", i, #lines, line)
    end
    local class = line:match("^....(%d)")
    if class and class ~= code:sub(1, 1) then
      fail("y: line %q: the digit after the code is not its class", line)
    end
    if line:gsub("%%%%", ""):find("%%") then
      fail("y: a lone %% in %q", line)
    end
    local said = line:gsub("%%%%", "%%"):sub(5):gsub("^[245]%.%d+%.%d+ ", "")
    if #said > 980 then
      fail("y: %d bytes on a line", #said)
    end
  end
  if #lines > 32 then
    fail("y: %d lines", #lines)
  end
  return code
end

local function check_body(self, data)
  if #data > 65535 then
    fail("b: %d bytes", #data)
  end
  if self.body_over then
    fail "b: a second group of body packets, which Postfix refuses"
  end
  local text = self.last_body .. data
  if text:gsub("\r\n", ""):find("\n") or text:gsub("\r\n", ""):gsub("\r$", ""):find("\r") then
    fail "b: a bare CR or LF"
  end
  self.in_body, self.last_body = true, text:sub(-1) == "\r" and "\r" or ""
end

local function need(self, letter, action)
  if not has(self.actions, action) then
    fail("%s: action 0x%x was not negotiated", letter, action)
  end
end

local EDITS = {
  h = function(self, data)
    need(self, "h", 0x01)
    local field = strings("h", data, 2)
    check_name("h", field[1])
    check_value(self, "h", field[2], true)
  end,
  i = function(self, data)
    need(self, "i", 0x01)
    local field = strings("i", data:sub(5), 2)
    check_name("i", field[1])
    check_value(self, "i", field[2], true)
    if read_u32(data, 1) > 0x7fffffff then
      fail("i: index %d", read_u32(data, 1))
    end
  end,
  m = function(self, data)
    need(self, "m", 0x10)
    local field, index = strings("m", data:sub(5), 2), read_u32(data, 1)
    check_name("m", field[1])
    check_value(self, "m", field[2], true)
    if index < 1 or index > 0x7fffffff then
      fail("m: index %d", index)
    end
  end,
  ["+"] = function(self, data)
    need(self, "+", 0x04)
    check_address("+", strings("+", data, 1)[1])
  end,
  ["-"] = function(self, data)
    need(self, "-", 0x08)
    check_address("-", strings("-", data, 1)[1])
  end,
  ["2"] = function(self, data)
    need(self, "2", 0x80)
    local two = strings("2", data, 2)
    check_address("2", two[1])
    check_params("2", two[2])
  end,
  e = function(self, data)
    need(self, "e", 0x40)
    local count = select(2, data:gsub("%z", ""))
    local two = strings("e", data, count == 2 and 2 or 1)
    check_address("e", two[1], true)
    if two[2] then
      check_params("e", two[2])
    end
  end,
  b = function(self, data)
    need(self, "b", 0x02)
    check_body(self, data)
  end,
  q = function(self, data)
    need(self, "q", 0x20)
    local reason = strings("q", data, 1)[1]
    if reason == "" or #reason > 100 or reason:find("[%c\127]") then
      fail("q: reason %q", reason)
    end
  end,
}

-- Where a final reply is valid on both MTAs (protocol 3.1, 3.3).
local FINAL = {
  c = "CHMRTLNBEU", a = "CHMRTLNBE", r = "CHMRTLNBEU", t = "CHMRTLNBEU", d = "MRTLNBE", s = "B", y = "CHMRTLNBEU",
}

local function check_lists(self, data)
  local at, seen, count = 13, {}, 0
  while at <= #data do
    if at + 4 > #data then
      fail "O: stray bytes after the macro lists"
    end
    local stage, text = read_u32(data, at), data:match("^([^%z]*)%z", at + 4)
    if not text or stage > 6 or seen[stage] then
      fail("O: macro list of stage %d", stage)
    end
    local names = 0
    for name in text:gmatch("[^ ]+") do
      names = names + 1
      if not (name:find("^{[%w_]+}$") or #name == 1) then
        fail("O: macro name %q", name)
      end
    end
    if names > 50 then
      fail("O: %d macros at stage %d; Sendmail refuses the 51st", names, stage)
    end
    seen[stage], count = true, count + 1
    at = at + 5 + #text
  end
  if count > 0 and (self.offered.version < 6 or not has(self.actions, 0x100)) then
    fail "O: macro lists that were not offered"
  end
  if seen[5] ~= seen[6] then
    fail "O: a macro list for end of message or end of headers without the other"
  end
end

local function check_answer(self, data)
  local o = self.offered
  if not o then
    fail "O: an answer without an offer"
  end
  if #data < 12 then
    fail("O: %d bytes", #data)
  end
  self.version, self.actions, self.steps = read_u32(data, 1), read_u32(data, 5), read_u32(data, 9)
  if self.version < 2 or self.version > 6 or self.version > o.version then
    fail("O: version %d to an offer of %d", self.version, o.version)
  end
  -- an MTA that offers nothing means version 1 (libmilter st_optionneg)
  local actions, steps = o.actions == 0 and 0x0f or o.actions, o.steps == 0 and 0x3f or o.steps
  if has(self.actions, bit.bnot(actions)) then
    fail("O: actions 0x%x of 0x%x offered", self.actions, o.actions)
  end
  if has(self.steps, bit.bnot(steps)) then
    fail("O: steps 0x%x of 0x%x offered", self.steps, o.steps)
  end
  check_lists(self, data)
end

local function note_reply(self, letter, data)
  self.packets = self.packets + 1
  local first = first_open(self)
  if not first then
    fail("%q although no command expects an answer", letter)
  end
  if letter ~= "b" and self.in_body then
    self.in_body, self.body_over = false, true
  end
  if letter == "p" or EDITS[letter] then
    first = give_up(self, "E")
    if not first or first.letter ~= "E" then
      fail("%q as an answer to %s", letter, first and first.letter or "nothing")
    end
    if letter == "p" then
      return #data == 0 or fail("p with %d bytes", #data)
    end
    self.edits = self.edits + 1
    return EDITS[letter](self, data)
  end
  if letter == "O" then
    if first.letter ~= "O" then
      fail("O as an answer to %s", first.letter)
    end
    table.remove(self.open, 1)
    return check_answer(self, data)
  end
  local where = FINAL[letter]
  if not where then
    fail("unknown reply %q", letter)
  end
  if letter == "y" then
    check_reply_text(data)
  elseif #data > 0 then
    fail("%s followed by %d bytes", letter, #data)
  end
  first = give_up(self, where)
  if not first or not where:find(first.letter, 1, true) then
    fail("%s as an answer to %s", letter, first and first.letter or "nothing")
  end
  if letter == "s" and not has(self.steps, 0x400) then
    fail "s although skip was not negotiated"
  end
  if self.edits > 0 and letter ~= "c" and letter ~= "a" then
    fail("%d edits before %s", self.edits, letter)
  end
  if self.last_body ~= "" then
    fail "b: the body ends in a bare CR"
  end
  self.edits, self.in_body, self.body_over, self.last_body = 0, false, false, ""
  table.remove(self.open, 1)
  if first.optional then
    self.spare = self.spare + 1
  end
end

--- Bytes from the filter.
function Oracle:from_filter(bytes)
  local rest, bad = packets(self.from .. bytes, 0x10000, function(letter, data) note_reply(self, letter, data) end)
  if bad then
    fail("a packet length of %d", bad)
  end
  self.from = rest
end

return oracle
