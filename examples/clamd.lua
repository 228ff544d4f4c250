-- Passes the message to clamd while it arrives (INSTREAM over its unix socket), and refuses it when clamd finds a
-- virus.
-- moonmilter.conf: settings = { clamd = "/run/clamav/clamd.ctl" }
local log = require "moonmilter.log"
local socket = require "moonmilter.socket"

local path

function on_load(host)
  path = host:require_settings({ clamd = "string?" }).clamd or "/run/clamav/clamd.ctl"
end

-- clamd(8): each chunk follows its size in four bytes, network order; size 0 ends the stream.
local function send(ctx, bytes)
  local n = #bytes
  local size = string.char(math.floor(n / 2 ^ 24), math.floor(n / 2 ^ 16) % 256, math.floor(n / 256) % 256, n % 256)
  ctx.message.scan:send(size .. bytes) -- when clamd has hung up, its answer says why
end

function on_eoh(ctx)
  local scan, text = socket.connect { unix = path, connect_timeout = 2, timeout = 120 }
  if not scan then
    log.error("clamd: %s", text)
    return ctx:tempfail(451, "4.7.1", "Virus scanner unavailable, please try again later")
  end
  ctx.message.scan = scan
  scan:send "zINSTREAM\0"
  local lines = {}
  for name, value in ctx.headers:each() do
    lines[#lines + 1] = name .. ": " .. value .. "\r\n"
  end
  send(ctx, table.concat(lines) .. "\r\n")
end

function on_body(ctx, chunk)
  send(ctx, chunk)
end

function on_eom(ctx)
  ctx.message.scan:send "\0\0\0\0"
  local answer, text, partial = ctx.message.scan:receive "*a"
  answer = (answer or partial or ""):gsub("%z", "")
  local virus = answer:match "^stream: (.+) FOUND"
  if virus then
    return ctx:reject(554, "5.7.1", "Virus found: " .. virus)
  elseif answer:find("size limit exceeded", 1, true) then -- clamd's StreamMaxLength; another try would meet it again
    return ctx:reject(552, "5.3.4", "Message too big for the virus scanner")
  elseif answer ~= "stream: OK" then
    log.error("clamd: %s", answer ~= "" and answer or text)
    return ctx:tempfail(451, "4.7.1", "Virus scanner unavailable, please try again later")
  end
end
