-- One SMTP client of ledger_spec.lua, in a process of its own: sends messages one after another, again and again each until
-- it has a final answer, and writes down what came of it.
--
--   luajit spec/process/ledger_client.lua PORT NAME SECONDS FILE
--
-- A line of FILE: token, "keep" or "refuse" (what the filter is to do), "taken" or the code of the refusal, attempts.
-- A token ends in a point, so that no token is the beginning of another.
package.path = "./?.lua;" .. package.path
local socket = require "socket"

local smtp = require "spec.mta.smtp"

local port, name, seconds, path = tonumber(arg[1]), arg[2], tonumber(arg[3]), arg[4]
local ledger = assert(io.open(path, "w"))
local stop_at = socket.gettime() + seconds
local give_up_at = stop_at + 60
local session, left = nil, 0

local function drop()
  if session then pcall(session.drop, session) end
  session = nil
end

-- The code of the final answer, or nil: try again.
local function send(message)
  if not session or left == 0 then
    drop()
    local ok, fresh = pcall(smtp.connect, port, { timeout = 20 })
    if not ok or not fresh.greeting or fresh.greeting.code ~= 220 then return nil end
    session, left = fresh, 5
  end
  left = left - 1
  local ok, result = pcall(session.send_message, session, message)
  local code = ok and result.last and result.last.code
  if not code or result.closed or code >= 400 and code < 500 then
    drop() -- an MTA whose filter is gone keeps the session for lost: so does a client
    return nil
  end
  if result.final then return result.final.code end
  return code >= 500 and code or nil
end

local count = 0
while socket.gettime() < stop_at do
  count = count + 1
  local kind = count % 3 == 0 and "refuse" or "keep"
  local token = ("ledger-%s-%d."):format(name, count)
  local message = { from = "ann@one.example", to = { "bob@two.example" }, data = table.concat({
    "From: Ann <ann@one.example>", "To: Bob <bob@two.example>", "Date: Thu, 1 Jan 2026 00:00:00 +0000",
    ("Message-Id: <%s@one.example>"):format(token), "Subject: " .. kind, "", "body of " .. token, "" }, "\n") }
  local code, attempts = nil, 0
  while not code and socket.gettime() < give_up_at do
    attempts = attempts + 1
    code = send(message)
    if not code then socket.sleep(0.05) end
  end
  ledger:write(("%s %s %s %d\n"):format(token, kind, code == 250 and "taken" or tostring(code), attempts))
  ledger:flush()
end
drop()
ledger:write "end\n"
ledger:close()
