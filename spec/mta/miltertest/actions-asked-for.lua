-- luacheck: std lua53, globals mt, ignore 113
local session = dofile(library)

session.run(function()
  local conn = session.open()
  session.check(mt.negotiate(conn, nil, nil, nil) == nil, "negotiation")
  for name, action in pairs {
    ADDHDRS = SMFIF_ADDHDRS, CHGHDRS = SMFIF_CHGHDRS, CHGBODY = SMFIF_CHGBODY, ADDRCPT = SMFIF_ADDRCPT,
    DELRCPT = SMFIF_DELRCPT, QUARANTINE = SMFIF_QUARANTINE,
  } do
    session.check(mt.test_action(conn, action), "asks for " .. name)
  end
  session.check(not mt.test_option(conn, SMFIP_NOMAIL), "wants MAIL")
  session.check(not mt.test_option(conn, SMFIP_NORCPT), "wants RCPT")
  session.check(not mt.test_option(conn, SMFIP_NOBODY), "wants the body")
  mt.disconnect(conn)
end)
