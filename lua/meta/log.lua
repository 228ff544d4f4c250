---@meta moonmilter.log
-- require "moonmilter.log", for editors (LuaLS). Never loaded. Manual: docs/log.md.

--- Log lines from scripts, as event `script`. The host adds script, session, queue id and stage. Works wherever a
--- script runs, at its top level too; never waits, and never fails when the log has no reader.
---
--- Each function takes a string.format pattern and its arguments, or one value, which goes through tostring. A single
--- value is not a pattern: "100%" is written unchanged. Nothing is formatted when `log_level` leaves the line out. A
--- pattern that does not fit its arguments raises at the caller's line: `log.info: bad argument #2 …`.
---@class moonmilter.log
local log = {}

--- For the script's author. Not written unless `log_level` is "debug".
---@param format any  a pattern, or the value alone
---@param ... any
function log.debug(format, ...) end

--- Everyday events. `print` writes such a line too.
---@param format any  a pattern, or the value alone
---@param ... any
function log.info(format, ...) end

--- Events that a postmaster should look at. The host limits lines that repeat (docs/logs.md).
---@param format any  a pattern, or the value alone
---@param ... any
function log.warn(format, ...) end

--- Faults that a postmaster must repair. The host limits lines that repeat (docs/logs.md).
---@param format any  a pattern, or the value alone
---@param ... any
function log.error(format, ...) end

--- Fields of a script's own in the line that the host writes when the message is over (event `message`), after the
--- host's fields and sorted by name: `… seconds=0.412 country=NL score=5.2`. A name that is set again gets the new
--- value, whichever script sets it. They end with the message.
---
--- Raises, at the caller's line, when no message is open (before MAIL, in on_load), for a name that is not 1 to 32 of
--- a-z, 0-9 and "_" with a letter first or that the host uses itself, and for a value of another type. A message has at
--- most 16 fields and 1024 bytes of names and values, a value 256 bytes: what goes beyond is left out or cut, and
--- `fields_lost` counts it.
---@param given table<string, string|number|boolean>
function log.fields(given) end

return log
