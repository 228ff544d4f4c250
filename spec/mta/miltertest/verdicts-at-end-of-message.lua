-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  for _, verdict in ipairs { "reject", "tempfail", "discard" } do
    local conn = session.message { "eom " .. verdict }
    session.expect(conn, verdict, "end of message")
    mt.disconnect(conn)
  end
  local conn = session.message { "eom reply 550 5.7.9 no thanks" }
  session.expect(conn, "reply", "end of message")
  session.check(mt.eom_check(conn, MT_SMTPREPLY, "550", "5.7.9", "no thanks"), "reply text")
  mt.disconnect(conn)
end)
