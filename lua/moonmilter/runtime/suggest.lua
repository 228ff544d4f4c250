--- Did you mean? The nearest of some words by edit distance.
local suggest = {}

local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

--- The word nearest to `word`, or nil when none is near.
---@param word string
---@param words table<string, any>  keys are the words
---@return string?
function suggest.nearest(word, words)
  local best, best_distance
  for candidate in pairs(words) do
    local d = distance(word, candidate)
    if not best or d < best_distance or (d == best_distance and candidate < best) then
      best, best_distance = candidate, d
    end
  end
  if best and best_distance <= math.max(2, math.floor(#word / 3)) then
    return best
  end
end

--- '; did you mean "x"?' or "".
---@param word string
---@param words table<string, any>
---@return string
function suggest.hint(word, words)
  local near = suggest.nearest(word, words)
  return near and ('; did you mean "%s"?'):format(near) or ""
end

return suggest
