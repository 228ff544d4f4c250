-- Helpers for the miltertest scripts beside this file; miltertest runs Lua 5.3 with its own functions in `mt`.
-- luacheck: std lua53, globals mt socket, ignore 113
local session = {}

local names = {}
for name, value in pairs {
  continue = SMFIR_CONTINUE, accept = SMFIR_ACCEPT, reject = SMFIR_REJECT, tempfail = SMFIR_TEMPFAIL,
  discard = SMFIR_DISCARD, reply = SMFIR_REPLYCODE, skip = SMFIR_SKIP,
} do
  if value then names[math.tointeger(value) or value] = name end
end

function session.check(ok, what)
  if not ok then error("not true: " .. what, 2) end
end

local function step(problem, what)
  if problem ~= nil then error(what .. ": " .. tostring(problem), 3) end
end

--- Name of the last reply: "continue", "reject", …
function session.last(conn)
  local reply = math.tointeger(mt.getreply(conn)) or mt.getreply(conn)
  return names[reply] or tostring(reply)
end

function session.expect(conn, wanted, what)
  local got = session.last(conn)
  if got ~= wanted then error(("%s: %s instead of %s"):format(what, got, wanted), 2) end
end

function session.open()
  local conn = mt.connect(socket, 50, 0.1)
  if conn == nil then error("cannot connect to " .. socket, 2) end
  return conn
end

--- Connects and goes on up to an accepted recipient. `options`: ip, helo, from, to.
function session.envelope(conn, options)
  options = options or {}
  step(mt.mailfrom(conn, options.from or "<ann@one.example>", "SIZE=100"), "mailfrom")
  session.expect(conn, "continue", "reply to MAIL")
  step(mt.rcptto(conn, options.to or "<bob@two.example>"), "rcptto")
  session.expect(conn, "continue", "reply to RCPT")
  step(mt.data(conn), "data")
  session.expect(conn, "continue", "reply to DATA")
end

function session.hello(conn, options)
  options = options or {}
  step(mt.conninfo(conn, "client.example", options.ip or "192.0.2.1"), "conninfo")
  session.expect(conn, "continue", "reply to connect")
  step(mt.helo(conn, options.helo or "client.example"), "helo")
  session.expect(conn, "continue", "reply to HELO")
end

--- Sends header fields (a list of {name, value}), and the end of the header.
function session.header(conn, fields)
  for _, field in ipairs(fields) do step(mt.header(conn, field[1], field[2]), "header") end
  step(mt.eoh(conn), "eoh")
end

function session.orders(conn, orders)
  local fields = { { "From", "ann@one.example" }, { "Subject", "plain" } }
  for _, order in ipairs(orders) do fields[#fields + 1] = { "X-Do", order } end
  session.header(conn, fields)
end

function session.finish(conn)
  step(mt.bodystring(conn, "first line\r\nsecond line\r\n"), "bodystring")
  step(mt.eom(conn), "eom")
end

--- A whole message in a separate session, up to the reply at end of message.
function session.message(orders)
  local conn = session.open()
  session.hello(conn)
  session.envelope(conn)
  session.orders(conn, orders)
  session.finish(conn)
  return conn
end

--- "continue" and "accept" have the same effect at end of message.
function session.passed(conn, what)
  local got = session.last(conn)
  if got ~= "continue" and got ~= "accept" then error(("%s: %s"):format(what or "end of message", got), 2) end
end

--- Fails unless a header field was added, at any place. A filter that negotiated leading spaces (SMFIP_HDR_LEADSPC)
--- sends " v" where others send "v"; miltertest shows both unchanged.
function session.added(conn, name, value)
  for _, operation in ipairs { MT_HDRADD, MT_HDRINSERT } do
    for _, space in ipairs { "", " " } do
      if mt.eom_check(conn, operation, name, space .. value) then return end
    end
  end
  error(("%s: %s was not added"):format(name, value), 2)
end

--- Fails unless a header field was changed to a value; see session.added about the space.
function session.changed(conn, name, value)
  for _, space in ipairs { "", " " } do
    if mt.eom_check(conn, MT_HDRCHANGE, name, space .. value) then return end
  end
  error(("%s: not changed to %s"):format(name, value), 2)
end

--- Runs a script's body; on failure reports the error and ends with status 1.
function session.run(body)
  local ok, problem = xpcall(body, function(text) return debug.traceback(tostring(text), 2) end)
  if not ok then
    mt.echo("FAILED " .. problem)
    os.exit(1)
  end
  mt.echo "PASSED"
end

return session
