-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.open()
  session.hello(conn)
  session.envelope(conn)
  session.header(conn, {
    { "X-A", "1" }, { "X-B", "2" }, { "X-Do", "eom add X-New v" }, { "X-Do", "eom insert 0 X-Top t" },
    { "X-Do", "eom change 1 X-A new" }, { "X-Do", "eom delete 1 X-B" }, { "X-Do", "eom addrcpt <eve@two.example>" },
    { "X-Do", "eom delrcpt <bob@two.example>" }, { "X-Do", "eom body replaced\\n" },
    { "X-Do", "eom quarantine looks bad" },
  })
  session.finish(conn)
  session.passed(conn)
  session.added(conn, "X-New", "v")
  session.added(conn, "X-Top", "t")
  session.changed(conn, "X-A", "new")
  session.check(mt.eom_check(conn, MT_HDRDELETE, "X-B"), "delete")
  session.check(mt.eom_check(conn, MT_RCPTADD, "<eve@two.example>"), "add recipient")
  session.check(mt.eom_check(conn, MT_RCPTDELETE, "<bob@two.example>"), "delete recipient")
  session.check(mt.eom_check(conn, MT_BODYCHANGE, "replaced\r\n"), "body")
  session.check(mt.eom_check(conn, MT_QUARANTINE, "looks bad"), "quarantine")
  mt.disconnect(conn)
end)
