-- Sign the mail of our own users as it leaves, after all other scripts, with the keys of the domain in From. Whoever
-- has logged in may write for the domains in `users` only: a signature says that we answer for From.
-- moonmilter.conf: settings = { dkim_keys = "/etc/moonmilter/dkim.keys", users = { ann = { "example.org" } } }
local auth = require "moonmilter.auth"
local address = require "moonmilter.address"

local keys, domains_of

function on_load(host)
  local settings = host:require_settings { "dkim_keys", users = "table" }
  keys = auth.keys { file = settings.dkim_keys } -- lines of: domain selector keyfile
  domains_of = settings.users
end

local function may_write_for(user, domain)
  for _, allowed in ipairs(domains_of[user] or {}) do
    if address.same_domain(allowed, domain) then
      return true
    end
  end
  return false
end

function on_eoh(ctx)
  local user = ctx.auth and ctx.auth.authen
  if not user then
    return
  end
  local authors = address.mailboxes(ctx.headers:get "From" or "") or {}
  if #authors ~= 1 or ctx.headers:count "From" ~= 1 then
    return ctx:reject(550, "5.6.0", "A message needs one From with one address")
  elseif not may_write_for(user, authors[1].domain) then
    return ctx:reject(550, "5.7.1", "You may not write for the domain in From")
  end
  ctx:sign(keys)
end
