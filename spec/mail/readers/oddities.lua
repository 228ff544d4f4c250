--- Messages whose header leaves a choice to its reader: each way to spell a type, a boundary, an encoding or a
--- delimiter oddly, alone and together. Each carries a program, somewhere. The program is short, so that a line holds
--- it in base64.
local oddities = {}

local PROGRAM = "MZ\144\0\3\0\0\0\4\0\0\0\255\255\0\0\184\0\0\0\0\0\0\0"
local BASE64 = "TVqQAAMAAAAEAAAA//8AALgAAAAAAAAA"
local QP = "MZ=90=00=03=00=00=00=04=00=00=00=FF=FF=00=00=B8=00=00=00=00=00=00=00"

-- ---- ways to spell a field; "b" delimits the parts ----

local types = {
  'multipart/mixed; boundary="b"', 'multipart/mixed\r\n\tboundary="b"', "multipart/mixed boundary=b",
  'multipart/mixed, boundary="b"', "multipart/mixed; boundary=b; boundary=c", "multipart/mixed; boundary=c; boundary=b",
  'multipart/mixed; boundary="b" charset=x', 'multipart/mixed; charset="x" boundary="b"',
  "multipart/mixed; charset=x boundary=b", "multipart/mixed; boundary=b charset=x", 'multipart/mixed; boundary="b',
  'multipart/mixed; boundary="b; charset=x', "multipart/mixed; boundary=b (x)", "multipart/mixed; boundary=(x)b",
  "multipart/mixed; boundary=(x) b", 'multipart/mixed; boundary="b" (x)', 'multipart/mixed; (x) boundary="b"',
  "multipart/mixed (x); boundary=b", "(x) multipart/mixed; boundary=b", "multipart (x) /mixed; boundary=b",
  '"multipart/mixed"; boundary=b', 'multipart/"mixed"; boundary=b', "multipart / mixed ; boundary = b",
  "multipart/mixed;; boundary=b;", ";multipart/mixed; boundary=b", "multipart/mixed; boundary='b'",
  "multipart/mixed; boundary=b d", 'multipart/mixed; boundary="\\b"', 'multipart/mixed; boundary="b "',
  'multipart/mixed; boundary=" b"', "multipart/mixed; boundary*=us-ascii''b",
  "multipart/mixed; boundary*=us-ascii''%62",
  "multipart/mixed; boundary*=us-ascii''b; boundary=c", "multipart/mixed; boundary*=us-ascii''c; boundary=b",
  "multipart/mixed; boundary=b; boundary*=us-ascii''c", "multipart/mixed; boundary*0=b",
  "multipart/mixed; boundary*0=; boundary*1=b", "multipart/mixed; boundary*0*=us-ascii''b; boundary=c",
  "multipart/mixed; boundary*1=b", "multipart/mixed; boundary*=b", "multipart/mixed; BOUNDARY=b",
  "multipart/mixed; x boundary=b", 'multipart/mixed; x="; boundary=c"; boundary=b',
  'multipart/mixed; x="\\"; boundary=c; y=\\""; boundary=b', 'multipart/mixed; x=(; boundary=c); boundary=b',
  "multipart; boundary=b", "multipart/; boundary=b", "multipart/mixed/x; boundary=b", "multipart/mixed x; boundary=b",
  "multipart/mixed\0; boundary=b", "multipart/mixed; boundary=b\0c", "MULTIPART/MIXED; boundary=b",
  "multipart/mixed; boundary=b,c", "multipart/mixed; boundary=b;boundary=b", "multipart/mixed; boundary=",
  "multipart/mixed; boundary", "multipart/mixed", "multipart/mixed; boundary: b", 'multipart/mixed; boundary=""b',
  'multipart/mixed; boundary=b"c"', 'multipart/mixed; boundary="b"c', "multipart/x-odd; boundary=b",
  "multipart/digest; boundary=b", "multipart/alternative; boundary=b", "multipart/related; boundary=b",
  "multipart/mixed; boundary==?us-ascii?q?b?=", 'multipart/mixed; boundary="=?us-ascii?q?b?="',
  "multipart/mixed;\r\n boundary\r\n =\r\n b", "multipart/mixed; boundary=b\r\n", "message/rfc822", "text/plain",
  "multipart/mixed; \"boundary\"=b", "multipart/mixed; boundary =\tb", "=?us-ascii?q?multipart/mixed?=; boundary=b",
  "multipart/mixed: boundary=b", "multipart/mixed\tboundary=b", "multipart/mixed;boundary=b;boundary=",
}

-- Fields of the message beside the first Content-Type
local more_fields = {
  "", "Content-Type: text/plain\r\n", "Content-Type: multipart/mixed; boundary=c\r\n",
  "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Transfer-Encoding: base64\r\n",
  "Content-Transfer-Encoding: x-odd\r\n", "Content-Disposition: attachment\r\n", "Content-Type : text/plain\r\n",
}

local delimiters = {
  { "--b", "--b--" }, { "--b ", "--b-- " }, { "--b\t", "--b--" }, { "--c", "--c--" }, { "--b", "--c--" }, { "--b d",
  "--b d--" },
  { "--b", "" }, { "--bx", "--b--" }, { " --b", "--b--" }, { "--=?us-ascii?q?b?=", "--=?us-ascii?q?b?=--" },
  { "--B", "--B--" }, { "--b (x)", "--b (x)--" }, { "--'b'", "--'b'--" }, { "--\"b\"", "--\"b\"--" }, { "--", "----" },
  { "--b--", "--b--" }, { "--%62", "--%62--" }, { "--c", "--b--" },
  { "\r--b", "\r--b--" }, { "x\r--b", "x\r--b--" }, { "--b\r", "--b--\r" }, { "--b\rX: y", "--b--" },
  { "--b-- \r\n--b", "--b--" }, { "--b\0", "--b--" }, { "--b\v", "--b--" }, { "--b--x", "--b--" }, { "---b", "---b--" },
}

-- Transfer encoding of the part, and the part's body
local encodings = {
  { "base64", BASE64 }, { "BASE64", BASE64 }, { "base64 (x)", BASE64 }, { "(x) base64", BASE64 }, { '"base64"',
  BASE64 },
  { "base64; x=y", BASE64 }, { "base64, 7bit", BASE64 }, { "7bit base64", BASE64 }, { "base64 7bit", BASE64 },
  { "base-64", BASE64 }, { "x-base64", BASE64 }, { "base64\0", BASE64 }, { "base64.", BASE64 }, { "base64;", BASE64 },
  { "base64\r\nContent-Transfer-Encoding: 7bit", BASE64 }, { "7bit\r\nContent-Transfer-Encoding: base64", BASE64 },
  { "binary\r\nContent-Transfer-Encoding: base64", PROGRAM }, { "base64\r\nContent-Transfer-Encoding: binary",
  PROGRAM },
  { "quoted-printable", QP }, { "quoted_printable", QP }, { "quoted-printable (x)", QP }, { "qp", QP },
  { "binary", PROGRAM }, { "8-bit", PROGRAM }, { "x-odd", PROGRAM }, { "base64 (x)", PROGRAM }, { "7bit; base64",
  PROGRAM },
  { "=?us-ascii?q?base64?=", BASE64 }, { "base64", "!" .. BASE64 }, { "base64", "YQ==\r\n" .. BASE64 },
  { "\r\n base64", BASE64 }, { "x-uuencode", "begin 644 a.exe\r\n8M5J0``,````$````__\\``+@`````````\r\n`\r\nend" },
  { "uuencode", "begin 644 a.exe\r\n8M5J0``,````$````__\\``+@`````````\r\n`\r\nend" },
}

-- How the part says that it is a file
local parts = {
  'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="a.exe"\r\n',
  "Content-Type: application/octet-stream\r\nContent-Disposition: attachment filename=a.exe\r\n",
  "Content-Type: application/octet-stream name=a.exe\r\n", "Content-Type: text/plain; name=a.exe\r\n",
  "Content-Disposition: attachment\r\nContent-Disposition: inline\r\n", "",
  "Content-Type: application/octet-stream\r\nContent-Type: text/plain\r\n",
  "Content-Type : application/octet-stream\r\n", "Content-Type:application/octet-stream\r\nX-Odd\r\n",
}

local function message(t)
  local open, close = t.delimiter[1], t.delimiter[2]
  return ("From: a@example.org\r\nTo: b@example.net\r\nSubject: odd\r\nMIME-Version: 1.0\r\nContent-Type: %s\r\n%s\r\n"
    .. "%s\r\nContent-Type: text/plain\r\n\r\nhi\r\n%s\r\n%sContent-Transfer-Encoding: %s\r\n\r\n%s\r\n%s\r\n"):format(t.type,
    t.more, open, open, t.part, t.encoding[1], t.encoding[2], close):gsub("\1", "\0")
end

-- string.format ends at a NUL
local function safe(text)
  return (text:gsub("%z", "\1"))
end

local function row(t)
  local delimiter, encoding = t.delimiter or delimiters[1], t.encoding or encodings[1]
  return message { type = safe(t.type or types[1]), more = t.more or "",
    delimiter = { safe(delimiter[1]), safe(delimiter[2]) },
    part = t.part or parts[1], encoding = { safe(encoding[1]), safe(encoding[2]) } }
end

-- What is put into, or takes the place of bytes of, a field or a delimiter line.
local snippets = { ";", '"', " ", "\t", "(", ")", "(x)", ",", "=", "\\", "'", "*", "*0", "*0*", "%62", "\r\n",
  "\r\n ", "\n", "\r",
  "\0", ":", "--", "-", "x", "b", "c", "=?us-ascii?q?b?=", "=?", "?=", "boundary=c", ";boundary=c;", "; boundary=\"c\"",
  "boundary*=us-ascii''b;", "Content-Type: text/plain\r\n", "Content-Transfer-Encoding: 7bit\r\n", "X-Odd\r\n",
  "From x\r\n",
  "\r\n\r\n", "/", "multipart/mixed", "text/plain", "base64", "7bit", "\195\169", "\233", "<b>", "[b]", "@", "\b",
  "\v", "\f",
  "#", "utf-8''", "charset=\"x;\"", ">", "\160" }

-- One to three random edits of a message's header, delimiters and part header.
local function mutated(text, pick)
  local spots = {} -- where such bytes are
  for first, last in text:gmatch "()Content[^\r]*\r\n[ \t]?[^\r]*()" do
    spots[#spots + 1] = { first, last }
  end
  for first, last in text:gmatch "()%-%-[bc][^\r]*\r()" do
    spots[#spots + 1] = { first, last }
  end
  for _ = 1, pick(3) do
    local spot = spots[pick(#spots)]
    local at = spot[1] + pick(math.max(spot[2] - spot[1], 1)) - 1
    local skip = pick(3) == 1 and pick(4) or 0
    text = text:sub(1, at - 1) .. snippets[pick(#snippets)] .. text:sub(at + skip)
  end
  return text
end

--- Every oddity alone, those of types and delimiters in pairs, random ones, and random edits.
---@param seed? integer  of what is random
---@return { name: string, message: string }[]
function oddities.all(seed)
  local out = {}
  local function add(kind, t)
    out[#out + 1] = { name = ("%s-%04d"):format(kind, #out + 1), message = type(t) == "string" and t or (row(t)) }
  end
  for _, spelled in ipairs(types) do
    for _, delimiter in ipairs(delimiters) do
      add("type", { type = spelled, delimiter = delimiter })
    end
    add("encoded", { type = spelled, more = more_fields[5] })
  end
  for _, more in ipairs(more_fields) do
    for _, spelled in ipairs { types[1], "text/plain", "multipart/mixed; boundary=c", "message/rfc822" } do
      add("fields", { type = spelled, more = more })
    end
  end
  for _, encoding in ipairs(encodings) do
    for _, part in ipairs(parts) do
      add("part", { encoding = encoding, part = part })
    end
  end
  local state = seed or 42
  local function pick(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
  local function one_of(list)
    return list[pick(#list)]
  end
  for _ = 1, 400 do
    add("random", { type = one_of(types), more = one_of(more_fields), delimiter = one_of(delimiters),
      part = one_of(parts), encoding = one_of(encodings) })
  end
  for _ = 1, 2000 do
    local t = { type = types[1], part = parts[1], encoding = encodings[1] }
    if pick(3) == 1 then
      t = { type = one_of(types), part = one_of(parts), encoding = one_of(encodings) }
    end
    add("edited", mutated((row(t)), pick))
  end
  return out
end

return oddities
