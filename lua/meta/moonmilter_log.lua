---@meta moonmilter.log
-- require "moonmilter.log", for editors (LuaLS). Never loaded.

--- Each takes a string.format pattern and its arguments, or one value. Script, session, queue id and stage are added.
---@class moonmilter.log
local log = {}

---@param format any
---@param ... any
function log.debug(format, ...) end

---@param format any
---@param ... any
function log.info(format, ...) end

---@param format any
---@param ... any
function log.warn(format, ...) end

---@param format any
---@param ... any
function log.error(format, ...) end

return log
