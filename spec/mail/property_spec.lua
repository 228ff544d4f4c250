local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local codec = require "moonmilter.codec"
local encoded_word = require "moonmilter.encoded_word"
local header = require "moonmilter.header"

-- Laws that hold for every input, tried on many random ones. The seed is fixed: a failure is repeatable.
local function texts(alphabet, longest)
  return function()
    local out = {}
    for i = 1, math.random(0, longest) do
      out[i] = alphabet[math.random(#alphabet)]
    end
    return table.concat(out)
  end
end

local any_text = texts({ "a", "B", "z ", " ", "  ", "\t", "é", "日", "=?", "?=", "=", "_", "\"", "\\", "(", ")", ",",
  ";", ":", "@", "<", ">", ".", "1" }, 14)
local name_text = texts({ "a", "B", " ", "é", "日", "=?", "\"", "\\", "(", ")", ",", ";", ":", "@", "<", ">", ".", "[" },
  10)

-- One encoding of a text, cut into words at any byte, as careless senders do: inside a base64 group, a Q triplet, a
-- character. `raw` characters stay as they are in Q.
local function careless_words(text, raw)
  local encoding, rest = "B", codec.base64_encode(text)
  if math.random(2) == 1 then
    encoding = "q"
    rest = text:gsub("[^%w" .. raw .. "]", function(c) return ("=%02X"):format(c:byte()) end)
  end
  local words = {}
  while rest ~= "" do
    local size = math.random(#rest)
    words[#words + 1] = "=?UTF-8?" .. encoding .. "?" .. rest:sub(1, size) .. "?="
    rest = rest:sub(size + 1)
  end
  return table.concat(words, math.random(2) == 1 and " " or "\n ")
end

-- A text in pieces of 1 to 9 bytes, as RFC 2231 continues a parameter, which other senders use for encoded words.
local function continued(name, text)
  local pieces = {}
  while text ~= "" do
    local size = math.random(9)
    pieces[#pieces + 1] = ('; %s*%d="%s"'):format(name, #pieces, text:sub(1, size))
    text = text:sub(size + 1)
  end
  return table.concat(pieces)
end

describe("for every text", function()
  before_each(function() math.randomseed(42) end)

  it("decoding undoes encoding", function()
    for _ = 1, 20000 do
      local text = any_text()
      assert.equal(text, encoded_word.decode(encoded_word.encode(text)))
      assert.equal(text, header.decode(header.encode(text, "X-Long-Name")))
    end
  end)

  it("words cut anywhere give the text, wherever they stand", function()
    local words = texts({ "a", "B", " ", "é", "日", "😀", ",", ";", "(", ")", "\"", "<", "=", "?", "5" }, 12)
    for _ = 1, 3000 do
      local text = "x" .. words() .. "x"
      assert.equal(text, header.decode(careless_words(text, "")))
      assert.equal(text, header.decode(careless_words(text, " ,;()\"<")))
      local one_line = careless_words(text, " ,"):gsub("\n", "")
      assert.equal(text, header.params('a; b="' .. one_line .. '"; c=d').params.b)
      assert.equal(text, header.params("a" .. continued("b", one_line) .. "; c=d").params.b)
      for shape, raw in pairs { ["%s <j@x.example>"] = " ,()\"<", ['"%s" <j@x.example>'] = " ,",
        ["j@x.example (%s)"] = "",
        ["%s: j@x.example;"] = " ,()\"", ["a@x.example, %s <j@x.example>, b@x.example"] = " ,;()\"<" } do
        local value = shape:gsub("%%s", function() return careless_words(text, raw) end)
        local list = address.mailboxes(value)
        assert.same({}, list.errors, value)
        local mailbox = list[2] or list[1]
        assert.same({ text, "j@x.example" }, { mailbox.group or mailbox.name, mailbox.address }, value)
      end
    end
  end)

  it("unfolding undoes folding, and folding leaves no blank line", function()
    local words = texts({ "a", "bb", " ", "  ", "\t", ("c"):rep(30), ("d"):rep(80) }, 30)
    for _ = 1, 20000 do
      local text = words()
      local folded = header.fold("Subject", text)
      assert.equal(text, header.unfold(folded))
      assert.is_nil(("\n" .. folded .. "\n"):find("\n[ \t]+\n.") and folded:find("\n[ \t]*\n"))
    end
  end)

  it("an address is read back as it was written, in both modes", function()
    local local_text = texts({ "a", "b", ".", " ", "é", "\"", "\\", "@", ",", "<", "(" }, 8)
    for _ = 1, 20000 do
      local mailbox = { name = name_text():gsub("^ +", ""):gsub(" +$", ""):gsub("  +", " "),
        local_part = local_text(), domain = "x.example" }
      if mailbox.local_part ~= "" then
        local written = address.format(mailbox)
        for _, mode in ipairs { "lenient", "strict" } do
          local again, why = address.parse(written, { mode = mode })
          assert.is_table(again, written .. ": " .. tostring(why))
          assert.same({ mailbox.name, mailbox.local_part, mailbox.domain },
            { again.name or "", again.local_part, again.domain }, written)
        end
      end
    end
  end)

  it("the shortcut for plain paths gives the parser's result", function()
    local part = texts({ "a", "b", ".", "-", "+", "_", "1", "=" }, 7)
    for _ = 1, 20000 do
      local text = part() .. "@" .. part()
      for _, mode in ipairs { "lenient", "strict" } do
        local plain, slow = address.path(text, { mode = mode }),
          address.path("<@r.example:" .. text .. ">", { mode = mode })
        assert.equal(plain ~= nil, slow ~= nil, text)
        if plain then
          slow.route = nil
          assert.same(plain, slow)
          assert.same(plain, address.path("<" .. text .. ">", { mode = mode }))
        end
      end
    end
  end)

  it("folding does not change an address list", function()
    for _ = 1, 3000 do
      local list = {}
      for i = 1, math.random(1, 6) do
        list[i] = { name = name_text():gsub("^ +", ""):gsub(" +$", ""):gsub("  +", " "), local_part = "u" .. i,
          domain = "x.example" }
      end
      local again = address.mailboxes((header.fold("To", address.format_list(list))))
      assert.equal(#list, #again)
      for i, m in ipairs(again) do
        assert.same({ list[i].name, list[i].local_part }, { m.name or "", m.local_part })
      end
    end
  end)

  it("a mark too many costs no other mailbox of a list", function()
    local shapes = { "%s", "Ann <%s>", '"Doe, J" <%s>', '"j (x" <%s>', "=?utf-8?q?J=C3=B6rg, X?= <%s>", "%s (Bob)",
      "(c) <%s>", '"q \\" r" <%s>', "Ann Maria <%s> (x (y))", "[x] A. B <%s>" }
    local marks = { '"', "(", "[", ")", "]", "<", ">", "\\" }
    for _ = 1, 20000 do
      local elements, wanted, broken = {}, {}, math.random(4)
      for i = 1, 4 do
        elements[i] = shapes[math.random(#shapes)]:format(("u%d@x.example"):format(i))
        wanted[i] = i ~= broken and ("u%d@x.example"):format(i) or nil
      end
      local at = math.random(0, #elements[broken])
      elements[broken] = elements[broken]:sub(1, at) .. marks[math.random(#marks)] .. elements[broken]:sub(at + 1)
      local text, read = table.concat(elements, ", "), {}
      for _, m in ipairs(address.mailboxes(text)) do
        read[m.address] = true
      end
      for i = 1, 4 do
        assert.is_true(i == broken or read[wanted[i]], text)
      end
      assert.is_nil((address.parse(text)))
    end
  end)

  it("parameters are read back as they were written", function()
    for _ = 1, 10000 do
      local params = { a = any_text(), filename = any_text() .. any_text() .. any_text() }
      assert.same(params, header.params(header.format_params { value = "attachment", params = params }).params)
    end
  end)

  it("results are read back as they were written", function()
    local value = texts({ "a", "b.c", " ", "=", ";", "\"", "\\", "@", "(", ")", "/", "+" }, 6)
    for _ = 1, 5000 do
      local t = { authserv_id = "mx.example", version = 1, results = {} }
      for i = 1, math.random(0, 3) do
        t.results[i] = { method = "m" .. i, result = "pass", reason = math.random(2) == 1 and value() or nil,
          properties = { { type = "smtp", property = "p", value = value() } } }
      end
      local again = assert(authres.parse((header.fold("Authentication-Results", authres.format(t)))))
      again.raw = nil
      assert.same(t, again)
    end
  end)

  it("an id is recognised however it is spelled, and another one is not", function()
    local function each_byte(text, spell, one_in)
      return (text:gsub("[%w.]", function(c) return math.random(one_in) == 1 and spell(c) or c end))
    end
    -- what changes the id, then what stands around it: steps of a list follow its order
    local inner = {
      function(id) return each_byte(id, string.upper, 2) end,
      function(id) return id .. "." end,
      function(id) return each_byte(id, function(c) return c .. "\226\128\139" end, 5) end,
      function(id) return each_byte(id, function(c) return ("%%%02x"):format(c:byte()) end, 3) end,
    }
    local spelled = {
      function(id) return '"' .. id .. '"' end,
      function(id) return '"' .. each_byte(id, function(c) return "\\" .. c end, 3) .. '"' end,
      function(id) return careless_words(id, ".%%") end,
      function(id) return id end,
    }
    local outer = {
      function(id) return "(c (d) \\) e)" .. id end, function(id) return "\n\t " .. id end,
      function(id) return "i=1; " .. id end, function(id) return ";" .. id end, function(id) return id .. " 1" end,
    }
    local ends = { "; spf=pass smtp.mailfrom=a.example", " ;none", "", "(f); none", "\n ; none" }
    for _ = 1, 5000 do
      for id, is_ours in pairs { ["mx.example"] = true, ["other.example"] = false, ["a.mx.example"] = false } do
        local value = id
        for _, step in ipairs(inner) do
          value = math.random(4) == 1 and step(value) or value
        end
        value = spelled[math.random(#spelled)](value)
        if math.random(2) == 1 then
          value = outer[math.random(#outer)](value)
        end
        value = value .. ends[math.random(#ends)]
        assert.equal(is_ours, authres.claims(value, "mx.example"), value)
      end
    end
  end)
end)
