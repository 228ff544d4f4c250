-- One SMTP client of the ledger, in a separate process: sends messages one after another, each repeatedly until it has
-- a final answer, and records every attempt.
--
--   luajit spec/ledger/client.lua PORT NAME FILE KIND,... STAGE,...
--
-- It ends when the file FILE.stop exists. A line of FILE: the attempt's name, the reply's code or "-" when there was
-- none, its text. "end" is the last line.
package.path = "./?.lua;" .. package.path
local lfs = require "lfs"
local socket = require "socket"

local message = require "spec.ledger.message"
local smtp = require "spec.mta.smtp"

local GIVE_UP = 60 -- seconds after which a message that is not accepted counts as lost

local port, name, path = tonumber(arg[1]), arg[2], arg[3]
local ledger = assert(io.open(path, "w"))
local session, left = nil, 0

local function list(text)
  local words = {}
  for word in text:gmatch "%l+" do words[#words + 1] = word end
  return words
end

local function drop(hard)
  if session then pcall(session.drop, session, hard) end
  session = nil
end

-- A session with the MTA; nil and the code of its refusal, if any. The address or name selects the stage at which the
-- filter acts.
local function connect(stage)
  local options = { timeout = 20, address = stage == "connect" and "127.0.0.9" or nil,
    helo = stage == "helo" and "wait.example" or nil }
  local ok, fresh = pcall(smtp.connect, port, options)
  if not ok then return nil end
  if fresh.greeting and fresh.greeting.code == 220 and fresh.ehlo then return fresh end
  pcall(fresh.drop, fresh)
  local code = fresh.greeting and fresh.greeting.code
  return nil, code ~= 220 and code or nil -- the connection may also break after the greeting
end

-- The reply that ends an attempt: code and text, or nothing.
local function send(id)
  local stage = id.attempt == 1 and id.stage
  if not session or left == 0 or stage == "connect" or stage == "helo" then
    drop()
    local fresh, code = connect(stage)
    if not fresh then return code, "greeting" end
    session, left = fresh, 5
  end
  left = left - 1
  local ok, result = pcall(session.send_message, session, message.compose(id))
  local last = ok and result.last
  if not last or result.closed then
    drop()
    return nil, ok and result.closed or "broken"
  end
  if last.code >= 400 and last.code < 500 then drop() end -- an MTA whose filter is gone treats the session as lost
  return last.code, last.lines[#last.lines]:sub(5)
end

-- How far the client goes before it hangs up, by stage; every second time the connection is reset.
local STEPS = { connect = 0, helo = 1, mail = 2, rcpt = 3, data = 4, header = 5, eoh = 6, body = 7 }
local function hang_up(id, hard)
  drop()
  local fresh = connect()
  if not fresh then return end
  local m, goal = message.compose(id), STEPS[id.stage]
  if goal >= 2 then fresh:cmd(("MAIL FROM:<%s>"):format(m.from)) end
  if goal >= 3 then fresh:cmd(("RCPT TO:<%s>"):format(m.to[1])) end
  if goal >= 4 then fresh:cmd "DATA" end
  local head, body = m.data:match "^(.-\n\n)(.*)$"
  if goal >= 5 then fresh:send((head:sub(1, -2):gsub("\n", "\r\n"))) end
  if goal >= 6 then fresh:send "\r\n" end
  if goal >= 7 then fresh:send((body:gsub("\n", "\r\n"))) end
  session = fresh
  drop(hard)
end

local function write(id, code, text)
  ledger:write(("%s %s %s\n"):format(id.name, code or "-", text or ""))
  ledger:flush()
end

local kinds, stages = list(arg[4]), list(arg[5])
local shift = 3 * tonumber(name:match "%d+$") -- clients begin at different kinds
local count = 0
while not lfs.attributes(path .. ".stop") do
  count = count + 1
  local kind, stage = kinds[(count + shift) % #kinds + 1], stages[(count - 1) % #stages + 1]
  local token = ("ledger-%s-%d"):format(name, count)
  local attempt, code, text, is_final = 0
  local give_up_at = socket.gettime() + GIVE_UP
  repeat
    attempt = attempt + 1
    local id = message.parse(message.name(token, kind, stage, attempt) .. "@")
    if kind == "drop" then
      pcall(hang_up, id, count % 2 == 0)
      write(id, nil, "hung up")
      break
    end
    code, text = send(id)
    write(id, code, text)
    is_final = code and (code < 400 or code >= 500)
    if not is_final then socket.sleep(0.05) end
  until is_final or socket.gettime() > give_up_at
end
drop()
ledger:write "end\n"
ledger:close()
