---@meta moonmilter.datetime
-- require "moonmilter.datetime", for editors (LuaLS). Never loaded. Manual: docs/mail-datetime.md.

--- Dates of mail (RFC 5322 3.3; reading also takes the obsolete forms of 4.3). Uses neither local time nor time zone
--- data.
---@class moonmilter.datetime
local datetime = {}

---@class moonmilter.Date
---@field epoch integer    seconds since 1970-01-01 00:00:00 UTC
---@field offset integer   the writer's offset, in minutes east of UTC
---@field is_unknown_zone true?  "-0000", a military letter, an unknown name or none (RFC 5322 3.3, 4.3)
---@field year integer     from 1900, in the writer's zone, as the following
---@field month integer    1..12
---@field day integer      1..31, checked against the month
---@field hour integer     0..23
---@field min integer      0..59
---@field sec integer      0..60
---@field fraction number?  of a second, where one is written: 0.516
---@field weekday integer  1 Sunday .. 7 Saturday, computed, as os.date's wday
---@field defects table<"order"|"weekday"|"year"|"time"|"zone"|"quoted"|"trailing", true>?  where it is not as RFC 5322
--- 3.3 has it
---@field raw string?      of header.parse only

--- Reads a date. Accepts comments, a wrong, unknown or missing day of the week, missing seconds, fractions of seconds,
--- years of two digits, zone names, ISO 8601, the month first, AM and PM, and words after the date.
---@param text string  value of Date, or what follows the last ";" of Received
---@return moonmilter.Date? date
---@return string? text
---@return integer? position  of the word that does not fit; of the first word after the weekday when the month has no such day
---@return "length"? code  more than 998 bytes
function datetime.parse(text) end

--- Writes a date as RFC 5322 3.3 requires: "Fri, 21 Nov 1997 09:55:06 -0600". Raises at the caller's line when an
--- argument is out of range.
---@param when integer|moonmilter.Date  epoch seconds of the years 1900 to 9999, or what parse gave
---@param offset integer?  minutes east of UTC, -5999..5999; default 0, or the date's own
---@return string
function datetime.format(when, offset) end

return datetime
