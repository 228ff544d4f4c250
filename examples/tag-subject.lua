-- Puts [external] before the subject of mail from outside, once.
local OURS = { ["example.com"] = true }

function on_eom(ctx)
  local domain = ctx.sender:match("@([^@]+)$")
  if ctx.auth or (domain and OURS[domain:lower()]) then
    return
  end
  local subject = ctx.headers:field("Subject")
  if not subject then
    ctx:add_header("Subject", "[external]")
  elseif not subject.value:find("[external]", 1, true) then
    subject:set("[external] " .. subject.value)
  end
end
