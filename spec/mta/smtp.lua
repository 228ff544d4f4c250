--- A small SMTP client for specs. It sends the given commands and returns the replies; it hides nothing and repairs
--- nothing except the dots of a message.
local socket = require "socket"

local smtp = {}
local session = {}
session.__index = session

local TIMEOUT = 30 -- seconds for each reply

---@class smtp.Reply
---@field code integer       of the last line
---@field text string        all lines without code, joined by "\n"
---@field lines string[]     as received, without the line end

--- Opens a session and reads the greeting (`session.greeting`).
---@param port integer
---@param options? { helo?: string|false, timeout?: number, address?: string }
---  helo: name for EHLO (default "client.example"), false: send none; address: of the client (any of 127.0.0.0/8)
function smtp.connect(port, options)
  options = options or {}
  local self = setmetatable({ socket = socket.tcp() }, session)
  self.socket:settimeout(options.timeout or TIMEOUT)
  if options.address then assert(self.socket:bind(options.address, 0)) end
  assert(self.socket:connect("127.0.0.1", port))
  self.socket:setoption("tcp-nodelay", true)
  self.greeting = self:reply()
  if options.helo ~= false and self.greeting and self.greeting.code == 220 then
    self.ehlo = self:cmd("EHLO " .. (options.helo or "client.example"))
  end
  return self
end

--- Reads one reply. `nil, "closed"` or `nil, "timeout"` when there is none.
---@return smtp.Reply?, string?
function session:reply()
  local reply = { lines = {} }
  local texts = {}
  while true do
    local line, problem = self.socket:receive "*l"
    if not line then return nil, problem end
    line = line:gsub("\r$", "")
    reply.lines[#reply.lines + 1] = line
    local code, mark, text = line:match "^(%d%d%d)([ -]?)(.*)$"
    if not code then error(("not a reply line: %q"):format(line)) end
    texts[#texts + 1] = text
    if mark ~= "-" then
      reply.code, reply.text = tonumber(code), table.concat(texts, "\n")
      return reply
    end
  end
end

--- Sends bytes unchanged.
function session:send(bytes)
  return self.socket:send(bytes)
end

--- Sends one command line and reads the reply.
---@return smtp.Reply?, string?
function session:cmd(line)
  local sent, problem = self.socket:send(line .. "\r\n")
  if not sent then return nil, problem end
  return self:reply()
end

--- Sends several command lines in one write and reads all replies (RFC 2920).
---@return (smtp.Reply|false)[]
function session:pipeline(lines)
  self.socket:send(table.concat(lines, "\r\n") .. "\r\n")
  local replies = {}
  for i = 1, #lines do replies[i] = self:reply() or false end
  return replies
end

--- A message as on the wire: CRLF at each line end, leading dots doubled, the final dot.
function smtp.wire_form(data)
  data = data:gsub("\r\n", "\n"):gsub("\n", "\r\n")
  if data ~= "" and data:sub(-2) ~= "\r\n" then data = data .. "\r\n" end
  if data:sub(1, 1) == "." then data = "." .. data end
  return (data:gsub("\r\n%.", "\r\n..")) .. ".\r\n"
end

--- Sends one message as far as the server accepts it.
---@param message { from: string, to: string[], data: string, mail_params?: string }  addresses without angle brackets;
---  line ends of data may be LF
---@return { mail: smtp.Reply?, rcpt: smtp.Reply[], data: smtp.Reply?, final: smtp.Reply?, last: smtp.Reply? }
---  `last` is the last reply received, `closed` the reason when the session ended without one
function session:send_message(message)
  local result = { rcpt = {} }
  local function step(reply, problem)
    result.last = reply or result.last
    result.closed = not reply and problem or nil
    return reply
  end
  local params = message.mail_params and " " .. message.mail_params or ""
  result.mail = step(self:cmd(("MAIL FROM:<%s>%s"):format(message.from, params)))
  if not result.mail or result.mail.code ~= 250 then return result end
  local accepted = 0
  for i, address in ipairs(message.to) do
    local reply = step(self:cmd(("RCPT TO:<%s>"):format(address)))
    if not reply then return result end
    result.rcpt[i] = reply
    if reply.code == 250 then accepted = accepted + 1 end
    if reply.code == 421 then return result end
  end
  if accepted == 0 then
    result.reset = self:cmd "RSET"
    return result
  end
  result.data = step(self:cmd "DATA")
  if not result.data then return result end
  if result.data.code ~= 354 then
    if result.data.code ~= 421 then result.reset = self:cmd "RSET" end
    return result
  end
  self.socket:send(smtp.wire_form(message.data))
  result.final = step(self:reply())
  return result
end

--- True when the server has closed the connection (waits for it, at most `seconds`).
function session:closed(seconds)
  self.socket:settimeout(seconds or 2)
  local byte, problem = self.socket:receive(1)
  self.socket:settimeout(TIMEOUT)
  return not byte and problem == "closed"
end

function session:reset()
  return self:cmd "RSET"
end

--- Ends the session politely.
function session:quit()
  local reply = self:cmd "QUIT"
  self.socket:close()
  return reply
end

--- Closes the connection without QUIT; with `true` by a reset instead of an orderly end.
function session:drop(hard)
  if hard then self.socket:setoption("linger", { on = true, timeout = 0 }) end
  self.socket:close()
end

return smtp
