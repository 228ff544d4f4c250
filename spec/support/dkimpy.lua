--- The reader of our signatures: dkimpy (python3-dkim), which shares no code with us.
local dkimpy = {}
local PROGRAM = [[
import sys, dkim
records = dict(line.rstrip("\n").split("\t", 1) for line in open(sys.argv[2]))
def txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return records.get(name.rstrip("."), "").encode() or None
message = open(sys.argv[1], "rb").read()
count = sum(1 for name, value in dkim.rfc822_parse(message)[0] if name.lower() == b"dkim-signature")
for index in range(count):
    d = dkim.DKIM(message, minkey=1024)
    try:
        ok = d.verify(idx=index, dnsfunc=txt)
    except Exception as error:
        ok = repr(error)
    tags = d.signature_fields
    print(ok, tags.get(b"a", b"?").decode(), tags.get(b"d", b"?").decode(), tags.get(b"s", b"?").decode(),
        tags.get(b"h", b"?").decode().replace("\r\n", "").replace("\t", "").replace(" ", ""))
]]
local function write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end
--- Verifies every DKIM-Signature of a message, from the top.
---@param message string  lines end with CRLF
---@param records table<string, string>  TXT by name
---@return { ok: string, algorithm: string, domain: string, selector: string, names: string }[]  ok: "True", "False" or an error
function dkimpy.verify(message, records)
  local lines = {}
  for name, text in pairs(records) do lines[#lines + 1] = name .. "\t" .. text end
  local program, mail, zone = write(PROGRAM), write(message), write(table.concat(lines, "\n") .. "\n")
  local pipe = io.popen(("/usr/bin/python3 %s %s %s 2>&1"):format(program, mail, zone))
  local output = pipe:read "*a"
  pipe:close()
  for _, path in ipairs { program, mail, zone } do os.remove(path) end
  local found = {}
  for line in output:gmatch "[^\n]+" do
    local ok, algorithm, domain, selector, names = line:match "^(.-) (%S+) (%S+) (%S+) (%S+)$"
    assert(ok, output)
    found[#found + 1] = { ok = ok, algorithm = algorithm, domain = domain, selector = selector, names = names }
  end
  return found
end
local SIGNER = [[
import sys, dkim
key, domain, selector, header, body, names = sys.argv[2:8]
message = open(sys.argv[1], "rb").read()
field = dkim.sign(message, selector.encode(), domain.encode(), open(key, "rb").read(),
    canonicalize=(header.encode(), body.encode()), include_headers=[n.encode() for n in names.split(":")])
sys.stdout.buffer.write(field + message)
]]

--- The message with a DKIM-Signature of dkimpy at its top.
---@param message string  lines end with CRLF
---@param of { key: string, domain: string, selector: string, header: string, body: string, names: string }  an RSA key
---@return string
function dkimpy.sign(message, of)
  local program, mail, key = write(SIGNER), write(message), write(of.key)
  local pipe = io.popen(("/usr/bin/python3 %s %s %s %s %s %s %s %s"):format(program, mail, key, of.domain, of.selector,
    of.header, of.body, of.names))
  local output = pipe:read "*a"
  pipe:close()
  for _, path in ipairs { program, mail, key } do os.remove(path) end
  assert(output:find "^DKIM%-Signature:", output)
  return output
end


--- The chain of ARC sets as dkimpy's arcverify judges it: "pass 11 11", the verdict, and for each set, newest first,
--- whether message signature and seal verify.
---@param message string  lines end with CRLF
---@param records table<string, string>  TXT by name
---@return string
function dkimpy.chain(message, records)
  local latin = message:gsub("[\128-\255]", function(c) -- a byte is a character of Latin-1, in JSON's UTF-8
    return string.char(0xc0 + math.floor(c:byte() / 64), 0x80 + c:byte() % 64)
  end)
  local input = write(require "cjson".encode { message = latin, keys = records } .. "\n")
  local pipe = io.popen("/usr/bin/python3 spec/auth/dkimpy_arc.py <" .. input .. " 2>&1")
  local said = pipe:read "*a"
  pipe:close()
  os.remove(input)
  return (said:gsub("%s+$", ""))
end

return dkimpy
