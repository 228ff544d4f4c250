--- Regular expressions (PCRE2) that no text can make slow, and sets of them.
--
--   local invoice = re.new([[\binvoice\s+(?<number>\d{4,})]], { ignore_case = true })
--   local m, text, code = invoice:match(subject)
--   if m then … m.number … elseif code then … a limit: nobody knows … end
--
-- A search that hits a limit is a failure: nil, text, "limit". "No match" is nil alone.
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"

local re = {}

local raw = core.re
local search, scan, cpu = raw.search, raw.scan, raw.cpu

local OPTIONS = {
  ignore_case = { "boolean" }, multiline = { "boolean" }, dotall = { "boolean" }, extended = { "boolean" },
  utf = { "boolean" },
  steps = { "number", raw.steps }, -- of an attempt at one place
  seconds = { "number", raw.seconds }, -- of CPU, of one search
}

local LETTERS = { ignore_case = "i", multiline = "m", dotall = "s", extended = "x", utf = "u" }

-- Letters for C, steps, seconds. Raises at the line of the caller's caller.
local function settings(call, options)
  options = options_of.check(call, options or {}, OPTIONS, 3)
  local letters = {}
  for name, letter in pairs(LETTERS) do
    letters[#letters + 1] = options[name] and letter or nil
  end
  if not (options.steps >= 1 and options.steps <= 2 ^ 31) then
    error(("%s: steps is %s; give 1 to 2147483648"):format(call, tostring(options.steps)), 3)
  elseif not (options.seconds > 0 and options.seconds <= 60) then
    error(("%s: seconds is %s; give more than 0 and at most 60"):format(call, tostring(options.seconds)), 3)
  end
  return table.concat(letters), options.steps, options.seconds
end

local function check_text(call, text)
  if type(text) ~= "string" then
    error(("%s: expected a string, got a %s"):format(call, type(text)), 3)
  end
end

-- Where to begin, as string.find takes it: from the end when it is below 0.
local function start_of(text, init)
  if init == nil then
    return 1
  elseif init < 0 then
    return math.max(1, #text + init + 1)
  end
  return math.max(1, init)
end

---@class moonmilter.Pattern
local Pattern = {}
Pattern.__index = Pattern

--- A pattern.
---@param expression string  as PCRE2 has them (man pcre2pattern)
---@param options moonmilter.re.Options?
---@return moonmilter.Pattern
function re.new(expression, options)
  check_text("re.new", expression)
  local letters, steps, seconds = settings("re.new", options)
  local code, text = raw.new(expression, letters, steps)
  if not code then
    error("re.new: " .. text, 2)
  end
  local count, names = raw.groups(code)
  return setmetatable({ code = code, count = count, names = names, seconds = seconds }, Pattern)
end

-- Spans of a match as a table of texts.
local function groups(pattern, text, ...)
  local spans, m = { ... }, {}
  for i = 0, pattern.count do
    local first, last = spans[2 * i + 1], spans[2 * i + 2]
    m[i] = first > 0 and text:sub(first, last)
  end
  for name, number in pairs(pattern.names) do
    if not m[name] then -- of several groups with one name, that which took part
      m[name] = m[number]
    end
  end
  return m
end

--- Where the first match is.
---@param text string
---@param init integer?  byte to begin at; default 1
---@return integer? first
---@return integer|string|nil last_or_text  of an empty match first - 1
---@return "limit"|"internal"|nil code
function Pattern:find(text, init)
  check_text("find", text)
  local first, last, code = search(self.code, text, start_of(text, init), false, self.seconds)
  if first then
    return first, last
  elseif last then
    return nil, last, code
  end
  return nil
end

local function matched(pattern, text, first, last, ...)
  if first then
    return groups(pattern, text, first, last, ...)
  elseif last then
    return nil, last, (...)
  end
  return nil
end

--- The first match: m[0] the whole, m[1] … and m.name the groups; false for a group that took no part.
---@param text string
---@param init integer?  byte to begin at; default 1
---@return table? m
---@return string? text
---@return "limit"|"internal"|nil code
function Pattern:match(text, init)
  check_text("match", text)
  return matched(self, text, search(self.code, text, start_of(text, init), false, self.seconds))
end

-- Calls each(first, last, ...spans) for every match; nil, text, code when a search fails. The CPU time is for all.
local function each_match(pattern, text, each)
  local at, is_after_empty, began = 1, false, cpu()
  local function step(first, last, ...)
    if not first then
      return false, last, ...
    end
    is_after_empty = last < first
    at = last + 1
    return each(first, last, ...) ~= false
  end
  while true do
    local left = pattern.seconds - (cpu() - began)
    local goes_on, why, code = step(search(pattern.code, text, at, is_after_empty, left))
    if why then
      return nil, why, code
    elseif not goes_on then
      return true
    end
  end
end

--- Iterates over all matches, as string.gmatch does. Raises when a limit is hit: what is left is not known.
---@param text string
---@return fun(): table?
function Pattern:gmatch(text)
  check_text("gmatch", text)
  local at, is_after_empty, left = 1, false, self.seconds
  local function step(first, last, ...)
    if first then
      is_after_empty = last < first
      at = last + 1
      return groups(self, text, first, last, ...)
    elseif last then
      error("gmatch: " .. last, 3)
    end
  end
  return function()
    local began = cpu()
    local m = step(search(self.code, text, at, is_after_empty, left))
    left = left - (cpu() - began)
    return m
  end
end

-- "$1", "${name}", "$$" in a replacement, as a list of texts and of keys of a match.
local function template(pattern, text)
  local parts, at = {}, 1
  while true do
    local dollar = text:find("$", at, true)
    parts[#parts + 1] = text:sub(at, (dollar or 0) - 1)
    if not dollar then
      return parts
    end
    local key, after = text:match("^%$(%d%d?)()", dollar)
    if not key then
      key, after = text:match("^%${([%w_]+)}()", dollar)
    end
    key = key and (tonumber(key) or key)
    if text:find("^%$%$", dollar) then
      parts[#parts], at = parts[#parts] .. "$", dollar + 2
    elseif key and (type(key) == "number" and key <= pattern.count or pattern.names[key]) then
      parts[#parts + 1], at = { key }, after
    else
      error(('replace: "%s" names no group; write $1, ${name}, or $$ for a "$"'):format(
        text:sub(dollar, dollar + 20)), 4)
    end
  end
end

local function filled(parts, m)
  local out = {}
  for i, part in ipairs(parts) do
    out[i] = type(part) == "string" and part or m[part[1]] or ""
  end
  return table.concat(out)
end

-- Raises at the line of the caller's caller.
local function replacer(pattern, with)
  if type(with) == "string" then
    local parts = template(pattern, with)
    return function(m) return filled(parts, m) end
  elseif type(with) ~= "function" then
    error(("replace: expected a string or a function, got a %s"):format(type(with)), 3)
  end
  return function(m)
    local text = with(m)
    if text and type(text) ~= "string" then
      error(("replace: the function returned a %s; return a string, or nil to keep the match"):format(type(text)), 0)
    end
    return text or m[0]
  end
end

--- The text with matches replaced.
---@param text string
---@param with string|fun(m: table): string?  "$1", "${name}", "$$"; a function that returns nil keeps the match
---@param max integer?  most replacements; default: all
---@return string? text
---@return integer|string count_or_text
---@return "limit"|"internal"|nil code
function Pattern:replace(text, with, max)
  check_text("replace", text)
  local replace = replacer(self, with)
  local out, kept, count = {}, 1, 0
  local ok, why, code = each_match(self, text, function(first, last, ...)
    if max and count >= max then
      return false
    end
    count = count + 1
    out[#out + 1] = text:sub(kept, first - 1)
    out[#out + 1] = replace(groups(self, text, first, last, ...))
    kept = last + 1
  end)
  if not ok then
    return nil, why, code
  end
  out[#out + 1] = text:sub(kept)
  return table.concat(out), count
end

-- ---- sets ----

---@class moonmilter.PatternSet
local Set = {}
Set.__index = Set

--- Many patterns, whose keys name them.
---@param expressions table<any, string>  { invoice = "…", prize = "…" }, or a list
---@param options moonmilter.re.Options?  for all of them; seconds is for all together
---@return moonmilter.PatternSet
function re.set(expressions, options)
  if type(expressions) ~= "table" then
    error(("re.set: expressions are a table, { invoice = \"…\" }, not a %s"):format(type(expressions)), 2)
  end
  local letters, steps, seconds = settings("re.set", options)
  local names, list = {}, {}
  for name, expression in pairs(expressions) do
    if type(expression) ~= "string" then
      error(("re.set: %s is a %s; give an expression"):format(tostring(name), type(expression)), 2)
    end
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end) -- the same order in every run
  for i, name in ipairs(names) do
    list[i] = expressions[name]
  end
  local code, text, wrong = raw.set(list, letters, steps)
  if not code then
    error(("re.set: %s: %s"):format(tostring(names[wrong]), text), 2)
  end
  return setmetatable({ code = code, names = names, seconds = seconds }, Set)
end

--- Which patterns match.
---@param text string
---@return table<any, true> found      by name
---@return table<any, { text: string, code: "limit" }> failures  by name: it is not known whether it matches
function Set:match(text)
  check_text("match", text)
  local matches, limits = scan(self.code, text, self.seconds)
  local found, failures = {}, {}
  for _, i in ipairs(matches) do
    found[self.names[i]] = true
  end
  for _, i in ipairs(limits) do
    failures[self.names[i]] = { text = "the pattern takes too long on this text", code = "limit" }
  end
  return found, failures
end

return re
