--- A small MTA over a socket, for specs of whole processes. It offers no protocol steps, so every command but macros,
--- abort and quit has one reply.
---
---   local mta = mta_client.connect(port)        -- or a unix socket's path
---   mta:envelope()                              -- connect, helo, mail, rcpt
---   assert.equal("continue", mta:eom().kind)
---
--- A reply has kind ("continue", "accept", …, "reply" with its text, "closed", "timeout") and, at eom, edits.
local socket = require "socket"
local unix_ok, unix = pcall(require, "socket.unix")

local mta_client = {}
local session = {}
session.__index = session

local KINDS = { c = "continue", a = "accept", r = "reject", t = "tempfail", d = "discard", s = "skip", y = "reply" }
local EDITS = { h = true, m = true, i = true, ["+"] = true, ["-"] = true, b = true, e = true, q = true, ["2"] = true }

local function u32(n)
  return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

local function u32_at(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

function mta_client.packet(letter, data)
  return u32(#(data or "") + 1) .. letter .. (data or "")
end

--- A connection that has sent nothing yet; nil and the reason when connecting fails.
function mta_client.dial(where, timeout)
  local self = setmetatable({}, session)
  if type(where) == "string" then
    assert(unix_ok, "LuaSocket without unix sockets")
    self.socket = (type(unix) == "table" and unix.stream or unix)()
  else
    self.socket = socket.tcp()
  end
  self.socket:settimeout(timeout or 20)
  local ok, why
  if type(where) == "string" then
    ok, why = self.socket:connect(where)
  else
    ok, why = self.socket:connect("127.0.0.1", where)
    if ok then self.socket:setoption("tcp-nodelay", true) end
  end
  if not ok then
    self.socket:close()
    return nil, why
  end
  return self
end

--- A connection that has negotiated.
function mta_client.connect(where, timeout)
  local self, why = mta_client.dial(where, timeout)
  if not self then return nil, why end
  self:send("O", u32(6) .. u32(0x1ff) .. u32(0))
  local letter, data = self:read()
  if letter ~= "O" then
    self:close()
    return nil, letter or data
  end
  return self
end

function session:send(letter, data)
  return self.socket:send(mta_client.packet(letter, data))
end

--- One packet: letter and data; nil and "closed" or "timeout".
function session:read()
  local head, why = self.socket:receive(5)
  if not head then return nil, why end
  local size = u32_at(head, 1) - 1
  local data = ""
  if size > 0 then
    data, why = self.socket:receive(size)
    if not data then return nil, why end
  end
  return head:sub(5, 5), data
end

--- The final reply of a command, with the edits before it.
function session:reply()
  local edits = {}
  while true do
    local letter, data = self:read()
    if not letter then return { kind = data, edits = edits } end
    if EDITS[letter] then
      edits[#edits + 1] = letter .. data
    elseif letter ~= "p" then
      return { kind = KINDS[letter] or letter, text = data:gsub("%z$", ""), edits = edits }
    end
  end
end

function session:command(letter, data)
  if not self:send(letter, data) then return { kind = "closed", edits = {} } end
  return self:reply()
end

--- Macros of a stage: letter of its command, then names and values.
function session:macros(letter, list)
  local data = letter
  for name, value in pairs(list) do data = data .. name .. "\0" .. value .. "\0" end
  self:send("D", data)
end

function session:greet()
  return self:command("C", "client.example\0" .. "4" .. "\4\1" .. "192.0.2.1\0")
end

function session:helo(name) return self:command("H", (name or "client.example") .. "\0") end

function session:mail(sender, queue_id)
  if queue_id then self:macros("M", { i = queue_id }) end
  return self:command("M", "<" .. (sender or "ann@one.example") .. ">\0")
end

function session:rcpt(recipient) return self:command("R", "<" .. (recipient or "bob@two.example") .. ">\0") end
function session:data() return self:command "T" end
function session:header(name, value) return self:command("L", name .. "\0" .. value .. "\0") end
function session:eoh() return self:command "N" end
function session:body(text) return self:command("B", text or "text\r\n") end
function session:eom() return self:command "E" end
function session:abort() self:send "A" end

local STEPS = { "greet", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }
mta_client.STEPS = STEPS

--- Runs the steps up to and including `last` (default rcpt); ends early at a reply that is not "continue".
function session:envelope(last, queue_id)
  local reply
  for _, step in ipairs(STEPS) do
    local is_done = self.has_greeted and (step == "greet" or step == "helo")
    if not is_done then
      if step == "header" then reply = self:header("Subject", "spec")
      elseif step == "mail" then reply = self:mail(nil, queue_id)
      else reply = self[step](self) end
      if step == "helo" then self.has_greeted = true end
      if reply.kind ~= "continue" then return reply, step end
    end
    if step == (last or "rcpt") then return reply, step end
  end
end

--- A whole message; the final reply and the step that gave it.
function session:message(queue_id) return self:envelope("eom", queue_id) end

function session:quit()
  self:send "Q"
  self:close()
end

function session:close()
  if self.socket then self.socket:close() end
  self.socket = nil
end

return mta_client
