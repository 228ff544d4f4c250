--- Dates of mail (RFC 5322 3.3 and, for reading, its obsolete forms in 4.3 and those of senders that follow other
--- rules: fractions of seconds, ISO 8601, the month first, am and pm).
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
---@field fraction number|nil  of a second, where one is written: 0.516
---@field weekday integer  1 Sunday .. 7 Saturday, computed, as os.date's wday
---@field defects table<string, true>|nil  where it is not as RFC 5322 3.3 has it: "order" (month first, ISO 8601),
--- "weekday" (unknown, or another day's), "year" (fewer than four digits), "time" (a fraction, am or pm, dots, one
--- digit), "zone" (a name, a colon, none), "quoted", "trailing" (words after it)

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

local WORD_MAX = 40 -- characters; no word of a date is longer

-- ---- words ----

-- May this atom be the fraction of a second that another word's comma has cut off: "07:53:55,516"?
local function is_fraction(last, t)
  return last.comma == t.start - 1 and last.text:find ":%d%d$" ~= nil and t.text:find "^%d+Z?$" ~= nil
    and #t.text ~= 4
end

-- The words of a date: { text, start, comma } each; `comma` is where one follows. "12:30:59" is one, blanks around ":"
-- or not (obsolete, but seen). What does not belong in a date is a word, too: it may stand after it.
local function words_of(text)
  local words = {}
  for _, t in ipairs(token.lex(text, "trace")) do
    local last = words[#words]
    local is_short = last ~= nil and #last.text + #t.text <= WORD_MAX
    if t.kind == ":" and is_short then
      last.text, last.open = last.text .. ":", true
    elseif t.kind == "atom" and is_short and last.open then
      last.text, last.open = last.text .. t.text, nil
    elseif t.kind == "atom" and is_short and is_fraction(last, t) then
      last.text, last.comma = last.text .. "." .. t.text, nil
    elseif t.kind == "/" and is_short and not t.blank and last.text:find "^%d[%d-]*$" then -- "2020/04/02"
      last.text, last.open = last.text .. "-", true
    elseif t.kind == "," and last then
      last.comma = t.start
    elseif t.kind == "quoted" then
      words.has_quotes = true
      for inner, comma in t.text:gmatch "([^%s,]+)(,?)" do
        words[#words + 1] = { text = inner:sub(1, WORD_MAX), start = t.start, comma = comma ~= "" and 0 or nil }
      end
    elseif t.kind ~= "stray" and t.kind ~= "," then
      words[#words + 1] = { text = t.text:sub(1, WORD_MAX), start = t.start }
    end
  end
  return words
end

-- ---- parts ----
-- `p` is { words, i, size, date, defects }. Each reader moves i past what it has read, or returns nil and an error.

local function text_at(p, i)
  return p.words[i] and p.words[i].text or ""
end

local function position_at(p, i)
  return p.words[i] and p.words[i].start or p.size + 1
end

local function expected(what, got, position)
  return nil, ("date: %s expected, got \"%s\" (RFC 5322 3.3)"):format(what, got), position
end

local function bad(p, what)
  return expected(what, text_at(p, p.i), position_at(p, p.i))
end

local function month_of(text)
  return text:find "^%a+%.?$" and months[text:lower():sub(1, 3)] or nil
end

-- The year that two to five digits mean: RFC 5322 4.3.
local function whole_year(digits)
  local year = tonumber(digits)
  if #digits == 2 then
    return year + (year < 50 and 2000 or 1900)
  end
  return #digits == 3 and year + 1900 or year
end

local function is_year(text)
  return text:find "^%d%d%d?%d?%d?$" ~= nil
end

-- A year, into the date; `digits` is where it stands by itself.
local function take_year(p, digits)
  if not is_year(digits) then
    return bad(p, "year")
  end
  p.defects.year = #digits < 4 or p.defects.year
  p.date.year = whole_year(digits)
  if p.date.year < 1900 then
    return expected("year from 1900", p.date.year, position_at(p, p.i))
  end
  p.i = p.i + 1
  return true
end

-- hh:mm[:ss[.fraction]] with a zone or "pm" glued to it: -> hour, minute, second, fraction, rest
local function split_time(text)
  local hour, min, sec, at = text:match "^(%d%d?):(%d%d?):?(%d?%d?)()"
  if not hour then
    hour, min, sec, at = text:match "^(%d%d?)%.(%d%d)%.(%d%d)()"
  end
  if not hour then
    return nil
  end
  local fraction, after = text:match("^[.,](%d+)()", at)
  return hour, min, sec, fraction, text:sub(after or at)
end

-- "PM" after an hour up to 12, at the head of `text`: -> hour of 24, rest
local function take_half(hour, text)
  local half, after = text:match "^([AaPp])%.?[Mm]%.?()"
  if not half or hour < 1 or hour > 12 then
    return nil
  end
  return hour % 12 + (half:lower() == "p" and 12 or 0), text:sub(after)
end

-- The time of day, into the date. What is glued to it stays in the word.
local function read_time(p)
  local word = text_at(p, p.i)
  local hour, min, sec, fraction, rest = split_time(word)
  local is_glued = rest ~= nil and rest ~= ""
  if not hour or is_glued and not rest:find "^[%+%-AaPpZz]" then
    return bad(p, "time of day hh:mm[:ss]")
  end
  local date = p.date
  date.hour, date.min, date.sec = tonumber(hour), tonumber(min), tonumber(sec) or 0
  date.fraction = fraction and tonumber("0." .. fraction) or nil
  local half, after = take_half(date.hour, is_glued and rest or text_at(p, p.i + 1))
  if date.hour > 23 or date.min > 59 or date.sec > 60 then
    return bad(p, "time of day up to 23:59:60")
  end
  p.defects.time = fraction ~= nil or half ~= nil or #hour < 2 or #min < 2 or #sec == 1 or word:find("^%d+%.") ~= nil
    or p.defects.time
  date.hour = half or date.hour
  rest = half and after or rest
  p.i = p.i + (half and not is_glued and 2 or 1)
  if rest ~= "" then -- a zone: the next word
    p.i = p.i - 1
    p.words[p.i] = { text = rest, start = p.words[p.i].start }
  end
  return true
end

-- "+0200" as minutes; RFC 5322 3.3 bounds the last two digits, not the first. Also "+200", and as ISO 8601 has it
-- "+02:00" and "+02"; after "GMT" also "+2".
local function zone_offset(text, has_name)
  local sign, hour, min = text:match("^([+-])(%d%d?):?(%d%d)$")
  if not sign then
    sign, hour = text:match "^([+-])(%d%d?)$"
    min = "00"
  end
  if sign and #hour == 1 and #text == 2 and not has_name then
    return nil
  end
  local offset = sign and tonumber(hour) * 60 + tonumber(min)
  if not sign or tonumber(min) > 59 then
    return nil
  end
  return sign == "-" and -offset or offset, sign == "-" and offset == 0
end

-- The zone, into the date. `is_optional`: what is none stays.
local function read_zone(p, is_optional)
  local zone = text_at(p, p.i)
  local number = zone:match "^[GU][MT][TC]([%+%-].*)$" or zone -- "GMT+0200"
  local offset, is_unknown = zone_offset(number, number ~= zone)
  if not offset then
    if zone ~= "" and not zone:match("^%a+$") then
      if is_optional then
        return true
      end
      return bad(p, "zone as +hhmm")
    end
    offset = zones[zone:lower()]
    is_unknown = offset == nil
  end
  p.defects.zone = not zone:find "^[%+%-]%d%d%d%d$" or p.defects.zone
  p.date.offset, p.date.is_unknown_zone, p.has_zone = offset or 0, is_unknown or nil, zone ~= ""
  p.i = p.i + 1
  return true
end

-- ---- forms ----

-- "21 Nov 1997" or "21-Nov-1997" (an old form of news and of some PHP scripts), then time and zone
local function read_day_first(p)
  local day, name, year = text_at(p, p.i):match("^(%d%d?)%-(%a+)%-(%d+)$")
  if day then
    p.date.day, p.date.month = tonumber(day), month_of(name)
    if not p.date.month then
      return bad(p, "name of a month")
    end
    return take_year(p, year)
  end
  day = text_at(p, p.i):match "^%d%d?$"
  if not day then
    return bad(p, "day of the month")
  end
  p.date.day, p.date.month = tonumber(day), month_of(text_at(p, p.i + 1))
  p.i = p.i + 1
  if not p.date.month then
    return bad(p, "name of a month")
  end
  p.i = p.i + 1
  return take_year(p, text_at(p, p.i))
end

-- "Nov 21 1997 09:55:06 -0600", or as ctime and date write: "Nov 21 09:55:06 [CST] 1997"
local function read_month_first(p)
  p.defects.order = true
  p.date.month = month_of(text_at(p, p.i))
  p.i = p.i + 1
  local day = text_at(p, p.i):match "^%d%d?$"
  if not day then
    return bad(p, "day of the month")
  end
  p.date.day = tonumber(day)
  p.i = p.i + 1
  if is_year(text_at(p, p.i)) then
    return take_year(p, text_at(p, p.i))
  end
  local ok, why, position = read_time(p)
  if ok and not is_year(text_at(p, p.i)) then
    ok, why, position = read_zone(p)
  end
  if not ok then
    return nil, why, position
  end
  return take_year(p, text_at(p, p.i))
end

-- "2020-04-02 07:53:55 +0000", "2020-04-02T07:53:55Z"
local function read_year_first(p)
  local year, month, day, at = text_at(p, p.i):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)()"
  local rest = text_at(p, p.i):sub(at)
  if tonumber(month) < 1 or tonumber(month) > 12 or rest ~= "" and not rest:find "^[Tt]%d" then
    return bad(p, "day as yyyy-mm-dd")
  end
  p.defects.order = true
  p.date.month, p.date.day = tonumber(month), tonumber(day)
  local ok, why, position = take_year(p, year)
  if ok and rest ~= "" then
    p.i = p.i - 1
    p.words[p.i] = { text = rest:sub(2), start = p.words[p.i].start }
  end
  return ok, why, position
end

-- The day of the week, if there is one: -> its number, "" for an unknown name
local function read_weekday(p)
  local name = text_at(p, p.i):lower():match "^%a+"
  local number = name and weekdays[name:sub(1, 3)]
  if not name or not number and (month_of(name) or not p.words[p.i].comma) then
    return nil
  end
  p.i = p.i + 1
  return number or ""
end

local function read_all(p)
  local weekday = read_weekday(p)
  local at = p.i
  local first = text_at(p, at)
  local read = first:find "^%d%d%d%d%-%d%d%-%d%d" and read_year_first or month_of(first) and read_month_first
    or read_day_first
  local ok, why, position = read(p)
  local date = p.date
  if ok and (date.day < 1 or date.day > days_in(date.month, date.year)) then
    return expected(("day 1..%d"):format(days_in(date.month, date.year)), date.day, position_at(p, at))
  end
  if ok and not date.hour then
    ok, why, position = read_time(p)
  end
  if ok and not p.has_zone then
    ok, why, position = read_zone(p, date.offset ~= nil or p.defects.order and read == read_month_first)
  end
  if not ok then
    return nil, why, position
  end
  return weekday or true
end

local function note_defects(p, weekday)
  local date, defects = p.date, p.defects
  local following = text_at(p, p.i)
  defects.weekday = weekday ~= true and weekday ~= date.weekday or nil
  defects.quoted = p.words.has_quotes
  defects.trailing = following ~= "" and zones[following:lower()] == nil or nil
  for name, is_set in pairs(defects) do
    defects[name] = is_set or nil
  end
  date.defects = next(defects) and defects or nil
end

--- Read a date. Accepts comments, a wrong, unknown or missing day of the week, missing seconds, fractions of seconds,
--- years of two digits, zone names, ISO 8601, the forms of ctime, and words after the date.
---@param text string  value of Date, or what follows the last ";" of Received; at most 998 bytes
---@return moonmilter.Date|nil date
---@return string|nil text
---@return integer|nil position  of the word that does not fit
---@return "length"|nil code
function datetime.parse(text)
  if #text > bound.LINE_MAX then
    return bound.fault("date", text, bound.LINE_MAX)
  end
  local p = { words = words_of(text), i = 1, size = #text, date = {}, defects = {} }
  local weekday, why, position = read_all(p)
  if not weekday then
    return nil, why, position
  end
  local date = p.date
  local days = days_from_civil(date.year, date.month, date.day)
  date.epoch = days * 86400 + date.hour * 3600 + date.min * 60 + date.sec - date.offset * 60
  date.weekday = (days + 4) % 7 + 1
  note_defects(p, weekday)
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
