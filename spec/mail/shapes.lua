--- Texts on which a parser that goes back takes more than linear time, and the measure that finds it.
---
--- A shape makes a text of some `size` bytes: P repeated, perhaps after a head and before a tail; P repeated, then Q
--- repeated; PQ repeated. Quadratic work shows at a few thousand bytes. The measure is CPU time at a size and at some
--- times that size: at four times linear work takes about 4 times as long, quadratic 16 times, and the bound is 9. The
--- best of several runs counts, and a result above the bound must repeat itself, so that a busy machine does not fail a
--- spec.
local shapes = {}

local FOUR_TIMES, EIGHT_TIMES = { factor = 4, bound = 9 }, { factor = 8, bound = 22 }
-- size: bytes; fast: seconds that no parser needs for them, and one that goes back over all does
local USUAL = { size = 2000, fast = 0.005, growth = FOUR_TIMES }
local LENGTHS = {
  long = { size = 8000, fast = 0.03, growth = FOUR_TIMES },
  -- long enough to show a copy of the rest for each byte: the copies of a shorter text stay in the cache
  longest = { size = 144000, fast = 0.1, growth = EIGHT_TIMES },
}
local END = 5 -- seconds; no text of these sizes takes that long in one pass, on any machine

-- Bytes that mean something to a parser of mail, HTTP or RESP: the first of them make pairs and meet tails.
local pieces = {
  "a", "1", "@", " ", ".", "=", ";", "<", "(", "\"", "=?", "\n ", "/", "-", ",", ">", ")", "\\", ":", "[", "%",
  "*", "'", "\128", "\r\n", "_", "()", "((a)", "(\\", "\\\"", "\"a", "]", "<>", "<<a@b>", "@a", "a@", "a@b,", "a,",
  "a:", "a b ", "a.", "\t", "?=", "=?a?q?", "=?a?q?x", "=?a?b?", "=?utf-8?q?a?= ", "a=", "a=\"", ";a=b", ";a*0=b",
  ";a*1*=", "';a*'", "a/b", "from ", "by a (b) ", "; ", "\195", "1 ", "Jan ", "12:", "x=y z.w=v ", "<a@b> ", "\0",
  "a:b\r\n", "A: b\r\n c\r\n", "--b\r\n", "--b--\r\n", "\r\n--b", "\r\n--bb\r\n", "\r", "\n", "$1\r\na\r\n",
  "*1\r\n", ":1\r\n", "</body", "&", "+AG", "\27$B", "\27(B", "~{", "xn--", "ü.",
}
local QUICK, SLOW = 9, 16 -- how many make pairs
local tails = { " x", "!", "@", ">", "_=x", ")", "\"", "=x", "\0", "\n", "a", ";", ":" }

local function alone(head, piece, tail)
  return function(size) return head .. piece:rep(math.ceil(size / #piece)) .. tail end
end

local function one_after_the_other(head, p, q, tail)
  return function(size) return head .. p:rep(math.ceil(size / #p)) .. q:rep(math.ceil(size / #q)) .. tail end
end

-- Pairs of p: with a tail at which most patterns fail, and when there is time without.
local function pairs_of(head, p, is_slow, yield)
  for i = 1, is_slow and SLOW or QUICK do
    local q = pieces[i]
    for _, tail in ipairs(is_slow and { "!", "" } or { "!" }) do
      if p ~= q then
        yield(one_after_the_other(head, p, q, tail), ("%q, then %q repeated, then %q repeated, then %q"):format(head, p,
          q, tail))
      end
      if p < q then
        yield(alone(head, p .. q, tail), ("%q, then %q repeated, then %q"):format(head, p .. q, tail))
      end
    end
  end
end

--- Iterates over shapes: text_of(size), how to show one, and whether it is one piece repeated.
---@param heads string[]  each shape comes with each
---@param is_slow boolean  all of them; else pairs of the first nine pieces, after the first head
function shapes.each(heads, is_slow)
  return coroutine.wrap(function()
    for number, head in ipairs(heads) do
      for i, p in ipairs(pieces) do
        local length = (is_slow or number == 1 and i == 1) and "longest" or number == 1 and "long" or nil
        coroutine.yield(alone(head, p, ""), ("%q, then %q repeated"):format(head, p), length)
      end
      for i = 1, is_slow and SLOW or QUICK do
        for j = 1, is_slow and #tails or 6 do
          coroutine.yield(alone(head, pieces[i], tails[j]), ("%q, then %q repeated, then %q"):format(head, pieces[i],
            tails[j]))
        end
        if number == 1 or is_slow then
          pairs_of(head, pieces[i], is_slow, coroutine.yield)
        end
      end
    end
  end)
end

local function seconds(run, text)
  local begin = os.clock()
  run(text)
  return os.clock() - begin
end

local function best(run, text, limit)
  local least = math.huge
  for _ = 1, 3 do
    least = math.min(least, seconds(run, text))
    if least > limit then
      return least
    end
  end
  return least
end

local function grows_fast(run, text_of, size, growth)
  local small = math.max(best(run, text_of(size), END), 0.001)
  local large = best(run, text_of(size * growth.factor), END)
  return large > END or large / small > growth.bound, ("%.4f s at %d bytes, %.4f s at %d times that"):format(small,
    size, large, growth.factor)
end

--- Does run(text) take linear time for texts of a shape?
---@param length "long"|"longest"|nil  of the text
---@return boolean
---@return string|nil times  when it does not
function shapes.is_linear(run, text_of, length)
  local at = LENGTHS[length] or USUAL
  if seconds(run, text_of(at.size)) < at.fast then
    return true
  end
  local times
  for _ = 1, 3 do
    local is_fast
    is_fast, times = grows_fast(run, text_of, at.size / at.growth.factor, at.growth)
    if not is_fast then
      return true
    end
  end
  -- a step is no growth: where memory outgrows a cache, say, the next four times as much takes about four times as long
  local grows_on = grows_fast(run, text_of, at.size, FOUR_TIMES)
  return not grows_on, times
end

return shapes
