--- The body of ctx:body{…} while it arrives. The host calls feed for each piece before the script's on_body, and once
-- more before its on_eom; it drops body and temporary file when the message ends (host/bind/kept_body.c).
local core = require "moonmilter.core"
local log = require "moonmilter.log"

local kept_body = {}

-- The fields that describe the kept bytes: as received, before the first script's on_eom changes them.
local function header_of(ctx)
  local list = { truncated = ctx.headers.truncated }
  for i, field in ipairs(ctx.headers) do
    list[i] = { name = field.name, value = field.value }
  end
  return list
end

local function give_up(ctx, why, verdict, is_over)
  if verdict == "accept" then
    log.info("ctx:%s; accepted unseen, as over = \"accept\" says", why)
    return ctx:accept()
  elseif verdict == "reject" then
    return ctx:reject(552, "5.3.4", "Message too big") -- RFC 1870 6.1, RFC 3463 3.4
  elseif is_over then
    return ctx:tempfail(452, "4.3.4", "Message too big for its filter, please try again later")
  end
  log.error("ctx:%s", why)
  return ctx:tempfail(452, "4.3.1", "No room for the message, please try again later")
end

--- Ends the handler with a verdict when the body exceeds the script's limit, or when the disk fails.
---@param ctx table
---@param kept moonmilter.Body
---@param chunk string?  nil: the body is complete
function kept_body.feed(ctx, kept, chunk)
  local new = not chunk and ctx:_new_body() -- an earlier script has rewritten the message: continue with its body
  if new then
    kept:restart()
    chunk = new
  end
  if new or not kept.has_headers then
    kept.headers, kept.has_headers = header_of(ctx), true
  end
  local ok, why, verdict = true, nil, nil
  if chunk then
    ok, why, verdict = kept:feed(chunk)
  end
  if ok and (new or not chunk) then
    ok, why, verdict = kept:finish()
  end
  if not ok then
    local is_over = chunk and kept:size() + #chunk > kept.max_size
    kept:close()
    give_up(ctx, why, verdict, is_over)
  end
end

--- Begins to keep the body of this message, or returns the kept body.
---@param ctx table
---@param options moonmilter.BodyOptions?
---@return moonmilter.Body?
---@return string? text  what is wrong
function kept_body.of(ctx, options)
  local kept = ctx:_kept_body()
  if kept and options == nil then
    return kept
  elseif kept then
    return nil, "the body of this message is already being kept; call ctx:body() without options to get it"
  end
  local body = require "moonmilter.body" -- loaded here, because most scripts keep no body and need no LPeg
  local why = body.check_options(options or {}) or options and options.headers and "headers come from the message"
  if why then
    return nil, why
  end
  kept = body.new(options)
  kept.guard = function() return core.is_own(ctx) end
  why = ctx:_keep_body(kept)
  if why then
    return nil, why
  end
  return kept
end

return kept_body
