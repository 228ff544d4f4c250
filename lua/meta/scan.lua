---@meta moonmilter.scan
-- require "moonmilter.scan", for editors (LuaLS). Never loaded. Manual: docs/mail-scan.md.

--- Many patterns over a stream: finds matches wherever chunks are cut, with bounded work.
---@class moonmilter.scan
local scan = {}

---@class moonmilter.ScanOptions
---@field ignore_case boolean?  ASCII letters of literals only; default false
---@field window integer?       most bytes of an LPeg match, 1..32768; default 1024
---@field max_bytes integer?    of one stream; beyond it code "limit"; default: no limit
---@field max_matches integer?  of one stream; beyond it code "limit"; default 10000

--- A limit is exceeded; scanning of the stream has ended.
---@alias moonmilter.scan.Code
---| "limit"  # max_bytes or max_matches

---@class moonmilter.Scanner
local Scanner = {}

--- Begins a stream. Raises when on_match is not a function.
---@param on_match fun(name: any, first: integer, last: integer): boolean?  bytes of the stream, from 1; true: enough
---@return moonmilter.ScanStream
function Scanner:stream(on_match) end

--- All matches in one string.
---@param text string
---@return { name: any, first: integer, last: integer }[]? matches
---@return string? text
---@return moonmilter.scan.Code? code
function Scanner:find_all(text) end

---@class moonmilter.ScanStream
local Stream = {}

--- More of the stream.
---@param chunk string
---@return true? ok
---@return string? text
---@return moonmilter.scan.Code? code
function Stream:feed(chunk) end

--- The end of the stream: LPeg matches that waited for more bytes are reported now.
---@return true? ok
---@return string? text
---@return moonmilter.scan.Code? code
function Stream:finish() end

--- A scanner for patterns, whose keys name the matches. Raises at the caller's line when a pattern is neither a literal
--- of at least one byte nor an LPeg pattern, and when an option is unknown, of another type or out of range.
---@param patterns table<any, string|userdata>  { eicar = "X5O!P%@AP", card = lpeg.P… }, or a list
---@param options moonmilter.ScanOptions?
---@return moonmilter.Scanner? scanner
---@return string? text  the literals are too many: their bytes times the distinct bytes among them, at most 16777216
function scan.new(patterns, options) end

return scan
