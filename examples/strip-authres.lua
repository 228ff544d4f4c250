-- Remove Authentication-Results that claim to be this host's before anything downstream believes them (RFC 8601 5).
local authres = require "moonmilter.authres"

function on_eom(ctx)
  local deleted = authres.strip(ctx.headers, ctx:macro "j") -- our host name, which both MTAs send
  if deleted > 0 then
    ctx:add_header("X-Forged-Results", tostring(deleted))
  end
end
