---@meta moonmilter.re
-- require "moonmilter.re", for editors (LuaLS). Never loaded. Manual: docs/re.md.

--- Regular expressions (PCRE2) with limits. No call waits. No match is nil alone; a failure is nil, text, code.
---@class moonmilter.re
local re = {}

--- It is not known whether the text matches.
---@alias moonmilter.re.Code
---| "limit"     # of steps, CPU time or memory
---| "internal"  # PCRE2 failed

---@class moonmilter.re.Options
---@field ignore_case boolean?  default false
---@field multiline boolean?    ^ and $ match at each line; default false
---@field dotall boolean?       "." matches line ends; default false
---@field extended boolean?     blanks and comments in the expression do not count; default false
---@field utf boolean?          characters instead of bytes; default false
---@field steps integer?        of an attempt at one place, 1..2^31; default 250000
---@field seconds number?       of CPU time for a search, above 0, at most 60; default 0.1

---@class moonmilter.Pattern
local Pattern = {}

--- Where the first match is. Raises when text is no string.
---@param text string
---@param init integer?  byte to begin at, below 0 from the end; default 1
---@return integer? first
---@return integer|string|nil last_or_text  of an empty match first - 1
---@return moonmilter.re.Code? code
function Pattern:find(text, init) end

--- The first match: [0] the whole, [1] … and names the groups; false for a group that took no part.
---@param text string
---@param init integer?  byte to begin at, below 0 from the end; default 1
---@return table<integer|string, string|false>? m
---@return string? text
---@return moonmilter.re.Code? code
function Pattern:match(text, init) end

--- Iterates over all matches. Raises at a limit.
---@param text string
---@return fun(): table<integer|string, string|false>?
function Pattern:gmatch(text) end

--- The text with matches replaced. Raises when with names no group.
---@param text string
---@param with string|fun(m: table): string?  "$1", "${name}", "$$"; a function that returns nil keeps the match
---@param max integer?  most replacements; default: all
---@return string? text
---@return integer|string count_or_text
---@return moonmilter.re.Code? code
function Pattern:replace(text, with, max) end

---@class moonmilter.PatternSet
local Set = {}

--- Which expressions match.
---@param text string
---@return table<any, true> found  by name
---@return table<any, { text: string, code: moonmilter.re.Code }> failures  by name
function Set:match(text) end

--- A pattern. Raises at the caller's line when the expression or an option is wrong.
---@param expression string  man pcre2pattern; at most 65536 bytes and 99 groups
---@param options moonmilter.re.Options?
---@return moonmilter.Pattern
function re.new(expression, options) end

--- Many expressions over one text. Raises at the caller's line when one or an option is wrong.
---@param expressions table<any, string>  keys name them; or a list
---@param options moonmilter.re.Options?  for all of them
---@return moonmilter.PatternSet
function re.set(expressions, options) end

return re
