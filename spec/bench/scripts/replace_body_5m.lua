-- Replaces every body with 5 MB of text.
local body = ("x"):rep(5 * 1024 * 1024)

function on_eom(ctx)
  ctx:replace_body(body)
end
