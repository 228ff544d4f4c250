--- Answers in the shapes of curl's own tests (tests/data: odd chunks, 1xx, lengths, cut and endless heads), each on a
-- connection of the pool, and what a script sees of it. After each, another request on the same host must get its own
-- answer: what is left of an odd one never passes for the next.
local inside = require "spec.async.run"
local world = require "spec.async.world"

local OK = "HTTP/1.1 200 OK\r\n"
local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n"

-- name, bytes, what the script sees ("status|body" or the code), { closes = the server closes afterwards, method }
local SHAPES = {
  -- lengths
  { "one length", OK .. "Content-Length: 2\r\n\r\nok", "200|ok" },
  { "the same length twice", OK .. "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "200|ok" },
  { "the same length as a list", OK .. "Content-Length: 2, 2\r\n\r\nok", "200|ok" },
  { "two lengths", OK .. "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "protocol" },
  { "two lengths in a list", OK .. "Content-Length: 2, 3\r\n\r\nok!", "protocol" },
  { "a negative length", OK .. "Content-Length: -2\r\n\r\nok", "protocol" },
  { "a signed length", OK .. "Content-Length: +2\r\n\r\nok", "protocol" },
  { "a length with letters", OK .. "Content-Length: 2x\r\n\r\nok", "protocol" },
  { "a length in hexadecimal", OK .. "Content-Length: 0x2\r\n\r\nok", "protocol" },
  { "no length", OK .. "Content-Length:\r\n\r\nok", "protocol" },
  { "a length beyond 64 bits", OK .. "Content-Length: 99999999999999999999\r\n\r\nok", "protocol" },
  { "a length above max_body", OK .. "Content-Length: 9999999\r\n\r\nok", "closed", { closes = true } },
  { "leading zeros", OK .. "Content-Length: 0002\r\n\r\nok", "200|ok" },
  { "no length, then the end", OK .. "\r\nok", "200|ok", { closes = true } },
  { "a body cut short", OK .. "Content-Length: 5\r\n\r\nok", "closed", { closes = true } },
  { "more than the length", OK .. "Content-Length: 2\r\n\r\nok" .. OK .. "Content-Length: 4\r\n\r\nevil", "200|ok" },
  -- no body
  { "204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", "204|" },
  { "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", "304|" },
  { "304 with chunks", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "304|" },
  { "HEAD with a length", OK .. "Content-Length: 400\r\n\r\n", "200|", { method = "HEAD" } },
  { "HEAD with chunks", CHUNKED .. "\r\n", "200|", { method = "HEAD" } },
  { "HEAD with a body", OK .. "Content-Length: 4\r\n\r\nevil", "200|", { method = "HEAD" } },
  -- chunks
  { "chunks", CHUNKED .. "\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "200|ok" },
  { "chunks with extensions", CHUNKED .. '\r\n2;name="a;b"\r\nok\r\n0;x\r\n\r\n', "200|ok" },
  { "chunks with leading zeros", CHUNKED .. "\r\n00002\r\nok\r\n000\r\n\r\n", "200|ok" },
  { "chunks in capitals", OK .. "Transfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "200|0123456789" },
  { "chunks and a length", CHUNKED .. "Content-Length: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200|ok" },
  { "a chunk's size in letters", CHUNKED .. "\r\nxyz\r\nok\r\n0\r\n\r\n", "protocol" },
  { "a chunk without a size", CHUNKED .. "\r\n\r\nok\r\n0\r\n\r\n", "protocol" },
  { "a chunk's negative size", CHUNKED .. "\r\n-2\r\nok\r\n0\r\n\r\n", "protocol" },
  { "a chunk's size beyond 64 bits", CHUNKED .. "\r\n10000000000000002\r\nok\r\n0\r\n\r\n", "protocol" },
  { "a chunk longer than its size", CHUNKED .. "\r\n2\r\nokay\r\n0\r\n\r\n", "protocol" },
  { "chunks cut short", CHUNKED .. "\r\n5\r\nok", "closed", { closes = true } },
  { "chunks without the last", CHUNKED .. "\r\n2\r\nok\r\n", "closed", { closes = true } },
  { "an unknown transfer coding", OK .. "Transfer-Encoding: rot13\r\n\r\nok", "protocol", { closes = true } },
  -- heads
  { "100 before the answer", "HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n" .. OK .. "Content-Length: 2\r\n\r\nok",
    "200|ok" },
  { "several 1xx", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n" .. OK
    .. "Content-Length: 2\r\n\r\nok", "200|ok" },
  { "100 and no answer", "HTTP/1.1 100 Continue\r\n\r\n", "closed", { closes = true } },
  { "lines with LF alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "200|ok" },
  { "a status without a reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "200|ok" },
  { "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "200|ok" },
  { "HTTP/0.9", "just text\r\n", "protocol", { closes = true } },
  { "a version that does not exist", "HTTP/3.5 200 OK\r\nContent-Length: 2\r\n\r\nok", "protocol", { closes = true } },
  { "a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", "protocol", { closes = true } },
  { "a status that is no number", "HTTP/1.1 OK 200\r\nContent-Length: 2\r\n\r\nok", "protocol", { closes = true } },
  { "nothing at all", "", "closed", { closes = true } },
  { "a head cut short", OK .. "Content-Len", "closed", { closes = true } },
  { "an overlong field", OK .. "X-A: " .. ("a"):rep(200000) .. "\r\nContent-Length: 2\r\n\r\nok", "limit" },
  { "an overlong status line", "HTTP/1.1 200 " .. ("a"):rep(200000) .. "\r\nContent-Length: 2\r\n\r\nok", "limit" },
  { "too many fields", OK .. ("X-A: 0123456789012345678901234567890123456789012345678901234567\r\n"):rep(5000)
    .. "Content-Length: 2\r\n\r\nok", "limit" },
  { "too many trailers", CHUNKED .. "\r\n2\r\nok\r\n0\r\n" .. ("X-A: " .. ("0"):rep(1000) .. "\r\n"):rep(300) .. "\r\n",
    "limit" },
  { "a NUL in a field", OK .. "X-A: a\0b\r\nContent-Length: 2\r\n\r\nok", "protocol", { closes = true } },
}

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("HTTP in the shapes of curl's tests", function()
  local servers

  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  -- Writes each shape to a file, as it is too long for a script's text.
  local function see(shapes)
    local lines = {}
    for i, shape in ipairs(shapes) do
      local options = shape[4] or {}
      local file = assert(io.open(servers.directory .. "/shape" .. i, "w"))
      file:write(hex(shape[2]))
      file:close()
      lines[i] = ("{ %q, %q }"):format(options.closes and "/raw-close?" or "/raw?", options.method or "GET")
    end
    return inside.body(servers, ([[
      local http = require "moonmilter.http"
      local base = "http://127.0.0.1:" .. P.http
      local seen = {}
      for i, shape in ipairs { %s } do
        local file = assert(io.open(DIR .. "/shape" .. i))
        local r, text, code = http.request { url = base .. shape[1] .. file:read "*a", method = shape[2], timeout = 2 }
        file:close()
        seen[i] = r and r.status .. "|" .. r.body or code
        local after = http.get(base .. "/hello")
        if not after or after.body ~= "hello" then
          seen[i] = seen[i] .. " and the next request got " .. tostring(after and after.body)
        end
      end
      return table.concat(seen, ";")
    ]]):format(table.concat(lines, ", ")))
  end

  it("every shape is read as RFC 9112 says, or refused", function()
    for first = 1, #SHAPES, 16 do
      local shapes, expected, names = {}, {}, {}
      for i = first, math.min(first + 15, #SHAPES) do
        shapes[#shapes + 1], names[#names + 1] = SHAPES[i], SHAPES[i][1]
        expected[#expected + 1] = SHAPES[i][3]
      end
      local i = 0
      for seen in (see(shapes) .. ";"):gmatch "(.-);" do
        i = i + 1
        assert.equal(("%s: %s"):format(names[i], expected[i]), ("%s: %s"):format(names[i], seen))
      end
      assert.equal(#shapes, i)
    end
  end)
end)
