-- A server that says what it is told, byte for byte: SAY <bytes>; LEARN <command> <bytes> for later. Any other command:
-- +OK. On one port of 127.0.0.1.
--   luajit spec/attack/redis_server.lua PORT      Ends by itself after two minutes.
local socket = require "socket"

local listener = assert(socket.bind("127.0.0.1", tonumber(arg[1]), 64))
listener:settimeout(0)
local learnt = {}
local clients, stop_at = {}, socket.gettime() + 120

local function command(client)
  local words = {}
  local count = tonumber((client:receive() or ""):match "^%*(%d+)")
  for i = 1, count or 0 do
    local size = tonumber((client:receive() or ""):match "^%$(%d+)")
    words[i] = size and client:receive(size)
    client:receive(2)
  end
  return words[1] and words
end

io.stdout:setvbuf "no"
print "ready"
while socket.gettime() < stop_at do
  local watched = { listener }
  for client in pairs(clients) do
    watched[#watched + 1] = client
  end
  for _, s in ipairs(socket.select(watched, nil, 0.5)) do
    if s == listener then
      local client = listener:accept()
      if client then
        client:settimeout(2)
        clients[client] = true
      end
    else
      local words = command(s)
      if words and words[1] == "LEARN" then
        learnt[words[2]] = words[3]
      end
      if not words or not s:send(words[1] == "SAY" and words[2] or learnt[words[1]] or "+OK\r\n") then
        s:close()
        clients[s] = nil
      end
    end
  end
end
