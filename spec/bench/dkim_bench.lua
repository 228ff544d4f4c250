--- The cost of DKIM: hashing bodies, verifying and signing one message, beside libopendkim and bare OpenSSL in turns.
--- CPU time of one process on one core; the best of five rounds of each in turns, so that other work counts least.
--- Usage: luajit spec/bench/dkim_bench.lua [ROUNDS]. Needs a build, libopendkim-dev and libssl-dev.
package.path = "./?.lua;./lua/?.lua;" .. package.path
package.cpath = "./" .. (os.getenv "MOONMILTER_BUILD" or "build") .. "/lua/?.so;" .. package.cpath
local ffi = require "ffi"

local codec = require "moonmilter.codec"
local dkim = require "moonmilter.dkim"
local seal = require "moonmilter.seal"
local stored = require "spec.auth.stored"

local ROUNDS = tonumber(arg[1]) or 5
local CHUNK = 65535 -- of a body, as an MTA sends it

ffi.cdef [[
  struct mm_bench_time { long seconds, nanoseconds; };
  int clock_gettime(int, struct mm_bench_time *);
]]

-- CPU time of this process in microseconds
local function cpu()
  local t = ffi.new "struct mm_bench_time"
  ffi.C.clock_gettime(2, t)
  return tonumber(t.seconds) * 1e6 + tonumber(t.nanoseconds) / 1e3
end

local function each(count, work)
  local start = cpu()
  for _ = 1, count do work() end
  return (cpu() - start) / count
end

-- ---- what is worked on ----

local WORDS = { "the", "postmaster", "of", "this", "domain", "reads", "mail", "about", "mail,", "and", "answers." }

local function text_lines(bytes)
  math.randomseed(3)
  local out, size = {}, 0
  while size < bytes do
    local line = {}
    for i = 1, math.random(8, 14) do line[i] = WORDS[math.random(#WORDS)] end
    out[#out + 1] = table.concat(line, " ") .. "\r\n"
    size = size + #out[#out]
  end
  return table.concat(out)
end

local function base64_lines(bytes)
  local raw = {}
  for i = 1, bytes * 3 / 4 do raw[i] = string.char(math.random(0, 255)) end
  return codec.base64_encode(table.concat(raw), 76) .. "\r\n"
end

local function html_lines(bytes)
  return ("    <tr>\r\n        <td class=\"cell\">\r\n            text  and more\r\n        </td>\r\n    </tr>\r\n")
    :rep(math.ceil(bytes / 94))
end

local function hash(body)
  local digest = seal.body("relaxed", "sha256")
  for at = 1, #body, CHUNK do
    digest:feed(body, at, at + CHUNK - 1)
  end
  return (digest:finish())
end

-- 19 fields; the signature is the twentieth
local function header()
  local fields = { { name = "From", raw = "From: Ann <ann@example.org>" }, { name = "To", raw = "To: bob@example.net" },
    { name = "Subject", raw = "Subject: the monthly figures of the postmaster" },
    { name = "Date", raw = "Date: Mon, 1 Jan 2024 00:00:00 +0000" },
    { name = "Message-ID", raw = "Message-ID: <20240101.1@example.org>" },
    { name = "MIME-Version", raw = "MIME-Version: 1.0" },
    { name = "Content-Type", raw = "Content-Type: text/plain; charset=utf-8" } }
  for i = #fields + 1, 19 do
    fields[i] = { name = "Received", raw = ("Received: from host%d.example.net (host%d.example.net [192.0.2.%d])\n"
      .. "\tby mx.example.org (Postfix) with ESMTPS id %08X; Mon, 1 Jan 2024 00:00:0%d +0000"):format(i, i, i, i, i % 10) }
  end
  return fields
end

-- ---- measuring ----

local directory = os.tmpname()
os.remove(directory)
assert(os.execute("mkdir " .. directory) == 0)
assert(os.execute(("cc -std=c11 -D_GNU_SOURCE -O2 -o %s/peers spec/bench/dkim_peers.c -lopendkim -lcrypto")
  :format(directory)) == 0)

local function write(name, data)
  local file = assert(io.open(directory .. "/" .. name, "wb"))
  file:write(data)
  file:close()
  return directory .. "/" .. name
end

local function peer(...)
  local pipe = io.popen(directory .. "/peers " .. table.concat({ ... }, " "))
  local text = pipe:read "*a"
  pipe:close()
  return (assert(tonumber(text), "a peer gave a wrong answer"))
end

local function nothing() return 0 end

-- Both in turns. -> the best of each
local function in_turns(ours, theirs)
  local a, b = math.huge, math.huge
  for _ = 1, ROUNDS do
    a, b = math.min(a, ours()), math.min(b, (theirs or nothing)())
  end
  return a, b
end

local function print_ratio(what, ours, name, theirs)
  print(("%s: %.0f µs; %s %.0f µs; ratio %.2f"):format(what, ours, name, theirs, ours / theirs))
end

-- ---- rows ----

print(("SHA-256 alone: %.0f MB/s"):format(16384 / in_turns(function() return peer("sha256", 20000) end)))
for _, row in ipairs { { "text", text_lines }, { "base64", base64_lines }, { "indented HTML", html_lines } } do
  local body = row[2](4 * 1024 * 1024)
  local us = in_turns(function() return each(8, function() hash(body) end) end)
  print(("relaxed body, %s: %.0f MB/s"):format(row[1], #body / us))
end

local pem = seal.new_key "rsa"
local key = seal.private_key(pem)
local key_file = write("key.pem", pem)
local record = "v=DKIM1; k=rsa; p=" .. codec.base64_encode(key:export())
local signer = dkim.signer { domain = "example.org", selector = "s", key = key }

local function verify(headers, body)
  local verifier = dkim.verifier { headers = headers, dns = function() return { record } end }
  for at = 1, #body, CHUNK do
    verifier:feed(body:sub(at, at + CHUNK - 1))
  end
  assert(verifier:finish()[1].result == "pass")
end

for _, size in ipairs { 4096, 5 * 1024 * 1024 } do
  local body, fields, count = text_lines(size), header(), size == 4096 and 2000 or 10
  local value = assert(signer:sign(fields, hash(body)))
  local signed = { { name = "DKIM-Signature", raw = "DKIM-Signature: " .. value }, unpack(fields) }
  for _, row in ipairs {
    { "verify", signed, function() verify(signed, body) end },
    { "sign", fields, function() signer:sign(fields, hash(body)) end },
  } do
    local message = write(row[1], stored.join(row[2], body))
    local ours, theirs = in_turns(function() return each(count, row[3]) end, function()
      return peer(row[1], ("'%s'"):format(record), key_file, message, count)
    end)
    print_ratio(("%s, rsa2048, body of %d KB"):format(row[1], size / 1024), ours, "libopendkim", theirs)
  end
end

local function bare() return peer("evp", key_file, 500) end
local text, body, fields = ("x"):rep(2048), text_lines(4096), header()
local ours, theirs = in_turns(function() return each(500, function() key:sign(text) end) end, bare)
print_ratio("sign a text, rsa2048", ours, "EVP_DigestSign", theirs)
ours, theirs = in_turns(function() return each(500, function() signer:sign(fields, hash(body)) end) end, bare)
print_ratio("sign a message of 4 KB, rsa2048", ours, "EVP_DigestSign", theirs)
os.execute("rm -rf " .. directory)
