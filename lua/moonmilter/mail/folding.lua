--- Folds of a header value: line breaks inside the value (RFC 5322 2.2.3).
local lpeg = require "lpeg"

local folding = {}

local LINE_WANTED = 78 -- characters without the line end, RFC 5322 2.1.1
local LINE_MAX = 998

--- Undo folds: line ends are removed, the blanks after them stay (RFC 5322 2.2.3).
---@param value string
---@return string
function folding.unfold(value)
  return (value:gsub("\r?\n", ""))
end

local blank = lpeg.S " \t"
local fold_pieces = lpeg.Ct((lpeg.C(blank ^ 0 * (1 - blank) ^ 1) + lpeg.C(blank ^ 1)) ^ 0)

--- Fold a value so that no line exceeds 78 characters where that is possible. A break is placed only before an existing
--- blank, never where it would leave a line of blanks only (RFC 5322 3.2.2; some MTAs take such a line for the end of
--- the headers), never right after "Name:" (Exchange and old Sendmails lose the value). It is LF alone, as both MTAs
--- expect from a milter. So `unfold(fold(name, value)) == value`.
---@param name string
---@param value string  one line
---@return string value
---@return boolean is_within_limits  false: a word is so long that a line exceeds 998 (RFC 5322 2.1.1)
function folding.fold(name, value)
  local out, column, is_within = {}, #name + 2, true
  local pieces = lpeg.match(fold_pieces, folding.unfold(value))
  for i, piece in ipairs(pieces) do
    local is_foldable = i > 1 and piece:find("^[ \t]+[^ \t]")
    if is_foldable and column + #piece > LINE_WANTED then
      out[#out + 1] = "\n"
      column = 0
    end
    out[#out + 1] = piece
    column = column + #piece
    is_within = is_within and column <= LINE_MAX
  end
  return table.concat(out), is_within
end
return folding
