-- The server of exact_sink.lua: an SMTP server that writes each message to DIRECTORY/m.N, envelope lines first, then an
-- empty line, then the bytes after DATA as received, the final dot included.
--
--   luajit spec/mta/exact_sink_server.lua PORT DIRECTORY
local socket = require "socket"

local port, directory = tonumber(arg[1]), arg[2]
local server = assert(socket.bind("127.0.0.1", port, 128))
local clients, readable = {}, { server }
local count = 0

local function drop(connection)
  connection:close()
  clients[connection] = nil
  for i, other in ipairs(readable) do
    if other == connection then table.remove(readable, i) end
  end
end

local function reply(connection, text)
  connection:send(text .. "\r\n")
end

local function keep(client)
  count = count + 1
  local file = assert(io.open(("%s/new"):format(directory), "wb"))
  file:write(table.concat(client.envelope), "\n")
  for _, piece in ipairs(client.pieces) do file:write(piece) end
  file:close()
  assert(os.rename(directory .. "/new", ("%s/m.%d"):format(directory, count)))
end

-- PIPELINING is not offered: nothing follows the final dot before it is answered.
local GREETING = "250-sink.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 104857600\r\n250-DSN\r\n250 "
  .. "ENHANCEDSTATUSCODES"

local function command(connection, client, line)
  local verb = line:sub(1, 4):upper()
  local path = line:match "^%a+ %a+:(.*)$"
  if verb == "EHLO" or verb == "HELO" then
    reply(connection, verb == "EHLO" and GREETING or "250 sink.example")
  elseif verb == "MAIL" then
    client.envelope = { "S " .. path .. "\n" }
    reply(connection, "250 2.1.0 ok")
  elseif verb == "RCPT" then
    table.insert(client.envelope, "R " .. path .. "\n")
    reply(connection, "250 2.1.5 ok")
  elseif verb == "DATA" then
    client.pieces, client.tail = {}, "\r\n"
    reply(connection, "354 go on")
  elseif verb == "QUIT" then
    reply(connection, "221 2.0.0 bye")
    drop(connection)
  elseif verb == "RSET" or verb == "NOOP" then
    reply(connection, "250 2.0.0 ok")
  else
    reply(connection, "500 5.5.1 what")
  end
end

local function content(connection, client, bytes)
  table.insert(client.pieces, bytes)
  client.tail = (client.tail .. bytes:sub(-5)):sub(-5)
  if client.tail ~= "\r\n.\r\n" then return end
  keep(client)
  client.pieces = nil
  reply(connection, "250 2.0.0 kept")
end

local function hear(connection)
  local client = clients[connection]
  local bytes, problem, part = connection:receive(262144)
  bytes = bytes or part
  if #bytes == 0 then return problem == "closed" and drop(connection) end
  if client.pieces then return content(connection, client, bytes) end
  client.line = client.line .. bytes
  while not client.pieces do
    local line, after = client.line:match "^([^\n]*)\r\n()"
    if not line then return end
    client.line = client.line:sub(after)
    command(connection, client, line)
    if not clients[connection] then return end
  end
  if client.line ~= "" then
    local rest = client.line
    client.line = ""
    content(connection, client, rest)
  end
end

while true do
  for _, connection in ipairs((socket.select(readable))) do
    if connection == server then
      local new = server:accept()
      if new then
        new:settimeout(0)
        new:setoption("tcp-nodelay", true)
        clients[new] = { line = "" }
        readable[#readable + 1] = new
        reply(new, "220 sink.example ESMTP")
      end
    elseif clients[connection] then
      hear(connection)
    end
  end
end
