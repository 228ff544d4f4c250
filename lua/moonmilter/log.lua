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

--- log.fields{ country = "NL", score = 5.2 }: fields of the message's own line. A name that is set again gets the new
--- value, whichever script sets it.
log.fields = core.log_fields

return log
