-- Figures for the mail modules, compared with Python's email package and, where installed, GMime
-- (spec/bench/mail_gmime.c). Run from the top: luajit spec/bench/mail_bench.lua [seconds per figure]
package.path = "lua/?.lua;spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
package.cpath = "build/lua/?.so;" .. package.cpath
local address = require "moonmilter.address"
local codec = require "moonmilter.codec"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local scan = require "moonmilter.scan"

local SECONDS = tonumber(arg and arg[1]) or 1

-- The header block of a delivered message, and a message of 8 MiB: text, HTML, and base64 attachments.
local block = table.concat({
  "Received: from mail.example.net (mail.example.net [192.0.2.1])", "\tby mx.example.org (Postfix) with ESMTPS id 4XyZ",
  "\tfor <bob@example.org>; Fri, 21 Nov 1997 09:55:06 -0600 (CST)", "From: =?utf-8?Q?J=C3=B6rg_M=C3=BCller?= "
    .. "<joerg@example.net>",
  "To: \"Doe, John\" <john@example.org>, Team: ann@example.org, Bob <bob@example.org>;, carol@example.com (Carol)",
  "Subject: =?iso-8859-1?Q?Gr=FC=DFe_aus?= =?utf-8?B?S8O2bG4=?= und mehr", "Date: Fri, 21 Nov 1997 09:55:06 -0600",
  "Message-ID: <1234@local.machine.example>", "MIME-Version: 1.0", "Content-Type: multipart/mixed; "
    .. "boundary=\"=_b1\"", "", "",
}, "\r\n")

local function large_message()
  local random = {}
  local state = 1
  for i = 1, 1500000 do
    state = (state * 16807) % 2147483647
    random[i] = string.char(state % 256)
  end
  local attachment = codec.base64_encode(table.concat(random), 76)
  local text = ("Ein Satz, der lang genug ist, um eine Zeile zu f=C3=BCllen, und noch einer.\r\n"):rep(12000)
  local out = { block .. "--=_b1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    .. "quoted-printable\r\n\r\n" .. text }
  for i = 1, 3 do
    out[#out + 1] = ("--=_b1\r\nContent-Type: application/octet-stream; "
      .. "name=f%d.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"):format(i, attachment)
  end
  out[#out + 1] = "--=_b1--\r\n"
  return table.concat(out)
end

local function rate(run)
  run()
  local count, begin = 0, os.clock()
  repeat
    run()
    count = count + 1
  until os.clock() - begin >= SECONDS
  return count / (os.clock() - begin)
end

local function show(what, figure, unit)
  print(("%-58s %12.0f %s"):format(what, figure, unit))
end

local chunks = {}
local message = large_message()
for i = 1, #message, 65535 do
  chunks[#chunks + 1] = message:sub(i, i + 65534)
end
local megabytes = #message / 1e6

local function walk(options)
  options.with_header = true
  local walker = mime.walker(options)
  for _, chunk in ipairs(chunks) do
    walker:body(chunk)
  end
  walker:eom()
end

print(jit.version .. ", " .. jit.arch .. ("; message of %.1f MB"):format(megabytes))
local fields = #header.block(block)
show("header blocks split, fields", rate(function() header.block(block) end) * fields, "fields/s")
local parsed = header.block(block)
show("fields decoded and parsed (From To Subject Date Received CT)", rate(function()
  parsed:field("From"):addresses()
  parsed:field("To"):addresses()
  parsed:field("Subject"):text()
  parsed:field("Date"):date()
  header.received(parsed:field("Received").value)
  parsed:field("Content-Type"):params()
end) * 6, "fields/s")
show("address.path, strict", rate(function() address.path("<john.doe@mail.example.org>", { mode = "strict" }) end),
  "paths/s")
show("MIME walked: structure, sizes, kinds", rate(function() walk {} end) * megabytes, "MB/s")
show("MIME walked: all content decoded", rate(function() walk { on_data = function() end } end) * megabytes, "MB/s")
show("MIME walked: text as UTF-8 too", rate(function() walk { on_text = function() end } end) * megabytes, "MB/s")
local scanner = scan.new { "EICAR-STANDARD", "viagra", "lottery", "bitcoin wallet" }
show("scan, 4 literals", rate(function()
  local stream = scanner:stream(function() end)
  for _, chunk in ipairs(chunks) do stream:feed(chunk) end
end) * megabytes, "MB/s")

-- The same work in Python, on the same bytes.
local path = os.tmpname()
local file = assert(io.open(path, "wb"))
file:write(message)
file:close()
local python = [[
import email, email.policy, sys, time
raw = open(sys.argv[1], "rb").read()
seconds = float(sys.argv[2])
head = raw[:raw.index(b"\r\n\r\n") + 4]
def rate(run):
    run(); count = 0; begin = time.process_time()
    while True:
        run(); count += 1
        spent = time.process_time() - begin
        if spent >= seconds: return count / spent
def parsed():
    m = email.message_from_bytes(head, policy=email.policy.default)
    m["From"].addresses; m["To"].addresses; str(m["Subject"]); m["Date"].datetime; str(m["Received"]); m.get_content_type()
def walked():
    for part in email.message_from_bytes(raw).walk(): part.get_content_type()
def decoded():
    for part in email.message_from_bytes(raw).walk():
        if not part.is_multipart(): part.get_payload(decode=True)
mb = len(raw) / 1e6
print("%-58s %12.0f fields/s" % ("Python email: split, decoded and parsed", rate(parsed) * 6))
print("%-58s %12.0f MB/s" % ("Python email: MIME parsed", rate(walked) * mb))
print("%-58s %12.0f MB/s" % ("Python email: all content decoded", rate(decoded) * mb))
]]
local script = os.tmpname()
file = assert(io.open(script, "w"))
file:write(python)
file:close()
os.execute(("python3 %s %s %g"):format(script, path, SECONDS))
local gmime = "build/mail_gmime"
if io.open(gmime) then
  os.execute(("%s %s %g"):format(gmime, path, SECONDS))
else
  print "GMime: build/mail_gmime is not built; see spec/bench/mail_gmime.c"
end
os.remove(path)
os.remove(script)
