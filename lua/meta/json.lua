---@meta moonmilter.json
-- require "moonmilter.json", for editors (LuaLS). Never loaded. Manual: docs/json.md.

--- JSON (RFC 8259). No call waits. Needs lua-cjson.
---@class moonmilter.json
---@field null userdata  null; it counts as true in a condition
local json = {}

---@alias moonmilter.json.Code
---| "syntax"  # not JSON, not UTF-8, or a number beyond a double
---| "limit"   # longer than max_bytes, or deeper than 100

---@class moonmilter.json.Options
---@field max_bytes integer?  of a text; default 1 MiB

--- Reads a text. Raises at the caller's line when it is no string, and for unknown options.
---@param text string
---@param options moonmilter.json.Options?
---@return any value    a table, string, number, boolean or json.null; nil: a failure
---@return string? text  what is wrong, and at which byte
---@return moonmilter.json.Code? code
function json.decode(text, options) end

--- Writes a value: keys 1 to n are an array, names an object, in order. Bytes that are not UTF-8 become U+FFFD. Raises
--- at the caller's line: functions, NaN and infinity, keys that are neither, more than 100 tables deep.
---@param value any
---@return string
function json.encode(value) end

--- Marks a table as an array, so that it is written as [] even when it is empty. Raises on a table with a metatable.
---@param list table?  default: a new one
---@return table list  the same
function json.array(list) end

return json
