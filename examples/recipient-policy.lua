-- Each recipient has its own rules; refusing one does not affect the others.
local POLICY = {
  ["ceo@example.com"] = { from = "@partner%.example$", text = "This mailbox takes mail from partners only" },
  ["small@example.com"] = { size = 100 * 1024, text = "This mailbox takes messages up to 100 KB" },
}

function on_rcpt(ctx, recipient, params)
  local rule = POLICY[recipient:lower()]
  if not rule then
    return
  end
  if rule.from and not ctx.sender:lower():find(rule.from) then
    return ctx:reject(550, "5.7.1", rule.text)
  end
  local size = tonumber(ctx.sender_params.SIZE)
  if rule.size and size and size > rule.size then
    return ctx:reject(552, "5.2.3", rule.text)
  end
end
