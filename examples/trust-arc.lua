-- Enforce DMARC, but believe mailing lists and forwarders that we know: what such a host has sealed about a message
-- before it changed it (ARC) counts more than what we find afterwards. A List-Id alone proves nothing, a seal does.
local arc = require "moonmilter.arc"
local auth = require "moonmilter.auth"
local authres = require "moonmilter.authres"
local log = require "moonmilter.log"

local SEALERS = { "lists.example.net", ".forwarder.example" } -- as in d= of ARC-Seal; with a dot: all names below

local function is_about(result, domain)
  for _, property in ipairs(result.properties) do
    if property.type == "header" and property.property == "from" then
      return property.value:lower() == domain
    end
  end
  return false
end

-- The host that saw DMARC pass for this domain, if we trust it and every host after it.
local function vouching(chain, domain)
  local set = arc.trusted(chain, SEALERS)
  local found = set and authres.parse(set.results)
  for _, result in ipairs(found and found.results or {}) do
    if result.method == "dmarc" and result.result == "pass" and is_about(result, domain) then
      return set.domain
    end
  end
end

function on_eom(ctx)
  if ctx.auth then
    return
  end
  local r = auth.check(ctx, { arc = true })
  auth.stamp(ctx, r)
  local dmarc = r.dmarc
  if dmarc.result == "permerror" then
    return ctx:reject(550, "5.7.1", "From must name one author: " .. dmarc.reason)
  elseif dmarc.result == "temperror" then
    return ctx:tempfail(451, "4.7.0", "The sender cannot be checked now")
  elseif dmarc.disposition == "none" then
    return
  elseif r.arc.result == "temperror" then -- the chain may be good
    return ctx:tempfail(451, "4.7.0", "The seals of this message cannot be checked now")
  end
  local sealer = vouching(r.arc.chain, dmarc.domain)
  if sealer then
    log.info("DMARC %s of %s is not applied: %s vouches for the message", dmarc.disposition, dmarc.domain, sealer)
  elseif dmarc.disposition == "reject" then
    return ctx:reject(550, "5.7.26", "DMARC: this server may not send mail of " .. dmarc.domain)
  else
    ctx:quarantine("DMARC policy of " .. dmarc.domain)
  end
end
