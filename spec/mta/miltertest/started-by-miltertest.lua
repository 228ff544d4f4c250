-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  -- As other projects test their filters: miltertest starts the filter, and ends it with SIGTERM.
  if script ~= nil then
    mt.startfilter(program, "run", "-s", socket, script)
  else
    mt.startfilter(program, socket)
  end
  local conn = session.message { "eom add X-New v" }
  session.passed(conn)
  session.added(conn, "X-New", "v")
  mt.disconnect(conn)
end)
