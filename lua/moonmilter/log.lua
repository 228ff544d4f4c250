--- Log lines from scripts: milter.log.info("%s is new", name). The host adds script, session, queue id and stage.
local core = require "moonmilter.core"

local log = {}

local function writer(level)
  return function(format, ...)
    if not core.log_wants(level) then
      return
    end
    if select("#", ...) > 0 then
      local ok, text = pcall(string.format, format, ...)
      if not ok then
        error(("log.%s: %s"):format(level, text:gsub(" to '[^']*'", "", 1)), 2)
      end
      format = text
    end
    core.log(level, tostring(format))
  end
end

--- Each takes a string.format pattern and its arguments; a single argument is logged unchanged.
log.debug = writer "debug"
log.info = writer "info"
log.warn = writer "warn"
log.error = writer "error"

return log
