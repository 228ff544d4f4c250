--- What to do about a source that does not compile. LuaJIT says where it stopped and what it found there. That is often
-- what another language, or a later Lua, writes for something that Lua writes differently.
local core = require "moonmilter.core"

local remedy = {}

local NOT_EQUAL, ADD, COMMENT = 'Lua writes ~= for "not equal"', "Lua writes x = x %s y", "a Lua comment begins with --"
local ATTRIBUTE = "LuaJIT is Lua 5.1, where a local has no attribute"

-- What a line contains when LuaJIT stops in it, the longest first.
local SIGNS = {
  { "<const>", ATTRIBUTE }, { "<close>", ATTRIBUTE },
  { "!==", NOT_EQUAL }, { "===", "Lua compares with ==" }, { "..=", ADD:format ".." },
  { "!=", NOT_EQUAL }, { "=!", NOT_EQUAL }, { "<>", NOT_EQUAL },
  { "+=", ADD:format "+" }, { "-=", ADD:format "-" }, { "*=", ADD:format "*" }, { "/=", ADD:format "/" },
  { "++", "Lua writes x = x + 1" }, { "&&", "Lua writes and for &&" }, { "||", "Lua writes or for ||" },
  { "**", "Lua writes ^ for a power" }, { "/*", COMMENT },
  { "//", COMMENT .. ", and math.floor(a / b) divides integers" },
  { "<<", "LuaJIT writes bit.lshift(a, n)" }, { ">>", "LuaJIT writes bit.rshift(a, n)" },
  { "!", "Lua writes not for !" }, { "&", "LuaJIT writes bit.band(a, b)" }, { "|", "LuaJIT writes bit.bor(a, b)" },
  { "~", "LuaJIT writes bit.bxor(a, b) or bit.bnot(a)" }, { "?", "Lua writes condition and a or b" },
  { "[", "Lua writes a list as { a, b }" }, { "{", "a block of Lua has no braces: it ends with end" },
  { "@", "text needs quotes around it" },
}

-- Words of other languages that begin a statement. LuaJIT takes them for the name of a variable.
local WORDS = {
  let = "Lua declares with local", var = "Lua declares with local", const = "Lua declares with local",
  def = "Lua writes function", elif = "Lua writes elseif", elsif = "Lua writes elseif", unless = "Lua writes if not",
  import = 'Lua writes local x = require "x"',
}
local KEYWORDS = { ["function"] = true, ["local"] = true, ["return"] = true, ["elseif"] = true, ["while"] = true,
  ["repeat"] = true, ["until"] = true, ["break"] = true }
local CONTINUE = "Lua has no continue: goto a label at the end of the loop, such as ::next::"

-- The line with this number, and the one before it.
local function lines_at(source, number)
  local before, count = "", 0
  for line in source:gmatch "([^\n]*)\n?" do
    count = count + 1
    if count == number then
      return line, before
    end
    before = line
  end
  return "", before
end

local function sign_in(near, line)
  for _, row in ipairs(SIGNS) do
    if row[1]:find(near, 1, true) and line:find(row[1], 1, true) then
      return row[2]
    end
  end
end

-- LuaJIT wanted a "=" at `near`, because it took the word before for a variable.
local function of_word(near, line, before)
  if line:find "%f[%w_]continue%f[^%w_]" or before:find "^%s*continue[%s;]*$" then
    return CONTINUE
  end
  local word
  for next_word in line:gmatch "[%w_]+" do
    if next_word == near then
      break
    end
    word = next_word
  end
  local meant = word and core.suggest(word, KEYWORDS) or ""
  return WORDS[word] or meant ~= "" and meant:sub(3) or nil
end

-- What LuaJIT's sentence contains, and what to do: text, or a function of near, line, the line before, source.
local SENTENCES = {
  { "function arguments expected near '='", "Lua writes if … then, for … do" },
  { "function arguments expected", "a method is called with parentheses, such as ctx:accept()" },
  { "malformed number", function(near)
    return near:find "^%d+%.%d+%." and "an address needs quotes around it"
  end },
  { "unfinished string", "a string in quotes ends in its line; [[…]] may have more lines" },
  { "'<eof>' expected near 'end'", "this end closes nothing: take it out, or find the block that ends too early" },
  { "'<eof>' expected", function(_, line)
    return line:find "%f[%w_]return%f[^%w_]" and "return is the last statement of its block"
  end },
  { "'then' expected near '='", "Lua compares with ==" },
  { "'end' expected", function(_, _, _, source)
    return source:find "%f[%w_]else[ \t]+if%f[^%w_]" and "else if needs an end of its own; elseif does not"
  end },
  { "'=' expected near '=='", "a comparison is no statement; x = 1 sets x" },
  { "'=' expected", of_word },
  { "'}' expected near ':'", 'Lua writes { a = 1 } or { ["a"] = 1 }' },
  { "'}' expected", function(near)
    return near ~= "<eof>" and "items of a table need a comma between them"
  end },
  { "'<name>' expected", function(_, line)
    return line:find("{", 1, true) and line:find "%a:" and "Lua writes { a = 1 }"
  end },
  { "'(' expected near '-'", "a name has letters, digits and _" },
}

local function of_sentence(text, near, ...)
  for _, row in ipairs(SENTENCES) do
    if text:find(row[1], 1, true) then
      return type(row[2]) == "string" and row[2] or row[2](near, ...)
    end
  end
  -- 'then' expected near 'the'
  local wanted = text:match "^'(%l+)' expected"
  local meant = wanted and core.suggest(near, { [wanted] = true }) or ""
  return meant ~= "" and meant:sub(3)
end

--- An error of `load`, with what to do about it, if that is known.
---@param err string     "10-auth.lua:3: 'then' expected near '!'"
---@param source string  what was loaded
---@return string        "10-auth.lua:3: 'then' expected near '!'; Lua writes ~= for "not equal""
function remedy.of(err, source)
  local _, to, number = err:find ":(%d+): "
  if not to then
    return err
  end
  local text = err:sub(to + 1)
  local line, before = lines_at(source, tonumber(number))
  local at = text:find(" near '", 1, true)
  local near = at and text:sub(at + 7, -2) or ""
  local what = near:find "^%p+$" and sign_in(near, line) or of_sentence(text, near, line, before, source)
  return what and ("%s; %s"):format(err, what) or err
end

--- The same for an error of package.loaders, which names the module's file.
---@param err any
---@return any
function remedy.of_module(err)
  local path = type(err) == "string" and err:match "^error loading module '[^']*' from file '([^\n]*)':\n"
  local file = path and io.open(path)
  if not file then
    return err
  end
  local source = file:read "*a"
  file:close()
  return remedy.of(err, source or "")
end

return remedy
