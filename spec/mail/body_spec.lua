local body = require "moonmilter.body"
local codec = require "moonmilter.codec"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local generate = require "generate"

local function lines(...)
  return table.concat({ ... }, "\r\n")
end

local function stored(message, options)
  local block, after = header.block(message)
  options = options or {}
  options.headers = block
  local b = body.new(options)
  for i = after, #message, 1000 do
    assert(b:feed(message:sub(i, i + 999)))
  end
  assert(b:finish())
  return b, message:sub(1, after - 1), message:sub(after)
end

-- The message after an edit, header changes included.
local function result(edit, head)
  local block = header.block(head)
  for _, change in ipairs(edit:header_changes()) do
    local field = block:field(change.name)
    if field and change.value then field:set(change.value) elseif field then field:delete()
    elseif change.value then block:add(change.name, change.value) end
  end
  return block:bytes() .. "\r\n" .. edit:string()
end

describe("the parts of an encoded message", function()
  local function encoded(encoding, message)
    return ("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: %s\r\n\r\n"):format(encoding)
      .. codec[encoding == "base64" and "base64_encode" or "qp_encode"](message, 76)
  end

  local function mixed(...)
    local out = { "Content-Type: multipart/mixed; boundary=", "", "\r\n\r\n" }
    out[2] = ("b%d"):format(#table.concat { ... })
    for _, part in ipairs { ... } do
      out[#out + 1] = "--" .. out[2] .. "\r\n" .. part .. "\r\n"
    end
    out[#out + 1] = "--" .. out[2] .. "--\r\n"
    return table.concat(out)
  end

  it("have the content that mime.parse sees, in memory and in a file, in any order", function()
    local message = mixed("\r\nbefore", encoded("base64", mixed("\r\none", "Content-Type: text/x\r\n"
      .. "Content-Transfer-Encoding: base64\r\n\r\n" .. codec.base64_encode(("two\0"):rep(3000), 76),
      encoded("quoted-printable", mixed("\r\nthree\r\n", encoded("base64", "A: b\r\n\r\nfour"), "\r\n")), "\r\nfive")),
      encoded("base64", "\r\nsix"), "\r\nafter")
    local want = {}
    local function take(part)
      want[#want + 1] = part.path .. " " .. (part.is_multipart and "" or part.content)
      for _, child in ipairs(part.parts) do
        take(child)
      end
    end
    take(assert(mime.parse(message)))
    assert.equal(16, #want)
    for _, max_memory in ipairs { 0, 1, 20000, 1e6 } do
      local b = stored(message, { max_memory = max_memory })
      local list = b:parts()
      for step = 1, -1, -2 do
        local got = {}
        for i = step > 0 and 1 or #list, step > 0 and #list or 1, step do
          got[i] = list[i].path .. " " .. (list[i].is_multipart and "" or list[i]:content())
        end
        assert.same(want, got)
      end
      local chunks = list[4]:chunks()
      b:close()
      assert.has_error(function() list[4]:content() end)
      assert.has_error(chunks)
    end
  end)
end)

describe("a kept body", function()
  it("is the same in memory and in a file", function()
    local text = ("line one\r\nline two, longer\r\n\r\n"):rep(500) .. "no end"
    for _, max_memory in ipairs { 1, 5000, 1e6 } do
      local b = stored("A: b\r\n\r\n" .. text, { max_memory = max_memory })
      assert.equal(text, b:string())
      assert.equal(#text, b:size())
      assert.equal("two,", b:read(15, 4))
      local got = {}
      for line in b:lines() do
        got[#got + 1] = line
      end
      assert.equal(text, table.concat(got, "\r\n"))
      b:close()
      assert.has_error(function() b:string() end)
    end
  end)
  it("does what `over` says when it exceeds max_size", function()
    for _, over in ipairs { "accept", "tempfail", "reject" } do
      local b = body.new { max_size = 10, over = over }
      assert.is_true(b:feed "0123456789")
      assert.same({ nil, "body: over max_size 10", over }, { b:feed "x" })
    end
    local b = body.new { max_size = 10, over = "truncate" }
    assert.is_true(b:feed "0123456")
    assert.is_true(b:feed "789ab")
    assert.is_true(b:feed "more")
    b:finish()
    assert.equal("0123456789", b:string())
    assert.is_true(b.is_truncated)
    assert.has_error(function() b:edit() end) -- the rest of the message would be lost
  end)
  it("cannot be read before its end, and refuses unknown options", function()
    assert.has_error(function() body.new():string() end)
    assert.has_error(function() body.new { max_mem = 1 } end)
    assert.has_error(function() body.new { over = "drop" } end)
  end)
end)

describe("parts of a kept body", function()
  it("give the same content as the walker, over the whole corpus", function()
    for _, case in ipairs(generate.all()) do
      local b = stored(case.message, { max_memory = 100 })
      local parts = assert(b:parts())
      local expected = {}
      local function walk(part)
        expected[#expected + 1] = part
        for _, child in ipairs(part.parts) do walk(child) end
      end
      walk(mime.parse(case.message))
      assert.equal(#expected, #parts)
      for i, part in ipairs(parts) do
        assert.equal(expected[i].path, part.path)
        if not part.is_multipart and not part.parts[1] then
          assert.equal(expected[i].content, part:content())
        end
      end
      b:close()
    end
  end)
  it("are readable even inside an encoded message", function()
    local inner = lines("Content-Type: multipart/mixed; boundary=c", "", "--c", "", "one", "--c", "",
      "two", "--c--", "")
    local b = stored(lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "",
      codec.base64_encode(inner, 76), ""))
    local parts = b:parts()
    assert.equal("two", parts[4]:content())
    assert.equal("encoded", select(3, b:edit():remove(parts[4], "x")))
  end)
  it("give their text as UTF-8", function()
    local b = stored(lines("Content-Type: text/plain; charset=iso-8859-15",
      "Content-Transfer-Encoding: quoted-printable", "", "=A4 5"))
    assert.equal("€ 5", b:parts()[1]:text())
  end)
end)

describe("rewriting", function()
  it("without changes gives the same bytes", function()
    for _, case in ipairs(generate.all()) do
      local b, _, text = stored(case.message, { max_memory = 64 })
      assert.equal(text, b:edit():string())
      b:close()
    end
  end)

  it("leaves every other part byte for byte as it was, and the message valid", function()
    for _, case in ipairs(generate.all()) do
      if case.name:find("^tree") or case.name:find("^cut") then
        local b = stored(case.message)
        local count = #b:parts()
        for i = 2, count do
          local parts = b:parts()
          local victim = parts[i]
          local edit = b:edit()
          assert.is_true(edit:remove(victim, "was here: größer\n--b1\n--=_1_(x)"))
          local block, after = header.block(case.message)
          local again = stored(block:bytes() .. "\r\n" .. edit:string())
          assert.is_true(after > 1)
          local now = {}
          for _, part in ipairs(again:parts()) do now[part.path] = part end
          assert.equal("text/plain", now[victim.path].type, case.name .. " " .. victim.path)
          assert.equal("was here: größer\r\n--b1\r\n--=_1_(x)", now[victim.path]:text())
          for _, part in ipairs(parts) do
            local is_inside = part.path:sub(1, #victim.path + 1) == victim.path .. "."
            local is_around = victim.path:sub(1, #part.path) == part.path
            if not is_inside and not is_around then
              local other = assert(now[part.path], case.name .. " lost " .. part.path)
              assert.equal(b:read(part.header_start, part.body_stop - part.header_start),
                again:read(other.header_start, other.body_stop - other.header_start))
            end
          end
        end
        b:close()
      end
    end
  end)

  it("adds a footer to plain text and HTML, in the part's own charset where possible", function()
    local message = lines("Content-Type: multipart/alternative; boundary=b", "", "--b", "X-Keep: me",
      "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", "Grüße", "--b",
      "Content-Type: text/html; charset=iso-8859-1", "Content-Transfer-Encoding: quoted-printable", "",
      "<html><body>Gr=FC=DFe<b>x</b></BODY></html>", "--b--", "")
    local b = stored(message)
    local edit = b:edit()
    assert.equal(2, (edit:footer { text = "— die Fußzeile <1>" }))
    local parts = mime.parse(message:match("^.-\r\n\r\n") .. edit:string()).parts
    assert.equal("Grüße\r\n— die Fußzeile <1>", parts[1].content)
    assert.equal("me", parts[1].headers:field("X-Keep").value)
    assert.equal("<html><body>Gr\252\223e<b>x</b><p>&#8212; die Fu&#223;zeile &lt;1&gt;</p>\r\n</BODY></html>",
      parts[2].content)
    assert.equal("iso-8859-1", parts[2].charset)
  end)

  it("turns a part into UTF-8 when its charset cannot hold the footer, and updates the message's header", function()
    local b, head = stored(lines("Subject: x", "Content-Type: text/plain; charset=iso-8859-1; format=flowed", "",
      "caf\233", ""))
    local edit = b:edit()
    assert.equal(1, (edit:footer { text = "€" }))
    local root = mime.parse(result(edit, head))
    assert.same({ "utf-8", "flowed", "quoted-printable", "café\r\n€" }, { root.charset, root.params.format,
      root.encoding, root.content })
  end)

  it("handles each way a text can be encoded", function()
    for _, encoding in ipairs { "7bit", "base64", "quoted-printable", "x-uuencode" } do
      local content = encoding == "base64" and "aGVsbG8=" or encoding == "x-uuencode"
        and "begin 6 x\r\n%:&5L;&\\\r\nend" or "hello"
      for _, charset in ipairs { "us-ascii", "utf-8", "utf-7", "utf-16" } do
        if charset ~= "utf-16" or encoding == "base64" then
          local text = charset == "utf-16" and codec.base64_encode "\254\255\0h\0e\0l\0l\0o" or content
          local b, head = stored(lines("Content-Type: text/plain; charset=" .. charset, "Content-Transfer-Encoding: "
            .. encoding, "", text))
          local edit = b:edit()
          assert.equal(1, (edit:footer { text = "fü" }))
          local again = stored(result(edit, head))
          assert.equal("hello\r\nfü", again:parts()[1]:text(), encoding .. " " .. charset)
        end
      end
    end
  end)

  -- name -> message, the new body has this; a part "b" of the tree below stands for its own delimiter
  local PHOTO = "Content-Type: image/jpeg\nContent-Disposition: inline; filename=i.jpeg\n\nphoto\n"
  local PDF = "Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n\npdf\n"
  local function text(content) return "Content-Type: text/plain\n\n" .. content .. "\n" end
  local function html(content, fields)
    return "Content-Type: text/html\n" .. (fields or "") .. "\n" .. content .. "\n"
  end
  local function multi(subtype, ...)
    local boundary = subtype:gsub("%W.*", "")
    local out = { "Content-Type: multipart/" .. subtype .. "; boundary=" .. boundary .. "\n\n" }
    for _, part in ipairs { ... } do
      out[#out + 1] = "--" .. boundary .. "\n" .. part
    end
    out[#out + 1] = "--" .. boundary .. "--\n"
    return table.concat(out)
  end
  local SIGNATURE = "Content-Type: application/pgp-signature\n\ny\n"
  local forwarded = "Content-Type: message/rfc822\n\n" .. text "forwarded"

  it("puts a footer after the last displayed text, wherever that is", function()
    local cases = {
      { text "one", "one\nF" },
      { multi("mixed", PHOTO, text "phone"), "phone\nF" },
      { multi("mixed", text "one", PDF, text "two", PHOTO), "two\nF" },
      { multi("mixed", text "one", "Content-Type: text/plain; name=a.txt\n\nfile\n"), "one\nF" },
      { multi("mixed", text "one", "Content-Type: text/plain\nContent-Disposition: attachment\n\nfile\n"), "one\nF" },
      { multi("mixed", text "one", forwarded), "one\nF" },
      { multi("alternative", text "one", html "<p>two"), "one\nF", "<p>two\n<p>F</p>" },
      { multi("mixed", multi("alternative", text "one", multi("related", html "<p>two", PHOTO)), PDF), "one\nF",
        "<p>two\n<p>F</p>" },
      { multi("alternative", text "one", multi("mixed", html "<p>two", PDF, html "<p>three")), "one\nF",
        "<p>three\n<p>F</p>" },
      { multi("mixed", multi("alternative", text "one", html "<p>two"), text "list"), "list\nF" },
      { multi("related; start=\"<r@x>\"", PHOTO, html("<p>r", "Content-ID: <r@x>\n")), "<p>r\n<p>F</p>" },
      { multi("related; start=\"r@x\"", html "no", html("<p>r", "Content-ID: <r@x>\n")), "<p>r\n<p>F</p>" },
      { multi("related; start=\"<none@x>\"", html "<p>r", PHOTO), "<p>r\n<p>F</p>" },
      { multi("report", text "failed", "Content-Type: message/delivery-status\n\nStatus: 5\n"), "failed\nF" },
      { multi("x-unheard-of", PHOTO, text "one"), "one\nF" },
      { multi("mixed", multi("signed", text "one", SIGNATURE), text "list"), "list\nF" },
      { html "<body>x<!-- </body> --></body><script>'</body>'</script>", "<!-- </body> --><p>F</p>\n</body>" },
    }
    for i, case in ipairs(cases) do
      local message = case[1]:gsub("\n", "\r\n")
      local edit = (stored(message)):edit()
      local changed, why = edit:footer { text = "F" }
      local new = edit:string()
      assert.same({ #case - 1, nil }, { changed, why }, i)
      for at = 2, #case do
        assert.is_truthy(new:find((case[at]:gsub("\n", "\r\n")), 1, true), i .. ": " .. new)
      end
    end
  end)

  it("says why a footer changed nothing", function()
    local cases = {
      { "sealed", multi("signed", text "one", SIGNATURE) },
      { "sealed", multi("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1\n", PDF) },
      { "sealed", "Content-Type: application/pkcs7-mime; name=smime.p7m\n\nx\n" },
      { "sealed", multi("mixed", text "one", multi("signed", text "two", SIGNATURE)) },
      { "no-text", PHOTO }, { "no-text", forwarded }, { "no-text", multi("mixed", PHOTO, PDF) },
      { "no-text", "Content-Type: text/calendar\n\nx\n" }, { "no-text", multi "mixed" },
      { "encoding", "Content-Type: text/plain\nContent-Transfer-Encoding: x-odd\n\nx\n" },
      { "charset", "Content-Type: text/plain; charset=x-odd\n\nx\n" },
      { "charset", "Content-Type: text/plain; charset=iso-2022-jp\n\n\27$B\255\255\27(B\n" },
      { "charset", "Content-Type: text/plain; charset=utf-16le\n\na\0\0\216b\n" },
      { "charset", "Content-Type: text/html; charset=utf-7\n\n+2AA-\n" },
    }
    for i, case in ipairs(cases) do
      local edit = (stored((case[2]:gsub("\n", "\r\n")))):edit()
      local changed, why, code = edit:footer { text = "ü" }
      assert.same({ 0, case[1] }, { changed, code }, i)
      assert.is_string(why)
      assert.same({}, edit.changes)
    end
  end)

  it("never changes a signed part, and says why", function()
    local b = stored(lines("Content-Type: multipart/signed; boundary=b", "", "--b", "", "x", "--b",
      "Content-Type: application/pgp-signature", "", "y", "--b--", ""))
    local edit = b:edit()
    assert.equal(0, (edit:footer { text = "f" }))
    assert.equal("sealed", select(3, edit:append(b:parts()[2], "f")))
  end)

  it("refuses text that would end the part, and nested changes", function()
    local b = stored(lines("Content-Type: multipart/mixed; boundary=b", "", "--b",
      "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--", "--b--", ""))
    local parts, edit = b:parts(), b:edit()
    assert.equal("boundary", select(3, edit:append(parts[3], "a\n--b--\nb")))
    assert.is_true(edit:remove(parts[2], "gone"))
    assert.equal("changed", select(3, edit:append(parts[3], "x")))
  end)

  it("replaces the whole message when the message is the attachment", function()
    local b, head = stored(lines("Subject: x", "Content-Type: application/x; name=a.exe",
      "Content-Disposition: attachment", "Content-Transfer-Encoding: base64", "", "TVqQAA==", ""))
    local edit = b:edit()
    assert.is_true(edit:remove(b:parts()[1], "entfernt: größer"))
    local root = mime.parse(result(edit, head))
    assert.same({ "text/plain", "entfernt: größer" }, { root.type, root.content })
    assert.is_nil(root.filename)
    assert.is_nil(root.headers:field "Content-Disposition")
  end)
end)
