--- require "moonmilter": what every script may use in addition to ctx.
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

---@class moonmilter
local moonmilter = {}

--- Version of the host, "0.1.0".
moonmilter.version = core.version

--- These scripts are a shadow: they see the mail that other scripts decide, and have no effect (docs/shadow.md).
---@type boolean
moonmilter.shadow = core.shadow

--- Log lines: log.debug, log.info, log.warn, log.error.
moonmilter.log = log

--- Waits. The host serves other sessions meanwhile.
---@param seconds number  0 or more, fractions allowed
--- Raises a cancelled error when the MTA aborts or goes away, the deadline passes or the host stops.
moonmilter.sleep = wait.wrap(core.sleep)

--- Tasks: see moonmilter.runtime.tasks.
moonmilter.spawn = tasks.spawn
moonmilter.all = tasks.all
moonmilter.any = tasks.any
moonmilter.timeout = tasks.timeout
moonmilter.at_end = tasks.at_end

--- Seconds since 1970, with fractions.
---@return number
moonmilter.now = core.now

--- The cancellation when err comes from a cancelled wait, else nil.
moonmilter.cancelled = wait.cancelled

-- Names from before the first release.
local renamed = { defer = "at_end" }

return setmetatable(moonmilter, {
  __index = function(_, name)
    if renamed[name] then
      error(("milter.%s is now milter.%s"):format(name, renamed[name]), 2)
    end
  end,
})
