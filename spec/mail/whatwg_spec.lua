--- Our decoders against those of a WHATWG decoder (spec/mail/whatwg/make.mjs made digests.lua with it): every pair of
--- bytes, every byte, random texts whole and in pieces, every label.
local bit = require "bit"
local charset = require "moonmilter.charset"
local codec = require "moonmilter.codec"
local expected = dofile "spec/mail/whatwg/digests.lua"

-- FNV-1a: times 2^24 + 403
local function digest(state, text)
  for i = 1, #text do
    state = bit.bxor(state, text:byte(i))
    -- times 403 is exact in a double
    state = bit.tobit(bit.lshift(state, 24) + (state % 2 ^ 32 * 403) % 2 ^ 32)
  end
  return state
end

local function hex(state)
  return bit.tohex(state)
end

local function words(list)
  local out = {}
  for word in list:gmatch "%S+" do
    out[#out + 1] = word
  end
  return out
end

local START = bit.tobit(2166136261)

local function of_lead(label, before, after, lead)
  local state, is_jis = START, label == "iso-2022-jp"
  for trail = 0, 255 do
    local text = ""
    if not is_jis or (lead ~= 27 and trail ~= 27) then
      text = charset.to_utf8(before .. string.char(lead, trail) .. after, label)
    end
    state = digest(state, text .. "\n")
  end
  return hex(state)
end

describe("a WHATWG decoder agrees on", function()
  it("the digest that is compared", function()
    assert.equal("bf9cf968", hex(digest(START, "foobar"))) -- the test vector of FNV
  end)

  for _, row in ipairs(expected.pairs) do
    local label, before, after, digests = unpack(row)
    it(("every pair of bytes in %s after %q"):format(label, before), function()
      local wrong = {}
      for i, wanted in ipairs(words(digests)) do
        if of_lead(label, before, after, i - 1) ~= wanted then
          wrong[#wrong + 1] = ("%02X"):format(i - 1)
        end
      end
      assert.equal("", table.concat(wrong, " "), "lead bytes whose pairs differ")
    end)
  end

  it("every byte in the single-byte encodings", function()
    local wrong = {}
    for _, row in ipairs(expected.singles) do
      local state = START
      for byte = 0, 255 do
        state = digest(state, charset.to_utf8(string.char(byte), row[1]) .. "\n")
      end
      if hex(state) ~= row[2] then
        wrong[#wrong + 1] = row[1]
      end
    end
    assert.equal("", table.concat(wrong, " "))
    assert.is_true(#expected.singles >= 29)
  end)
end)

-- As text_of() of make.mjs.
local JIS = { "\27$B", "\27$@", "\27(J", "\27(I", "\27(B" }

local function random(state)
  return function(n)
    state = state * 16807 % 2147483647
    return state % n
  end
end

local function random_text(label, next_below)
  local out, size = {}, 0
  local function add(bytes)
    out[#out + 1], size = bytes, size + #bytes
  end
  local wanted = 1 + next_below(24)
  while size < wanted do
    if label ~= "iso-2022-jp" then
      local kind = next_below(4)
      add(string.char(kind == 0 and next_below(128) or kind == 1 and 0x30 + next_below(16) or 128 + next_below(128)))
    else
      local kind = next_below(3)
      if kind == 0 then
        add(JIS[1 + next_below(5)])
      elseif kind == 1 then
        add "\27x"
      end
      add(string.char(0x21 + next_below(94)))
      if next_below(8) == 0 then
        add(string.char(0x80 + next_below(128)))
      end
      if next_below(8) == 0 then
        add(string.char(next_below(27)))
      end
    end
  end
  return table.concat(out)
end

local function in_pieces(text, label, size)
  local converter, out = charset.converter(label), {}
  for at = 1, #text, size do
    out[#out + 1] = converter:feed(text:sub(at, at + size - 1))
  end
  out[#out + 1] = (converter:finish())
  return table.concat(out)
end

describe("in random texts", function()
  for _, row in ipairs(expected.random) do
    local label = row[1]
    it(label .. " is read as a WHATWG decoder reads it, also after bytes that mean nothing", function()
      local next_below, wrong = random(20261130), 0
      for _, wanted in ipairs(words(row[2])) do
        local state = START
        for _ = 1, expected.texts do
          state = digest(state, charset.to_utf8(random_text(label, next_below), label) .. "\n")
        end
        wrong = wrong + (hex(state) ~= wanted and 1 or 0)
      end
      assert.equal(0, wrong, "groups of texts that differ")
    end)
  end

  it("pieces make no difference in any charset, and the result is UTF-8", function()
    local next_below, seen = random(7), {}
    for _, list in pairs(expected.labels) do
      seen[charset.name(list:match "%S+") or "replacement"] = list:match "%S+"
    end
    for _, label in ipairs { "windows-1258", "tcvn", "hz", "iso-2022-kr", "iso-2022-jp-2", "utf-7", "utf-32",
      "utf-32be", "viscii", "cp437", "euc-tw", "iso-2022-cn", "johab" } do
      seen[assert(charset.name(label))] = label
    end
    for name, label in pairs(seen) do
      for _ = 1, 200 do
        local text = random_text(name == "ISO-2022-JP" and "iso-2022-jp" or label, next_below)
        local whole = charset.to_utf8(text, label)
        if charset.converter(label) ~= charset.converter(nil) then
          assert.equal(whole, in_pieces(text, label, 1 + next_below(3)), ("%s %q"):format(label, text))
        end
        assert.is_true((codec.is_utf8(whole)))
      end
    end
  end)
end)

describe("every label", function()
  it("of the Standard has a converter, and those of one encoding have the same", function()
    local count = 0
    for name, list in pairs(expected.labels) do
      local converters = {}
      for label in list:gmatch "%S+" do
        count = count + 1
        converters[charset.name(label) or "none: " .. label] = true
        assert.equal(charset.name(label), charset.name(" " .. label:upper() .. "\t"))
      end
      converters["US-ASCII"] = nil -- of windows-1252's: text that is labelled so is guessed
      if name ~= "replacement" then -- readers of web pages refuse these; in mail they are read
        assert.is_nil(next(converters, (next(converters))), name)
      else
        converters["none: replacement"] = nil
      end
      for found in pairs(converters) do
        assert.is_nil(found:match "^none", found)
      end
    end
    assert.equal(228, count)
  end)

  it("is read when it is spelled without its hyphens, with other ones, or in quotes", function()
    for spelling, name in pairs { ISO8859_1 = "WINDOWS-1252", ["'utf-8'"] = "UTF-8", UTF_8 = "UTF-8",
      ["utf 8"] = "UTF-8", ["ISO-8859_15"] = "ISO-8859-15", ["cp-1251"] = "WINDOWS-1251", Big5_HKSCS = "BIG5" } do
      assert.equal(name, charset.name(spelling))
    end
    assert.is_nil(charset.name "x-unheard-of")
    assert.is_nil(charset.name "")
    assert.is_nil(charset.name(("utf-8"):rep(1000)))
  end)
end)

describe("where mail differs from the Standard:", function()
  it("two escapes in a row are no error: encoded words in ISO-2022-JP begin and end with one", function()
    local text = "\27$B4A;z\27(B\27$B4A;z\27(B"
    assert.same({ "漢字漢字", 0 }, { charset.to_utf8(text, "iso-2022-jp") })
  end)
  it("JIS X 0212 is read in ISO-2022-JP, after ESC $ ( D", function()
    assert.same({ "丂a", 0 }, { charset.to_utf8("\27$(D0!\27(Ba", "iso-2022-jp-1") })
  end)
  it("windows-1258 and TCVN give composed letters", function()
    assert.same({ "Việt", 0 }, { charset.to_utf8("Vi\234\242t", "windows-1258") })
    assert.same({ "a\194\138b", 0 }, { charset.to_utf8("a\138b", "windows-1258") })
  end)
  it("HZ is read, RFC 1843", function()
    assert.same({ "This 己所不欲，勿施於人。~ ok\nnext", 0 },
      { charset.to_utf8("This ~{<:Ky2;S{#,NpJ)l6HK!#~}~~ o~\nk\nnext", "hz-gb-2312") })
    assert.same({ "己\na", 0 }, { charset.to_utf8("~{<:\na", "hz") }) -- a line end ends GB 2312
  end)
  it("UTF-16 and UTF-32 follow a byte order mark, which is not text, and stay in step after a fault", function()
    for label, text in pairs { ["utf-16"] = "\254\255\0a\216\0\0b", ["utf-16be"] = "\255\254a\0\0\216b\0",
      ["utf-16le"] = "a\0\0\220b\0", ["utf-32"] = "\0\0\254\255\0\0\0a\0\17\0\0\0\0\0b" } do
      assert.same({ "a\239\191\189b", 1 }, { charset.to_utf8(text, label) }, label)
    end
  end)
end)
