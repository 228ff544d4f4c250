-- Refuse a From that shows one address but contains another, such as "ceo@bank.example" <someone@elsewhere.example>,
-- and a From that names several authors or none that can be read.
local address = require "moonmilter.address"

function on_eom(ctx)
  local from = ctx.headers:field "From"
  if not from or ctx.headers:field("From", 2) then
    return ctx:reject(550, "5.6.0", "exactly one From field is required (RFC 5322 3.6)")
  end
  local author, why = address.parse(from.value)
  if not author then
    return ctx:reject(550, "5.6.0", "From: " .. why:gsub("[^\32-\126]", "?"))
  end
  if author.has_address_in_name then
    local shown = author.name:match "@([%w.-]+%w)"
    if shown and not address.same_domain(shown, author.domain) then
      local real = author.address:gsub("[^\32-\126]", "?")
      return ctx:reject(550, "5.7.1", ("From shows %s but is %s"):format(shown, real))
    end
  end
end
