-- Asks a directory over HTTP whether a recipient exists, once an hour for each, however many workers and sessions ask:
-- POST with the address; 200 means yes, 404 no.
-- moonmilter.conf: settings = { directory = "http://127.0.0.1:8080/exists" }
local http = require "moonmilter.http"
local memo = require "moonmilter.memo"

local exists

function on_load(host)
  local directory = host:require_settings({ "directory" }).directory
  exists = memo(function(recipient)
    local response, text, code = http.post(directory, recipient, { timeout = 5,
      headers = { ["Content-Type"] = "text/plain" } })
    if not response then
      return nil, text, code
    end
    if response.status == 404 then
      return false
    end
    if response.status ~= 200 then
      return nil, "status " .. response.status, "status"
    end
    return true
  end, { ttl = 3600, stale = 86400 })
end

function on_rcpt(ctx, recipient)
  local is_there, text = exists(recipient:lower())
  if is_there == false then
    return ctx:reject(550, "5.1.1", "There is no such user")
  elseif is_there == nil then
    return ctx:tempfail(451, "4.3.0", "Cannot look up the recipient now: " .. text)
  end
end
