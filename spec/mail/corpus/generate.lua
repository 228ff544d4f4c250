--- Generated messages: each is written from a known meaning, so its expected portrait comes from that meaning and not
--- from the parsers. Deterministic: own random numbers, no clock. The encoders here are deliberately separate
--- implementations.
---
--- Shapes: addresses RFC 5322 3.4 and 4.4; encoded words RFC 2047 4, 5; dates RFC 5322 3.3; trees RFC 2046 5.1 and
--- 5.2.1; transfer encodings RFC 2045 6; names RFC 2183 2.3 and RFC 2231 3, 4; trees cut off before a close delimiter
--- (RFC 2046 5.1.2, and what truncating MTAs leave).
local generate = {}

-- Park and Miller 1988; exact in doubles.
local function random_source(seed)
  local state = seed
  return function(n)
    state = (state * 16807) % 2147483647
    return state % n + 1
  end
end

local function base64(bytes, width)
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local w = a * 65536 + (b or 0) * 256 + (c or 0)
    local group = ""
    for shift = 3, 0, -1 do
      local v = math.floor(w / 64 ^ shift) % 64
      group = group .. digits:sub(v + 1, v + 1)
    end
    out[#out + 1] = (not b and group:sub(1, 2) .. "==") or (not c and group:sub(1, 3) .. "=") or group
  end
  local text = table.concat(out)
  return width and (text:gsub(("."):rep(width), "%0\r\n")) or text
end

local function quoted_printable(bytes)
  local out, column = {}, 0
  local i = 1
  while i <= #bytes do
    local c = bytes:sub(i, i)
    if bytes:sub(i, i + 1) == "\r\n" then
      out[#out + 1], column, i = "\r\n", 0, i + 2
    else
      local piece = c:find("[%w ,;]") and bytes:sub(i + 1, i + 1) ~= "\r" and i < #bytes and c
        or ("=%02X"):format(c:byte())
      if column + #piece > 75 then
        out[#out + 1], column = "=\r\n", 0
      end
      out[#out + 1], column, i = piece, column + #piece, i + 1
    end
  end
  return table.concat(out)
end

local function q_word(bytes, label)
  return "=?" .. label .. "?Q?" .. bytes:gsub("[^%w ]", function(c) return ("=%02X"):format(c:byte()) end):gsub(" ",
    "_") .. "?="
end

local function b_word(bytes, label)
  return "=?" .. label .. "?B?" .. base64(bytes) .. "?="
end

-- Names as UTF-8, and in ISO 8859-1 where that exists.
local names = {
  { "Ann", "Ann" }, { "John Doe", "John Doe" }, { "Jörg", "J\246rg" }, { "Zoë Müller", "Zo\235 M\252ller" },
  { "日本太郎" }, { "Иван Петров" }, { "O'Brien", "O'Brien" }, { "Doe, J. (Sales)", "Doe, J. (Sales)" }, { "a \"b\" c",
    "a \"b\" c" },
}
local locals = { { "ann" }, { "john.doe" }, { "x+tag" }, { "UPPER" }, { "a b", '"a b"' }, { "we@ird", '"we@ird"' },
  { "jörg" }, { "o'b" } }
local domains = { "example.org", "mail.example.net", "[192.0.2.7]", "[IPv6:2001:db8::7]", "bücher.example",
  "xn--bcher-kva.example" }

local function a_mailbox(pick)
  local name, mailbox, domain = names[pick(#names)], locals[pick(#locals)], domains[pick(#domains)]
  local spec = (mailbox[2] or mailbox[1]) .. "@" .. domain
  local style = pick(7)
  local text
  local shown = name[1]
  if style == 1 then
    text, shown = spec, nil
  elseif style == 2 then
    text, shown = "<" .. spec .. ">", nil
  elseif style == 3 and not name[1]:find("[^%w ]") then
    text = name[1] .. " <" .. spec .. ">"
  elseif style == 4 then
    text = q_word(name[1], "utf-8") .. " <" .. spec .. ">"
  elseif style == 5 and name[2] then
    text = b_word(name[2], "ISO-8859-1") .. " (a (nested) comment) <" .. spec .. ">"
  elseif style == 6 then
    text = b_word(name[1], "UTF-8") .. "\r\n <" .. spec .. ">"
  else
    text = '"' .. name[1]:gsub('["\\]', "\\%0") .. '" <' .. spec .. ">"
  end
  return text, (shown and shown .. " " or "") .. "<" .. spec .. ">"
end

local function an_address_message(pick, i)
  local from, from_shown = a_mailbox(pick)
  local to, to_shown = {}, {}
  for _ = 1, pick(4) do
    local text, shown = a_mailbox(pick)
    if pick(5) == 1 then
      text, shown = "Team: " .. text .. ";", shown .. " in Team"
    end
    to[#to + 1], to_shown[#to_shown + 1] = text, shown
  end
  local separators = { ", ", ",", ",\r\n ", " ,\r\n\t" }
  return {
    name = ("address-%03d"):format(i), source = "RFC 5322 3.4, RFC 2047 5",
    message = "From: " .. from .. "\r\nTo: " .. table.concat(to, separators[pick(4)]) .. "\r\n\r\nx\r\n",
    expect = "from: " .. from_shown .. "\nto: " .. table.concat(to_shown, " | ") .. "\npart 1 text/plain size=3 "
      .. "begins=x\\013\\010",
  }
end

local words = { { "hello", "hello" }, { "Grüße", "Gr\252\223e" }, { "日本" }, { "a=b?", "a=b?" }, { "naïve",
  "na\239ve" }, { "x_y", "x_y" }, { "Привет" }, { "50%", "50%" } }

local function a_subject_message(pick, i)
  local pieces, text, last_was_word = {}, {}, false
  for k = 1, pick(6) do
    local word = words[pick(#words)]
    local style = pick(5)
    local piece
    local is_word = true
    if style == 1 and not word[1]:find("[\128-\255]") then
      piece, is_word = word[1], false
    elseif style == 2 and word[2] then
      piece = q_word(word[2], "iso-8859-1")
    elseif style == 3 then
      piece = b_word(word[1], "utf-8")
    elseif style == 4 and word[2] then
      piece = b_word(word[2], "ISO-8859-15*de")
    else
      piece = q_word(word[1], "UTF-8")
    end
    if k > 1 then
      pieces[#pieces + 1] = pick(3) == 1 and "\r\n " or " "
      if not (is_word and last_was_word) then
        text[#text + 1] = " "
      end
    end
    pieces[#pieces + 1], text[#text + 1], last_was_word = piece, word[1], is_word
  end
  return {
    name = ("subject-%03d"):format(i), source = "RFC 2047 4, 6.2",
    message = "From: a@example.org\r\nSubject: " .. table.concat(pieces) .. "\r\n\r\nx\r\n",
    expect = "from: <a@example.org>\nsubject: " .. table.concat(text) .. "\npart 1 text/plain size=3 "
      .. "begins=x\\013\\010",
  }
end

local month_days = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local month_names = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

-- Counts days one by one, so that it shares no formula with datetime.lua.
local function days_since_1970(year, month, day)
  local days = 0
  local function is_leap(y) return y % 4 == 0 and (y % 100 ~= 0 or y % 400 == 0) end
  for y = 1970, year - 1 do
    days = days + (is_leap(y) and 366 or 365)
  end
  for m = 1, month - 1 do
    days = days + month_days[m] + (m == 2 and is_leap(year) and 1 or 0)
  end
  return days + day - 1
end

local function a_date_message(pick, i)
  local year, month = 1969 + pick(90), pick(12)
  local day, hour, min, sec = pick(month_days[month]), pick(24) - 1, pick(60) - 1, pick(60) - 1
  local offset = (pick(24) - 12) * 60 + (pick(2) - 1) * 30
  local east = math.abs(offset)
  local text = ("%d %s %d %02d:%02d:%02d %s%02d%02d"):format(day, month_names[month], year, hour, min, sec,
    offset < 0 and "-" or "+", math.floor(east / 60), east % 60)
  if pick(2) == 1 then
    local weekdays = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" }
    text = weekdays[days_since_1970(year, month, day) % 7 + 1] .. ", " .. text
  end
  if pick(3) == 1 then
    text = text .. " (a zone)"
  end
  local epoch = days_since_1970(year, month, day) * 86400 + hour * 3600 + min * 60 + sec - offset * 60
  return {
    name = ("date-%03d"):format(i), source = "RFC 5322 3.3",
    message = "From: a@example.org\r\nDate: " .. text .. "\r\n\r\nx\r\n",
    expect = ("from: <a@example.org>\ndate: %d%s%d\npart 1 text/plain size=3 begins=x\\013\\010"):format(epoch,
      offset < 0 and "-" or "+", east),
  }
end

local contents = {
  { "some text\r\nin two lines", nil, "text/plain" }, { "<p>h\195\169llo</p>\r\n", nil, "text/html" },
  { "", nil, "text/plain" },
  { "%PDF-1.4 and so on", "pdf", "application/pdf" },
  { "MZ\144\0\3\0\0\0\4 program", "exe", "application/octet-stream" },
  { "\137PNG\r\n\26\n....", "png", "image/png" }, { ("long line of text, "):rep(20), nil, "text/plain" },
}
local file_names = { "a.txt", "b c.pdf", "für dich.exe", "日本.doc" }

local function percent(text)
  return (text:gsub("[^%w.]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- The five ways a name is written.
local function name_lines(pick, name)
  local style = pick(5)
  if style == 1 then
    return "", 'Content-Disposition: attachment; filename="' .. name .. '"\r\n'
  elseif style == 2 then
    return "", "Content-Disposition: attachment;\r\n filename*=utf-8''" .. percent(name) .. "\r\n"
  elseif style == 3 then
    local encoded = "utf-8''" .. percent(name)
    local cut = #(encoded:match("^utf%-8''%%%x%x") or encoded:match("^utf%-8''.")) -- not inside %XX
    return "", ("Content-Disposition: attachment;\r\n "
      .. "filename*1*=%s;\r\n\tfilename*0*=%s\r\n"):format(encoded:sub(cut + 1), encoded:sub(1, cut))
  elseif style == 4 then
    return ';\r\n name="' .. b_word(name, "utf-8") .. '"', ""
  end
  return '; name="' .. name .. '"', "Content-Disposition: inline\r\n"
end

local a_part

local function a_leaf(pick, path, lines)
  local content = contents[pick(#contents)]
  local type_parameter, disposition, name = "", "", nil
  if pick(2) == 1 then
    name = file_names[pick(#file_names)]
    type_parameter, disposition = name_lines(pick, name)
  end
  local style = pick(3)
  local body, encoding
  if style == 1 then
    body, encoding = base64(content[1], 76), "base64"
  elseif style == 2 and not content[2] then
    body, encoding = quoted_printable(content[1]), "Quoted-Printable"
  elseif content[1]:find("[%z\r\n\128-\255]") and content[2] then
    body, encoding = base64(content[1], 60), "BASE64"
  else
    body, encoding = content[1], "8bit"
  end
  local begins = content[1]:sub(1, 24):gsub("[%z\1-\31\127-\255\\]", function(c) return ("\\%03d"):format(c:byte()) end)
  lines[#lines + 1] = ("part %s %s%s size=%d%s begins=%s"):format(path, content[3], name and " name=" .. name
    or "", #content[1], content[2] and " kind=" .. content[2] or "", begins)
  return ("Content-Type: %s%s\r\nContent-Transfer-Encoding: %s\r\n%s\r\n%s"):format(content[3], type_parameter,
    encoding, disposition, body)
end

local function a_multipart(pick, path, depth, lines, counter, cut)
  counter.boundaries = counter.boundaries + 1
  local styles = { '"=_%d_(x)"', "b%d", '"b%d:/=?"', '"----=_Part_%d"' }
  local parameter = styles[pick(4)]:format(counter.boundaries)
  local boundary = parameter:gsub('"', "")
  local subtypes = { "mixed", "alternative", "related", "x-unknown" }
  local at = #lines + 1
  local subtype = subtypes[pick(4)]
  lines[at] = ("part %s multipart/%s"):format(path, subtype)
  local out = { ("Content-Type: multipart/%s;\r\n boundary=%s\r\n\r\n"):format(subtype, parameter) }
  if pick(2) == 1 then
    out[#out + 1] = "a preamble\r\n--not the boundary\r\n"
  end
  for i = 1, pick(3) do
    out[#out + 1] = "--" .. boundary .. "\r\n" .. a_part(pick, path .. "." .. i, depth + 1, lines, counter, cut)
      .. "\r\n"
  end
  if cut then
    lines[at] = lines[at] .. " defects=close-missing"
    return (table.concat(out):gsub("\r\n$", ""))
  end
  out[#out + 1] = "--" .. boundary .. "--" .. (pick(3) == 1 and "\r\nan epilogue" or "")
  return table.concat(out)
end

function a_part(pick, path, depth, lines, counter, cut)
  local choice = pick(8)
  if depth < 4 and choice <= 2 then
    return a_multipart(pick, path, depth, lines, counter, cut)
  elseif depth < 4 and choice == 3 then
    local at = #lines + 1
    lines[at] = ""
    local inner = "Subject: inner\r\n" .. a_part(pick, path .. ".1", depth + 1, lines, counter, cut)
    lines[at] = ("part %s message/rfc822 size=%d"):format(path, #inner)
    return "Content-Type: message/rfc822\r\n\r\n" .. inner
  end
  return a_leaf(pick, path, lines)
end

local function a_tree_message(pick, i, cut)
  local lines = { "from: <a@example.org>", "subject: tree" }
  local entity = a_multipart(pick, "1", 1, lines, { boundaries = 0 }, cut)
  return {
    name = ("%s-%03d"):format(cut and "cut" or "tree", i), source = cut and "RFC 2046 5.1.2, cut off" or "RFC 2046 5.1",
    message = "From: a@example.org\r\nSubject: tree\r\nMIME-Version: 1.0\r\n" .. entity .. (cut and "" or "\r\n"),
    expect = table.concat(lines, "\n"),
  }
end

--- All of them, in order.
---@return { name: string, source: string, message: string, expect: string }[]
function generate.all()
  local pick = random_source(20240601)
  local out = {}
  for i = 1, 80 do out[#out + 1] = an_address_message(pick, i) end
  for i = 1, 60 do out[#out + 1] = a_subject_message(pick, i) end
  for i = 1, 25 do out[#out + 1] = a_date_message(pick, i) end
  for i = 1, 100 do out[#out + 1] = a_tree_message(pick, i, false) end
  for i = 1, 35 do out[#out + 1] = a_tree_message(pick, i, true) end
  return out
end

return generate
