--- The edits of ctx that are easier said in Lua.
local kept_body = require "moonmilter.runtime.kept_body"

local edits = {}

local function check_piece(piece)
  if type(piece) ~= "string" then
    error(("replace_body: got a %s; give a string, or a function that returns one string "
      .. "after another"):format(type(piece)), 3)
  end
end

--- Replaces the body. Several calls of one script append to one another; those of a later script replace what an
--- earlier one has made. Line ends become CRLF.
---@param ctx table
---@param body string|fun():string?  whole, or an iterator of pieces that may wait
function edits.replace_body(ctx, body)
  local pieces = { body }
  if type(body) == "function" then
    pieces = {} -- all before the first is queued: an iterator that fails leaves no half body
    for piece in body do
      check_piece(piece)
      pieces[#pieces + 1] = piece
    end
    pieces[1] = pieces[1] or ""
  end
  check_piece(pieces[1])
  for _, piece in ipairs(pieces) do
    local err = ctx:_replace_body_piece(piece)
    if err then
      error("replace_body: " .. err, 2)
    end
  end
end

--- Keeps the body: with options, or without, in on_mail to on_eoh it begins; at end of message the body is there to be
--- read. Every script keeps its own. It goes when the message ends, behind on_done and on_abort.
---@param ctx table
---@param options moonmilter.BodyOptions?
---@return moonmilter.Body
function edits.body(ctx, options)
  local kept, why = kept_body.of(ctx, options)
  if not kept then
    error("body: " .. why, 2)
  end
  return kept
end

return edits
