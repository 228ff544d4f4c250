---@meta moonmilter
-- require "moonmilter", for editors (LuaLS). Never loaded. docs/scripting.md says more about each name.

---@class moonmilter
---@field version string  of the host, "0.1.0"
---@field log moonmilter.log
local moonmilter = {}

--- A cancelled wait, as an error value; tostring gives "cancelled: abort".
---@class moonmilter.Cancelled
---@field reason "abort"|"disconnect"|"deadline"|"shutdown"

--- Waits. Others are served meanwhile. Raises a moonmilter.Cancelled when the message, the MTA or the time is gone.
---@param seconds number  0 or more, fractions allowed
function moonmilter.sleep(seconds) end

--- Seconds since 1970, with fractions.
---@return number
function moonmilter.now() end

--- The cancellation when err comes from a cancelled wait, else nil.
---@param err any
---@return moonmilter.Cancelled?
function moonmilter.cancelled(err) end

return moonmilter
