-- Dates in the forms that senders write, against Python's email.utils. The seed is fixed.
local datetime = require "moonmilter.datetime"

local TEXTS = 6000

local weekdays = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local months = { "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December" }

-- minutes east of UTC; 0 is also what is not known
local zones = { ["+0000"] = 0, ["-0600"] = -360, ["+0530"] = 330, ["-0000"] = 0, GMT = 0, UT = 0, EST = -300,
  PDT = -420,
  Z = 0, ["+02:00"] = 120, CEST = 0, A = 0, [""] = 0 }
local zone_names = {}
for name in pairs(zones) do
  zone_names[#zone_names + 1] = name
end
table.sort(zone_names)

local function pick(list)
  return list[math.random(#list)]
end

-- A moment, and the parts that a form may write.
local function a_moment()
  local epoch = math.random(-631152000, 2 ^ 31 - 1) -- from 1950
  local d = os.date("!*t", epoch)
  local year = math.random(4) == 1 and ("%02d"):format(d.year % 100) or tostring(d.year)
  local time = pick { "%02d:%02d:%02d", "%02d:%02d:%02d", "%02d:%02d", "%d:%02d:%02d", "%02d:%02d:%02d.516",
    "%02d:%02d:%02d.516083" }
  return {
    weekday = pick { weekdays[d.wday], weekdays[d.wday], weekdays[d.wday % 7 + 1] },
    day = pick { "%d", "%02d" }:format(d.day), month = pick { months[d.month]:sub(1, 3), months[d.month] }, year = year,
    number = d.month, time = time:format(d.hour, d.min, d.sec), long_year = tostring(d.year),
    zone = pick(zone_names), epoch = epoch, sec = d.sec,
  }
end

local forms = {
  function(m) return ("%s, %s %s %s %s %s"):format(m.weekday, m.day, m.month, m.year, m.time, m.zone) end,
  function(m) return ("%s %s %s %s %s"):format(m.day, m.month, m.year, m.time, m.zone) end,
  function(m) return ("%s,%s %s %s %s %s (x (y))"):format(m.weekday, m.day, m.month, m.year, m.time, m.zone) end,
  function(m) return ("%s, %s-%s-%s %s %s"):format(m.weekday, m.day, m.month:sub(1, 3), m.year, m.time, m.zone) end,
  function(m)
    m.zone = ""
    return ("%s %s %s %s %s"):format(m.weekday, m.month:sub(1, 3), m.day, m.time, m.long_year)
  end,
  function(m) return ("%s (c), %s %s\t%s %s %s"):format(m.weekday, m.day, m.month, m.year, m.time, m.zone) end,
  function(m)
    return ("%s-%02d-%02d %s %s"):format(m.long_year, m.number, tonumber(m.day), m.time, m.zone)
  end,
}

-- "epoch offset", as python_dates.py prints it
local function ours(text)
  local date = datetime.parse(text)
  if not date then
    return "none"
  end
  return ("%d %s"):format(date.epoch, date.is_unknown_zone and "-" or date.offset), date
end

local function ask(texts)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(table.concat(texts, "\n"), "\n")
  file:close()
  local pipe = assert(io.popen("python3 spec/mail/python_dates.py < " .. path))
  local answers = {}
  for line in pipe:lines() do
    answers[#answers + 1] = line
  end
  pipe:close()
  os.remove(path)
  return answers
end

local function epoch_of(answer)
  return answer:match "^(%-?%d+)"
end

-- Why the answers differ: the first that applies.
local reasons = {
  { "two digits of a year up to 49 mean this century (RFC 5322 4.3); for Python up to 68", function(text, _, date)
    return date and date.defects and date.defects.year and date.year >= 1950 and date.year <= 1968 and text ~= ""
  end },
  { "a military letter says nothing (RFC 5322 4.3); for Python it is the zone it once meant, or none",
    function(text, theirs, date)
      return date and date.is_unknown_zone and (text:find " A$" or text:find " A ") and theirs ~= ""
    end },
  { "\"-0000\", a missing zone and an unknown name are unknown; for Python sometimes UTC", function(_, theirs, date)
    return date and date.is_unknown_zone and epoch_of(theirs) == tostring(date.epoch)
  end },
  { "ours reads comments anywhere", function(text, theirs, date)
    return date and theirs == "none" and text:find("(", 1, true) ~= nil
  end },
  { "ours reads a date without a zone in any form", function(_, theirs, date)
    return date and theirs == "none" and date.is_unknown_zone
  end },
  { "ours reads a zone with a colon", function(text, _, date)
    return date and date.offset == 120 and text:find "%+02:00" ~= nil
  end },
  { "ours reads fractions of seconds, and year, month and day in this order", function(_, theirs, date)
    return date and theirs == "none" and date.defects ~= nil and (date.defects.time or date.defects.order)
  end },
}

describe("Python's date parser", function()
  if os.execute "python3 -c 'import email.utils' 2>/dev/null" ~= 0 then
    pending("agrees on dates (python3 is not installed)")
    return
  end

  local texts, moments = {}, {}
  setup(function()
    math.randomseed(5322)
    for i = 1, TEXTS do
      moments[i] = a_moment()
      texts[i] = pick(forms)(moments[i])
    end
  end)

  it("is not needed to see that ours reads each for the moment that was meant", function()
    for i, text in ipairs(texts) do
      local m, date = moments[i], assert(datetime.parse(text))
      local sec = m.time:find ":%d%d:" and 0 or m.sec
      assert.same({ m.epoch - sec - zones[m.zone] * 60, zones[m.zone] }, { date.epoch, date.offset }, text)
      assert.equal(tonumber(m.time:match "%.%d+"), date.fraction)
    end
  end)

  it("agrees, except for listed disagreements with a reason", function()
    local answers, used, problems, agreed = ask(texts), {}, {}, 0
    assert.equal(TEXTS, #answers)
    for i, text in ipairs(texts) do
      local mine, date = ours(text)
      local number = mine == answers[i] and 0
      for n, reason in ipairs(reasons) do
        number = number or reason[2](text, answers[i], date) and n
      end
      agreed = agreed + (number == 0 and 1 or 0)
      used[number or 0] = true
      problems[#problems + 1] = not number and ("%s: ours %s, Python %s"):format(text, mine, answers[i]) or nil
    end
    assert.equal("", table.concat(problems, "\n"))
    assert.is_true(agreed > TEXTS / 5, agreed)
    for number, reason in ipairs(reasons) do
      assert.is_true(used[number], "no date needs this reason: " .. reason[1])
    end
  end)
end)
