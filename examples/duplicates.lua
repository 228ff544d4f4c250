-- Accepts a message only once: a client that has lost our answer sends it again, and a loop sends it for ever.
-- The second copy of a Message-ID for the same recipients within a day is taken and thrown away.
local store = require "moonmilter.store"

local seen = store.open("message_ids", { ttl = 86400, when_full = "evict" })

local function key_of(ctx)
  local id = ctx.headers:get "Message-ID"
  if not id then
    return nil
  end
  local recipients = {}
  for i, recipient in ipairs(ctx.recipients) do
    recipients[i] = recipient.address:lower()
  end
  table.sort(recipients)
  return id .. "\n" .. ctx.sender .. "\n" .. table.concat(recipients, "\n")
end

function on_eom(ctx)
  local key = key_of(ctx)
  if key and seen:get(key) then
    return ctx:discard()
  end
  ctx.message.key = key
end

-- Only what was accepted has been seen: a message that was refused may come again.
function on_done(ctx, result)
  local key = ctx.message.key
  if key and (result.verdict == "continue" or result.verdict == "accept") then
    seen:set(key, true)
  end
end
