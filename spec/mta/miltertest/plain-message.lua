-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.message {}
  session.passed(conn)
  session.check(not mt.eom_check(conn, MT_HDRADD), "no header added")
  session.check(not mt.eom_check(conn, MT_BODYCHANGE), "body left alone")
  mt.disconnect(conn)
end)
