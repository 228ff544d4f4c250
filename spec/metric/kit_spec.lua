-- mta:metrics() of the test kit, and the example.
local testing = require "moonmilter.testing"

describe("the metrics of a host under test", function()
  it("are those of its scripts and its own", function()
    local mta = testing.start { script = [[
      local mails = require("moonmilter.metric").counter("mails", { by = { "kind" } })
      function on_eom(ctx) mails:inc "spam" return ctx:reject "no" end ]] }
    mta:message {}
    local metrics = mta:metrics()
    assert.equal(1, metrics['mails_total{milter="default",kind="spam"}'])
    assert.equal(1, metrics['moonmilter_messages_total{milter="default",verdict="reject",script="script"}'])
    assert.equal(1, metrics['moonmilter_handler_seconds_count{milter="default",script="script",handler="on_eom"}'])
    mta:close()
  end)

  it("count attachments as the example says", function()
    local mta = testing.start { scripts = "examples/attachment-metrics.lua" }
    mta:message { headers = { { "MIME-Version", "1.0" }, { "Content-Type", "multipart/mixed; boundary=b" } },
      body = "--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n"
        .. "Content-Disposition: attachment\r\n\r\n" .. ("x"):rep(2000) .. "\r\n--b--\r\n" }
    local metrics = mta:metrics()
    assert.equal(1, metrics['attachment_bytes_bucket{milter="default",type="application/pdf",le="10000.0"}'])
    assert.equal(0, metrics['attachment_bytes_bucket{milter="default",type="application/pdf",le="1000.0"}'])
    mta:close()
  end)
end)
