--- What a postmaster reads about a source that does not compile: file, line, LuaJIT's words, and what to write instead.
local lfs = require "lfs"
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
local directory

local function check(source)
  process.write_file(directory .. "/10-script.lua", source)
  return (process.run(("%s check %s 2>&1; true"):format(program, directory)))
end

-- What follows LuaJIT's words; "" when nothing does.
local function remedy_in(text)
  local words = assert(text:match "^moonmilter: [^\n]*%.lua:%d+: ([^\n]+)\n$", text)
  local sentence, remedy = words:match "^(.- near '.*'); (.*)$"
  return sentence and remedy or ""
end

local NOT_EQUAL, ADD, COMMENT = 'Lua writes ~= for "not equal"', "Lua writes x = x %s y", "a Lua comment begins with --"
local CONTINUE = "Lua has no continue: goto a label at the end of the loop, such as ::next::"
local LOCAL, ATTRIBUTE = "Lua declares with local", "LuaJIT is Lua 5.1, where a local has no attribute"
local STRING = "a string in quotes ends in its line; [[…]] may have more lines"
local INTEGERS = COMMENT .. ", and math.floor(a / b) divides integers"
local CALL = "a method is called with parentheses, such as ctx:accept()"
local END = "this end closes nothing: take it out, or find the block that ends too early"

local CASES = {
  -- signs
  { "if a != b then end", NOT_EQUAL }, { "if a <> b then end", NOT_EQUAL }, { "x = a !== b", NOT_EQUAL },
  { "if !a then end", "Lua writes not for !" }, { "x = a === b", "Lua compares with ==" },
  { "if a = b then end", "Lua compares with ==" }, { "a == b", "a comparison is no statement; x = 1 sets x" },
  { "a += 1", ADD:format "+" }, { "a *= 2", ADD:format "*" }, { "a ..= 'x'", ADD:format ".." },
  { "a++", "Lua writes x = x + 1" }, { "x = a ** b", "Lua writes ^ for a power" },
  { "if a && b then end", "Lua writes and for &&" }, { "if a || b then end", "Lua writes or for ||" },
  { "x = a & b", "LuaJIT writes bit.band(a, b)" }, { "x = a | b", "LuaJIT writes bit.bor(a, b)" },
  { "x = a ~ b", "LuaJIT writes bit.bxor(a, b) or bit.bnot(a)" }, { "x = a << 2", "LuaJIT writes bit.lshift(a, n)" },
  { "x = a >> 2", "LuaJIT writes bit.rshift(a, n)" }, { "x = a // b", INTEGERS }, { "/* c */", COMMENT },
  { "x = a ? b : c", "Lua writes condition and a or b" }, { "x = [1, 2]", "Lua writes a list as { a, b }" },
  { "local x <const> = 1", ATTRIBUTE },
  { "function f() { return 1 }", "a block of Lua has no braces: it ends with end" },
  { "x = ann@example.org", "text needs quotes around it" },
  { "function on-mail(ctx) end", "a name has letters, digits and _" },
  -- words
  { "for i = 1, 2 do\n  continue\nend", CONTINUE }, { "for i = 1, 2 do\n  if i then continue end\nend", CONTINUE },
  { "let x = 1", LOCAL }, { "var x = 1", LOCAL }, { "const x = 1", LOCAL }, { "def f(a): pass", "Lua writes function" },
  { "if a then x = 1 elif b then y = 1 end", "Lua writes elseif" }, { "unless a then end", "Lua writes if not" },
  { "import x", 'Lua writes local x = require "x"' }, { "fucntion on_mail(ctx) end", 'did you mean "function"?' },
  { "loca x = 1", 'did you mean "local"?' }, { "function f() retrun ctx:reject() end", 'did you mean "return"?' },
  { "if a the x = 1 end", 'did you mean "then"?' }, { "if a: x = 1 end", "Lua writes if … then, for … do" },
  -- sentences
  { "return ctx:accept", CALL }, { "function f() ctx:accept end", CALL }, { 'x = "abc\n"', STRING },
  { "x = 'it's'", STRING }, { "x = 192.0.2.0/24", "an address needs quotes around it" },
  { "x = { a = 1 b = 2 }", "items of a table need a comma between them" },
  { 'x = { "a": 1 }', 'Lua writes { a = 1 } or { ["a"] = 1 }' }, { "x = { a: 1 }", "Lua writes { a = 1 }" },
  { "x = 1 end", END }, { "return 1 x = 2", "return is the last statement of its block" },
  { "if a then x = 1 else if b then x = 2 end", "else if needs an end of its own; elseif does not" },
  -- of these nothing is known
  { "function f()\n if a then\n x = 1\nend", "" }, { "x =", "" }, { "x = $y", "" }, { "foo bar", "" },
  { "x = '&&' y z", "" }, { "x = 1\0", "" },
}

describe("a source that does not compile", function()
  setup(function() directory = process.directory() end)
  teardown(function() if lfs.attributes(directory) then process.run("rm -r " .. directory) end end)

  for _, case in ipairs(CASES) do
    it(("says what to do about %q"):format(case[1]), function()
      assert.equal(case[2], remedy_in(check(case[1])))
    end)
  end

  it("says it of the right line", function()
    assert.matches("10%-script%.lua:3: 'then' expected near '!'; Lua writes ~= for \"not equal\"\n$",
      check "local a = 'b += 1'\n\nif a != 'x' then a = 'a && b' end\n")
  end)

  it("says it of a module, too", function()
    assert(lfs.mkdir(directory .. "/lib"))
    process.write_file(directory .. "/lib/part.lua", "local a = 1\na += 1\n")
    local text = check "require 'part'"
    assert.matches("error loading module 'part'", text)
    assert.matches("lib/part%.lua:2: '=' expected near '%+'; Lua writes x = x %+ y\n", text)
  end)

  it("says it of an expression, too", function()
    local text = process.run(program .. " eval 'ctx.sender != 1' 2>&1; true")
    assert.matches("eval:1: .* near '!'; Lua writes ~= for \"not equal\"\n$", text)
  end)

  it("is quick about a long line", function()
    local text = check("x = " .. ("a{ continue "):rep(50000) .. "!")
    assert.matches("10%-script%.lua:1: ", text)
  end)
end)
