--- Where the templates of an SQL query stand. A value is escaped as the text of a plain '…' string, so anywhere else it
--- could become part of the query; such a query is refused.
local quotes = {}

-- What begins a stretch in which a template must not stand, what ends it, and what it is called.
local STRETCHES = {
  { '"', '"', "in double quotes" },
  { "`", "`", "in backquotes" },
  { "--", "\n", "in a comment" },
  { "#", "\n", "in a comment", only = "mysql" },
  { "/*", "*/", "in a comment" },
}

local function complain(query, at, where)
  error(("query: %s stands %s; write it in single quotes, '%%s', where it is escaped"):format(query:sub(at, at + 1),
    where), 0)
end

-- Raises when one of %s, %u, … is in the text from first to last.
local function refuse(query, first, last, where)
  local at = first
  while true do
    at = query:find("%", at, true)
    if not at or at > last then
      return
    elseif query:sub(at + 1, at + 1) ~= "%" then
      complain(query, at, where)
    end
    at = at + 2
  end
end

-- The end of the string that begins after the quote at `at`.
local function end_of_string(query, kind, at, is_plain)
  local i = at + 1
  while i <= #query do
    local char = query:sub(i, i)
    if char == "'" and query:sub(i + 1, i + 1) ~= "'" then
      return i
    elseif char == "'" or char == "\\" and (kind == "mysql" or not is_plain) then
      i = i + 1
    end
    i = i + 1
  end
  error("query: a string does not end: a ' is missing", 0)
end

-- E'…' and U&'…' of PostgreSQL have their own meaning of "\".
local function is_plain(query, kind, at)
  local before = query:sub(1, at - 1)
  return kind ~= "pgsql" or not (before:find "%f[%w_][Ee]$" or before:find "%f[%w_][Uu]&$")
end

-- The end of the stretch that begins at `at`, and where it is; nil: none begins there.
local function stretch_at(query, kind, at)
  local first, last, place
  for _, row in ipairs(STRETCHES) do
    if query:sub(at, at + #row[1] - 1) == row[1] and (row.only == nil or row.only == kind) then
      first, last, place = row[1], row[2], row[3]
      break
    end
  end
  if kind == "pgsql" and query:sub(at, at) == "$" then
    first = query:match("^%$[%w_]*%$", at)
    last, place = first, "in dollar quotes"
  end
  if first then
    local _, stop = query:find(last, at + #first, true)
    return stop or #query, place
  end
end

--- Raises a text when a template of the query stands outside of '…'.
---@param query string
---@param kind "pgsql"|"mysql"|"sqlite"
function quotes.check(query, kind)
  local at, plain_from = 1, 1
  while at <= #query do
    local stop, where
    if query:sub(at, at) == "'" then
      local plain = is_plain(query, kind, at)
      stop = end_of_string(query, kind, at, plain)
      where = not plain and "in a string that begins with E or U&"
    else
      stop, where = stretch_at(query, kind, at)
    end
    if stop then
      refuse(query, plain_from, at - 1, "outside of quotes")
      if where then
        refuse(query, at, stop, where)
      end
      at, plain_from = stop, stop + 1
    end
    at = at + 1
  end
  refuse(query, plain_from, #query, "outside of quotes")
end

return quotes
