-- Puts [external] in front of the subject of mail from outside, once.
local OURS = { ["example.com"] = true }

function on_eom(ctx)
  local domain = ctx.sender:match("@([^@]+)$")
  if ctx.auth or (domain and OURS[domain:lower()]) then
    return
  end
  local subject = ctx.headers:get("Subject")
  if not subject then
    ctx:add_header("Subject", "[external]")
  elseif not subject:find("[external]", 1, true) then
    ctx:change_header("Subject", 1, "[external] " .. subject)
  end
end
