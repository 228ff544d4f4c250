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
    session.check(mt.eom_check(conn, MT_HDRADD, "X-Facts-Recipients", recipient), "recipient " .. i)
    session.check(mt.eom_check(conn, MT_HDRADD, "X-Facts-Headers", "3"), "header fields " .. i)
  end
  mt.disconnect(conn)
end)
