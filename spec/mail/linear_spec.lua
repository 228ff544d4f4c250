local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local body = require "moonmilter.body"
local codec = require "moonmilter.codec"
local datetime = require "moonmilter.datetime"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local scan = require "moonmilter.scan"

-- The same shape at two sizes, 16 times apart: linear work takes about 16 times as long, quadratic 256 times. The bound
-- is 80, and the best of several runs counts, so that a busy machine does not fail the spec and a quadratic parser
-- does.
local SMALL, FACTOR, BOUND = 2000, 16, 80

local function time(run, text)
  local begin = os.clock()
  run(text)
  return os.clock() - begin
end

local function is_linear(run, shape)
  local text = shape(SMALL * FACTOR)
  local large = time(run, text)
  if large < 0.05 then -- a quadratic parser over 32,000 pieces takes longer on any machine
    return true
  end
  large = math.min(large, time(run, text), time(run, text))
  text = shape(SMALL)
  local small = math.max(math.min(time(run, text), time(run, text), time(run, text)), 0.0005)
  return large / small < BOUND, ("%.4f s, then %.4f s"):format(small, large)
end

local function repeated(piece)
  return function(n) return piece:rep(n) end
end

local pieces = {
  "(", ")", "()", "((a)", "(\\", "\"", "\\\"", "\"a", "[", "]", "<", ">", "<>", "<<a@b>", "@", "@a", "a@", "a@b,",
    "a,", ",", ";", ":", "a:", "a b ", ".", "a.",
  " ", "\t", "\n ", "\\", "=?", "?=", "=?a?q?", "=?a?q?x", "=?a?b?", "=?utf-8?q?a?= ", "=", "a=", "a=\"", ";a=b",
    ";a*0=b", ";a*1*=", "';a*'", "%", "/", "a/b",
  "from ", "by a (b) ", "; ", "\128", "\195", "1 ", "Jan ", "12:", "-", "x=y z.w=v ", "<a@b> ", "\0",
}

local parsers = {
  ["address.list"] = function(text) address.list(text) end,
  ["address.list, strict"] = function(text) address.list(text, { mode = "strict" }) end,
  ["address.path"] = function(text) address.path(text) end,
  ["header.decode"] = function(text) header.decode(text) end,
  ["header.params"] = function(text) header.params(text) end,
  ["header.received"] = function(text) header.received(text) end,
  ["header.references"] = function(text) header.references(text) header.message_id(text) end,
  ["header.list_urls"] = function(text) header.list_urls(text) header.list_id(text) end,
  ["header.fold"] = function(text) header.fold("X", text) end,
  ["header.encode"] = function(text) header.encode((text:gsub("[%z\r\n]", " "))) end,
  ["header.block"] = function(text) header.block(text) end,
  ["datetime.parse"] = function(text) datetime.parse(text) end,
  ["authres.parse"] = function(text) authres.parse(text) authres.claims(text, "mx.example") end,
  ["authres.parse, after an id"] = function(text) authres.parse("mx; " .. text) end,
  ["codec"] = function(text)
    codec.base64_decode(text)
    codec.qp_decode(text)
    codec.qp_encode(text)
    codec.uu_decode(text)
    codec.to_utf8(text, "UTF-7")
    codec.clean_utf8(text)
  end,
}

describe("parsers take linear time for any text:", function()
  for name, run in pairs(parsers) do
    it(name, function()
      for _, piece in ipairs(pieces) do
        local ok, times = is_linear(run, repeated(piece))
        assert.is_true(ok, ("%q repeated: %s"):format(piece, times or ""))
      end
    end)
  end

  local mime_pieces = { "--b\r\n", "--b--\r\n", "--", "--b", "\r\n--", "\r\n--bb", "\r", "\n", "-", "--b\r\nA: b\r\n",
    "--b\r\n\r\n--b--\r\n",
    "A: b\r\n", " \r\n", ("--" .. ("x"):rep(900)), "--b \t", "x" }
  it("mime.walker, in one chunk and in small ones", function()
    for _, piece in ipairs(mime_pieces) do
      for _, size in ipairs { 1000000, 7 } do
        local ok, times = is_linear(function(text)
          local walker = mime.walker { with_header = true, max_parts = 1e9, max_header_bytes = 1e9 }
          walker:body "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
          for i = 1, #text, size do
            walker:body(text:sub(i, i + size - 1))
          end
          walker:eom()
        end, repeated(piece))
        assert.is_true(ok, ("%q repeated, chunks of %d: %s"):format(piece, size, times or ""))
      end
    end
  end)

  it("body: lines, HTML footer", function()
    for _, piece in ipairs { "a", "\n", "</", "</body", "<" } do
      local ok, times = is_linear(function(text)
        local b = body.new { headers = { { name = "Content-Type", value = "text/html" } } }
        b:feed(text)
        b:finish()
        for _ in b:lines() do end -- luacheck: ignore 542
        local edit = b:edit()
        edit:footer { text = "x" }
        edit:string()
      end, repeated(piece))
      assert.is_true(ok, ("%q repeated: %s"):format(piece, times or ""))
    end
  end)

  it("scan with a pattern that reads to the end from every byte", function()
    local lpeg = require "lpeg"
    local s = scan.new({ x = lpeg.P "a" ^ 1 * "b", aaaa = "aaaaab" }, { window = 64 })
    local ok, times = is_linear(function(text) s:find_all(text) end, repeated "a")
    assert.is_true(ok, times)
  end)
end)
