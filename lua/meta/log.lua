---@meta moonmilter.log
-- require "moonmilter.log", for editors (LuaLS). Never loaded. Manual: docs/log.md.

--- Log lines from scripts, as event `script`. The host adds script, session, queue id and stage. Works wherever a
--- script runs, at its top level too; never waits and never fails for lack of a reader.
---
--- Each function takes a string.format pattern and its arguments, or one value, which goes through tostring. A value
--- alone is no pattern: "100%" is written as it is. Nothing is formatted when `log_level` leaves the line out. A
--- pattern that does not fit its arguments raises at the caller's line: `log.info: bad argument #2 …`.
---@class moonmilter.log
local log = {}

--- What only its author wants to know. Not written unless `log_level` is "debug".
---@param format any  a pattern, or the value alone
---@param ... any
function log.debug(format, ...) end

--- What happens every day. `print` writes such a line too.
---@param format any  a pattern, or the value alone
---@param ... any
function log.info(format, ...) end

--- What a postmaster should look at. The host limits lines that repeat (docs/logs.md).
---@param format any  a pattern, or the value alone
---@param ... any
function log.warn(format, ...) end

--- What a postmaster must repair. The host limits lines that repeat (docs/logs.md).
---@param format any  a pattern, or the value alone
---@param ... any
function log.error(format, ...) end

return log
