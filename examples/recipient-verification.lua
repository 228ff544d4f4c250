-- Refuses recipients of our domains that a table does not have, as relay_recipient_maps of Postfix would. A table that
-- cannot be asked says neither yes nor no: the client shall try again.
-- moonmilter.conf: settings = { domains = { "example.com" },
--   recipients = { "texthash:/etc/postfix/relay_recipients", "pgsql:/etc/postfix/users.cf" } }
local log = require "moonmilter.log"
local map = require "moonmilter.map"

local mailboxes
local is_ours = {}

function on_load(host)
  local settings = host:require_settings { domains = "table", recipients = "table" }
  mailboxes = map.open(settings.recipients) -- the first table that has the mailbox counts
  for _, domain in ipairs(settings.domains) do
    is_ours[domain:lower()] = true
  end
end

function on_rcpt(ctx, recipient)
  local domain = (recipient:lower():match "@([^@]+)$" or ""):gsub("%.$", "")
  if not is_ours[domain] then -- a mailbox elsewhere, or "postmaster"
    return
  end
  local value, text, code = mailboxes:address(recipient)
  if code then
    log.error("recipients: %s", text)
    return ctx:tempfail(451, "4.3.0", "Mailboxes cannot be looked up now, please try again later")
  elseif not value then
    return ctx:reject(550, "5.1.1", "There is no such mailbox")
  end
end
