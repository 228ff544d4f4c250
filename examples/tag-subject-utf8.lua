-- Mark mail from outside in its subject, in any language: the subject is decoded, compared and encoded again.
local header = require "moonmilter.header"

local TAG = "[außen] "

function on_eom(ctx)
  local subject = ctx.headers:field "Subject"
  if not subject then
    ctx:add_header("Subject", header.encode(TAG .. "(kein Betreff)"))
    return
  end
  local text = subject:text()
  if not text:find(TAG, 1, true) then -- a reply already has it
    subject:set(header.encode(TAG .. text))
  end
end
