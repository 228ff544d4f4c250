--- host.sessions() and host.statistics(): what a worker serves and has counted, as a script sees it.
local fake_mta = require "spec.support.fake_mta"

local SCRIPT = [[
  local log = require "moonmilter.log"
  function on_rcpt(ctx, recipient)
    local list, count = ctx.host.sessions()
    for _, one in ipairs(list) do
      log.info("seen %s of %d: %s %s, %s to %s, %s messages, at %s, %s", one.id == ctx.id, count, one.client, one.address,
        one.sender, one.recipients, one.messages, one.stage, one.milter == ctx.host.name and one.age >= 0
        and one.held >= 0 and one.generation == 1 and getmetatable(one) == nil)
      one.sender = "changed"
    end
    if recipient:match "^wait" then require("moonmilter").sleep(60) end
  end
  function on_eom(ctx)
    local verdict = ctx.sender:match "^(%l+)@"
    if verdict ~= "continue" then return verdict end
  end
  function on_close(ctx)
    local s = ctx.host.statistics()
    local v = s.verdicts
    log.info("counts %d of %d, %d: %d %d %d %d %d, %d aborted, %d errors, %s", s.sessions, s.sessions_begun, s.messages,
      v.continue, v.accept, v.reject, v.tempfail, v.discard, s.aborted, s.script_errors, s.held_bytes > 0)
  end
]]

describe("host.sessions and host.statistics", function()
  local mta

  after_each(function() mta:close() end)

  local function said(word)
    local lines = {}
    for text in mta.owner:log():gmatch("text=\"?(" .. word .. " [^\"\n]+)") do lines[#lines + 1] = text end
    return lines
  end

  it("shows sessions as copies that change nothing", function()
    mta = fake_mta.start { script = SCRIPT }
    mta:connect("client.example", "192.0.2.1")
    mta:helo "helo.example"
    mta:mail "<a@example.org>"
    mta:rcpt "<b@example.org>"
    mta:rcpt "<c@example.org>"
    assert.same({
      "seen true of 1: client.example 192.0.2.1, a@example.org to 1, 1 messages, at rcpt, true",
      "seen true of 1: client.example 192.0.2.1, a@example.org to 2, 1 messages, at rcpt, true",
    }, said "seen")
  end)

  it("counts messages by verdict, those that were given up, and errors", function()
    mta = fake_mta.start { script = SCRIPT }
    mta:connect()
    for _, verdict in ipairs { "continue", "accept", "reject", "tempfail", "discard", "nonsense", "reject" } do
      mta:mail("<" .. verdict .. "@example.org>")
      mta:rcpt "<b@example.org>"
      mta:data()
      mta:eoh()
      mta:eom()
    end
    mta:mail()
    mta:abort()
    mta:quit()
    assert.same({ "counts 1 of 1, 7: 1 1 2 2 1, 1 aborted, 1 errors, true" }, said "counts")
  end)
end)
