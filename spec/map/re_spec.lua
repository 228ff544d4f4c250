--- moonmilter.re inside the host: bounded searches, groups, replacements, sets.
local fake_mta = require "spec.support.fake_mta"

local HEAD = [[
  local re = require "moonmilter.re"
  local function show(...)
    local out = {}
    for i = 1, select("#", ...) do
      local v = select(i, ...)
      if type(v) == "table" then
        local keys = {}
        for k in pairs(v) do keys[#keys + 1] = tostring(k) .. "=" .. tostring(v[k]) end
        table.sort(keys)
        v = "{" .. table.concat(keys, " ") .. "}"
      end
      out[i] = tostring(v)
    end
    return table.concat(out, " ")
  end
]]

describe("moonmilter.re", function()
  local host

  setup(function()
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" } })
  end)

  teardown(function()
    host:close()
  end)

  local function answer(body)
    host:write("10-ask.lua", HEAD .. "function on_mail(ctx) local said = (function() " .. body
      .. " end)() return ctx:reject((said:gsub('[^ -~]', '?'))) end")
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:begin()
    local reply = mta:mail()
    mta:close()
    assert.truthy(reply.text and not reply.text:find "^451", host:log())
    return (reply.text:gsub("^550 5.7.1 ", ""))
  end

  local function check(expected, body)
    assert.equal(expected, answer(body))
  end

  it("finds where a match is, and what its groups have", function()
    check("5 7", [[return show(re.new("a+"):find "bbb aaab")]])
    check("nil", [[return show(re.new("x"):find "abc")]])
    check("{0=inv 4711 1=4711 2=false number=4711}",
      "return show(re.new([=[inv (?<number>\\d+)(x)?]=]):match 'an inv 4711')")
    check("nil", [[return show(re.new("x"):match "abc")]])
    check("4 3 7 8", [[return show(re.new("x*"):find("abc", 4)) .. " " .. show(re.new("b."):find("ab abc" .. "bd", -2))]])
    check("nil nil", [[return show(re.new("a"):find("a", 2)) .. " " .. show(re.new("a"):find("a", 100))]])
  end)

  it("has options for case, lines, dots, blanks and characters", function()
    check("1 2 nil", [[return show(re.new("AB", { ignore_case = true }):find "ab") .. " " .. show(re.new("AB"):find "ab")]])
    check("3 3", [[return show(re.new("^b$", { multiline = true }):find "a\nb\nc")]])
    check("1 3", [[return show(re.new("a.b", { dotall = true }):find "a\nb")]])
    check("1 2", [[return show(re.new("a b # text", { extended = true }):find "ab")]])
    check("1 2 1 1", [[return show(re.new("^.", { utf = true }):find "\195\188x") .. " " .. show(re.new("^."):find "\195\188x")]])
    check("2 3", [[return show(re.new("\\w", { utf = true }):find "\255\195\188")]])
  end)

  it("iterates over all matches, also empty ones", function()
    check("a1 b22", [[local out = {} for m in re.new("(\\w)(\\d+)"):gmatch "a1, b22" do out[#out + 1] = m[0] end
      return table.concat(out, " ")]])
    check("-a-b-", [[return (re.new("x*"):replace("ab", "-"))]])
    check("3", [[local n = 0 for _ in re.new("$|^|b"):gmatch "abc" do n = n + 1 end return show(n)]])
  end)

  it("replaces by groups and by functions", function()
    check("b=a 1", [[return show(re.new("(?<k>\\w)=(\\w)"):replace("a=b", "$2=${k}"))]])
    check("$1 x", [[return (re.new("a"):replace("a x", "$$1"))]])
    check("<a>b<a> 2", [[return show(re.new("a"):replace("aba", function(m) return "<" .. m[0] .. ">" end))]])
    check("aba 2", [[return show(re.new("a"):replace("aba", function() end))]])
    check("xba 1", [[return show(re.new("a"):replace("aba", "x", 1))]])
  end)

  -- 20 patterns of public reports, each with a text that holds up an engine without limits, and what is known of it.
  it("ends every search, however bad the pattern and the text", function()
    local said = answer(([[
      local corpus = {
        { "(a+)+$", "a" }, { "([a-zA-Z]+)*$", "a" }, { "(a|aa)+$", "a" }, { "(a|a?)+$", "a" }, { "(.*a){20}$", "a" },
        { "^(([a-z])+.)+[A-Z]([a-z])+$", "a" }, { "(x+x+)+[yz]", "x" }, { "a*a*a*a*a*[bc]", "a" }, { "(a*)\\1[bc]", "a" },
        { "\\s+$", " " }, { "(a*)*[bc]", "a" }, { "^(a+)*$", "a" }, { "(.*)*=.*!!", "a" }, { "(?=(a+)+$)x", "a" },
        { "(\\w+\\s?)*$", "a" }, { "(a+?)+?$", "a" }, { "((a+)(b+)?)+$", "a" }, { "(?:.*,){11}[PQ]", "," },
        { "(?:a?){25}a{25}[bc]", "a" }, { "^(?:(?:[a-z0-9]+[-._]?)*)@", "a" }, { "(?R)?a+[bc]|(a|b(?1))+[xy]", "a" },
      }
      local began, slowest, limits = os.clock(), 0, 0
      for _, row in ipairs(corpus) do
        for _, size in ipairs { 30, 3000, 300000 } do
          for _, run in ipairs { 1e9, 18 } do
            local text = row[2]:rep(size) .. "!"
            text = run < size and (row[2]:rep(run) .. "!"):rep(size / run) or text
            local at = re_cpu()
            local first, why, code = re.new(row[1]):find(text)
            slowest = math.max(slowest, re_cpu() - at)
            if first == nil and code ~= nil then
              limits = limits + 1
              if code ~= "limit" then return row[1] .. " " .. code end
            elseif first and (first < 1 or why > #text) then
              return row[1] .. " out of the text"
            end
          end
        end
      end
      return ("%d %s"):format(limits, slowest < 2 and "bounded" or slowest)
    ]]):gsub("re_cpu", "require('moonmilter.core').re.cpu"))
    local limits, rest = said:match "^(%d+) (.*)$"
    assert.equal("bounded", rest or said)
    assert.is_true(tonumber(limits) >= 20, said)
  end)

  it("says that a limit was hit, in every way to search", function()
    check("nil limit nil limit nil limit false limit true", [[
      local bad, text = re.new("(a+)+$"), ("a"):rep(40) .. "!"
      local _, _, a = bad:find(text)
      local _, _, b = bad:match(text)
      local _, _, c = bad:replace(text, "")
      local ok, why = pcall(function() for _ in bad:gmatch(text) do end end)
      local found, failures = re.set({ bad = "(a+)+$", good = "a!" }, { extended = true }):match(text)
      return ("nil %s nil %s nil %s %s %s %s"):format(a, b, c, tostring(ok), failures.bad.code, tostring(found.good))
    ]])
    check("limit nil", [[
      local text = ("a"):rep(60) .. "b"
      local _, _, code = re.new("(a*)*c|z", { steps = 10 }):find(text)
      local _, _, other = re.new("a*b"):find(text)
      return show(code, other)]])
  end)

  it("raises at the caller's line when an expression or an option is wrong", function()
    for code, words in pairs {
      ['re.new "a("'] = 're.new: "a(": missing closing parenthesis at byte 3',
      ['re.new(("a"):rep(70000))'] = "longer than 65536 bytes",
      ['re.new "\\\\Ga"'] = "\\G is not supported",
      ['re.new(("(a)"):rep(100))'] = "has 100 groups",
      ['re.new(5)'] = "re.new: expected a string, got a number",
      ['re.new("a", { ignorecase = true })'] = "unknown option",
      ['re.new("a", { steps = 0 })'] = "steps is 0",
      ['re.new("a", { seconds = 100 })'] = "seconds is 100",
      ['re.new("a"):find(nil)'] = "find: expected a string, got a nil",
      ['re.new("a"):replace("a", "$1")'] = "names no group",
      ['re.new("a"):replace("a", 5)'] = "expected a string or a function",
      ['re.set { x = "a(" }'] = 're.set: x: "a(": missing closing parenthesis',
      ['re.set { x = 5 }'] = "re.set: x is a number",
      ['re.set "a"'] = "expressions are a table",
    } do
      local said = answer(("local _, why = pcall(function()\n%s\nend) return why"):format(code))
      assert.truthy(said:find(words, 1, true), code .. ": " .. said)
      assert.truthy(said:find("10-ask.lua:17: ", 1, true), code .. ": " .. said)
    end
  end)

  it("matches many patterns at once, the same as each of them alone", function()
    check("true", [[
      math.randomseed(17)
      local random, atoms = math.random, { "a", "b", "c", ".", "[ab]", "[^a]", "\\w", "\\b", "^", "$", "(?:ab|c)", "(?=b)", "(a)\\1",
        "\\d", " ", "(?i:B)", "\n" }
      local counts, texts = { "", "", "", "*", "+", "?", "{2}", "+?" }, {}
      for i = 1, 300 do
        local chars = {}
        for j = 1, random(0, i % 10 == 0 and 200 or 20) do chars[j] = ({ "a", "b", "c", "A", "1", " ", "\n", "\195\188", "\255" })[random(9)] end
        texts[i] = table.concat(chars)
      end
      for _, options in ipairs { {}, { ignore_case = true }, { multiline = true, dotall = true }, { utf = true } } do
        local expressions, alone = {}, {}
        for i = 1, 150 do
          local parts = {}
          for j = 1, random(1, 5) do
            local atom = atoms[random(#atoms)]
            parts[j] = atom .. (atom:find "^[%^$]$" and "" or atom == "\\b" and "" or atom == "(?=b)" and "" or counts[random(#counts)])
          end
          expressions[i] = table.concat(parts)
          alone[i] = re.new(expressions[i], options)
        end
        local set = re.set(expressions, options)
        for _, text in ipairs(texts) do
          local found, failures = set:match(text)
          for i = 1, 150 do
            if failures[i] or (found[i] or false) ~= (alone[i]:find(text) ~= nil) then
              return ("%q on %q: the set says %s"):format(expressions[i], text, tostring(found[i]))
            end
          end
        end
      end
      return "true"
    ]])
  end)
end)
