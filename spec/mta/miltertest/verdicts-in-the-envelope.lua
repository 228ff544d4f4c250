-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.open()
  session.hello(conn)
  for _, verdict in ipairs { "reject", "tempfail", "discard", "accept" } do
    mt.mailfrom(conn, ("<mail.%s@one.example>"):format(verdict))
    session.expect(conn, verdict, "MAIL")
    mt.abort(conn)
  end
  for _, verdict in ipairs { "reject", "tempfail" } do
    mt.mailfrom(conn, "<ann@one.example>")
    session.expect(conn, "continue", "MAIL")
    mt.rcptto(conn, ("<rcpt.%s@two.example>"):format(verdict))
    session.expect(conn, verdict, "RCPT")
    mt.rcptto(conn, "<bob@two.example>")
    session.expect(conn, "continue", "RCPT")
    mt.abort(conn)
  end
  mt.mailfrom(conn, "<mail.reply550@one.example>")
  session.expect(conn, "reply", "MAIL")
  mt.abort(conn)
  mt.disconnect(conn)
end)
