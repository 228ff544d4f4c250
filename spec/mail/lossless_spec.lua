--- No edit writes U+FFFD into mail in place of what was there.
local body = require "moonmilter.body"
local charset = require "moonmilter.charset"
local codec = require "moonmilter.codec"
local header = require "moonmilter.header"
local expected = dofile "spec/mail/whatwg/digests.lua"

local function with_footer(label, text, footer)
  local message = ("Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s"):format(label, text)
  local block, at = header.block(message)
  local kept = body.new { headers = block }
  kept:feed(message:sub(at))
  kept:finish()
  local edit = kept:edit()
  local changed, _, code = edit:footer { text = footer }
  return changed, code, edit:string()
end

local function decoded(text)
  return (codec.qp_decode(text))
end

describe("a footer in another charset", function()
  it("is refused with its reason when the text would lose a character", function()
    local changed, code, text = with_footer("iso-2022-jp", "\27$B\"/\27(B item\r\n", "Example Ltd")
    assert.same({ 0, "charset" }, { changed, code })
    assert.equal("\27$B\"/\27(B item\r\n", text)
  end)
  it("keeps every character of iso-2022-jp as mail has it", function()
    local changed, _, text = with_footer("iso-2022-jp", "\27$B-!-j3t<02q<R\27(B item\r\n", "Example Ltd")
    assert.same({ 1, "①㈱株式会社 item\r\nExample Ltd" }, { changed, decoded(text) })
  end)
  it("keeps the last letter of windows-1258", function()
    local _, _, text = with_footer("windows-1258", "Xin chao", "ü")
    assert.equal("Xin chao\r\nü", decoded(text))
  end)

  it("loses nothing in any charset, whatever the bytes", function()
    math.randomseed(3)
    local refused, done = 0, 0
    for _, list in pairs(expected.labels) do
      local label = list:match "%S+"
      for _ = 1, 30 do
        local bytes = {}
        for i = 1, math.random(1, 12) do
          bytes[i] = string.char(math.random(33, 255))
        end
        local text = table.concat(bytes)
        local changed, code, new = with_footer(label, text, "ü")
        local is_kept_as_it_is = charset.name(label) == "UTF-8" or not charset.name(label)
        local shown = decoded(new)
        assert.is_true(is_kept_as_it_is or not shown:find("\239\191\189", 1, true), label)
        if changed == 0 then
          assert.same({ "charset", text }, { code, new }, label)
          refused = refused + 1
        else
          done = done + 1
        end
      end
    end
    assert.is_true(refused > 100 and done > 300, ("%d refused, %d done"):format(refused, done))
  end)
  it("finds a converter by the name of each converter", function()
    for _, list in pairs(expected.labels) do
      for label in list:gmatch "%S+" do
        local name = charset.name(label)
        assert.equal(name, charset.name(name))
      end
    end
  end)
end)
