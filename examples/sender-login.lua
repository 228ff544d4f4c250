-- Lets a login send by its own addresses only, in MAIL and in From. The table is that of smtpd_sender_login_maps of
-- Postfix: sender, then the logins that own it, with commas or blanks between them. Whoever has not logged in, and the
-- null sender of notices, are no matter of this filter.
-- moonmilter.conf: settings = { logins = "texthash:/etc/postfix/sender_login" }
local log = require "moonmilter.log"
local map = require "moonmilter.map"

local owners

function on_load(host)
  owners = map.open(host:require_settings({ logins = "string" }).logins)
end

-- true or false; nil and a text: nobody knows.
local function owns(login, mailbox)
  local logins, text, code = owners:address(mailbox)
  if code then
    return nil, text
  end
  for name in (logins or ""):lower():gmatch "[^,%s]+" do
    if name == login:lower() then
      return true
    end
  end
  return false
end

-- The verdict on an address; nil: it may be used.
local function judge(ctx, mailbox, code, text)
  local is_own, why = owns(ctx.auth.authen or "", mailbox)
  if is_own == false then
    return ctx:reject(code, "5.7.1", text)
  elseif is_own == nil then
    log.error("logins: %s", why)
    return ctx:tempfail(451, "4.3.0", "Senders cannot be looked up now, please try again later")
  end
end

function on_mail(ctx, sender)
  if ctx.auth and sender ~= "" then
    return judge(ctx, sender, 553, ("%s is not an address of your account"):format(sender))
  end
end

function on_eoh(ctx)
  for _, field in ipairs(ctx.auth and ctx.headers:all "From" or {}) do
    local authors = field:addresses { mode = "strict" }
    if not authors then
      return ctx:reject(550, "5.7.1", "From cannot be read")
    end
    for _, author in ipairs(authors) do
      local verdict = judge(ctx, author.address, 550, ("From: %s is not an address of your account"):format(
        author.address))
      if verdict then
        return verdict
      end
    end
  end
end
