--- Dates of mail (RFC 5322 3.3 and, for reading, its obsolete forms in 4.3).
--- Uses neither local time nor time zone data: a date in a message carries its own offset.
local bound = require "moonmilter.mail.bound"
local token = require "moonmilter.mail.token"

local datetime = {}

---@class moonmilter.Date
---@field epoch  integer  seconds since 1970-01-01 00:00:00 UTC
---@field offset integer  the writer's offset, in minutes east of UTC
---@field is_unknown_zone boolean|nil  "-0000", a military letter or an unknown name: RFC 5322 3.3, 4.3
---@field year integer
---@field month integer  1..12
---@field day integer    1..31, checked against the month
---@field hour integer
---@field min integer
---@field sec integer    0..60
---@field weekday integer  1 Sunday .. 7 Saturday, computed, as os.date's wday

local months = {}
local month_names = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
for i, name in ipairs(month_names) do
  months[name:lower()] = i
end
local weekday_names = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local weekdays = {}
for i, name in ipairs(weekday_names) do
  weekdays[name:lower()] = i
end

-- RFC 5322 4.3; other names mean "-0000": "EST" meant another time in Australia.
local zones = { ut = 0, gmt = 0, utc = 0, z = 0, edt = -240, est = -300, cdt = -300, cst = -360, mdt = -360,
  mst = -420, pdt = -420, pst = -480 }

-- Days from 1970-01-01 to a date of the proleptic Gregorian calendar; years begin in March so that February is last.
local function days_from_civil(year, month, day)
  if month <= 2 then
    year = year - 1
  end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local function civil_from_days(days)
  days = days + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year_of_era = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local shifted = math.floor((5 * of_year + 2) / 153)
  local month = shifted < 10 and shifted + 3 or shifted - 9
  return year_of_era + era * 400 + (month <= 2 and 1 or 0), month, of_year - math.floor((153 * shifted + 2) / 5) + 1
end

local function days_in(month, year)
  local following = month == 12 and days_from_civil(year + 1, 1, 1) or days_from_civil(year, month + 1, 1)
  return following - days_from_civil(year, month, 1)
end

local WORD_MAX = 40 -- characters; no valid word of a date is longer

-- "+0200" as minutes; RFC 5322 3.3 bounds the last two digits, not the first.
local function zone_offset(text)
  local sign, hour, min = text:match("^([+-])(%d%d):?(%d%d)$")
  if not sign then
    return nil
  end
  local offset = tonumber(hour) * 60 + tonumber(min)
  if tonumber(min) > 59 then
    return nil
  end
  return sign == "-" and -offset or offset, sign == "-" and offset == 0
end

-- The words of a date: { text, start } each. "12:30:59" is one, blanks around ":" or not (obsolete, but seen).
local function words_of(text)
  local words = {}
  for _, t in ipairs(token.lex(text, "mime")) do
    local last = words[#words]
    if last and #last.text > WORD_MAX then
      return nil, "date: a word is too long", last.start
    end
    if t.kind == ":" and last then
      last.text, last.open = last.text .. ":", true
    elseif last and last.open and t.kind == "atom" then
      last.text, last.open = last.text .. t.text, nil
    elseif t.kind == "atom" then
      words[#words + 1] = { text = t.text, start = t.start }
    elseif t.kind ~= "," then
      return nil, ("date: \"%s\" does not belong in a date (RFC 5322 3.3)"):format(t.text), t.start
    end
  end
  return words
end

-- A cursor over words: the next one's text and position, "" at the end.
local function reader(words, size)
  local i = 0
  return function()
    i = i + 1
    local w = words[i]
    return w and w.text or "", w and w.start or size + 1
  end
end

local function bad(what, got, position)
  return nil, ("date: %s expected, got \"%s\" (RFC 5322 3.3)"):format(what, got), position
end

-- The year that two to five digits mean: RFC 5322 4.3.
local function whole_year(digits)
  local year = tonumber(digits)
  if #digits == 2 then
    return year + (year < 50 and 2000 or 1900)
  end
  return #digits == 3 and year + 1900 or year
end

-- [day of the week] day month year: -> { year, month, day }
local function read_day(word)
  local got, position = word()
  local first = position
  if weekdays[got:lower():sub(1, 3)] and not got:find("%d") then
    got, position = word()
  end
  -- "21-Nov-1997" is an old form of news and of some PHP scripts
  local day, month_name, year = got:match("^(%d%d?)%-(%a%a%a)%-(%d+)$")
  if not day then
    day = got:match("^%d%d?$")
    if not day then
      return bad("day of the month", got, position)
    end
    month_name, position = word()
  end
  local month = months[month_name:lower():sub(1, 3)]
  if not month then
    return bad("name of a month", month_name, position)
  end
  if not year then
    year, position = word()
  end
  if not year:match("^%d%d%d?%d?%d?$") then
    return bad("year", year, position)
  end
  day, year = tonumber(day), whole_year(year)
  if year < 1900 then
    return bad("year from 1900", tostring(year), position)
  end
  if day < 1 or day > days_in(month, year) then
    return bad(("day 1..%d"):format(days_in(month, year)), tostring(day), first)
  end
  return { year = year, month = month, day = day }
end

-- hh:mm[:ss], into the date
local function read_time(word, date)
  local got, position = word()
  local hour, min, sec = got:match("^(%d%d?):(%d%d):?(%d?%d?)$")
  if not hour then
    return bad("time of day hh:mm[:ss]", got, position)
  end
  date.hour, date.min, date.sec = tonumber(hour), tonumber(min), tonumber(sec) or 0
  if date.hour > 23 or date.min > 59 or date.sec > 60 then
    return bad("time of day up to 23:59:60", got, position)
  end
  return true
end

-- The zone, into the date.
local function read_zone(word, date)
  local zone, position = word()
  local offset, is_unknown = zone_offset(zone)
  if not offset then
    if zone ~= "" and not zone:match("^%a+$") then
      return bad("zone as +hhmm", zone, position)
    end
    offset = zones[zone:lower()]
    is_unknown = offset == nil
  end
  date.offset, date.is_unknown_zone = offset or 0, is_unknown or nil
  return true
end

--- Read a date. Accepts comments, a wrong or missing day of the week, missing seconds, two-digit years and zone names.
---@param text string  value of Date, or what follows the last ";" of Received; at most 998 bytes
---@return moonmilter.Date|nil date
---@return string|nil text
---@return integer|nil position  of the word that does not fit
---@return "length"|nil code
function datetime.parse(text)
  if #text > bound.LINE_MAX then
    return bound.fault("date", text, bound.LINE_MAX)
  end
  local words, why, position = words_of(text)
  if not words then
    return nil, why, position
  end
  local word = reader(words, #text)
  local date, ok
  date, why, position = read_day(word)
  if not date then
    return nil, why, position
  end
  ok, why, position = read_time(word, date)
  if not ok then
    return nil, why, position
  end
  ok, why, position = read_zone(word, date)
  if not ok then
    return nil, why, position
  end
  local days = days_from_civil(date.year, date.month, date.day)
  date.epoch = days * 86400 + date.hour * 3600 + date.min * 60 + date.sec - date.offset * 60
  date.weekday = (days + 4) % 7 + 1
  return date
end

--- Write a date as RFC 5322 3.3 requires: "Fri, 21 Nov 1997 09:55:06 -0600".
---@param when integer|moonmilter.Date  epoch seconds, from 1900 on, or what parse gave
---@param offset? integer  minutes east of UTC, -5999..5999; default 0, or the date's own
---@return string
function datetime.format(when, offset)
  local is_unknown = false
  if type(when) == "table" then
    is_unknown = offset == nil and when.is_unknown_zone and when.offset == 0 or false
    when, offset = when.epoch, offset or when.offset
  end
  offset = offset or 0
  if type(when) ~= "number" or when < -2208988800 or when >= 253402300800 then
    error("format: epoch seconds of the years 1900 to 9999 expected", 2)
  end
  if offset % 1 ~= 0 or math.abs(offset) > 5999 then
    error(("format: offset %s is not whole minutes within -5999..5999"):format(offset), 2)
  end
  local there = math.floor(when) + offset * 60
  local days = math.floor(there / 86400)
  local year, month, day = civil_from_days(days)
  local second = there - days * 86400
  local east = math.abs(offset)
  return ("%s, %02d %s %04d %02d:%02d:%02d %s%02d%02d"):format(weekday_names[(days + 4) % 7 + 1], day,
    month_names[month], year, math.floor(second / 3600), math.floor(second / 60) % 60, second % 60,
    (offset < 0 or is_unknown) and "-" or "+", math.floor(east / 60), east % 60)
end

return datetime
