-- Logs each event with its arguments. Good for a first look at what an MTA sends.
local log = require "moonmilter.log"

function on_negotiate(ctx, offer) log.info("negotiate: version %d", offer.version) end
function on_connect(ctx, hostname, address) log.info("connect: %s [%s]", hostname, address or ctx.client.family) end
function on_helo(ctx, name) log.info("helo: %s", name) end
function on_mail(ctx, sender, params) log.info("mail: <%s> %s", sender, table.concat(params, " ")) end
function on_rcpt(ctx, recipient, params) log.info("rcpt: <%s> %s", recipient, table.concat(params, " ")) end
function on_data(ctx) log.info("data, queue id %s", ctx.queue_id or "(none yet)") end
function on_header(ctx, name, value) log.info("header: %s: %s", name, value) end
function on_eoh(ctx) log.info("end of headers") end
function on_body(ctx, chunk) log.info("body: %d bytes", #chunk) end
function on_eom(ctx) log.info("end of message, %d headers", #ctx.headers) end
function on_unknown(ctx, command) log.info("unknown command: %s", command) end
function on_abort(ctx) log.info("abort") end
function on_done(ctx, result) log.info("done: %s %s", result.verdict, result.reply or "") end
function on_close(ctx) log.info("close") end
