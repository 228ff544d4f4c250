-- Holds mail with a suspicious attachment name for a person to look at. Quarantine is not a verdict: the mail is
-- accepted.
function on_body(ctx, chunk)
  -- A name may be split between two chunks: keep the end of the last one, as much as a line may have (RFC 5322 2.1.1).
  local text = (ctx.message.tail or "") .. chunk
  if text:lower():find('filename="[^"\r\n]*%.exe"') then
    ctx.message.suspicious = true
    return "skip"
  end
  ctx.message.tail = text:sub(-998)
end

function on_eom(ctx)
  if ctx.message.suspicious then
    ctx:quarantine("attachment with an executable name")
    ctx:add_header("X-Quarantine", "executable name")
  end
end
