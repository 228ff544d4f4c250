--- What a Lua pattern can cost. string.find and its kin backtrack: one unbounded repeat (`*`, `+`, `-`, %b) looks at
--- each byte once, two that can share bytes look at each pair of bytes. A search that is not anchored begins again at
--- every byte, so it counts as a repeat of any byte before the pattern. All of this runs in C, where no budget of CPU
--- time ends it.
local pattern_cost = {}

local ANY = {}
for byte = 0, 255 do
  ANY[byte] = true
end

-- The bytes that a single class matches; Lua's own matcher says so.
local function bytes_of(class)
  local set = {}
  for byte = 0, 255 do
    set[byte] = string.char(byte):find("^" .. class .. "$") ~= nil or nil
  end
  return set
end

local function only(byte)
  return { [byte:byte()] = true }
end

local function except(byte)
  local set = {}
  for other = 0, 255 do
    set[other] = other ~= byte:byte() or nil
  end
  return set
end

local function meet(a, b)
  local set = {}
  for byte in pairs(a) do
    set[byte] = b[byte]
  end
  return set
end

local function without(a, b)
  local set = {}
  for byte in pairs(a) do
    set[byte] = not b[byte] or nil
  end
  return set
end

local function is_within(a, b)
  return next(without(a, b)) == nil
end

-- The last byte of the class that begins at a byte: "a", ".", "%d", "[^]%w]".
local function class_end(pattern, at)
  local byte = pattern:sub(at, at)
  if byte == "%" then
    return at + 1
  elseif byte ~= "[" then
    return at
  end
  at = at + 1
  if pattern:sub(at, at) == "^" then
    at = at + 1
  end
  repeat -- a "]" at the beginning is one of the set
    at = at + (pattern:sub(at, at) == "%" and 2 or 1)
  until at > #pattern or pattern:sub(at, at) == "]"
  return at
end

local quantifiers = {
  ["*"] = { is_loop = true }, ["-"] = { is_loop = true }, ["+"] = { is_loop = true, is_needed = true }, ["?"] = {},
}

-- What begins with "%" and is no class: appends its items, returns the byte after it; nothing when it is a class.
local function special(pattern, at, items)
  local two = pattern:sub(at, at + 1)
  if two == "%b" then
    local open, close = pattern:sub(at + 2, at + 2), pattern:sub(at + 3, at + 3)
    items[#items + 1] = { set = only(open), is_needed = true }
    local inner = open == close and except(open) or ANY
    items[#items + 1] = { set = inner, is_loop = true, source = pattern:sub(at, at + 3) }
    items[#items + 1] = { set = only(close), is_needed = true }
    return at + 4
  elseif two == "%f" then
    local last = class_end(pattern, at + 2)
    items[#items + 1] = { frontier = bytes_of(pattern:sub(at + 2, last)) }
    return last + 1
  elseif two:find "^%%%d" then
    items[#items + 1] = { set = ANY, is_loop = true, source = two }
    items[#items + 1] = { frontier = ANY } -- may fail
    return at + 2
  end
end

-- The items of a pattern, first to last: { set, is_loop, is_needed, source }, { frontier } or { is_end }.
local function items_of(pattern)
  local items, at = {}, pattern:sub(1, 1) == "^" and 2 or 1
  while at <= #pattern do
    local byte = pattern:sub(at, at)
    local after = byte == "%" and special(pattern, at, items)
    if after then
      at = after
    elseif byte == "(" or byte == ")" then
      at = at + 1
    elseif byte == "$" and at == #pattern then
      items[#items + 1] = { is_end = true }
      at = at + 1
    else
      local last = class_end(pattern, at)
      local class = pattern:sub(at, last)
      local quantifier = quantifiers[pattern:sub(last + 1, last + 1)]
      local item = { set = bytes_of(class == "^" and "%^" or class == "$" and "%$" or class) }
      item.is_loop = quantifier and quantifier.is_loop
      item.is_needed = not quantifier or quantifier.is_needed
      at = last + (quantifier and 2 or 1)
      item.source = pattern:sub(at - #class - (quantifier and 1 or 0), at - 1)
      items[#items + 1] = item
    end
  end
  return items
end

-- May the match fail after loop number j has run far? Only then does it run again from elsewhere.
local function may_fail(items, j)
  local set = items[j].set
  local takes_all = is_within(ANY, set)
  for k = j + 1, #items do
    local item = items[k]
    if item.is_end then
      return not takes_all
    elseif item.frontier then
      return true
    elseif item.is_needed and not is_within(set, item.set) then
      return true -- else the loop gives back one byte, and that matches
    end
    takes_all = takes_all or item.is_loop and is_within(ANY, item.set)
  end
  return false
end

-- Can loop i pass a text on to loop j that either can run over again and again?
local function share(items, first, i, j)
  local common = meet(first.set, items[j].set)
  for k = i + 1, j - 1 do
    local item = items[k]
    if item.frontier and (is_within(common, item.frontier) or next(meet(common, item.frontier)) == nil) then
      return false
    elseif item.is_needed and next(meet(common, item.set)) == nil then
      return false
    end
  end
  return next(common) ~= nil
end

--- Why a pattern may take more than linear time; nil when it does not.
---@param pattern string
---@return string|nil
function pattern_cost.fault(pattern)
  local items = items_of(pattern)
  local is_anchored = pattern:sub(1, 1) == "^"
  for j, item in ipairs(items) do
    if item.is_loop and may_fail(items, j) then
      if not is_anchored and share(items, { set = ANY }, 0, j) then
        return ("\"%s\" runs again from every byte, because nothing anchors the search"):format(item.source)
      end
      for i = 1, j - 1 do
        if items[i].is_loop and share(items, items[i], i, j) then
          return ("\"%s\" and \"%s\" can match the same bytes"):format(items[i].source, item.source)
        end
      end
    end
  end
end

return pattern_cost
