-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.open()
  session.hello(conn)
  local STAGES = {
    function() mt.mailfrom(conn, "<old@one.example>") end,
    function() mt.rcptto(conn, "<old@two.example>") end,
    function() mt.data(conn) end,
    function() mt.header(conn, "X-Old", "v") end,
    function() mt.eoh(conn) end,
    function() mt.bodystring(conn, "old\r\n") end,
  }
  for last = 1, #STAGES do
    for i = 1, last do STAGES[i]() end
    mt.abort(conn)
    session.envelope(conn)
    session.orders(conn, { "eom facts" })
    session.finish(conn)
    session.passed(conn, "after an abort at stage " .. last)
    session.added(conn, "X-Facts-Recipients", "<bob@two.example>")
    session.added(conn, "X-Facts-Headers", "3")
    session.added(conn, "X-Facts-Body", "25")
  end
  mt.disconnect(conn)
end)
