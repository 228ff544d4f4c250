-- Refuse mail that the owner of its From domain wants refused, hold what he wants held, but let mailing lists pass:
-- they change messages, which breaks signatures. What cannot be known now is asked for again later.
local auth = require "moonmilter.auth"
local log = require "moonmilter.log"

-- Hosts that forward for our users: their SPF fails, and some break signatures.
local FORWARDERS = { ["lists.example.net"] = true }

local function is_excepted(ctx, r)
  local from = r.helo and r.helo.result == "pass" and r.helo.domain -- HELO says it, and SPF of HELO confirms it
  return r.is_list or from and FORWARDERS[from]
end

function on_eom(ctx)
  if ctx.auth then
    return
  end
  local r = auth.check(ctx)
  auth.stamp(ctx, r)
  local dmarc = r.dmarc
  if dmarc.result == "permerror" then -- two From, two authors: no policy applies, so attackers like it
    return ctx:reject(550, "5.7.1", "From must name one author: " .. dmarc.reason)
  elseif dmarc.result == "temperror" then
    return ctx:tempfail(451, "4.7.0", "The sender cannot be checked now")
  elseif dmarc.disposition == "none" then
    return
  elseif is_excepted(ctx, r) then
    log.info("DMARC %s of %s is not applied: a list or a forwarder", dmarc.disposition, dmarc.domain)
  elseif dmarc.disposition == "reject" then
    return ctx:reject(550, "5.7.26", "DMARC: this server may not send mail of " .. dmarc.domain)
  else
    ctx:quarantine("DMARC policy of " .. dmarc.domain)
  end
end
