---@meta moonmilter.geo
-- require "moonmilter.geo", for editors (LuaLS). Never loaded. Manual: docs/geo.md.

--- Where in the world an address is, and whose network it belongs to, by files of MaxMind's format. A lookup never
--- waits. Not there is nil alone; a failure is nil, text, code.
---@class moonmilter.geo
local geo = {}

---@alias moonmilter.geo.Code
---| "bad_key"  # this is no IP address
---| "down"     # the file, or the record in it, cannot be read

---@class moonmilter.geo.Options
---@field every number?  seconds between looks for a new file, where the kernel does not tell; default 60

---@class moonmilter.geo.Facts
---@field country string?    two letters (ISO 3166-1), "DE"
---@field continent string?  two letters, "EU"
---@field city string?       in English
---@field asn integer?       number of the autonomous system
---@field org string?        whose it is

---@class moonmilter.geo.Info
---@field path string
---@field type string?    "GeoLite2-Country"
---@field built number?   seconds since 1970
---@field age number?     seconds since this worker took the file
---@field error string?   why the file as it is now is not in force

---@class moonmilter.Geo
local Geo = {}

--- What is known of an address. Raises when ip is no string.
---@param ip string
---@return moonmilter.geo.Facts? facts
---@return string? text
---@return moonmilter.geo.Code? code
function Geo:get(ip) end

--- All that a file has about it, as it has it.
---@param ip string
---@return table? record
---@return string? text
---@return moonmilter.geo.Code? code
function Geo:raw(ip) end

---@return moonmilter.geo.Info[]
function Geo:info() end

function Geo:close() end

--- Opens one file, or several whose facts are put together. Call it while the script loads; raises when a file cannot
--- be read.
---@param paths string|string[]  absolute
---@param options moonmilter.geo.Options?
---@return moonmilter.Geo
function geo.open(paths, options) end

return geo
