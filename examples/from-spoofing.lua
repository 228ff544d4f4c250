-- Refuse a From that shows one address but contains another, such as "ceo@bank.example" <someone@elsewhere.example>,
-- and a From that names several authors or none that can be read.
local address = require "moonmilter.address"

-- "@", and the characters of Unicode that look like it.
local function plain_at(name)
  return (name:gsub("\239\188\160", "@"):gsub("\239\185\171", "@"))
end

-- The first domain in a display name that is not the author's. "@joe" is a name, too, but no domain.
local function other_domain(author)
  for shown in plain_at(author.name):gmatch "@([%w\128-\255][%w.\128-\255-]*)" do
    shown = shown:gsub("%.$", "")
    local domain = address.domain_to_ascii(shown) or shown
    if domain:find(".", 1, true) and not address.same_domain(domain, author.domain) then
      return shown
    end
  end
end

function on_eom(ctx)
  local from = ctx.headers:field "From"
  if not from or ctx.headers:field("From", 2) then
    return ctx:reject(550, "5.6.0", "exactly one From field is required (RFC 5322 3.6)")
  end
  local author, why = address.parse(from.value)
  if not author then
    return ctx:reject(550, "5.6.0", "From: " .. why:gsub("[^\32-\126]", "?"))
  end
  local shown = author.has_address_in_name and other_domain(author)
  if shown then
    local text = ("From shows %s but is %s"):format(shown, author.address)
    return ctx:reject(550, "5.7.1", (text:gsub("[^\32-\126]", "?"):sub(1, 400)))
  end
end
