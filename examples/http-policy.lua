-- Asks a policy service over HTTP about every recipient, with the attributes of Postfix's policy protocol
-- (SMTPD_POLICY_README).
-- moonmilter.conf: settings = { policy_url = "http://policy.example/check" }
local http = require "moonmilter.http"
local log = require "moonmilter.log"

local url

function on_load(host)
  url = host:require_settings({ policy_url = "string" }).policy_url
end

function on_rcpt(ctx, recipient)
  local question = ("request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=%s\nhelo_name=%s\nsender=%s\n"
    .. "recipient=%s\n\n"):format(ctx.client.ip or "", ctx.helo or "", ctx.sender, recipient)
  local response, text = http.post(url, question, { timeout = 3, headers = { ["Content-Type"] = "text/plain" } })
  if not response or response.status ~= 200 then
    log.warn("policy: %s; mail goes through", text or response.status)
    return
  end
  local action, words = response.body:match "action=(%w+)%s*([^\n]*)"
  if action == "REJECT" then
    return ctx:reject(550, "5.7.1", words ~= "" and words or "Refused by policy")
  elseif action == "DEFER" then
    return ctx:tempfail(451, "4.7.1", words ~= "" and words or "Please try again later")
  end
end
