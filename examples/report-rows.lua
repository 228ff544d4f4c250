-- One line of JSON for each message that was checked, with all that an aggregate report needs (RFC 9990). A tool groups
-- them by day and policy_domain, and sends the reports.
-- moonmilter.conf: settings = { report_file = "/var/lib/moonmilter/dmarc.jsonl" }
local auth = require "moonmilter.auth"
local json = require "moonmilter.json"

local path

function on_load(host)
  path = host:require_settings({ "report_file" }).report_file
end

function on_eom(ctx)
  if ctx.auth then
    return
  end
  local row = auth.row(ctx, auth.check(ctx))
  row.time = os.time()
  local file = assert(io.open(path, "a")) -- opened for each line, so that logrotate may move the file
  file:setvbuf("full", 65536)             -- one write for the whole line: lines of several workers do not mix
  file:write(json.encode(row), "\n")
  file:close()
end
