--- The messages that go through every filter and both MTAs unchanged: shapes made by hand, random letters (own random
--- numbers, no clock: the same in every run), and the messages of spec/mail/corpus.
---
---   for _, message in ipairs(corpus.all()) do … message.kind, message.name, message.data, message.is_quick
---
--- `data` is the text between DATA and the final dot before dots are doubled, with the line ends of the wire. `from`,
--- `mail_params` and `to` (a function of the message's own address) are set where the envelope matters.
local generate = require "spec.mail.corpus.generate"
local hand = require "spec.mail.corpus.hand"

local corpus = {}

local list, seen

-- The first messages of each kind are the quick half.
local function add(kind, name, data, more)
  local message = { kind = kind, name = kind .. ": " .. name, data = data }
  for key, value in pairs(more or {}) do message[key] = value end
  seen[kind] = (seen[kind] or 0) + 1
  if message.is_quick == nil then message.is_quick = seen[kind] <= 4 end
  list[#list + 1] = message
end

local FROM = "From: Ann <ann@one.example>\r\nTo: Bob <bob@two.example>\r\n"
local DATED = FROM .. "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-Id: <corpus@one.example>\r\n"
local TEXT = "first line\r\nsecond line\r\n"

local QUICK, SLOW = { is_quick = true }, { is_quick = false }

-- ---- header ----

local function header_shapes()
  local function field(name, line, more)
    add("field", name, DATED .. line .. "\r\nX-Behind: it\r\n\r\n" .. TEXT, more)
  end
  field("no space after the colon", "Subject:text", QUICK)
  field("a tab after the colon", "Subject:\ttext", QUICK)
  field("two spaces after the colon", "Subject:  text", QUICK)
  field("space and tab after the colon", "Subject: \ttext", QUICK)
  field("no value", "Subject:", QUICK)
  field("a space for a value", "Subject: ", QUICK)
  field("blanks for a value", "Subject: \t  ", QUICK)
  field("blanks after the value", "Subject: text \t ", QUICK)
  field("a space before the colon", "Subject : text", QUICK)
  field("tabs before the colon", "Subject\t\t: text", QUICK)
  field("folded by a space", "Subject: one\r\n two")
  field("folded by a tab", "Subject: one\r\n\ttwo\r\n\t three")
  field("nothing on its first line", "Subject:\r\n text", QUICK)
  field("blanks on its first line", "Subject:  \r\n  text", QUICK)
  field("a line of blanks inside", "Subject: one\r\n \r\n two", QUICK)
  field("a line of blanks at its end", "Subject: one\r\n \t", QUICK)
  field("nothing but lines of blanks", "Subject:\r\n \r\n\t\r\n ", QUICK)
  field("folded into 200 lines", "Subject: one" .. ("\r\n and another"):rep(200))
  field("the same name in other cases", "X-Twice: a\r\nx-twice: b\r\nX-TWICE: c\r\nx-Twice:d", QUICK)
  field("the same value three times", "X-Same: v\r\nX-Same: v\r\nX-Same: v")
  field("a name of one letter", "X: v")
  field("a name of signs", "!#$%&'*+-./0^_`{|}~@,;<=>?[]()\"\\: v", QUICK)
  field("a name of 70 bytes", ("N"):rep(70) .. ": v")
  field("a name of 500 bytes", ("N"):rep(500) .. ": v")
  field("a colon in the value", "X-Colon: a: b:: c")
  field("per cent signs", "Subject: 100% of %s and %d %%")
  field("backslashes and quotes", [[X-Quoted: "a\"b" \ 'c' \\]])
  field("brackets that do not close", "To: (bob <bob@two.example> (")
  field("an unbalanced quote", 'Cc: "bob <bob@two.example>')
  field("a group and comments", "Cc: friends: bob@two.example (his (real) name), <eve@two.example>;")
  field("Latin-1", "Subject: Gr\252\223e aus K\246ln", QUICK)
  field("UTF-8", "Subject: Gr\195\188\195\159e \226\130\172 \240\159\166\134", QUICK)
  field("UTF-8 in the name", "X-Gr\195\188\195\159e: v")
  field("every byte above 127", "X-High: " .. (function()
    local bytes = {}
    for byte = 128, 255 do bytes[#bytes + 1] = string.char(byte) end
    return table.concat(bytes)
  end)(), QUICK)
  field("control characters", "Subject: \1\2\7\8\11\12\14\27\31\127 end", QUICK)
  field("NUL", "Subject: nul\0nul", QUICK)
  field("UTF-16", "Subject: \255\254t\0e\0x\0t\0", QUICK)
  field("a lone CR", "Subject: one\rtwo", QUICK)
  field("CR at its end", "Subject: one\r", QUICK)
  field("a lone LF that folds", "Subject: one\n two", QUICK)
  field("a lone LF that ends it", "Subject: one\nX-Next: two", QUICK)
  field("encoded words", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?4oKs?=\r\n =?iso-8859-1?q?=E4?=")
  field("a bare encoded word of 300 bytes", "Subject: =?utf-8?q?" .. ("=C3=BC"):rep(50) .. "?=")
  field("Bcc", "Bcc: eve@two.example", QUICK)
  field("an empty Bcc", "Bcc:")
  field("Return-Path", "Return-Path: <other@one.example>", QUICK)
  field("Resent fields", "Resent-From: eve@two.example\r\nResent-To: bob@two.example\r\nResent-Date: Fri, 2 Jan 2026 "
    .. "00:00:00 +0000")
  field("Content-Length that lies", "Content-Length: 7")
  field("Delivered-To and Errors-To", "Delivered-To: bob@two.example\r\nErrors-To: ann@one.example")
  field("Return-Receipt-To and Precedence", "Return-Receipt-To: ann@one.example\r\nPrecedence: bulk")
  field("Apparently-To and Full-Name", "Apparently-To: bob@two.example\r\nFull-Name: Ann")
  field("two From, two Subject, two Date", "From: eve@two.example\r\nSubject: a\r\nSubject: b\r\nDate: Fri, 2 Jan 2026 "
    .. "00:00:00 +0000")
  field("a DKIM signature", "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=one.example;\r\n\ts=sel; "
    .. "t=1;\r\n\tbh="
    .. ("A"):rep(43) .. "=;\r\n\th=From:To:Subject;\r\n\tb=" .. ("Zm9v"):rep(18) .. "\r\n\t " .. ("YmFy"):rep(18))
  field("an ARC set", "ARC-Seal: i=1; a=rsa-sha256; t=1; cv=none; d=one.example; s=s; b=Zm9v\r\nARC-Message-Signature: "
    .. "i=1; b=Zm9v\r\nARC-Authentication-Results: i=1; one.example; spf=pass smtp.mailfrom=a@one.example")
  field("a list's fields", "List-Id: <l.one.example>\r\nList-Unsubscribe: <mailto:u@one.example>,\r\n "
    .. "<https://one.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click")
  field("Authentication-Results", "Authentication-Results: one.example (a comment);\r\n spf=fail "
    .. "smtp.mailfrom=a;\r\n dkim=none")
  field("To with 100 addresses", "Cc: " .. (function()
    local addresses = {}
    for i = 1, 100 do addresses[i] = ("Person Number %d <p%d@two.example>"):format(i, i) end
    return table.concat(addresses, ",\r\n ")
  end)(), QUICK)
  field("To with 60 addresses on one line", "Cc: " .. (("p@two.example, "):rep(60)):sub(1, -3))

  for _, size in ipairs { 76, 78, 79, 989, 990, 991, 997, 998, 999, 1000, 2046, 2048, 2050, 4000 } do
    field(("a value of %d bytes on one line"):format(size), "X-Long: " .. ("x"):rep(size),
      { is_quick = size == 998 or size == 2048 })
  end
  for _, lines in ipairs { 40, 200, 600, 750, 900, 1400 } do
    field(("a folded value of %d bytes"):format(lines * 78), "X-Long: begin" .. ("\r\n " .. ("y"):rep(75)):rep(lines),
      { is_quick = lines == 40 or lines == 900 })
  end

  local function block(name, header, more)
    add("header", name, header .. "\r\n" .. TEXT, more)
  end
  block("none, the body follows", "", QUICK)
  block("Subject alone", "Subject: alone\r\n", QUICK)
  block("without From and Date", "To: bob@two.example\r\n", QUICK)
  block("an mbox line first", "From ann@one.example Thu Jan  1 00:00:00 2026\r\n" .. DATED, QUICK)
  block("a quoted mbox line first", ">From ann@one.example Thu Jan  1 00:00:00 2026\r\n" .. DATED)
  block("a line without colon first", "this is no field\r\n" .. DATED, QUICK)
  block("a line without colon last", DATED .. "this is no field\r\n", QUICK)
  block("a colon first", ": no name\r\n" .. DATED, QUICK)
  block("a blank first", " continued from nowhere\r\n" .. DATED, QUICK)
  block("a line of blanks first", " \t \r\n" .. DATED, QUICK)
  block("a name with a space inside", DATED .. "X Y: z\r\n", QUICK)
  for _, count in ipairs { 10, 20, 24, 30, 60 } do
    local lines = {}
    for i = 1, count do
      lines[i] = ("Received: from h%d.example (h%d.example [192.0.2.%d])\r\n\tby g%d.example (Postfix) with "
        .. "ESMTP id %06X\r\n\tfor <bob@two.example>; Thu,  1 Jan 2026 00:00:%02d +0000 (UTC)\r\n"):format(i, i, i, i,
        i * 7919, i % 60)
    end
    block(("%d Received"):format(count), table.concat(lines) .. DATED, { is_quick = count == 20 or count == 60 })
  end
  for _, count in ipairs { 50, 100, 300, 1000 } do
    local lines = {}
    for i = 1, count do lines[i] = ("X-Field-%d: value %d\r\n"):format(i % 37, i) end
    block(("%d fields"):format(count), DATED .. table.concat(lines), { is_quick = count == 100 })
  end
  block("two blank lines after it", DATED .. "\r\n")

  add("cut", "nothing at all", "", QUICK)
  add("cut", "one empty line", "\r\n", QUICK)
  add("cut", "header without blank line", DATED, QUICK)
  add("cut", "header without its last line end", DATED .. "Subject: cut", QUICK)
  add("cut", "header and blank line", DATED .. "\r\n", QUICK)
  add("cut", "one body byte without line end", DATED .. "\r\nx", QUICK)
  add("cut", "a field that ends in a fold", DATED .. "Subject: one\r\n ", QUICK)
  add("cut", "text only, no field", "no header here\r\nand none here", QUICK)
end

-- ---- body ----

local function body_shapes()
  local function body(kind, name, text, more)
    add(kind, name, DATED .. "Subject: body\r\n\r\n" .. text, more)
  end
  body("dots", "one dot", ".\r\n")
  body("dots", "two dots", "..\r\n")
  body("dots", "a dot without line end", ".")
  body("dots", "lines of one to nine dots", (function()
    local lines = {}
    for i = 1, 9 do lines[i] = ("."):rep(i) end
    return table.concat(lines, "\r\n") .. "\r\n"
  end)())
  body("dots", "a dot between empty lines", "\r\n.\r\n\r\n.\r\n")
  body("dots", "a dot before text", ".text\r\n. text\r\n..text\r\n")
  body("dots", "20000 lines of a dot", (".\r\n"):rep(20000))
  body("dots", "a dot at the end of a line", "text.\r\ntext .\r\n")
  body("dots", "SMTP commands", "text\r\n.\r\nQUIT\r\nMAIL FROM:<x@one.example>\r\n.\r\n", QUICK)

  body("lines", "only empty lines", ("\r\n"):rep(50))
  body("lines", "empty lines at both ends", "\r\n\r\ntext\r\n\r\n\r\n")
  body("lines", "blanks at line ends", "a \r\nb\t\r\n \r\n\t\t\r\nc  \t \r\n")
  body("lines", "no line end", "text without end")
  body("lines", "lines that begin with From", "From here to there\r\n\r\nFrom ann@one.example Thu Jan  1 00:00:00 "
    .. "2026\r\n>From\r\n")
  body("lines", "lines like fields", "Subject: not one\r\nX-Do: eom reject\r\n\r\nBcc: nobody\r\n")
  body("lines", "form feeds and tabs", "one\12\r\n\ttwo\11three\8\8\8\r\n\27[31mred\27[0m\r\n")
  for _, size in ipairs { 998, 999, 1000, 2047, 2048, 2049, 4096, 10000, 65534, 65535, 65536, 131072 } do
    body("long line", ("of %d bytes"):format(size), ("l"):rep(size) .. "\r\n" .. TEXT,
      { is_quick = size == 998 or size == 2048 or size == 65535 })
  end
  body("long line", "of 300000 bytes without end", ("l"):rep(300000))

  -- The filter gets bodies in pieces of 65535 bytes.
  local line = ("0123456789"):rep(7) .. "\r\n"
  for _, pieces in ipairs { 1, 2, 3 } do
    for _, more in ipairs { -3, -2, -1, 0, 1, 2, 3 } do
      local size = 65535 * pieces + more
      local text = line:rep(math.floor((size - 3) / #line))
      text = text .. ("e"):rep(size - #text - 2) .. "\r\n"
      body("size", ("%d pieces and %d bytes"):format(pieces, more), text,
        { is_quick = pieces == 1 and math.abs(more) < 2 })
    end
  end
  body("size", "a line end across two pieces", ("c"):rep(65534) .. "\r\n" .. ("d"):rep(65533) .. "\r\n" .. TEXT)
  body("size", "a dot line across two pieces", ("c\r\n"):rep(21844) .. "\r\n.\r\n.\r\n" .. TEXT)
  body("size", "100 KB", line:rep(1422))
  body("size", "1 MB", line:rep(14563), SLOW)
  body("size", "5 MB", line:rep(72817), QUICK)
  body("size", "5 MB of 8-bit bytes", (("\228\246\252\223"):rep(18) .. "\r\n"):rep(70850), SLOW)

  body("8-bit", "Latin-1", "Gr\252\223e aus K\246ln\r\n")
  body("8-bit", "UTF-8", "Gr\195\188\195\159e \226\130\172 \240\159\166\134\r\n",
    { mail_params = "BODY=8BITMIME", is_quick = true })
  local high = {}
  for byte = 0, 255 do
    if byte ~= 0 and byte ~= 10 and byte ~= 13 then high[#high + 1] = string.char(byte) end
  end
  high = table.concat(high)
  body("8-bit", "every byte but NUL, CR and LF", high .. "\r\n" .. high .. "\r\n")
  body("8-bit", "Shift JIS and KOI8-R", "\130\177\130\241\130\201\130\191\130\205\r\n\240\210\201\215\197\212\r\n")
  body("8-bit", "announced as 7bit", "Gr\252\223e\r\n", { mail_params = "BODY=7BIT" })
  body("8-bit", "with an encoding named", "", nil)
  list[#list].data = DATED .. "MIME-Version: 1.0\r\nContent-Type: text/plain; "
    .. "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    .. ("Gr\195\188\195\159e\r\n"):rep(300)

  body("control", "NUL", "nul\0nul\r\n\0\r\n")
  body("control", "NUL at the end", "text\0")
  body("control", "a lone CR in a line", "one\rtwo\r\n")
  body("control", "a lone CR before a line end", "one\r\r\ntwo\r\n", QUICK)
  body("control", "a lone CR at the very end", "one\r", QUICK)
  body("control", "a lone LF in a line", "one\ntwo\r\n", QUICK)
  body("control", "only LF for line ends", "one\ntwo\n\nthree\n", QUICK)
  body("control", "LF CR", "one\n\rtwo\r\n", QUICK)
  body("control", "a lone CR at a piece's end", ("c"):rep(65534) .. "\r" .. ("d"):rep(10) .. "\r\n", QUICK)
  body("control", "UTF-16 with its line ends", "\255\254t\0e\0x\0t\0\r\0\n\0e\0n\0d\0\r\0\n\0\r\n", QUICK)
  body("control", "UTF-16BE", "\254\255\0t\0e\0x\0t\0\r\0\n\r\n")
  body("control", "every byte 50 times", (function()
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    return (table.concat(all) .. "\r\n"):rep(50)
  end)())
end

-- ---- MIME ----

local function mime_shapes()
  local MIME = DATED .. "MIME-Version: 1.0\r\n"
  local base64_line = ("QUJD"):rep(19) .. "\r\n"
  local function nested(depth)
    local open, close = {}, {}
    for i = 1, depth do
      open[i] = ("Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\npreamble %d\r\n--b%d\r\n"):format(i, i, i)
      close[depth - i + 1] = ("\r\n--b%d\r\nContent-Type: "
        .. "text/html\r\n\r\n<p>%d</p>\r\n--b%d--\r\nepilogue\r\n"):format(i, i, i)
    end
    return MIME .. table.concat(open) .. "Content-Type: text/plain\r\n\r\ninnermost\r\n" .. table.concat(close)
  end
  for _, depth in ipairs { 1, 2, 5, 20, 60 } do
    add("mime", ("multipart %d deep"):format(depth), nested(depth), { is_quick = depth == 5 })
  end
  local function two(name, content, more)
    add("mime", name, MIME .. "Content-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\nContent-Type: "
      .. "text/plain\r\n\r\nsee below\r\n--xx\r\n" .. content .. "\r\n--xx--\r\n", more)
  end
  two("a base64 attachment of 200 KB", "Content-Type: application/pdf; name=\"a b.pdf\"\r\nContent-Transfer-Encoding: "
    .. "base64\r\n\r\n"
    .. base64_line:rep(2600), SLOW)
  two("a base64 attachment", "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: "
    .. "attachment;\r\n filename*=utf-8''Gr%C3%BC%C3%9Fe.png\r\n\r\n" .. base64_line:rep(30), QUICK)
  two("quoted-printable", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    .. "quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=\r\n soft\r\n=2E\r\n=\r\n", QUICK)
  two("uuencode", "Content-Type: text/plain\r\n\r\nbegin 644 a.txt\r\n#86)C\r\n`\r\nend\r\n"
    .. ("M" .. ("5"):rep(60) .. "\r\n"):rep(50), QUICK)
  two("yEnc", "Content-Type: text/plain\r\n\r\n=ybegin line=128 size=3 "
    .. "name=a\r\n\139\140\141=J=M=@..\r\n=yend size=3\r\n")
  two("BinHex", "Content-Type: application/mac-binhex40\r\n\r\n(This file must be converted with BinHex "
    .. "4.0)\r\n\r\n:#8P[\r\n:\r\n")
  two("a message inside", "Content-Type: message/rfc822\r\n\r\nReceived: from x by y; now\r\nSubject: "
    .. "inner\r\n\r\ninner text\r\n.\r\n", QUICK)
  two("a delivery report", "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; "
    .. "one.example\r\n\r\nFinal-Recipient: rfc822; x@y\r\nAction: failed\r\nStatus: 5.1.1\r\n")
  two("a signature", "Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\n"
    .. base64_line
    .. "=abcd\r\n-----END PGP SIGNATURE-----")
  two("a calendar", "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nDESCRIPTION:a\\n\r\n "
    .. "folded\r\nEND:VCALENDAR")
  two("a part of binary bytes", "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: "
    .. "binary\r\n\r\n\137PNG\26\0\1\2\255\254")
  add("mime", "format=flowed", MIME .. "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n> quoted \r\n> text "
    .. "\r\n-- \r\nAnn\r\n")
  add("mime", "alternative with html of one line", MIME .. "Content-Type: multipart/alternative; "
    .. "boundary=\"=_a/b+c\"\r\n\r\n--=_a/b+c\r\n\r\nplain\r\n--=_a/b+c\r\nContent-Type: text/html\r\n\r\n<html>"
    .. ("<td>cell</td>"):rep(900) .. "</html>\r\n--=_a/b+c--\r\n")
  add("mime", "a boundary that never comes", MIME .. "Content-Type: multipart/mixed; boundary=never\r\n\r\n" .. TEXT)
  add("mime", "an encoding on a multipart", MIME .. "Content-Type: multipart/mixed; "
    .. "boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n--x\r\n\r\ntext\r\n--x--\r\n")
  add("mime", "8-bit bytes below 7bit", MIME .. "Content-Type: multipart/mixed; "
    .. "boundary=x\r\nContent-Transfer-Encoding: 7bit\r\n\r\n--x\r\nContent-Transfer-Encoding: "
    .. "7bit\r\n\r\n\228\246\252\r\n--x--\r\n", QUICK)
end

-- ---- envelope ----

local function envelopes()
  local function way(name, more, data)
    more.is_quick = true
    add("envelope", name, data or (DATED .. "Subject: envelope\r\n\r\n" .. TEXT), more)
  end
  local function crowd(count)
    return function(own)
      local to = {}
      for i = 1, count do to[i] = i == 1 and own or ("r%d.%s"):format(i, own) end
      return to
    end
  end
  way("the null sender", { from = "" })
  way("two recipients", { to = crowd(2) })
  way("100 recipients", { to = crowd(100) })
  way("120 recipients", { to = crowd(120) })
  way("the same recipient twice", { to = function(own) return { own, own } end })
  way("a recipient in capitals", { to = function(own) return { own, "BOB." .. own:upper() } end })
  way("plus addressing", { from = "ann+tag=a-b@one.example", to = function(own) return { own, "bob+x." .. own } end })
  way("a quoted local part", { from = '"a b\\"c"@one.example',
    to = function(own) return { own, '"b o@b".' .. own } end })
  way("a local part of 64 bytes", { from = ("a"):rep(64) .. "@one.example" })
  way("an address literal", { from = "ann@[192.0.2.1]" })
  way("a source route", { from = "@one.example,@two.example:ann@three.example" })
  way("no domain", { from = "ann" })
  way("signs in the local part", { from = "!#$%&'*+-/=?^_`{|}~@one.example" })
  way("SIZE that is true", { mail_params = "SIZE=1000" })
  way("SIZE that is too small", { mail_params = "SIZE=1" })
  way("SIZE that is too large", { mail_params = "SIZE=999999999999" })
  way("8BITMIME and SIZE", { mail_params = "BODY=8BITMIME SIZE=1000" },
    DATED .. "Subject: caf\195\169\r\n\r\ncaf\195\169\r\n")
  way("parameters in small letters", { mail_params = "body=8bitmime size=1000" })
  way("DSN parameters", { mail_params = "RET=HDRS ENVID=abc+2Bdef", rcpt_params = "NOTIFY=SUCCESS,FAILURE "
    .. "ORCPT=rfc822;bob@two.example" })
  way("NOTIFY=NEVER", { rcpt_params = "NOTIFY=NEVER" })
  way("SMTPUTF8", { mail_params = "SMTPUTF8", from = "\195\164nn@one.example" })
  way("SMTPUTF8 with ASCII addresses", { mail_params = "SMTPUTF8 BODY=8BITMIME" },
    DATED .. "Subject: \195\164\r\n\r\n\195\164\r\n")
  way("AUTH without a user", { mail_params = "AUTH=<>" })
  way("an unknown parameter", { mail_params = "X-UNKNOWN=1" })
end

-- ---- random letters ----

local WORDS = {}
for word in ([[the meeting tomorrow invoice attached please find regards Gr]] .. "\252\223" .. [[e Sch]]
  .. "\195\182" .. [[nen
 report quarter budget caf]] .. "\195\169" .. [[ lunch http://one.example/?a=1&b=2 50% .. . ... -- > >> From $100 "quoted" (see) [1] =3D
 <b>bold</b> verylongwordwithoutanyblankinit1234567890 ]]):gmatch "%S+" do WORDS[#WORDS + 1] = word end

local function letters(count)
  local state = 20261121
  local function roll(n) -- Park and Miller 1988
    state = (state * 16807) % 2147483647
    return state % n + 1
  end
  local function words(n)
    local out = {}
    for i = 1, n do out[i] = WORDS[roll(#WORDS)] end
    return table.concat(out, " ")
  end
  local NAMES = { "X-Mailer", "X-Spam-Status", "In-Reply-To", "References", "Reply-To", "Organization",
    "X-Priority", "Keywords", "Comments", "User-Agent", "Sender", "Thread-Topic", "x-lower", "Content-Language" }
  local COLONS = { ": ", ": ", ": ", ": ", ":", ":\t", ":  " }
  for i = 1, count do
    local lines = { FROM:sub(1, -3), ("Message-Id: <letter-%d@one.example>"):format(i),
      "Date: Thu, 1 Jan 2026 00:00:00 +0000" }
    for _ = 1, roll(12) do
      local folds = { words(roll(8)) }
      for _ = 2, roll(4) do folds[#folds + 1] = (roll(2) == 1 and " " or "\t") .. words(roll(10)) end
      lines[#lines + 1] = NAMES[roll(#NAMES)] .. COLONS[roll(#COLONS)] .. table.concat(folds, "\r\n")
    end
    lines[#lines + 1] = ""
    for _ = 1, roll(roll(5) == 1 and 800 or 40) do lines[#lines + 1] = roll(6) == 1 and "" or words(roll(14)) end
    add("letter", tostring(i), table.concat(lines, "\r\n") .. (roll(8) > 1 and "\r\n" or ""))
  end
end

local function mail_corpus()
  for _, entry in ipairs(hand) do
    local file = assert(io.open(("spec/mail/corpus/hand/%s.eml"):format(entry.name), "rb"))
    add("mail corpus", entry.name, file:read "*a")
    file:close()
  end
  for i, entry in ipairs(generate.all()) do
    if i % 4 == 0 then add("mail corpus made", entry.name, entry.message) end
  end
end

--- All messages, or the quick half of them; in the same order in every run.
---@param quick? boolean
function corpus.all(quick)
  list, seen = {}, {}
  header_shapes()
  body_shapes()
  mime_shapes()
  envelopes()
  letters(60)
  mail_corpus()
  local out = {}
  for _, message in ipairs(list) do
    if not quick or message.is_quick then out[#out + 1] = message end
  end
  return out
end

return corpus
