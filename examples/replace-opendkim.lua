-- What opendkim, opendmarc and policyd-spf do together, in one script: mail of our users and networks is signed, all
-- other mail is checked, stamped, and refused where its owner wants that. docs/coming-from-opendkim.md has their
-- configuration beside it.
-- moonmilter.conf: settings = { dkim_keys = "/etc/moonmilter/dkim.keys", internal = { "192.0.2.0/24" } }
local auth = require "moonmilter.auth"
local cidr = require "moonmilter.cidr"
local log = require "moonmilter.log"

local keys, internal

function on_load(host)
  local settings = host:require_settings { "dkim_keys", internal = "table?" }
  keys = auth.keys { file = settings.dkim_keys }         -- KeyTable and SigningTable
  internal = cidr.set(settings.internal or { "127.0.0.0/8", "::1" }) -- InternalHosts
end

local function is_ours(ctx)
  return ctx.auth or not ctx.client.ip or internal:contains(ctx.client.ip)
end

function on_eoh(ctx)
  if is_ours(ctx) then
    ctx:sign(keys)
  end
end

function on_eom(ctx)
  if is_ours(ctx) then
    return
  end
  local r = auth.check(ctx)
  auth.stamp(ctx, r)
  local dmarc = r.dmarc
  if dmarc.result == "temperror" then
    return ctx:tempfail(451, "4.7.0", "The sender cannot be checked now")
  elseif dmarc.result == "permerror" then
    return ctx:reject(550, "5.7.1", "From must name one author")
  elseif dmarc.result == "none" and r.spf.result == "fail" then -- what policyd-spf does; DMARC knows better if it can
    return ctx:reject(550, "5.7.23", "SPF: this server may not send mail of " .. (r.spf.domain or "this sender"))
  elseif dmarc.disposition == "none" then
    return
  elseif r.is_list then
    log.info("DMARC %s of %s is not applied to a mailing list", dmarc.disposition, dmarc.domain)
  elseif dmarc.disposition == "reject" then
    return ctx:reject(550, "5.7.26", "DMARC: this server may not send mail of " .. dmarc.domain)
  else
    ctx:quarantine("DMARC policy of " .. dmarc.domain)
  end
end
