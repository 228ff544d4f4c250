-- Refuses mail by one header. Only headers named here enter Lua; the others cost nothing.
local BAD_MAILERS = { "MassBlaster", "SuperSender 2000" }

on_header = {
  ["X-Mailer"] = function(ctx, value)
    for _, bad in ipairs(BAD_MAILERS) do
      if value:find(bad, 1, true) then
        return ctx:reject(554, "5.7.1", "Mail sent with " .. bad .. " is not accepted here")
      end
    end
  end,
}
