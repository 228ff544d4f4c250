--- The maps that scripts have open, for `moonmilter check` and the log of a start.
local opened = {}

local numbers = setmetatable({}, { __mode = "k" }) -- leaf -> when it was opened, counted from 1
local count = 0

local UNITS = { { 172800, 86400, "days" }, { 7200, 3600, "hours" }, { 120, 60, "minutes" }, { 0, 1, "seconds" } }

--- Notes one; it is forgotten when nobody has it any more.
---@param leaf table  has info()
function opened.add(leaf)
  count = count + 1
  numbers[leaf] = count
end

---@param leaf table
function opened.remove(leaf)
  numbers[leaf] = nil
end

local function age_of(seconds)
  for _, unit in ipairs(UNITS) do
    if seconds >= unit[1] then
      return ("%d %s old"):format(seconds / unit[2], unit[3])
    end
  end
  return "of the future" -- says the clock
end

local function line_of(info)
  local facts = {}
  if info.entries then
    facts[1] = ("%d %s"):format(info.entries, info.entries == 1 and "entry" or "entries")
  end
  if info.age then
    facts[#facts + 1] = age_of(info.age)
  end
  facts[#facts + 1] = info.error
  local line = "map " .. info.spec .. (#facts > 0 and ": " .. table.concat(facts, ", ") or "")
  return (line:gsub("%c", " "))
end

--- A line for each, in the order in which they were opened: spec, entries, age, what is wrong. nil: there are none.
---@return string?
function opened.lines()
  local leaves, lines = {}, {}
  for leaf in pairs(numbers) do
    leaves[#leaves + 1] = leaf
  end
  table.sort(leaves, function(a, b)
    return numbers[a] < numbers[b]
  end)
  for i, leaf in ipairs(leaves) do
    lines[i] = line_of(leaf:info())
  end
  return lines[1] and table.concat(lines, "\n")
end

return opened
