--- Tables of regular expressions, regexp: and pcre:, through the C of the host. That they answer as Postfix does is in
-- postmap_spec.lua; here is what we refuse, and the limits.
local tables = require "spec.support.tables"

describe("tables of regular expressions", function()
  local path

  setup(function()
    path = os.tmpname()
  end)

  teardown(function()
    os.remove(path)
  end)

  local function open(kind, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    return tables.open(kind, path)
  end

  local function answers(kind, text, expected)
    local t = assert(open(kind, text))
    for key, value in pairs(expected) do
      assert.same({ key, value }, { key, t:get(key) or false })
    end
    t:close()
  end

  local function refuses(kind, text, because)
    local t, why = open(kind, text)
    assert.is_nil(t)
    assert.equal(because, why)
  end

  for _, kind in ipairs { "regexp", "pcre" } do
    describe(kind, function()
      it("gives the result of the first rule that matches, with its groups", function()
        answers(kind, "/^(.)(.*)@b$/ ${2}-$1 $(2)$$\n/c/ second\n", {
          ["xyz@b"] = "yz-x yz$", abC = "second", x = false, ["@b"] = false,
        })
      end)

      it("negates, and has rules inside of if, one inside another", function()
        answers(kind, "if /^a/\nif !/z$/\n!/b/ no b\nendif\n/./ a\nendif\nIF !/^a/\n!!/c/ c\nENDIF\n", {
          abz = "a", ax = "no b", axb = "a", c = "c", d = false,
        })
      end)

      it("leaves empty what a group has not matched", function()
        answers(kind, "/a(b)?c/ <$1>\n", { ac = "<>", abc = "<b>" })
      end)

      it("takes a key with a byte 0 as it is", function()
        answers(kind, "/^a[^x]b$/ there\n/^a$/ cut\n", { ["a\0b"] = "there", ["a\0c"] = false })
      end)

      it("counts its rules", function()
        local t = assert(open(kind, "# none\n/a/ b\nif /c/\n/d/ e\nendif\n"))
        assert.equal(2, t:count())
        t:close()
      end)

      it("refuses a table with a wrong rule, and says which line", function()
        refuses(kind, "/a/ b\n\nif /c/\n/d/ e\n", "line 3: an if without an endif")
        refuses(kind, "/a/ b\nendif\n", "line 2: an endif without an if")
        refuses(kind, "if /a/ b\nendif\n", "line 1: text after the expression of an if; begin the rules inside it "
          .. "without blanks, because blanks continue a line")
        refuses(kind, "/a/ b\na b\n", "line 2: neither /expression/ result nor if nor endif")
        refuses(kind, "/a b", 'line 1: the expression has no "/" at its end')
        refuses(kind, "!", "line 1: there is no expression; write /expression/ result")
        refuses(kind, "/(a)/ $2", "line 1: the result has $2, but the expression has 1 groups")
        refuses(kind, "!/(a)/ $1", 'line 1: a result with $1 needs an expression that matches, not one after "!"')
        for _, result in ipairs { "$", "$x", "${1", "$0", "a$-", "${}" } do
          refuses(kind, "/(a)/ " .. result, 'line 1: a "$" in the result is followed by no number of a group; '
            .. "write $1, ${1} or, for the character, $$")
        end
      end)

      it("refuses what is not there", function()
        local t, why = tables.open(kind, "/nowhere/at/all")
        assert.is_nil(t)
        assert.equal("No such file or directory", why)
        assert.same({ nil, "it is not a file" }, { tables.open(kind, "/") })
      end)

      -- The patterns of re_spec.lua, as far as the kind takes them, for texts that hold up an engine without limits.
      it("ends every search, however bad the pattern and the text", function()
        local limits, asked = 0, 0
        for _, row in ipairs { { "(a+)+$", "a" }, { "([a-zA-Z]+)*$", "a" }, { "(a|aa)+$", "a" }, { "(a|a?)+$", "a" },
          { "(.*a){20}$", "a" }, { "^(([a-z])+.)+[A-Z]([a-z])+$", "a" }, { "(x+x+)+[yz]", "x" },
          { "a*a*a*a*a*[bc]", "a" }, { "\\s+$", " " }, { "(a*)*[bc]", "a" }, { "^(a+)*$", "a" }, { "(.*)*=.*!!", "a" },
          { "(\\w+\\s?)*$", "a" }, { "((a+)(b+)?)+$", "a" }, { "(.*,){11}[PQ]", "," }, { "(a?){20}a{20}[bc]", "a" },
          { "^(([a-z0-9]+[-._]?)*)@", "a" }, { "(a|b)*a(a|b){18}c", "ab" }, { "[a-z]*a[a-z]{900}1", "a" },
          { "(a|b|ab)*(bc|c)*$", "ab" },
        } do
          for _, result in ipairs { "yes", "$1" } do
            local has_group = row[1]:find("(", 1, true)
            local t = assert(open(kind, "/" .. row[1] .. "/ " .. (has_group and result or "yes") .. "\n"))
            for _, size in ipairs { 30, 20000 } do
              local value, _, code = t:get(row[2]:rep(size) .. "!")
              asked = asked + 1
              limits = limits + (code == "limit" and 1 or 0)
              assert.is_true(value ~= nil or code == nil or code == "limit", row[1])
            end
            t:close()
          end
        end
        assert.truthy(limits > 0 and limits < asked, limits .. " of " .. asked .. " searches hit a limit")
      end)

      it("answers with an error at a limit, and asks no later rule", function()
        local slow = kind == "pcre" and "(a+)+$" or "(a|b)*a(a|b){18}[cd]"
        local t = assert(open(kind, "/" .. slow .. "/ $1\n/./ two\n"))
        local state = 1
        local text = (" "):rep(100000):gsub(" ", function()
          state = state * 16807 % 2147483647
          return state % 2 == 0 and "a" or "b"
        end)
        local value, why, code = t:get(kind == "pcre" and ("a"):rep(30000) .. "!" or text)
        assert.same({ nil, "line 1: the expression takes too long on this key", "limit" }, { value, why, code })
        assert.equal("two", t:get "b")
        t:close()
      end)
    end)
  end

  it("has the flags of regexp_table", function()
    answers("regexp", "/A/i upper\n/a/ any\n", { A = "upper", a = "any" })
    answers("regexp", "/^b/m line\n", { ["a\nb"] = "line", ab = false })
    answers("regexp", "/^\\(a\\)(+$/x $1\n", { ["a(+"] = "a", aa = false })
    answers("regexp", "/a/!/b/ a without b\n", { ac = "a without b", ab = false })
    refuses("regexp", "/a/s b", 'line 1: there is no flag "s"; there are imx')
    refuses("regexp", "/*a/ b", 'line 1: "*a": Invalid preceding regular expression')
  end)

  it("has the flags of pcre_table", function()
    answers("pcre", "/a.b$/s line\n/a.b$/E end\n/a.b/ dot\n", {
      ["a\nb"] = "end", ["axb\n"] = "line", ["a\nbc"] = "dot",
    })
    answers("pcre", "/b/A begin\n", { ba = "begin", ab = false })
    answers("pcre", "/(a+)(a*)/U $1-${2}x\n", { aaa = "a-x" })
    answers("pcre", "/a b/x blank\n/^b/m line\n", { ab = "blank", ["x\nb"] = "line", ["a b"] = false })
    refuses("pcre", "/a/! b", 'line 1: there is no flag "!"; there are imsxAEUX')
    refuses("pcre", "/(a/ b", 'line 1: "(a": missing closing parenthesis at byte 3')
  end)

  it("refuses in regexp what nothing bounds", function()
    refuses("regexp", "/(a)\\1/ b", 'line 1: "(a)\\\\1" refers back to a group, which nothing bounds in time; write it for '
      .. "a pcre: table, which has limits")
    -- the C library writes x+ as xx*: 15 of them are 32768 characters; loops of loops and anchors in a row cost more
    for _, expression in ipairs { "((a{50}){50}){50}", "a+++++++++++++++", "((a++++++++++++++++++",
      "((((((a*)+)+)+)+)+)+", "(a?){40}", ")?++++++++++++++", "a?++*+*+", "a?+*b?+*c?+*", ("$"):rep(50),
      ("a?$"):rep(20), ("(^|$)"):rep(12), ("($)?"):rep(20) } do
      refuses("regexp", "/" .. expression .. "/ b", ('line 1: "%s" costs the C library as much as more than 1000 '
        .. "characters; use smaller numbers in {}, no + or * of a + or *, no ^ or $ in a row"):format(expression))
    end
    -- of a basic one, a quantifier with nothing before it is a character
    refuses("regexp", "/" .. ("\\+"):rep(16) .. "/x b", ('line 1: "%s" costs the C library as much as more than 1000 '
      .. "characters; use smaller numbers in {}, no + or * of a + or *, no ^ or $ in a row")
      :format(("\\\\+"):rep(16)))
    answers("regexp", "/^\\(\\+\\+\\)$/x b\n", { ["++"] = "b", ["+"] = "b", [""] = false })
    answers("regexp", "/^(a*)*$|^b?c?d?e?f?g?$|^$/ b\n", { aa = "b", bg = "b", [""] = "b", ba = false })
    answers("regexp", "/^([0-9]{1,3}[.]){3}[0-9]{1,3}(:[0-9]{1,5}(\\/.{1,30})?)?$/ b\n", { ["1.2.3.4:25"] = "b" })
    answers("regexp", "/[\\1]{2}/ b\n", { ["1\\"] = "b" })
  end)

  it("knows that an unbalanced parenthesis of regexp is a character", function()
    answers("regexp", "/^a)|b$/ x\n", { ["a)"] = "x", ab = "x", a = false, ["(b)"] = false })
  end)
end)
