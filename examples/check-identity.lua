-- Check who sent a message (SPF, DKIM, DMARC), and write it into Authentication-Results, where mail readers and later
-- filters look. Forged results are deleted. Nothing is refused.
local auth = require "moonmilter.auth"

function on_eom(ctx)
  if not ctx.auth then -- mail of our own users is not checked
    auth.stamp(ctx, auth.check(ctx))
  end
end
