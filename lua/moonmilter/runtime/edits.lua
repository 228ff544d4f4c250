--- The edits of ctx that are easier to write in Lua.
local kept_body = require "moonmilter.runtime.kept_body"

local edits = {}

local function check_piece(piece)
  if type(piece) ~= "string" then
    error(("replace_body: got a %s; give a string, or a function that returns one string "
      .. "after another"):format(type(piece)), 3)
  end
end

--- Replaces the body. Several calls of one script append to one another; those of a later script replace the body of an
--- earlier one. Line ends become CRLF.
---@param ctx table
---@param body string|fun():string?  complete, or an iterator over pieces, which may wait
function edits.replace_body(ctx, body)
  local pieces = { body }
  if type(body) == "function" then
    pieces = {} -- collect all before queueing the first: an iterator that fails leaves no partial body
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

--- Keeps the body: a call in on_mail to on_eoh, with or without options, begins; at end of message the body can be
--- read. Every script keeps its own. The host frees it when the message ends, after on_done and on_abort.
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

local function ask(ctx, call, kind, keys, options)
  ctx:_seals() -- raises when this is not the ctx of the session that runs
  local ok, why = require("moonmilter.identity." .. kind).ask(ctx, keys, options)
  if not ok then
    error(("%s: %s"):format(call, why), 3)
  end
end

--- Has the message signed as it leaves: the host signs after the last handler of all scripts, so that nothing that a
--- script does can break it. Every script may sign; a key signs a message once.
---@param ctx table
---@param keys identity.Keys  of auth.keys
---@param options identity.SignOptions?
function edits.sign(ctx, keys, options)
  ask(ctx, "sign", "signing", keys, options)
end

--- Has an ARC set added to the message as it leaves, above its DKIM signatures (RFC 8617).
---@param ctx table
---@param keys identity.Keys  of auth.keys
---@param options identity.SealOptions
function edits.seal(ctx, keys, options)
  ask(ctx, "seal", "sealing", keys, options)
end

return edits
