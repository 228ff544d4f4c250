-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.open()
  session.hello(conn)
  for i = 1, 2 do
    local recipient = ("<r%d@two.example>"):format(i)
    session.envelope(conn, { to = recipient })
    session.orders(conn, { "eom facts" })
    session.finish(conn)
    session.passed(conn)
    session.added(conn, "X-Facts-Recipients", recipient)
    session.added(conn, "X-Facts-Headers", "3")
  end
  mt.disconnect(conn)
end)
