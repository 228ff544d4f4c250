--- Where a footer goes in HTML: after everything that a reader displays, and where it is displayed itself. Judged by
--- html5lib, which parses as browsers do.
local html_end = require "moonmilter.mail.html_end"

local IS_SLOW = os.getenv "SLOW" ~= nil

-- The text in pieces of some bytes.
local function pieces_of(text, size)
  local at = 1
  return function()
    local piece = text:sub(at, at + size - 1)
    at = at + size
    return piece ~= "" and piece or nil
  end
end

local function with_mark(text, size)
  local offset = html_end.find(pieces_of(text, size or #text + 1)) or #text
  return text:sub(1, offset) .. "|" .. text:sub(offset + 1)
end

describe("the end of a HTML text", function()
  local cases = {
    ["<html><body>x</body></html>"] = "<html><body>x|</body></html>",
    ["<HTML><BODY>x</BODY\n></HTML>"] = "<HTML><BODY>x|</BODY\n></HTML>",
    ["x"] = "x|",
    ["x</html>\n"] = "x|</html>\n",
    ["<body>x</body><!-- </body> --></html>"] = "<body>x|</body><!-- </body> --></html>",
    ["<body>x<!-- </body> -->"] = "<body>x<!-- </body> -->|",
    ["<body>x<!-- </body> never closed"] = "<body>x|<!-- </body> never closed",
    ["<body>x</body></html><!-- never closed"] = "<body>x|</body></html><!-- never closed",
    ["x<!--> y</body>"] = "x<!--> y|</body>",
    ["x<!-- </body> --!> y</body>"] = "x<!-- </body> --!> y|</body>",
    ["<!--[if mso]></body></html><![endif]-->x</body>"] = "<!--[if mso]></body></html><![endif]-->x|</body>",
    ["x<script>'</body>'</script>"] = "x<script>'</body>'</script>|",
    ["x</body><script>'</body>'</script>"] = "x|</body><script>'</body>'</script>",
    ["x<script><!-- <script></script></body>--></script>"] = "x<script><!-- <script></script></body>--></script>|",
    ["x<script>'</scripty></body>'</script>"] = "x<script>'</scripty></body>'</script>|",
    ["x<style>/* </body> */</style>"] = "x<style>/* </body> */</style>|",
    ["x<style>never closed </body>"] = "x|<style>never closed </body>",
    ["x<template></body></template>"] = "x<template></body></template>|",
    ["x<![CDATA[ </body> ]]>"] = "x<![CDATA[ </body> ]]>|",
    ["x<svg><![CDATA[ </body>"] = "x<svg>|<![CDATA[ </body>",
    ["x</body><![CDATA[ y ]]>"] = "x|</body><![CDATA[ y ]]>",
    ["<p title='</body>'>x</p>"] = "<p title='</body>'>x</p>|",
    ["<p title=\"</body>\">x</p></body>"] = "<p title=\"</body>\">x</p>|</body>",
    ["<p a'>x</body>'"] = "<p a'>x</body>'|",
    ["x<p title=\"never closed </body>"] = "x|<p title=\"never closed </body>",
    ["x</body>y"] = "x</body>y|",
    ["x</body></html>\n<html><body>y</body></html>"] = "x</body></html>\n<html><body>y|</body></html>",
    ["x</bodys></body >"] = "x</bodys>|</body >",
    ["x</ body>"] = "x</ body>|",
    ["x<?php </body> ?>"] = "x<?php </body> ?>|",
    ["x < y</body>"] = "x < y|</body>",
    [""] = "|",
    ["x<"] = "x|<",
    ["x</"] = "x|</",
  }
  for text, want in pairs(cases) do
    it(("of %q"):format(text), function()
      for size = 1, #text + 1 do
        assert.equal(want, with_mark(text, size))
      end
    end)
  end

  local words = {
    "one ", "two", " ", "\n", "<b>", "</b>", "<p>", "<div title=\"</body>\">", "<a b='</body>' c=</body>", "<body>",
    "</body>", "</BODY >", "</html>", "<!-- </body> -->", "<!--", "-->", "--!>", "<!-->", "<!--->", "--", "-",
    "<script>", "<script src='</body>'>", "</script>", "</script ", "<style>", "</style>", "<title>", "</title>",
    "<textarea>", "</textarea>", "<xmp>", "</xmp>", "<!x", "<?x", "</", "</1", "<", ">", "\"", "'", "=", " a=", "/",
    "<br/>", "<img src=x>",
    "<![CDATA[ </body> ]]>",
  }

  it("is after everything displayed, and displayed, as html5lib sees it", function()
    local seed = 20
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    local input, texts = os.tmpname(), {}
    local file = assert(io.open(input, "wb"))
    for _ = 1, IS_SLOW and 40000 or 3000 do
      local made = {}
      for i = 1, random(14) do
        made[i] = words[random(#words)]
      end
      local text = table.concat(made):gsub("[</]+$", "") -- is displayed, but cannot have anything behind it
      local offset = html_end.find(pieces_of(text, random(#text))) or #text
      text = text:sub(1, offset) .. "<p>FOOTER</p>" .. text:sub(offset + 1)
      texts[#texts + 1] = text
      file:write((text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)), "\n")
    end
    file:close()
    local pipe = assert(io.popen("/usr/bin/python3 spec/mail/html_end.py < " .. input))
    local wrong, read = {}, 0
    for line in pipe:lines() do
      read = read + 1
      if line ~= "FOOTER" then
        wrong[#wrong + 1] = ("%q shows %q last"):format(texts[read], line)
      end
    end
    pipe:close()
    os.remove(input)
    assert.same({}, wrong)
    assert.equal(#texts, read)
  end)
end)
