--- Tables and keys at random, for the comparison with Postfix's own (postmap_spec.lua). Each kind's generator returns
--- the text of a table and a list of keys. What Postfix accepts with a warning and we refuse is not generated here.
local random = {}
random.__index = random

--- The same numbers for the same seed on every machine.
function random.new(seed)
  return setmetatable({ state = seed % 2147483647 + 1 }, random)
end

function random:upto(n)
  self.state = self.state * 16807 % 2147483647
  return self.state % n + 1
end

function random:one_of(list)
  return list[self:upto(#list)]
end

function random:chance(percent)
  return self:upto(100) <= percent
end

function random:times(least, most, make)
  local parts = {}
  for i = 1, least + self:upto(most - least + 1) - 1 do
    parts[i] = make(i)
  end
  return table.concat(parts)
end

local generate = { random = random }

-- ---- keys ----

local LETTERS = { "a", "b", "c", "A", "B", "x", "1", ".", "@", "-", "_", " ", "+", "/", "$", "(", "\\", "é" }

local function key(r)
  local s = r:times(1, 12, function() return r:one_of(LETTERS) end)
  return s
end

local function keys_of(r, count, make)
  local seen, keys = {}, {}
  for _ = 1, count do
    local k = make(r)
    if k ~= "" and not seen[k] then
      seen[k] = true
      keys[#keys + 1] = k
    end
  end
  return keys
end

-- ---- regular expressions ----

local POSIX_ATOMS = { "a", "b", "c", "A", ".", "[abc]", "[^a]", "[[:alpha:]]", "[[:digit:]@]", "[a-c]", "\\.", "\\$",
  "@", "1", "\\w", "\\W", "[]a]", "[^]b]", "[b-]", "\\<", "\\>", "\\b", "é" }
local PCRE_ATOMS = { "a", "b", "c", "A", ".", "[abc]", "[^a]", "[[:alpha:]]", "[[:digit:]@]", "[a-c]", "\\.", "\\$",
  "@", "1", "\\w", "\\W", "\\d", "\\s", "\\b", "\\Qa.\\E", "(?=b)", "(?!c)", "(?<=a)", "(?<!b)", "\\x61", "[\\w.]",
  "\\R", "é" }
local POSIX_TIMES = { "*", "+", "?", "{2}", "{1,2}", "{0,3}", "{1,}" }
local PCRE_TIMES = { "*", "+", "?", "{2}", "{1,2}", "{0,3}", "{1,}", "*?", "+?", "??", "*+", "++", "{1,2}?" }

-- As ERE; `groups` counts.
local function expression(r, atoms, times, groups, depth)
  local branches = r:chance(25) and 2 or 1
  local parts = {}
  for i = 1, branches do
    parts[i] = r:times(1, 3, function()
      local atom
      if depth < 3 and r:chance(30) then
        groups.count = groups.count + 1
        atom = "(" .. expression(r, atoms, times, groups, depth + 1) .. ")"
      else
        atom = r:one_of(atoms)
      end
      local repeats = not atom:find "^\\[<>b]$" and not atom:find "^%(%?" and not atom:find "^\\Q"
      return repeats and r:chance(30) and atom .. r:one_of(times) or atom
    end)
  end
  local text = table.concat(parts, "|")
  if r:chance(15) then text = "^" .. text end
  if r:chance(15) then text = text .. "$" end
  return text
end

-- The same as a basic expression: "(" becomes "\(" and so on, outside of brackets.
local function basic(text)
  local out, at = {}, 1
  while at <= #text do
    local bracket = text:match("^%[%^?%]?[^%]]*%b[]?[^%]]*%]", at) or text:match("^%[%^?%]?[^%]]*%]", at)
    local piece = bracket or text:match("^\\.", at) or text:sub(at, at)
    at = at + #piece
    out[#out + 1] = #piece == 1 and piece:find "[(){}|+?]" and "\\" .. piece or piece
  end
  return table.concat(out)
end

local function result(r, groups, is_negative, number)
  local text = "r" .. number
  if groups > 0 and not is_negative and r:chance(60) then
    for _ = 1, r:upto(3) do
      local n = r:upto(groups)
      text = text .. r:one_of { "-${" .. n .. "}", "-$(" .. n .. ")", " $" .. n }
    end
  end
  return r:chance(10) and text .. " $$x" or text
end

local function delimited(r, text)
  local delimiter = r:one_of { "/", "/", "/", "!", "%", "~", "=" }
  if delimiter == "!" or text:find(delimiter, 1, true) then
    delimiter = "/"
  end
  return text:find("/", 1, true) and delimiter == "/" and "~" .. text .. "~" or delimiter .. text .. delimiter
end

local function rules(r, make)
  local lines, open = {}, 0
  for i = 1, r:upto(6) do
    local what = r:upto(10)
    if what <= 2 then
      local text = make(r)
      lines[#lines + 1] = r:one_of { "if ", "IF ", "if !", "if" } .. text
      open = open + 1
    elseif what == 3 and open > 0 then
      lines[#lines + 1] = r:one_of { "endif", "ENDIF" }
      open = open - 1
    else
      local is_negative = r:chance(20)
      local text, groups = make(r, true)
      local gap = r:one_of { " ", "\t", "  ", "\n  ", "\n# comment\n " }
      lines[#lines + 1] = (is_negative and r:one_of { "!", "! ", "!!!" } or "") .. text .. gap
        .. result(r, groups, is_negative, i) .. r:one_of { "", "", " ", "\r" }
    end
    if r:chance(10) then
      lines[#lines + 1] = r:one_of { "", "# comment", "   ", "  # comment" }
    end
  end
  for _ = 1, open do
    lines[#lines + 1] = "endif"
  end
  return table.concat(lines, "\n") .. (r:chance(90) and "\n" or "")
end

local function posix_rule(r, is_match)
  local groups = { count = 0 }
  local text = expression(r, POSIX_ATOMS, POSIX_TIMES, groups, 1)
  local flags = r:one_of { "", "", "", "i", "m", "im", "x", "ix" }
  if flags:find "x" then
    text = basic(text)
  end
  local second = ""
  if is_match and r:chance(10) then
    second = "!" .. delimited(r, expression(r, POSIX_ATOMS, POSIX_TIMES, { count = 0 }, 1))
  end
  return delimited(r, text) .. flags .. second, groups.count
end

local function pcre_rule(r)
  local groups = { count = 0 }
  local text = expression(r, PCRE_ATOMS, PCRE_TIMES, groups, 1)
  if groups.count > 0 and r:chance(20) then
    text = text .. "\\" .. r:upto(groups.count)
  end
  return delimited(r, text) .. r:times(0, 2, function() return r:one_of { "i", "m", "s", "x", "A", "E", "U", "X" } end),
    groups.count
end

function generate.regexp(r)
  return rules(r, posix_rule), keys_of(r, 10, key)
end

function generate.pcre(r)
  return rules(r, pcre_rule), keys_of(r, 10, key)
end

-- ---- keys and values ----

local WORDS = { "a", "A", "ab", "Ab", "b@x.example", "B@X.Example", "x.example", ".example", "é", "@x", "a.b", "1",
  "10.0.0.1", "\"a b\"", "\"a\\\"b\"", "a\\ b", "a:b", "a=b", "#a", "a#b", "{a", "a}" }

local function word(r)
  return r:one_of(WORDS)
end

-- postmap's input; without lines that it refuses
function generate.texthash(r)
  local text = r:times(1, 12, function(i)
    return r:one_of {
      function() return "# comment\n" end,
      function() return "\n" end,
      function() return "  \t\n" end,
      function() return "  # comment\n" end,
      function()
        return word(r) .. r:one_of { " ", "\t", "  \t " } .. "v" .. i .. r:one_of { "", " ", "\r" } .. "\n"
      end,
      function() return word(r) .. " v" .. i .. "\n\tmore\n" end,
      function() return word(r) .. " v" .. i .. " # no comment\n" end,
      function() return word(r) .. "\n  v" .. i .. "\n" end,
      function() return word(r) .. " v" .. i .. "\n# inside\n  more\n" end,
      function() return word(r) .. " v" .. i .. ": $1 {x} \"q\"\n" end,
      function() return word(r) .. ": v" .. i .. "\n" end,
    }()
  end)
  local keys = keys_of(r, 12, function()
    return r:chance(80) and (word(r):gsub('^"(.*)"$', "%1")) or key(r)
  end)
  return text, keys
end

-- ---- cidr ----

local function ipv4(r)
  return ("%s.%d.%d.%d"):format(r:one_of { 10, 192, 0, 255 }, r:one_of { 0, 168, 255 }, r:one_of { 0, 1, 255 },
    r:upto(4) - 1)
end

local function ipv6(r)
  return r:one_of { "2001:db8::", "2001:db8:0:1::", "fe80::", "::", "2001:DB8::" } .. r:one_of { "", "1", "2", "ffff" }
end

local function as_numbers(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function network4(r)
  local length = r:one_of { 0, 1, 8, 9, 15, 16, 23, 24, 30, 31, 32 }
  local n = as_numbers(ipv4(r))
  n = n - n % 2 ^ (32 - length)
  return ("%d.%d.%d.%d/%d"):format(math.floor(n / 2 ^ 24), math.floor(n / 65536) % 256, math.floor(n / 256) % 256,
    n % 256, length)
end

local function network6(r)
  return r:one_of { "2001:db8::/32", "2001:db8::/48", "2001:db8:0:1::/64", "fe80::/10", "::/0", "::/128",
    "2001:db8::1/128", "2001:db8::/63" }
end

local function pattern(r)
  return r:one_of { ipv4, ipv6, network4, network4, network6 }(r)
end

function generate.cidr(r)
  local lines, open = {}, 0
  for i = 1, r:upto(8) do
    local what = r:upto(10)
    if what == 1 then
      lines[#lines + 1] = r:one_of { "if ", "IF ", "if !", "if ! " } .. pattern(r)
      open = open + 1
    elseif what == 2 and open > 0 then
      lines[#lines + 1] = r:one_of { "endif", "ENDIF" }
      open = open - 1
    else
      lines[#lines + 1] = r:one_of { "", "", "", "!", "! " } .. pattern(r) .. r:one_of { " ", "\t", "\n " } .. "v" .. i
    end
    if r:chance(10) then
      lines[#lines + 1] = r:one_of { "", "# comment", " # comment" }
    end
  end
  for _ = 1, open do
    lines[#lines + 1] = "endif"
  end
  return table.concat(lines, "\n") .. "\n", keys_of(r, 12, function()
    if r:chance(5) then
      return r:one_of { "x", "10.0.0", "10.0.0.1/32", "1:2", "::ffff:10.0.0.1" }
    end
    return r:one_of { ipv4, ipv4, ipv6 }(r)
  end)
end

-- ---- inline ----

function generate.inline(r)
  local parts = {}
  for i = 1, r:upto(5) do
    local k = r:one_of { "a", "A", "ab", "b@x.example", "x.example", ".example", "1" }
    parts[i] = r:one_of {
      function() return k .. "=v" .. i end,
      function() return "{" .. k .. "=v" .. i .. "}" end,
      function() return "{ " .. k .. " = v" .. i .. " with blanks }" end,
      function() return "{" .. k .. "=" .. "v" .. i .. ", {x} }" end,
    }()
  end
  local gap = r:one_of { " ", ", ", "," , "  " }
  return "{" .. r:one_of { "", " " } .. table.concat(parts, gap) .. r:one_of { "", " " } .. "}",
    { "a", "A", "b@x.example", "x.example", "1", "AB", "zz" }
end

return generate
