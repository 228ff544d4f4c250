-- The script that examples/embed.c runs in its specs: its own module decides, and on_eom waits.
local rating = require "rating"

function on_mail(ctx, sender)
  if rating.of(sender) > 5 then return ctx:reject(550, "5.7.1", "rated", "out") end
end

function on_eom()
  require("moonmilter").sleep(0.01)
end
