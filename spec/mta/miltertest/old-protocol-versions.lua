-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  -- miltertest takes protocol steps third and actions fourth, contrary to its manual page.
  for version, steps in pairs { [2] = 0x7f, [3] = 0x17f, [4] = 0x37f, [6] = 0x1fffff } do
    local conn = session.open()
    local problem = mt.negotiate(conn, version, steps, 0x1ff)
    session.check(problem == nil, "negotiation of version " .. version .. ": " .. tostring(problem))
    session.hello(conn)
    mt.mailfrom(conn, "<ann@one.example>")
    session.expect(conn, "continue", "MAIL")
    mt.rcptto(conn, "<bob@two.example>")
    session.expect(conn, "continue", "RCPT")
    if version >= 4 then mt.data(conn) end
    session.orders(conn, { "eom add X-New v" })
    session.finish(conn)
    session.passed(conn, "version " .. version)
    mt.disconnect(conn)
  end
end)
