local codec = require "moonmilter.codec"

describe("codec: base64", function()
  it("round-trips every length and byte", function()
    local bytes = {}
    for i = 0, 255 do
      bytes[#bytes + 1] = string.char(i)
      local text = table.concat(bytes)
      assert.equal(text, (codec.base64_decode(codec.base64_encode(text))))
      assert.equal(text, (codec.base64_decode(codec.base64_encode(text, 76))))
    end
  end)
  it("breaks lines at the given width, with CRLF", function()
    for line in (codec.base64_encode(("x"):rep(500), 76) .. "\r\n"):gmatch("(.-)\r\n") do
      assert.is_true(#line <= 76)
    end
  end)
  it("skips and counts bytes outside the alphabet, RFC 2045 6.8", function()
    assert.same({ "hello", 2 }, { codec.base64_decode "aG!Vs\r\n bG8*=" })
  end)
  it("returns the complete bytes of a truncated group, and says so", function()
    local decoder = codec.decoder "base64"
    assert.equal("hel", decoder:feed "aGVsbG")
    local rest, bad, is_truncated, is_continued = decoder:finish()
    assert.same({ "l", 0, true, false }, { rest, bad, is_truncated, is_continued })
  end)
  it("goes on after padding, and says so", function()
    local decoder = codec.decoder "base64"
    assert.equal("aab", decoder:feed "YWE=Yg==")
    assert.is_true(select(4, decoder:finish()))
  end)
end)

describe("codec: quoted-printable", function()
  it("decodes RFC 2045 6.7: escapes, soft breaks, padding at line ends", function()
    assert.same({ "caf\233 one line\r\nnext", 0 }, { codec.qp_decode "caf=E9 one=\r\n line \t\r\nnext  " })
  end)
  it("leaves broken escapes as written and counts them", function()
    assert.same({ "a=ZZ=4", 2 }, { codec.qp_decode "a=ZZ=4" })
  end)
  it("writes lines of at most 76 without blanks at their ends, and nothing a dot-stuffer or a boundary "
    .. "could trip on", function()
    local text = (".x\r\n--b\r\nFrom me \r\n" .. ("wide "):rep(60) .. "\r\n\tz\0\255 "):rep(3)
    local encoded = codec.qp_encode(text)
    assert.equal(text, (codec.qp_decode(encoded)))
    for line in (encoded .. "\r\n"):gmatch("(.-)\r\n") do
      assert.is_true(#line <= 76)
      assert.is_nil(line:find("[ \t]$"))
      assert.is_nil(line:find("^[.-]"))
      assert.is_nil(line:find("^From "))
    end
  end)
end)

describe("codec: streams", function()
  it("give the same bytes wherever they are cut", function()
    math.randomseed(11)
    local kinds = { base64 = "QUJD RA==\r\nRUZH", ["quoted-printable"] = "a=3D  =\r\n b= \r\n\t =4 x=0D=0A  \r\nend  ",
      ["x-uuencode"] = "begin 644 f\n#0V%T\n#0V%T\n`\nend\nbegin 1 g\n#0V%T\nend\n" }
    for kind, text in pairs(kinds) do
      text = text:rep(20)
      local whole = codec.decoder(kind)
      local expected = whole:feed(text) .. whole:finish()
      for _ = 1, 200 do
        local decoder, out, at = codec.decoder(kind), {}, 1
        while at <= #text do
          local stop = at + math.random(0, 9)
          out[#out + 1] = decoder:feed(text, at, stop)
          at = stop + 1
        end
        out[#out + 1] = (decoder:finish())
        assert.equal(expected, table.concat(out))
      end
    end
  end)
  it("count without making strings", function()
    assert.equal(5, codec.decoder("base64"):count "aGVsbG8=")
  end)
  it("encode as if in one piece", function()
    local text = ("gr\195\188n und rot \r\n."):rep(50)
    for _, kind in ipairs { "base64", "quoted-printable" } do
      local encoder, out = codec.encoder(kind), {}
      for i = 1, #text, 7 do
        out[#out + 1] = encoder:feed(text:sub(i, i + 6))
      end
      out[#out + 1] = encoder:finish()
      local expected = kind == "base64" and codec.base64_encode(text, 76) or codec.qp_encode(text)
      assert.equal(expected, table.concat(out))
    end
  end)
end)

describe("codec: charsets", function()
  it("converts to UTF-8 and replaces invalid characters", function()
    assert.same({ "\195\169", 0 }, { codec.to_utf8("\233", "ISO-8859-1") })
    assert.same({ "\239\191\189a", 1 }, { codec.to_utf8("\255a", "UTF-8") })
  end)
  it("refuses names with iconv's special syntax", function()
    assert.is_nil((codec.to_utf8("x", "UTF-8//TRANSLIT")))
    assert.equal("charset", select(3, codec.to_utf8("x", "no-such-set")))
  end)
  it("refuses a name with a NUL in it", function()
    assert.equal("charset", select(3, codec.to_utf8("x", "UTF-8\0")))
  end)
  it("reads UTF-16 by its own byte order mark, not by that of the text before", function()
    for _, name in ipairs { "UTF-16", "UTF-32", "unicode" } do
      local big, little = "\254\255\0a", "\255\254a\0"
      if name == "UTF-32" then
        big, little = "\0\0\254\255\0\0\0a", "\255\254\0\0a\0\0\0"
      end
      local converter = assert(codec.converter(name))
      for _, text in ipairs { big, little, big, little } do
        assert.same({ "a", 0 }, { codec.to_utf8(text, name) })
        assert.equal("a", converter:feed(text))
        assert.same({ "", 0 }, { converter:finish() })
      end
    end
  end)
  it("keeps a character that chunks cut in two", function()
    local converter = assert(codec.converter "EUC-JP")
    assert.equal("", converter:feed "\198")
    assert.equal("日", converter:feed "\252")
    assert.same({ "", 0 }, { converter:finish() })
  end)
  it("gives only well-formed UTF-8, though glibc's converter lets code points above U+10FFFF through", function()
    assert.is_true((codec.is_utf8((codec.to_utf8("\246\190\152\131", "UTF-8")))))
    assert.is_true((codec.is_utf8((assert(codec.converter "UTF-8"):feed "a\246\190\152\131b"))))
  end)
  it("reports and repairs ill-formed UTF-8: overlong, surrogates, too high, cut", function()
    for _, bad in ipairs { "\192\128", "\237\160\128", "\244\144\128\128", "\226\130", "\255" } do
      assert.is_false((codec.is_utf8(bad)))
      assert.is_true((codec.is_utf8((codec.clean_utf8(bad)))))
    end
    assert.same({ false, 2 }, { codec.is_utf8 "a\255" })
  end)
end)

describe("codec: domain names", function()
  it("convert between A-labels and U-labels", function()
    assert.equal("xn--bcher-kva.example", codec.idna_to_ascii "Bücher.example")
    assert.equal("bücher.example", codec.idna_to_unicode "xn--bcher-kva.example")
  end)
  it("give an error for an invalid name", function()
    local domain, _, code = codec.idna_to_ascii(("ü"):rep(200))
    assert.is_nil(domain)
    assert.equal("idna", code)
    assert.is_nil((codec.idna_to_ascii "a\0b"))
  end)
end)
