-- Names in unrequested records were kept with the answer, each up to a thousand bytes for two of the response: an
-- answer of 64 KB was cached as one of 5 MB. Since 0.1.0.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "async/dns_answer.h"

local TXT, NS = 16, 2

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

local function record(owner, kind, data)
  return owner .. u16(kind) .. u16(1) .. "\0\0\1\0" .. u16(#data) .. data
end

it("an answer does not keep unrequested records", function()
  local label = "\63" .. ("\1"):rep(63)
  local long = label:rep(3) .. "\60" .. ("\1"):rep(60) .. "\0"
  local question = "\1a\7example\0"
  local head = "\0\1\129\128" .. u16(1) .. u16(2001) .. u16(0) .. u16(0) .. question .. u16(TXT) .. u16(1)
  local first = record(question, TXT, "\2hi")
  local other = record(question, NS, long)
  local parts = { head, first, other }
  local pointer = u16(0xc000 + #head + #first + #other - #long)
  for i = 1, 1999 do parts[#parts + 1] = record(i % 2 == 0 and "\0" or question, NS, pointer) end
  local response = table.concat(parts)
  assert.is_true(#response < 65536)
  local answer = ffi.new "struct mm_dns_answer"
  C.mm_dns_answer_read(answer, response, #response, TXT)
  local count, size = tonumber(answer.count), tonumber(answer.text.size)
  C.mm_dns_answer_free(answer)
  assert.equal(1, count)
  assert.equal(#"hi" + #"a.example", size)
end)
