-- Add a footer to outgoing mail: to the plain text and to the HTML version, in each one's charset and encoding. Signed
-- and encrypted mail, and mail over 10 MiB, goes through unchanged. Attachments stay byte for byte as they are.
local FOOTER = {
  text = "\n-- \nBeispiel GmbH · Musterstraße 1 · 12345 Köln\n",
  html = "<hr><p>Beispiel GmbH · Musterstraße 1 · 12345 Köln</p>\n",
}

function on_eoh(ctx)
  ctx.message.kept = ctx:body { max_size = 10 * 1024 * 1024, over = "accept" }
end

function on_eom(ctx)
  local edit = ctx.message.kept:edit()
  edit:footer(FOOTER)
  edit:apply(ctx) -- does nothing when nothing was changed
end
