--- Many patterns over a stream: finds matches wherever chunks are cut, with bounded work.
---
--- Literals become one automaton (Aho and Corasick 1975): one table step per byte, however many literals there are.
--- LPeg patterns are tried at every byte over a window: a match longer than its window is not found, which bounds
--- memory and time. Matches are reported in stream order of their end (literals) or start (LPeg); of overlapping
--- literals, all.
local ffi = require "ffi"
local lpeg = require "lpeg"

local scan = {}

local WINDOW = 1024 -- most bytes of an LPeg match
local WINDOW_MAX = 32 * 1024
-- LPeg runs over blocks, so that results do not depend on chunks. A block is four windows, so an attempt at one byte
-- reads at most five; for small windows a larger block would let it read more, a smaller one costs more than it saves.
local BLOCK_MIN = 512
local CELLS_MAX = 16 * 1024 * 1024 -- of the automaton: bytes of literals times distinct bytes in them; 4 bytes each
local MAX_MATCHES = 10000

---@class moonmilter.Scanner
local Scanner = {}
Scanner.__index = Scanner

-- Bytes that occur in no literal form one class: rows of the automaton are as wide as its alphabet, not 256.
local function byte_classes(literals, ignore_case)
  local class, count = ffi.new "uint16_t[256]", 1
  for _, literal in ipairs(literals) do
    for i = 1, #literal.text do
      local b = literal.text:byte(i)
      if class[b] == 0 then
        class[b] = count
        count = count + 1
      end
    end
  end
  if ignore_case then
    for b = 65, 90 do
      class[b] = class[b + 32]
    end
  end
  return class, count
end

-- Goto table with failure links already followed: jump[state + class of the byte] is the next state, states counted in
-- rows of the table; negative when a literal ends there. State 0 is the root, and no literal ends there.
local function automaton(literals, ignore_case)
  local total = 1
  for _, literal in ipairs(literals) do
    total = total + #literal.text
  end
  local class, width = byte_classes(literals, ignore_case)
  if total * width > CELLS_MAX then
    return nil, ("scan: %d bytes of literals with %d distinct ones need %d cells; at most %d are allowed"):format(
      total - 1, width - 1, total * width, CELLS_MAX)
  end
  local next_state = ffi.new("int32_t[?]", total * width)
  local states, ends = 1, {} -- ends[state]: list of literals
  for _, literal in ipairs(literals) do
    local state = 0
    for i = 1, #literal.text do
      local slot = state * width + class[literal.text:byte(i)]
      if next_state[slot] == 0 then
        next_state[slot] = states
        states = states + 1
      end
      state = next_state[slot]
    end
    ends[state] = ends[state] or {}
    table.insert(ends[state], literal)
  end
  -- breadth first: a state's failure state is nearer to the root, so it is already complete
  local fail, queue, head, tail = ffi.new("int32_t[?]", states), ffi.new("int32_t[?]", states), 0, 0
  local link = {} -- next state down the failure chain that ends a literal
  for c = 0, width - 1 do
    if next_state[c] ~= 0 then
      queue[tail] = next_state[c]
      tail = tail + 1
    end
  end
  while head < tail do
    local state = queue[head]
    head = head + 1
    local f = fail[state]
    link[state] = ends[f] and f or link[f]
    for c = 0, width - 1 do
      local slot = state * width + c
      local child = next_state[slot]
      if child ~= 0 then
        fail[child] = next_state[f * width + c]
        queue[tail] = child
        tail = tail + 1
      else
        next_state[slot] = next_state[f * width + c]
      end
    end
  end
  for slot = 0, states * width - 1 do
    local state = next_state[slot]
    next_state[slot] = state * width * ((ends[state] or link[state]) and -1 or 1)
  end
  return { class = class, width = width, jump = next_state, ends = ends, link = link }
end

---@class moonmilter.ScanOptions
---@field ignore_case? boolean  ASCII letters of literals only
---@field window? integer       most bytes of an LPeg match, 1..32768; default 1024
---@field max_bytes? integer    of one stream; beyond it  feed gives nil, text, "limit"; default: no limit
---@field max_matches? integer  of one stream; beyond it  nil, text, "limit"; default 10000

--- Make a scanner from patterns: `{ eicar = "X5O!P%@AP", card = lpeg.P… }`; keys name the matches. A list works too.
---@param patterns table<any, string|userdata>  literals are not empty; raises on anything else
---@param options? moonmilter.ScanOptions
---@return moonmilter.Scanner|nil scanner
---@return string|nil text  too many literals
function scan.new(patterns, options)
  options = options or {}
  for name, value in pairs(options) do
    local wanted = name == "ignore_case" and "boolean" or
      (name == "window" or name == "max_bytes" or name == "max_matches") and "number" or nil
    if type(value) ~= wanted then
      error(("scan: option %s = %s is unknown or of the wrong type"):format(tostring(name), tostring(value)), 2)
    end
  end
  local window = options.window or WINDOW
  if window < 1 or window > WINDOW_MAX then
    error(("scan: window %d is not within 1..%d"):format(window, WINDOW_MAX), 2)
  end
  local literals, grammar = {}, nil
  local names = {}
  for name in pairs(patterns) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end) -- the same order in every run
  for _, name in ipairs(names) do
    local pattern = patterns[name]
    if type(pattern) == "string" and pattern ~= "" then
      literals[#literals + 1] = { name = name, text = options.ignore_case and pattern:lower() or pattern }
    elseif lpeg.type(pattern) == "pattern" then
      -- captures of the user's pattern are dropped: /0 keeps none
      local one = lpeg.Cp() * lpeg.Cc(name) * (pattern / 0) * lpeg.Cp()
      grammar = grammar and grammar + one or one
    else
      error(("scan: pattern %s is neither a literal of at least one byte nor an LPeg pattern"):format(tostring(name)),
        2)
    end
  end
  local scanner = setmetatable({
    window = window, block = math.max(BLOCK_MIN, 4 * window), max_bytes = options.max_bytes or math.huge,
      max_matches = options.max_matches or MAX_MATCHES,
  }, Scanner)
  if literals[1] then
    local made, text = automaton(literals, options.ignore_case)
    if not made then
      return nil, text
    end
    scanner.automaton = made
  end
  if grammar then
    scanner.at_each = grammar
    scanner.search = lpeg.P { grammar + 1 * lpeg.V(1) }
  end
  return scanner
end

---@class moonmilter.ScanStream
local Stream = {}
Stream.__index = Stream

--- Begin a stream.
---@param on_match fun(name: any, first: integer, last: integer): boolean|nil  bytes of the stream, from 1; true: enough
---@return moonmilter.ScanStream
function Scanner:stream(on_match)
  if type(on_match) ~= "function" then
    error("stream: expected a function, got " .. type(on_match), 2)
  end
  return setmetatable({
    scanner = self, on_match = on_match, state = 0, bytes = 0, matches = 0,
    block = {}, block_size = 0, block_base = 0,
  }, Stream)
end

local function report(stream, name, first, last)
  stream.matches = stream.matches + 1
  if stream.matches > stream.scanner.max_matches then
    stream.failure = { ("scan: more than max_matches %d"):format(stream.scanner.max_matches), "limit" }
    return false
  end
  if stream.on_match(name, first, last) then
    stream.is_over = true
    return false
  end
  return true
end

local function report_ends(stream, state, last)
  local a = stream.scanner.automaton
  while state do
    for _, literal in ipairs(a.ends[state] or {}) do
      if not report(stream, literal.name, last - #literal.text + 1, last) then
        return false
      end
    end
    state = a.link[state]
  end
  return true
end

local function scan_literals(stream, chunk)
  local a = stream.scanner.automaton
  local class, jump = a.class, a.jump
  local bytes = ffi.cast("const uint8_t *", chunk)
  local state = stream.state
  for i = 0, #chunk - 1 do
    state = jump[state + class[bytes[i]]]
    if state < 0 then
      state = -state
      if not report_ends(stream, state / a.width, stream.bytes + i + 1) then
        break
      end
    end
  end
  stream.state = state
end

-- Matches that begin in the first `count` bytes of `text`; each sees at most `window` bytes.
local function scan_block(stream, text, count)
  local scanner = stream.scanner
  local at = 1
  if stream.skip_to then -- the last match extends into this block; as in gsub, no match inside a match
    at = math.max(1, stream.skip_to - stream.block_base)
  end
  while at <= count do
    local first, name, after = lpeg.match(scanner.search, text, at)
    if not first or first > count then
      return
    end
    if after - first > scanner.window then -- it would depend on where blocks are cut: by contract not a match
      at = first + 1
    else
      local base = stream.block_base
      if not report(stream, name, base + first, base + after - 1) then
        return
      end
      at = math.max(after, first + 1)
      stream.skip_to = base + at
    end
  end
end

local function scan_grammar(stream, chunk, is_last)
  local window, size = stream.scanner.window, stream.scanner.block
  stream.block[#stream.block + 1] = chunk
  stream.block_size = stream.block_size + #chunk
  if not is_last and stream.block_size < size + window then
    return
  end
  local text = table.concat(stream.block)
  local at = 0
  while #text - at >= size + window and not stream.is_over and not stream.failure do
    scan_block(stream, text:sub(at + 1, at + size + window), size)
    at = at + size
    stream.block_base = stream.block_base + size
  end
  if is_last and not stream.is_over and not stream.failure then
    scan_block(stream, text:sub(at + 1), #text - at)
  end
  stream.block, stream.block_size = { text:sub(at + 1) }, #text - at
end

local function outcome(stream)
  if stream.failure then
    return nil, stream.failure[1], stream.failure[2]
  end
  return true
end

--- More of the stream.
---@param chunk string
---@return true|nil ok
---@return string|nil text
---@return "limit"|nil code  a limit is exceeded; scanning has ended
function Stream:feed(chunk)
  if self.failure or self.is_over then
    return outcome(self)
  end
  local scanner = self.scanner
  local is_over_limit = self.bytes + #chunk > scanner.max_bytes
  if is_over_limit then
    chunk = chunk:sub(1, scanner.max_bytes - self.bytes)
  end
  if scanner.automaton then
    scan_literals(self, chunk)
  end
  if scanner.search and not self.is_over and not self.failure then
    scan_grammar(self, chunk, false)
  end
  self.bytes = self.bytes + #chunk
  if is_over_limit and not self.is_over and not self.failure then
    self:finish()
    self.failure = self.failure or { ("scan: over max_bytes %d"):format(scanner.max_bytes), "limit" }
  end
  return outcome(self)
end

--- The end of the stream: LPeg matches that waited for more bytes are reported now.
---@return true|nil, string|nil text, string|nil code
function Stream:finish()
  if self.scanner.search and not self.is_over and not self.failure then
    scan_grammar(self, "", true)
  end
  if not self.failure then
    self.is_over = true
  end
  return outcome(self)
end

--- All matches in one string.
---@param text string
---@return { name: any, first: integer, last: integer }[]|nil matches
---@return string|nil text
---@return "limit"|nil code
function Scanner:find_all(text)
  local out = {}
  local stream = self:stream(function(name, first, last) out[#out + 1] = { name = name, first = first,
    last = last } end)
  local ok, why, code = stream:feed(text)
  if ok then
    ok, why, code = stream:finish()
  end
  if not ok then
    return nil, why, code
  end
  return out
end

return scan
