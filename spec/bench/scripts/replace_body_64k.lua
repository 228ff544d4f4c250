-- Replaces every body with 64 KB of text.
local body = ("x"):rep(64 * 1024)

function on_eom(ctx)
  ctx:replace_body(body)
end
